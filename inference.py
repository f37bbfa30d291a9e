"""Swap a face in a photo or a video: flags, model loading, one run, messages and exit codes.

The work is done in `utils.inference`; heavy libraries are imported after the flags are read, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import BadArgument, SwapError, UnwritableOutput
from utils.files import refuse_to_overwrite
from utils.flags import build_parser
from utils.inference.stopwatch import stage
from utils.model_files.flags import manage_weights
from utils.pack_flags import choose_pack, ghost_options
from utils.process import leave, prepare_process
from utils.progress import no_progress, show_progress
from utils.version import __version__
from utils.video_flags import refuse_output_flags, video_options

if TYPE_CHECKING:
    from utils.inference.face_swapper import FaceSwapper
    from utils.inference.model_pack import ModelPack
    from utils.inference.records import Identity
    from utils.inference.request import SwapReport
    from utils.pictures import Picture

EXAMPLES = Path(__file__).resolve().parent / "examples"
INTERRUPTED = 130
VENV_PYTHON = ".venv/bin/python, which 'make venv' makes"


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
    args.source_paths = args.source_paths or [(EXAMPLES / "images" / "grace_hopper.jpg",)]
    if args.image_to_image:
        args.target = args.target_image or EXAMPLES / "images" / "eileen_collins.png"
        args.out = args.out_image_name or EXAMPLES / "results" / "result.png"
    else:
        args.target = args.target_video or EXAMPLES / "videos" / "eileen_collins.mp4"
        args.out = args.out_video_name or EXAMPLES / "results" / "result.mp4"
    args.video_options = video_options(args)
    if not args.list_faces:
        refuse_to_overwrite(args.out, (args.target, *chain(*args.source_paths, *args.target_faces_paths)))
    return args


def init_models(args: argparse.Namespace) -> ModelPack:
    """Load the models of the chosen pack, once.

    Raises:
        BadArgument: if flags and pack do not fit together.
        ModelFileError: if files are missing or damaged.
    """
    from models.packs import load_builtin_pack, load_ghost_pack

    name, reason = choose_pack(args)
    if reason:
        note(args, f"pack: {name} ({reason})")
    if name == "ghost":
        return load_ghost_pack(ghost_options(args), args.det_thresh)
    if args.device.startswith("cuda"):
        raise BadArgument(f"--device {args.device}: the builtin pack runs on the CPU only; leave the flag out")
    return load_builtin_pack(args.det_thresh)


def note(args: argparse.Namespace, line: str) -> None:
    """Print to stderr unless --quiet; a terminal that is gone is no reason to stop."""
    if not args.quiet:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr)


def tell_result(line: Path | str) -> None:
    """Print the path of a result to stdout.

    Raises:
        BrokenPipeError: if nobody reads it any more.
        UnwritableOutput: if stdout takes nothing.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # so that Python does not try again when it ends
        raise UnwritableOutput(f"{line} is done, but this cannot be written to stdout ({error.strerror})") from error


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "face"), count(2, "face")
    ('1 face', '2 faces')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def identify_people(swapper: FaceSwapper, people: Sequence[Sequence[Path]]) -> list[Identity]:
    """The identity of each person, from one photo or several."""
    from utils.pictures import read_picture

    identities = [[swapper.identify(read_picture(path).bgr, str(path)) for path in photos] for photos in people]
    return [swapper.combine(photos) for photos in identities]


@dataclass(frozen=True)
class Job:
    """What is swapped: loaded models, who is put in, who is replaced, and the target if it is a photo."""

    swapper: FaceSwapper
    sources: Sequence[Identity]
    persons: Sequence[Identity]
    picture: Picture | None


@stage("start-up")
def prepare(args: argparse.Namespace) -> Job:
    """Load the models, and the photos that the flags name."""
    from utils.inference.video.frame_files import check_output
    from utils.pictures import check_picture_extension, read_picture

    (check_picture_extension if args.image_to_image else check_output)(args.out)
    picture = read_picture(args.target) if args.image_to_image else None
    beside = ThreadPoolExecutor(1)
    loading = beside.submit(init_models, args)  # beside the imports
    beside.shutdown(wait=False)  # nothing else will come, and nobody waits for it after Ctrl-C
    import cv2

    from utils.inference.face_swapper import FaceSwapper

    cv2.setNumThreads(1)  # stages have threads of their own; pictures of faces are too small to share
    progress = no_progress if args.quiet else show_progress
    pack = loading.result()
    swapper = FaceSwapper(pack, args.similarity_th, args.batch_size, args.min_face, args.strength, progress)
    sources = identify_people(swapper, args.source_paths)
    return Job(swapper, sources, identify_people(swapper, args.target_faces_paths), picture)


def swap(args: argparse.Namespace, job: Job) -> SwapReport:
    """Write the result."""
    from utils.pictures import write_picture

    everybody = args.swap == "all"
    if job.picture is None:
        swap_video, options = job.swapper.swap_video, args.video_options
        return swap_video(args.target, args.out, job.sources, job.persons, everybody, args.resume, options)
    result, report = job.swapper.swap_image(job.picture.bgr, job.sources, job.persons, str(args.target), everybody)
    write_picture(args.out, job.picture, result)
    return report


def run(args: argparse.Namespace) -> Path:
    """Do what the flags say; return the path of the result."""
    report = swap(args, prepare(args))
    note(args, f"swapped {count(report.swaps, 'face')} in {count(report.frames, 'frame')}")
    return args.out


def run_instead(args: argparse.Namespace, argv: Sequence[str]) -> int | None:
    """Do what flags ask for instead of a swap; the exit code, or None if they ask for nothing."""
    if manage_weights(args):
        return 0
    if args.benchmark:
        from utils.benchmark.command import run_benchmark

        run_benchmark(args, argv, complete, tell_result, partial(note, args))
        return 0
    if args.compare:
        raise BadArgument("--compare is for --benchmark; leave it out")
    if args.list_faces:
        from utils.face_list import list_faces

        refuse_output_flags(args)
        complete(args)
        progress = no_progress if args.quiet else show_progress
        pack = init_models(args)
        options = None if args.image_to_image else args.video_options
        for line in list_faces(args.target, options, args.list_faces, pack, args.similarity_th, progress):
            tell_result(line)
        return 0
    if args.doctor:
        from utils.doctor import report

        return 1 if report() else 0
    if args.export_onnx:
        choose_pack(args)
        from models.onnx_export import export_generator

        export_generator(ghost_options(args), args.export_onnx)
        print(args.export_onnx)
        return 0
    return None


def notes_of(error: BaseException) -> list[str]:
    """What was added to an error on its way here."""
    return list(getattr(error, "__notes__", []))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    started = time.perf_counter()
    prepare_process()
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(__version__).parse_args(argv)
    logging.basicConfig(format="warning: %(message)s", level=logging.ERROR if args.quiet else logging.WARNING)
    try:
        ended = run_instead(args, argv)
        if ended is not None:
            return ended
        tell_result(run(complete(args)))
    except SwapError as error:
        print("; ".join([f"error: {error}", *notes_of(error)]), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever reads our stdout has seen enough
        sys.stdout = None
        return 0
    except ModuleNotFoundError as error:
        remedy = f"use {VENV_PYTHON}, or 'pip install -r requirements.txt'"
        print(f"error: the package {error.name} is not installed for {sys.executable}; {remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        kept = "the same command goes on where it stopped" if args.download else "no half-written file is left"
        print("; ".join(["interrupted", *(notes_of(error) or [kept])]), file=sys.stderr)
        return INTERRUPTED
    note(args, f"Total time: {time.perf_counter() - started:.2f} s")
    return 0


if __name__ == "__main__":
    leave(main())
