"""The flags of many swaps at once; imports nothing heavy."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from utils.errors import BadArgument
from utils.flag_types import positive_int

ENGINES = ("local", "ray")
BATCH_ONLY = ("out_pattern", "results", "overwrite", "workers", "shard", "ray_address")


class Shard(NamedTuple):
    """The part `number` of `count`, from 1 on."""

    number: int
    of: int


def shard(text: str) -> Shard:
    """An argparse type: `2/8` is the second of eight parts.

    >>> shard("2/8")
    Shard(number=2, of=8)
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    number, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part like 1/8, from 1/8 to 8/8")
    return Shard(number, count)


def add_batch_flags(parser: argparse.ArgumentParser) -> None:
    """Add what is said about many swaps."""
    batch = parser.add_argument_group("many swaps")
    batch.add_argument(
        "--jobs",
        type=Path,
        metavar="FILE",
        help="swap what each line of a CSV or JSONL file says, columns or keys named like flags; - reads stdin",
    )
    batch.add_argument(
        "--out_dir",
        type=Path,
        metavar="DIR",
        help="swap every target in a folder, or that a quoted pattern such as 'photos/*.jpg' names, and write the results here",
    )
    batch.add_argument(
        "--out_pattern",
        metavar="NAME",
        help="names of these results, from {source}, {target} and {number} (default: {source}_{target}, with the target's extension)",
    )
    batch.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="what became of every job, one JSON line each (default: results.jsonl in --out_dir, or beside the job file)",
    )
    batch.add_argument("--overwrite", action="store_true", help="also make outputs that are newer than their inputs")
    batch.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="photos worked on at once, or with Ray workers that keep models loaded (default: one a core; one a GPU)",
    )
    batch.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="do only the I-th of N parts of the jobs, for machines that share them",
    )
    batch.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where jobs run: in this process, or on Ray, which spreads long videos too (default: local)",
    )
    batch.add_argument("--ray_address", metavar="ADDRESS", help="of a running Ray cluster (default: start one here)")


def refuse_batch_flags(args: argparse.Namespace) -> None:
    """Refuse flags of many swaps where there is one.

    Raises:
        BadArgument: naming the flag.
    """
    if args.jobs or args.out_dir:
        return
    said = [name for name in BATCH_ONLY if getattr(args, name)]
    if args.engine != "local":
        said.append("engine")
    if said:
        raise BadArgument(f"--{said[0]} is for many swaps; say which with --jobs or --out_dir, or leave it out")
