"""The flags of the command line; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from models.packs import DEFAULTS, MIN_FACE_PX
from utils.batch.flags import add_batch_flags
from utils.benchmark.flags import add_benchmark_flags
from utils.devices import PRECISIONS, is_device_name
from utils.errors import one_line
from utils.files import is_there
from utils.flag_types import add_bool, positive_int
from utils.limits import MOST_FRAME_MEGAPIXELS, MOST_FRAMES, MOST_MEGAPIXELS
from utils.model_files.flags import add_weight_flags
from utils.provenance.flags import add_provenance_flags
from utils.video_flags import add_video_flags

LARGEST_STRIDE_PX = 32  # of SCRFD's maps; anything else breaks its grid of anchors
SHELLS = ("bash", "zsh", "tcsh")
EXIT_CODES = """exit codes:
  0    done
  2    bad arguments
  3    a file cannot be read or decoded
  4    no face found, or the chosen person is never seen
  5    model files are missing or damaged
  6    the output cannot be written
  7    --verify: the file is not marked as altered by AI
  8    --verify: the file was changed after it was signed
  9    memory ran out
  10   some of many jobs failed, the others are done
  130  interrupted
  1    anything else

The path of the result is printed to stdout, everything else to stderr."""


def number_between(low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a finite number in [low, high]."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def detection_side(text: str) -> int:
    """An argparse type: a positive multiple of the detector's coarsest stride."""
    side = positive_int(text)
    if side % LARGEST_STRIDE_PX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of {LARGEST_STRIDE_PX}")
    return side


def photos_of_person(text: str) -> tuple[Path, ...]:
    """An argparse type: one photo, or several of one person joined by plus signs; a file whose own name has one is one photo.

    >>> [path.name for path in photos_of_person("anna1.jpg+anna2.jpg")]
    ['anna1.jpg', 'anna2.jpg']
    """
    if is_there(Path(text)):  # not so where the names together are longer than one can be
        return (Path(text),)
    parts = text.split("+")
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name beside a plus sign")
    return tuple(Path(part) for part in parts)


def device_name(text: str) -> str:
    """An argparse type: auto, cpu, cuda or cuda:N."""
    if not is_device_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...")
    return text


class FlagParser(argparse.ArgumentParser):
    """A parser whose complaints take one line, whatever was given."""

    def error(self, message: str) -> NoReturn:
        """See `argparse`."""
        super().error(one_line(message))


def build_parser(version: str, kind: type[argparse.ArgumentParser] = FlagParser) -> argparse.ArgumentParser:
    """All flags; GHOST's keep their names and defaults. `kind` says what happens to flags that cannot be understood."""
    parser = kind(
        prog="inference.py",
        description="Put the face of a source photo on a person in a photo or a video.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    thresholds = ", ".join(f"{name} {defaults.similarity_th:g}" for name, defaults in DEFAULTS.items())
    detections = ", ".join(f"{name} {defaults.det_thresh:g}" for name, defaults in DEFAULTS.items())

    files = parser.add_argument_group("files")
    files.add_argument(
        "--source_paths",
        nargs="+",
        type=photos_of_person,
        metavar="PHOTO[+PHOTO...]",
        help="whose face is put in; several photos of one person are joined by plus signs (default: an example)",
    )
    files.add_argument(
        "--target_faces_paths",
        nargs="+",
        type=photos_of_person,
        default=[],
        metavar="PHOTO[+PHOTO...]",
        help="who is replaced, one photo for each source, in order (default: the largest face of the first frame that has one)",
    )
    add_bool(files, "--image_to_image", None, "the target is an image (default: what the other flags say, else False)")
    files.add_argument("--target_image", type=Path, metavar="FILE", help="- reads stdin (default: an example)")
    files.add_argument(
        "--out_image_name",
        type=Path,
        metavar="FILE",
        help="- writes PNG to stdout (default: examples/results/result.png)",
    )
    files.add_argument("--target_video", type=Path, metavar="FILE", help="(default: an example)")
    files.add_argument("--out_video_name", type=Path, metavar="FILE", help="(default: examples/results/result.mp4)")
    files.add_argument(
        "--resume",
        action="store_true",
        help="go on with a video where the same command was interrupted; without it, a video is begun from the start",
    )

    files.add_argument(
        "--max_megapixels",
        type=number_between(0.01, 10_000),
        metavar="X",
        help="pictures, and frames of videos, that are larger are refused before they are decoded "
        f"(default: {MOST_MEGAPIXELS:g} for pictures, {MOST_FRAME_MEGAPIXELS:g} for frames)",
    )
    files.add_argument(
        "--max_frames",
        type=positive_int,
        default=MOST_FRAMES,
        metavar="N",
        help=f"videos, or wanted parts of them, with more frames are refused (default: {MOST_FRAMES})",
    )

    people = parser.add_argument_group("faces and people")
    people.add_argument(
        "--swap",
        choices=("first", "all"),
        default="first",
        help="who is replaced without --target_faces_paths: first, see there; all: everybody, by the only source, "
        "or by the sources in the order in which people appear, from left to right (default: first)",
    )
    people.add_argument(
        "--list_faces",
        type=Path,
        metavar="DIR",
        help="write a photo of everybody in the target, for --target_faces_paths, into an empty folder, "
        "and the frames in which they are seen; then end",
    )
    people.add_argument(
        "--similarity_th",
        type=number_between(-1, 1),
        metavar="X",
        help=f"cosine similarity from which on a face is taken for a person; higher is stricter (default: {thresholds})",
    )
    people.add_argument(
        "--det_thresh",
        type=number_between(0, 1),
        metavar="X",
        help=f"score from which on something is a face (default: {detections})",
    )
    people.add_argument(
        "--min_face",
        type=positive_int,
        default=MIN_FACE_PX,
        metavar="N",
        help=f"height in pixels below which a face is left as it is (default: {MIN_FACE_PX})",
    )

    people.add_argument(
        "--strength",
        type=number_between(0, 1),
        default=1.0,
        metavar="X",
        help="how much of the swap is shown; 0 gives the original (default: 1)",
    )
    add_video_flags(parser)
    add_batch_flags(parser)
    add_provenance_flags(parser)

    models = parser.add_argument_group("models")
    models.add_argument(
        "--pack",
        choices=("auto", "ghost", "builtin"),
        default="auto",
        help="model pack (default: auto, which takes ghost when all its files are here, else builtin)",
    )
    models.add_argument(
        "--device",
        type=device_name,
        default="auto",
        metavar="D",
        help="where the models run: auto, cpu, cuda or cuda:N; the builtin pack runs on the CPU (default: auto)",
    )
    models.add_argument(
        "--batch_size", type=positive_int, default=40, metavar="N", help="most faces generated at once (default: 40)"
    )

    ghost = parser.add_argument_group("ghost pack only")
    ghost.add_argument(
        "--G_path", type=Path, metavar="FILE", help="generator weights (default: weights/G_unet_2blocks.pth)"
    )
    ghost.add_argument(
        "--backbone", choices=("unet", "linknet", "resnet"), help="generator's encoder (default: as the weights say)"
    )
    ghost.add_argument(
        "--num_blocks",
        type=int,
        choices=(1, 2, 3),
        help="AAD blocks of the generator; chooses among the released weights (default: 2)",
    )
    ghost.add_argument(
        "--crop_size", type=positive_int, metavar="N", help="side of the aligned crop in pixels (default: 224)"
    )
    ghost.add_argument(
        "--det_size",
        type=detection_side,
        nargs=2,
        metavar=("W", "H"),
        help="size to which a picture is scaled for detection, multiples of 32 (default: 640 640)",
    )
    ghost.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the generator (default: auto: fp16 on CUDA, bf16 on CPUs that are faster with it, else fp32)",
    )
    add_bool(ghost, "--use_sr", False, "enhance faces with the super-resolution net")
    ghost.add_argument(
        "--export_onnx",
        type=Path,
        metavar="FILE",
        help="write the generator as ONNX (inputs target, identity), then end",
    )

    add_weight_flags(parser)
    add_benchmark_flags(parser)
    parser.add_argument(
        "--doctor",
        action="store_true",
        help="tell what this installation can do and how to mend what it cannot, then end",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON line for every finished output on stdout, instead of its path",
    )
    parser.add_argument(
        "--print_completion",
        choices=SHELLS,
        help="print what makes this shell complete the flags, then end; see README",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress and no warnings; errors are still printed")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    return parser
