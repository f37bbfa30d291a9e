"""Swap a face in a photo or a video: flags, model loading, one run, messages and exit codes.

The work is done in `utils.inference`; heavy libraries are imported after the flags are read, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.packs import DEFAULTS
from utils.errors import BadArgument, SwapError
from utils.model_files.flags import add_weight_flags, manage_weights

if TYPE_CHECKING:
    from utils.inference.face_swapper import FaceSwapper, Item
    from utils.inference.records import Identity, ModelPack

__version__ = "0.1.0"

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE / "examples"
INTERRUPTED = 130

EXIT_CODES = """exit codes:
  0    done
  2    bad arguments
  3    a file cannot be read or decoded
  4    no face found, or the chosen person is never seen
  5    model files are missing or damaged
  6    the output cannot be written
  130  interrupted
  1    anything else

The path of the result is printed to stdout, everything else to stderr."""


def strict_bool(text: str) -> bool:
    """Parse True or False, in any case, and nothing else.

    >>> strict_bool("false"), strict_bool("True")
    (False, True)
    """
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{text}' is neither True nor False")
    return text.lower() == "true"


def number_between(low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a finite number in [low, high]."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return parse


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return value


def add_bool(group: argparse._ArgumentGroup, flag: str, default: bool | None, text: str) -> None:
    """Add a flag that takes True or False; bare it means True."""
    group.add_argument(flag, type=strict_bool, nargs="?", const=True, default=default, metavar="True|False", help=text)


def build_parser() -> argparse.ArgumentParser:
    """All flags; GHOST's keep their names and defaults."""
    parser = argparse.ArgumentParser(
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
        "--source_paths", nargs="+", type=Path, metavar="PHOTO", help="whose face is put in (default: an example)"
    )
    files.add_argument(
        "--target_faces_paths",
        nargs="+",
        type=Path,
        default=[],
        metavar="PHOTO",
        help="who is replaced, one photo for each source, in order (default: the largest face of the first frame that has one)",
    )
    add_bool(files, "--image_to_image", None, "the target is an image (default: what the other flags say, else False)")
    files.add_argument("--target_image", type=Path, metavar="FILE", help="(default: an example)")
    files.add_argument("--out_image_name", type=Path, metavar="FILE", help="(default: examples/results/result.png)")
    files.add_argument("--target_video", type=Path, metavar="FILE", help="(default: an example)")
    files.add_argument("--out_video_name", type=Path, metavar="FILE", help="(default: examples/results/result.mp4)")

    people = parser.add_argument_group("faces and people")
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

    models = parser.add_argument_group("models")
    models.add_argument(
        "--pack", choices=("auto", "ghost", "builtin"), default="auto", help="model pack (default: auto)"
    )
    models.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the models run (default: auto)"
    )
    models.add_argument(
        "--batch_size", type=positive_int, default=40, metavar="N", help="most faces generated at once (default: 40)"
    )
    ghost = parser.add_argument_group("ghost pack only")
    ghost.add_argument("--G_path", type=Path, metavar="FILE", help="generator weights")
    ghost.add_argument("--backbone", choices=("unet", "linknet", "resnet"), help="generator's encoder")
    ghost.add_argument("--num_blocks", type=int, choices=(1, 2, 3), help="AAD blocks of the generator")
    ghost.add_argument("--crop_size", type=positive_int, metavar="N", help="side of the aligned crop in pixels")
    add_bool(ghost, "--use_sr", False, "enhance faces with the super-resolution net")

    add_weight_flags(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no warnings; errors are still printed")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def complete(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on other flags, and refuse what contradicts.

    Raises:
        BadArgument: saying which flag to change.
    """
    if args.image_to_image is None:
        if args.target_image and args.target_video:
            raise BadArgument(
                "both --target_image and --target_video are given; give one, or say which with --image_to_image"
            )
        args.image_to_image = bool(
            args.target_image or (args.out_image_name and not args.target_video and not args.out_video_name)
        )
    if args.image_to_image and (args.target_video or args.out_video_name):
        raise BadArgument(
            "--target_video and --out_video_name have no use for an image; leave them out, or --image_to_image"
        )
    if not args.image_to_image and (args.target_image or args.out_image_name):
        raise BadArgument(
            "--target_image and --out_image_name have no use for a video; leave them out, or say --image_to_image True"
        )
    args.source_paths = args.source_paths or [EXAMPLES / "images" / "grace_hopper.jpg"]
    if args.image_to_image:
        args.target = args.target_image or EXAMPLES / "images" / "eileen_collins.png"
        args.out = args.out_image_name or EXAMPLES / "results" / "result.png"
    else:
        args.target = args.target_video or EXAMPLES / "videos" / "eileen_collins.mp4"
        args.out = args.out_video_name or EXAMPLES / "results" / "result.mp4"
    for path in (args.target, *args.source_paths, *args.target_faces_paths):
        if args.out.exists() and path.exists() and args.out.samefile(path):
            raise BadArgument(
                f"the output '{args.out}' is also an input; choose another name, nothing is overwritten in place"
            )
    return args


def init_models(args: argparse.Namespace) -> ModelPack:
    """Load the models of the chosen pack, once.

    Raises:
        BadArgument: if flags and pack do not fit together.
        ModelFileError: if files are missing or damaged.
    """
    from models.packs import load_builtin_pack

    ghost_flags = {
        "--pack ghost": args.pack == "ghost",
        "--G_path": args.G_path,
        "--backbone": args.backbone,
        "--num_blocks": args.num_blocks,
        "--crop_size": args.crop_size,
        "--use_sr": args.use_sr,
    }
    asked = [flag for flag, value in ghost_flags.items() if value]
    if asked:
        raise BadArgument(
            f"{asked[0]} needs the ghost pack, which this version cannot load yet; leave it out to use the builtin pack"
        )
    if args.device == "cuda":
        raise BadArgument("--device cuda: the builtin pack runs on the CPU only; leave the flag out")
    if args.pack == "auto":
        note(args, "pack: builtin (this version has no other)")
    return load_builtin_pack(args.det_thresh)


def note(args: argparse.Namespace, line: str) -> None:
    """Print to stderr unless --quiet."""
    if not args.quiet:
        print(line, file=sys.stderr)


def show_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, unit="frame", disable=None, file=sys.stderr)


def identify_photos(swapper: FaceSwapper, paths: Sequence[Path]) -> list[Identity]:
    """The identity of each photo."""
    from utils.pictures import read_picture

    return [swapper.identify(read_picture(path).bgr, str(path)) for path in paths]


def run(args: argparse.Namespace) -> Path:
    """Do what the flags say; return the path of the result."""
    from utils.inference.face_swapper import FaceSwapper, no_progress
    from utils.inference.video_processing import check_video_extension
    from utils.pictures import check_picture_extension, read_picture, write_picture

    (check_picture_extension if args.image_to_image else check_video_extension)(args.out)
    picture = read_picture(args.target) if args.image_to_image else None
    swapper = FaceSwapper(
        init_models(args), args.similarity_th, args.batch_size, no_progress if args.quiet else show_progress
    )
    sources = identify_photos(swapper, args.source_paths)
    persons = identify_photos(swapper, args.target_faces_paths)
    if picture is not None:
        result, report = swapper.swap_image(picture.bgr, sources, persons, str(args.target))
        write_picture(args.out, picture, result)
    else:
        report = swapper.swap_video(args.target, args.out, sources, persons)
    note(args, f"swapped {report.swaps} faces in {report.frames} frames")
    return args.out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    started = time.perf_counter()
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C: nothing half-written stays
    logging.basicConfig(format="warning: %(message)s", level=logging.ERROR if args.quiet else logging.WARNING)
    try:
        if manage_weights(args):
            return 0
        out = run(complete(args))
    except SwapError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        kept = "the same command goes on where it stopped" if args.download else "nothing was written"
        print(f"interrupted; {kept}", file=sys.stderr)
        return INTERRUPTED
    print(out)
    note(args, f"Total time: {time.perf_counter() - started:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
