"""`--jobs` and `--out_dir`: many swaps with the models loaded once."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TypeVar

from utils.batch.engines import default_threads, run_here
from utils.batch.job_files import BatchJob, JobFlagParser, parts_of, read_jobs
from utils.batch.places import check_places
from utils.batch.results import DONE, FAILED, SKIPPED, Outcome, Results
from utils.errors import BadArgument, SomeFailed
from utils.flags import build_parser
from utils.one_swap import PIPE, Tell, load_models
from utils.provenance.flags import marking_of
from utils.signals import resumable
from utils.version import __version__

Show = Callable[[Outcome], None]
Item = TypeVar("Item")


def run_batch(args: argparse.Namespace, show: Show, tell: Tell) -> None:
    """Do all jobs; one that fails is reported, and the others go on.

    Args:
        args: the flags, with `jobs` or `out_dir`.
        show: prints what was made.
        tell: takes lines for people.

    Raises:
        BadArgument, UnreadableInput: if the jobs cannot be understood; nothing is done then.
        SomeFailed: if some failed.
    """
    marking_of(args)  # a certificate that is refused comes before any work
    jobs, results_path = _gather(args), _results_path(args)
    check_places(jobs, results_path, args.jobs)
    jobs = parts_of(jobs, args.shard)
    results = Results(results_path)
    tally: Counter[str] = Counter()
    failed = []
    try:
        with resumable(), contextlib.closing(_outcomes(args, jobs, results, tell)) as outcomes:
            for outcome in outcomes:
                results.add(outcome)
                tally[outcome.status] += 1
                if outcome.status == DONE:
                    show(outcome)
                elif outcome.status == FAILED:
                    failed.append(outcome)
    finally:
        results.close()
    tell(f"{tally[DONE]} done, {tally[SKIPPED]} there already, {len(failed)} failed; see {str(results.path)!r}")
    if failed:
        raise SomeFailed(
            f"{len(failed)} of {len(jobs)} jobs failed; see {str(results.path)!r}, the same command tries them again"
        )


def _gather(args: argparse.Namespace) -> list[BatchJob]:
    from utils.batch.patterns import jobs_of_patterns

    if args.jobs and args.out_dir:
        raise BadArgument("--jobs and --out_dir are two ways to say the same; give one")
    if args.jobs and args.out_pattern:
        raise BadArgument("--out_pattern names the results of --out_dir; job files name their own")
    if args.jobs:
        return read_jobs(args.jobs, build_parser(__version__, JobFlagParser), args)
    return jobs_of_patterns(args)


def _results_path(args: argparse.Namespace) -> Path:
    path: Path = args.results or _folder(args) / "results.jsonl"
    if args.shard and not args.results:  # machines that share a folder must not write one file
        path = path.with_name(f"results.{args.shard.number}-of-{args.shard.count}.jsonl")
    return path


def _folder(args: argparse.Namespace) -> Path:
    if args.out_dir:
        return Path(args.out_dir)
    return Path() if args.jobs == PIPE else Path(args.jobs.parent)


def _outcomes(
    args: argparse.Namespace, jobs: list[BatchJob], results: Results, tell: Tell
) -> Generator[Outcome, None, None]:
    def previous(job: BatchJob) -> Outcome | None:
        return results.last_done(job.args.out)

    bar = BatchProgress(len(jobs), args.quiet)
    if args.engine == "ray":
        from utils.batch.ray_engine import run_on_ray

        outcomes = run_on_ray(jobs, args, previous, tell)
    else:
        import cv2

        from utils.batch.worker import Worker

        cv2.setNumThreads(1)  # photos have threads of their own
        pack = load_models(args, tell)
        outcomes = run_here(jobs, Worker(pack, bar.frames), previous, default_threads(args, pack.name))
    with contextlib.closing(bar), contextlib.closing(outcomes):
        for outcome in outcomes:
            bar.step(outcome)
            yield outcome


class BatchProgress:
    """A bar of jobs on stderr, if that is a terminal, with frames per second; failures are printed above it at once."""

    def __init__(self, total: int, quiet: bool) -> None:
        """Begin with none of `total` jobs; `quiet` shows failures only."""
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc="jobs", unit="job", disable=True if quiet else None, file=sys.stderr)
        self._frames = 0

    def step(self, outcome: Outcome) -> None:
        """One job more."""
        if outcome.status == FAILED:
            self._bar.write(f"error: job {outcome.job}: {outcome.message}", file=sys.stderr)
        self._frames += outcome.frames
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed:
            self._bar.set_postfix_str(f"{self._frames / elapsed:.1f} fps", refresh=False)
        self._bar.update()

    def frames(self, items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
        """A `Progress`: how far the video is that is worked on."""
        for number, item in enumerate(items, 1):
            self._bar.set_postfix_str(f"{description} {number}/{total or '?'}", refresh=number % 10 == 0)
            yield item

    def close(self) -> None:
        """The bar stays as it is."""
        self._bar.close()
