"""Where many swaps write, and that none of it is what another one, or this run itself, reads or writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from utils.batch.job_files import BatchJob
from utils.errors import BadArgument
from utils.files import real_path
from utils.one_swap import PIPE, input_files


def check_places(jobs: Sequence[BatchJob], results: Path, job_file: Path | None) -> None:
    """Refuse jobs that get into each other's way: they are done in any order, and several at once.

    Args:
        jobs: all of a run.
        results: the file that says what became of them.
        job_file: where they were read from, if they were.

    Raises:
        BadArgument: naming two of them.
    """
    place_of = cache(_place)  # a source is often that of all jobs
    writer: dict[str, int] = {}
    reader: dict[str, int] = {}
    for job in jobs:
        place = place_of(job.args.out)
        if place in writer:
            raise BadArgument(
                f"jobs {writer[place]} and {job.number} both write {str(job.args.out)!r}; give each its own output"
            )
        writer[place] = job.number
        for path in input_files(job.args):
            reader.setdefault(place_of(path), job.number)
    for job in jobs:
        if place_of(job.args.out) in reader:
            raise BadArgument(
                f"job {job.number} writes {str(job.args.out)!r}, which job {reader[place_of(job.args.out)]} reads; "
                "choose another output, or do one after the other in two runs"
            )
    others = [] if job_file in (None, PIPE) else [_place(job_file)]
    if _place(results) in {*chain(writer, reader, others)}:
        raise BadArgument(f"{str(results)!r} is also an input or an output; choose another file with --results")


def _place(path: Path) -> str:
    return os.path.normcase(real_path(path))
