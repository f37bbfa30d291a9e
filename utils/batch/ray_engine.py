"""Jobs on Ray: actors keep the models loaded, one a GPU or a few cores, on this machine or on a cluster with shared storage.

An actor that is lost is started again, and what it was at is done again: outputs appear when they are whole, and videos go on from their
work folder. A long video is analysed by one actor; its segments are rendered by all.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.batch.engines import Previous
from utils.batch.job_files import BatchJob
from utils.batch.results import BUSY, FAILED, Outcome, outcome_of
from utils.batch.worker import Worker
from utils.errors import BadArgument, SwapError
from utils.inference.records import Identity
from utils.inference.video.swap import Rendering
from utils.one_swap import Tell, load_models
from utils.process import prepare_process, tell_warnings
from utils.progress import no_progress

ROOT = Path(__file__).resolve().parents[2]
CORES_A_WORKER = 2  # a swap keeps about so many busy
CALLS_AT_ONCE = 2  # of an actor: a job, and a segment for another's
LOOPBACK_ONLY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what makes Ray use 127.0.0.1, and no other address, on every system
    # Ray's head asks the metadata services of clouds where it is, even when its reports are switched off: into the void.
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "127.0.0.1,localhost,::1",
}
TRIES_AGAIN = 3
JOBS_AHEAD = 2  # that an actor has


def run_on_ray(
    jobs: Sequence[BatchJob], args: argparse.Namespace, previous: Previous, tell: Tell
) -> Generator[Outcome, None, None]:
    """Do jobs on actors; give what became of each as soon as that is known.

    Args:
        jobs: what to do; all machines know the files by the same absolute names.
        args: the flags.
        previous: what is known of an earlier run.
        tell: takes lines for people.

    Raises:
        BadArgument: if Ray is not installed, or does not answer.
    """
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # Ray prints about lost workers whenever it wants; stdout is for results
        yield from _run(jobs, args, previous, tell)


def _run(
    jobs: Sequence[BatchJob], args: argparse.Namespace, previous: Previous, tell: Tell
) -> Generator[Outcome, None, None]:
    ray = _connect(args)
    try:
        actors = _start_actors(ray, args)
        tell(f"Ray: {len(actors)} workers")
        yield from _spread_jobs(ray, actors, jobs, previous)
    finally:
        ray.shutdown()


def _connect(args: argparse.Namespace) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not args.ray_address:
        os.environ.update(LOOPBACK_ONLY)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BadArgument("--engine ray needs the package ray; 'pip install ray', or use --engine local") from error
    here = {} if args.ray_address else {"include_dashboard": False}
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}  # where shared storage holds this program, too
    try:
        ray.init(
            address=args.ray_address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            runtime_env=environment,
            **here,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadArgument(f"Ray does not start ({reason}); check --ray_address, or use --engine local") from error
    return ray


def _start_actors(ray: Any, args: argparse.Namespace) -> list[Any]:
    """One for each GPU, else one for a few cores; they load the models at the same time.

    Raises:
        SwapError: as loading does.
    """
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    on_gpus = gpus and args.pack != "builtin" and args.device != "cpu"
    count = args.workers or (gpus if on_gpus else max(1, cores // CORES_A_WORKER))
    kind = ray.remote(Actor).options(
        num_cpus=max(1, cores // count) if not on_gpus else 1,
        num_gpus=gpus / count if on_gpus else 0,
        max_restarts=-1,
        max_task_retries=TRIES_AGAIN,
        max_concurrency=CALLS_AT_ONCE,
    )
    actors = [kind.remote(args) for _ in range(count)]
    try:
        ray.get([actor.meet.remote(actors) for actor in actors])
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from error
    return actors


def _cause(error: Any) -> SwapError:
    cause = error.cause
    return cause if isinstance(cause, SwapError) else SwapError(f"a Ray worker failed: {cause}")


def _spread_jobs(
    ray: Any, actors: Sequence[Any], jobs: Sequence[BatchJob], previous: Previous
) -> Generator[Outcome, None, None]:
    """Every actor gets the next job when it has done one; those that others are at come last."""
    running: dict[Any, tuple[Any, BatchJob]] = {}
    busy: list[BatchJob] = []
    idle = [actor for _ in range(JOBS_AHEAD) for actor in actors]
    waiting = list(jobs)[::-1]
    while waiting or running or busy:
        last_round = not waiting and not running
        if last_round:
            waiting, busy = busy[::-1], []
        while idle and waiting:
            actor, job = idle.pop(0), waiting.pop()
            running[actor.do.remote(_absolute(job), previous(job), last_round)] = actor, job
        (ended,), _ = ray.wait(list(running), num_returns=1)
        actor, job = running.pop(ended)
        idle.append(actor)
        try:
            said = outcome_of(job.args, job.number, status="")
            outcome = replace(ray.get(ended), output=said.output, sources=said.sources, target=said.target)
        except ray.exceptions.RayError as error:
            message = f"its Ray worker was lost {TRIES_AGAIN + 1} times ({type(error).__name__})"
            outcome = outcome_of(job.args, job.number, status=FAILED, exit_code=1, message=message)
        if outcome.status == BUSY:
            busy.append(job)
        else:
            yield outcome


def _absolute(job: BatchJob) -> BatchJob:
    """The job for somebody who stands in another folder."""
    args = argparse.Namespace(**vars(job.args))
    args.target, args.out = args.target.absolute(), args.out.absolute()
    for name in ("source_paths", "target_faces_paths"):
        setattr(args, name, [tuple(path.absolute() for path in photos) for photos in getattr(args, name)])
    options = args.video_options
    folders = {name: getattr(options, name).absolute() for name in ("keep_frames", "matte") if getattr(options, name)}
    args.video_options = replace(options, **folders)
    return BatchJob(job.number, args)


class Actor:
    """A `Worker` in a process of its own."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Load the models that the flags say."""
        import cv2

        prepare_process(signals=False)
        sys.path.insert(0, str(ROOT))
        cv2.setNumThreads(1)
        tell_warnings(quiet=True)
        self._peers: Sequence[Any] = ()
        self._worker = Worker(load_models(args, logging.getLogger(__name__).info), no_progress, self._spread)

    def meet(self, peers: Sequence[Any]) -> None:
        """Get to know all actors, oneself included."""
        self._peers = peers

    def do(self, job: BatchJob, previous: Outcome | None, wait: bool) -> Outcome:
        """See `Worker`; a video goes on where a worker that was lost left it."""
        if not job.args.image_to_image:
            job.args.resume = True
        return self._worker.do(job, previous, wait)

    def render(self, task: tuple[argparse.Namespace, Sequence[Identity], Rendering], number: int) -> None:
        """Render a segment of a peer's video."""
        self._worker.render(*task, number)

    def _spread(
        self, args: argparse.Namespace, sources: Sequence[Identity], rendering: Rendering, numbers: Sequence[int]
    ) -> None:
        """Let all actors render; what they do not, the caller does."""
        import ray
        from ray.util import ActorPool

        if len(self._peers) < 2 or len(numbers) < 2:
            return
        task = ray.put((args, sources, rendering))
        pool = ActorPool(list(self._peers))
        for number in numbers:
            pool.submit(lambda actor, value: actor.render.remote(task, value), number)
        while pool.has_next():
            try:
                pool.get_next_unordered()
            except ray.exceptions.RayError as error:
                logging.getLogger(__name__).warning("a segment was lost with its worker (%s)", type(error).__name__)
