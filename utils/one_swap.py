"""One swap as the flags say it: what depends on other flags, the models, the photos, and the run itself.

The command line runs it once, a batch many times with the same models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import BadArgument
from utils.files import refuse_to_overwrite, remove_stale_partials
from utils.inference.stopwatch import stage
from utils.limits import Limits, limits_of
from utils.pack_flags import choose_pack, ghost_options
from utils.progress import Progress, no_progress, show_progress
from utils.provenance.flags import load_signing, marking_of
from utils.streams import write_result_bytes
from utils.video_flags import video_options

if TYPE_CHECKING:
    from utils.inference.face_swapper import FaceSwapper
    from utils.inference.model_pack import ModelPack
    from utils.inference.records import Identity
    from utils.inference.request import SwapReport
    from utils.inference.video.swap import Elsewhere
    from utils.pictures import Picture

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PIPE = Path("-")  # stdin as target, stdout as output

Tell = Callable[[str], None]


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
    if args.image_to_image and args.resume:
        raise BadArgument("--resume is for videos; leave it out")
    if args.image_to_image and (args.target_video or args.out_video_name):
        raise BadArgument(
            "--target_video and --out_video_name have no use for an image; leave them out, or say --image_to_image False"
        )
    if not args.image_to_image and (args.target_image or args.out_image_name):
        raise BadArgument(
            "--target_image and --out_image_name have no use for a video; leave them out, or say --image_to_image True"
        )
    if PIPE in (args.target_video, args.out_video_name):
        raise BadArgument("'-' is for pictures: a video has to be read twice; give files")
    args.source_paths = args.source_paths or [(EXAMPLES / "images" / "grace_hopper.jpg",)]
    if args.image_to_image:
        args.target = args.target_image or EXAMPLES / "images" / "eileen_collins.png"
        args.out = args.out_image_name or EXAMPLES / "results" / "result.png"
    else:
        args.target = args.target_video or EXAMPLES / "videos" / "eileen_collins.mp4"
        args.out = args.out_video_name or EXAMPLES / "results" / "result.mp4"
    if args.json and args.out == PIPE:
        raise BadArgument("--json and --out_image_name - both want stdout; leave one out")
    args.video_options = video_options(args)
    if not args.list_faces and args.out != PIPE:
        refuse_to_overwrite(args.out, input_files(args))
    return args


def input_files(args: argparse.Namespace) -> list[Path]:
    """All that completed flags name to be read."""
    photos = chain(*args.source_paths, *args.target_faces_paths)
    return [path for path in (args.target, *photos, args.c2pa_cert, args.c2pa_key) if path not in (None, PIPE)]


def load_models(args: argparse.Namespace, tell: Tell) -> ModelPack:
    """Load the models of the chosen pack, once.

    Args:
        args: the flags.
        tell: takes a line that says which pack, where no flag does.

    Raises:
        BadArgument: if flags and pack do not fit together.
        ModelFileError: if files are missing or damaged.
    """
    from models.packs import load_builtin_pack, load_ghost_pack

    name, reason = choose_pack(args)
    if reason:
        tell(f"pack: {name} ({reason})")
    if name == "ghost":
        return load_ghost_pack(ghost_options(args), args.det_thresh)
    if args.device.startswith("cuda"):
        raise BadArgument(f"--device {args.device}: the builtin pack runs on the CPU only; leave the flag out")
    return load_builtin_pack(args.det_thresh)


def check_out(args: argparse.Namespace) -> None:
    """Refuse an output whose name says a format that cannot be written.

    Raises:
        BadArgument: with those that can.
    """
    from utils.inference.video.frame_files import check_output
    from utils.pictures import check_picture_extension

    if args.out != PIPE:
        (check_picture_extension if args.image_to_image else check_output)(args.out)


def read_target_picture(args: argparse.Namespace) -> Picture | None:
    """The target if it is a picture, from its file or from stdin; None if it is a video.

    Raises:
        UnreadableInput: if it cannot be decoded.
    """
    from utils.pictures import read_picture, read_piped_picture

    if not args.image_to_image:
        return None
    limits = limits_of(args)
    if args.target == PIPE:
        return read_piped_picture(sys.stdin.buffer, Path("stdin"), limits)
    return read_picture(args.target, limits)


def make_swapper(args: argparse.Namespace, pack: ModelPack, progress: Progress) -> FaceSwapper:
    """What swaps with the settings of the flags; costs nothing beside the models."""
    from utils.inference.face_swapper import FaceSwapper

    settings = (args.similarity_th, args.batch_size, args.min_face, args.strength)
    return FaceSwapper(pack, *settings, progress, marking_of(args))


def identify_people(swapper: FaceSwapper, people: Sequence[Sequence[Path]], limits: Limits) -> list[Identity]:
    """The identity of each person, from one photo or several."""
    from utils.pictures import read_picture

    identities = [[swapper.identify(read_picture(path, limits).bgr, str(path)) for path in photos] for photos in people]
    return [swapper.combine(photos) for photos in identities]


@dataclass(frozen=True)
class Job:
    """What is swapped: loaded models, who is put in, who is replaced, and the target if it is a photo."""

    swapper: FaceSwapper
    sources: Sequence[Identity]
    persons: Sequence[Identity]
    picture: Picture | None


@stage("start-up")
def prepare(args: argparse.Namespace, tell: Tell) -> Job:
    """Load the models, and the photos that the flags name; see `load_models`."""
    check_out(args)
    if args.out != PIPE:
        remove_stale_partials(args.out)
    picture = read_target_picture(args)
    marking_of(args)  # a certificate that is refused comes before any work
    beside = ThreadPoolExecutor(1)
    loading = beside.submit(load_models, args, tell)  # beside the imports
    beside.submit(load_signing)  # after the models, beside the first faces
    beside.shutdown(wait=False)  # nothing else will come, and nobody waits for it after Ctrl-C
    import cv2

    import utils.inference.face_swapper  # noqa: F401 - takes its time, which is spent while the models are read

    cv2.setNumThreads(1)  # stages have threads of their own; pictures of faces are too small to share
    swapper = make_swapper(args, loading.result(), no_progress if args.quiet else show_progress)
    sources, persons = (
        identify_people(swapper, people, limits_of(args)) for people in (args.source_paths, args.target_faces_paths)
    )
    return Job(swapper, sources, persons, picture)


def swap(args: argparse.Namespace, job: Job, elsewhere: Elsewhere | None = None) -> SwapReport:
    """Write the result; `elsewhere` renders segments of a video in other processes."""
    from utils.pictures import encode_result, write_picture

    everybody = args.swap == "all"
    if job.picture is None:
        swap_video, options = job.swapper.swap_video, args.video_options
        return swap_video(args.target, args.out, job.sources, job.persons, everybody, args.resume, options, elsewhere)
    result, report = job.swapper.swap_image(job.picture.bgr, job.sources, job.persons, str(args.target), everybody)
    if args.out == PIPE:
        write_result_bytes(encode_result(Path("stdout.png"), job.picture, result, job.swapper.marking))
    else:
        write_picture(args.out, job.picture, result, job.swapper.marking)
    return report
