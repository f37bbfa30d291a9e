"""Where jobs run in this process: photos in several threads, one video at a time beside them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from utils.batch.job_files import BatchJob
from utils.batch.results import BUSY, Outcome
from utils.batch.worker import Worker

Previous = Callable[[BatchJob], Outcome | None]
WAITING_PER_THREAD = 2  # jobs that are handed out ahead


def run_here(
    jobs: Sequence[BatchJob], worker: Worker, previous: Previous, threads: int
) -> Generator[Outcome, None, None]:
    """Do jobs, and give what became of each as soon as that is known.

    Those that another process is at come last: it is waited for.

    Args:
        jobs: what to do.
        worker: with the loaded models.
        previous: what is known of an earlier run.
        threads: photos worked on at once.
    """
    busy = []
    by_number = {job.number: job for job in jobs}
    for outcome in _spread(jobs, lambda job: worker.do(job, previous(job)), threads):
        if outcome.status == BUSY:
            busy.append(by_number[outcome.job])
        else:
            yield outcome
    for job in busy:
        yield worker.do(job, previous(job), wait=True)


def default_threads(args: argparse.Namespace, pack_name: str) -> int:
    """What --workers says, else one a core; the ghost pack fills cores and GPU with one picture."""
    return int(args.workers or (1 if pack_name == "ghost" else os.cpu_count() or 1))


def _spread(
    jobs: Sequence[BatchJob], do: Callable[[BatchJob], Outcome], threads: int
) -> Generator[Outcome, None, None]:
    pool = ThreadPoolExecutor(threads)
    running: set[Future[Outcome]] = set()
    try:
        for job in jobs:
            if job.args.image_to_image:
                running.add(pool.submit(do, job))
                if len(running) >= threads * WAITING_PER_THREAD:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            else:  # here, so that Ctrl-C reaches it; it uses all cores by itself
                yield do(job)
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    finally:
        pool.shutdown(cancel_futures=True)  # photos that have begun are ended: they take less than a second
