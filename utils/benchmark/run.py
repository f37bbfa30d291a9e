"""One measured swap, in a process of its own: `python -m utils.benchmark.run FIGURES.json together|apart|straightforward FLAGS...`.

`together` is the swap as a user runs it; `apart` runs its stages one after another, so that each has the machine to itself;
`straightforward` is what the ghost pack is compared with, see there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.errors import BadArgument, SwapError
from utils.flags import build_parser
from utils.inference.face_swapper import FaceSwapper
from utils.inference.overlap import one_after_another
from utils.inference.request import SwapReport
from utils.inference.stopwatch import Stopwatch, measuring
from utils.inference.video_processing import read_target
from utils.limits import limits_of
from utils.memory import MAXRSS_BYTES
from utils.one_swap import Job, complete, identify_people, prepare, swap
from utils.pack_flags import ghost_options
from utils.process import leave, prepare_process, tell_warnings
from utils.signals import INTERRUPTED
from utils.streams import write_note
from utils.version import __version__

with contextlib.suppress(ModuleNotFoundError):  # not on Windows; memory is not measured there
    import resource


@dataclass(frozen=True)
class RunFigures:
    """What one run took.

    Attributes:
        pack, settings: name and version of the model pack, and what else its answers depend on.
        size: width and height of the target, in pixels.
        frames, faces: how many were read and swapped.
        start_up_s: models and photos, without Python's own start.
        swap_s: everything after that.
        cpu_s: of all threads and children.
        peak_mb: largest resident set of the process, without that of the encoder; None where the system does not tell.
        stages: seconds by stage, see `utils.inference.stopwatch`.
    """

    pack: str
    settings: str
    size: tuple[int, int]
    frames: int
    faces: int
    start_up_s: float
    swap_s: float
    cpu_s: float
    peak_mb: float | None
    stages: dict[str, float]


def measure(flags: Sequence[str], how: str) -> RunFigures:
    """Swap as the flags say, in one of the three ways.

    Raises:
        SwapError: as the swap does.
    """
    args = complete(build_parser(__version__).parse_args(flags))
    stopwatch = Stopwatch()
    with measuring(stopwatch), one_after_another() if how == "apart" else contextlib.nullcontext():
        started = time.perf_counter()
        job = (
            prepare_straightforward(args)
            if how == "straightforward"
            else prepare(args, logging.getLogger(__name__).info)
        )
        ready = time.perf_counter()
        report = swap_straightforward(args, job) if how == "straightforward" else swap(args, job)
        done = time.perf_counter()
    pack = job.swapper.pack
    peak_mb, cpu_s = _resources()
    return RunFigures(
        f"{pack.name} {pack.version}",
        pack.settings,
        _target_size(args, job),
        report.frames,
        report.swaps,
        ready - started,
        done - ready,
        cpu_s,
        peak_mb,
        dict(stopwatch.seconds),
    )


def prepare_straightforward(args: argparse.Namespace) -> Job:
    """Load the ghost pack in eager PyTorch, and the first source.

    Raises:
        BadArgument: if there is more to do than to swap one person in a video.
    """
    from utils.benchmark.straightforward import load_eager_pack

    if args.image_to_image or args.target_faces_paths or args.swap == "all" or len(args.source_paths) > 1:
        raise BadArgument("--compare straightforward: it swaps the first person found in a video, by one source")
    pack = load_eager_pack(ghost_options(args), args.det_thresh)
    swapper = FaceSwapper(pack, args.similarity_th, batch_size=1)
    return Job(swapper, identify_people(swapper, args.source_paths, limits_of(args)), [], None)


def swap_straightforward(args: argparse.Namespace, job: Job) -> SwapReport:
    """Write the result; a frame counts as one face."""
    from utils.benchmark.straightforward import swap_video

    frames = swap_video(args.target, args.out, job.swapper.pack, job.sources[0], args.video_options)
    return SwapReport(frames, frames, frames, ())


def _target_size(args: argparse.Namespace, job: Job) -> tuple[int, int]:
    if job.picture is not None:
        height, width = job.picture.bgr.shape[:2]
        return width, height
    video = read_target(args.target, args.video_options)
    return video.width, video.height


def _resources() -> tuple[float | None, float]:
    """Peak of this process in megabytes, and CPU seconds of it and its children."""
    if "resource" not in globals():
        return None, time.process_time()
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return own.ru_maxrss * MAXRSS_BYTES / 1e6, seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the figures; return the exit code."""
    figures_path, how, *flags = sys.argv[1:] if argv is None else argv
    prepare_process()
    tell_warnings("--quiet" in flags)
    try:
        figures = measure(flags, how)
    except SwapError as error:
        write_note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    Path(figures_path).write_text(json.dumps(asdict(figures)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    leave(main())
