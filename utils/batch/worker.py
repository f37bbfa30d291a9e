"""What keeps models loaded and does one job after another, several at once if asked by several threads."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from utils.batch.job_files import BatchJob
from utils.batch.results import BUSY, DONE, FAILED, SKIPPED, Outcome, outcome_of, settings_of, versions_of
from utils.errors import SwapError, one_line
from utils.files import TEMPORARY_PREFIX, name_digest, remove_stale_partials, writing
from utils.inference.face_swapper import FaceSwapper
from utils.inference.model_pack import ModelPack
from utils.inference.records import Identity
from utils.inference.video.pictures import is_sequence
from utils.inference.video.signing import sidecar_of
from utils.inference.video.swap import Rendering
from utils.limits import Limits, limits_of
from utils.locks import claimed
from utils.memory import as_swap_error
from utils.one_swap import Job, identify_people, make_swapper, read_target_picture, swap
from utils.progress import Progress, no_progress
from utils.signals import is_interruption

MOST_KEPT = 64  # people whose photos stay analysed

Spread = Callable[[argparse.Namespace, Sequence[Identity], Rendering, Sequence[int]], None]
Value = TypeVar("Value")
FileState = tuple[str, int, int]


class Worker:
    """Swaps with the models of one pack; photos of sources and persons are analysed once.

    Several threads may use it at once.
    """

    def __init__(self, pack: ModelPack, progress: Progress, spread: Spread | None = None) -> None:
        """Take over the loaded models.

        Args:
            pack: see `models.packs`.
            progress: shows what becomes of the frames of videos.
            spread: renders segments of a job's video, with these sources, in other processes.
        """
        self._pack = pack
        self._spread = spread
        self._progress = progress
        self._people = _Memory[Identity](MOST_KEPT)
        self.versions = versions_of(pack.name, pack.version)

    def do(self, job: BatchJob, previous: Outcome | None, wait: bool = False) -> Outcome:
        """Do a job, unless its output is there and newer than its inputs, or another process makes it.

        Args:
            job: what to do.
            previous: the last time that its output was made, if that is known.
            wait: until no other process makes it.

        Returns:
            What became of it. Whatever goes wrong is in there, but for an interruption.
        """
        started = time.perf_counter()
        args = job.args
        try:
            with writing(args.out) as place, _claimed(place, wait) as ours:
                if not ours:
                    return outcome_of(args, job.number, status=BUSY)
                if not args.overwrite and is_current(args, previous):
                    return outcome_of(args, job.number, status=SKIPPED, versions=self.versions)
                fields = self._swap(args)
        except Exception as error:  # one job that meets a defect must not take the others with it
            if is_interruption(error):
                raise
            told = as_swap_error(error) or SwapError(
                f"internal error, please report it: {type(error).__name__}: {error}"
            )
            message = one_line("; ".join([str(told), *getattr(error, "__notes__", [])]))
            fields = {"status": FAILED, "exit_code": told.exit_code, "message": message}
        seconds = round(time.perf_counter() - started, 4)
        return outcome_of(
            args, job.number, versions=self.versions, seconds=seconds, finished=round(time.time(), 3), **fields
        )

    def _swap(self, args: argparse.Namespace) -> dict[str, object]:
        swapper = make_swapper(args, self._pack, self._progress)
        picture = read_target_picture(args)
        sources, persons = (
            [self._identify(swapper, photos, limits_of(args)) for photos in people]
            for people in (args.source_paths, args.target_faces_paths)
        )
        elsewhere = None if self._spread is None else partial(self._spread, args, sources)
        report = swap(args, Job(swapper, sources, persons, picture), elsewhere)
        similarity = tuple(round(float(one), 4) for one in report.best_similarity)
        return {"status": DONE, "frames": report.frames, "faces": report.swaps, "similarity": similarity}

    def render(self, args: argparse.Namespace, sources: Sequence[Identity], rendering: Rendering, number: int) -> None:
        """Render a segment for another worker that does the job of these flags."""
        make_swapper(args, self._pack, no_progress).render_segments(rendering, [number], sources)

    def _identify(self, swapper: FaceSwapper, photos: Sequence[Path], limits: Limits) -> Identity:
        key = (swapper.similarity_th, *map(_state_of, photos))
        return self._people.get(key, lambda: identify_people(swapper, [photos], limits)[0])


class _Memory(Generic[Value]):
    """The last values, each computed once, whoever asks."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._computing = Lock()

    def get(self, key: object, compute: Callable[[], Value]) -> Value:
        with self._computing:
            if key not in self._values:
                self._values[key] = compute()
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return self._values[key]


def is_current(args: argparse.Namespace, previous: Outcome | None) -> bool:
    """Whether an output is there and newer than all its inputs, and was not made with other settings as far as is known."""
    if previous is not None and previous.settings != settings_of(args):
        return False
    inputs = [args.target, *chain(*args.source_paths, *args.target_faces_paths)]
    try:
        newest = max(path.stat().st_mtime_ns for path in inputs)
        if is_sequence(args.out):  # a name for many files: only the results know when they were made
            return previous is not None and args.out.parent.is_dir() and previous.finished * 1e9 > newest
        made = [path for path in (args.out, sidecar_of(args.out)) if path is not None]
        return all(path.stat().st_mtime_ns > newest for path in made)
    except OSError:  # something is not there: doing the job will say what
        return False


@contextlib.contextmanager
def _claimed(place: Path, wait: bool) -> Iterator[bool]:
    """Whether this output is ours to make, for as long as the block lasts."""
    lock = place.with_name(f"{TEMPORARY_PREFIX}{name_digest(place.name)}.lock")
    killed = lock.exists()  # or held just now
    with claimed(lock, wait) as ours:
        if ours and killed:
            remove_stale_partials(place)
        yield ours


def _state_of(path: Path) -> FileState | str:
    with contextlib.suppress(OSError):
        status = path.stat()
        return str(path.absolute()), status.st_size, status.st_mtime_ns
    return str(path)
