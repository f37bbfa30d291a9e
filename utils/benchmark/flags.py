"""The flags of the benchmark; imports nothing heavy."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from utils.flag_types import positive_int

DEFAULT_ROUNDS = 3
PRINT_ONLY = Path("-")


def add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("benchmark")
    group.add_argument(
        "--benchmark",
        type=Path,
        nargs="?",
        const=PRINT_ONLY,
        metavar="FILE.json",
        help="do what the other flags say several times, keep no result, print how long each stage took, and end; "
        "with a file, write the figures there, too",
    )
    group.add_argument(
        "--compare",
        type=split_flags,
        metavar="FLAGS",
        help="with --benchmark: the same with these flags besides, in turn, and the ratios (write --compare='--flag value'); "
        "'straightforward' is a run of the same models in plain PyTorch, one frame after another",
    )
    group.add_argument(
        "--rounds",
        type=positive_int,
        default=DEFAULT_ROUNDS,
        metavar="N",
        help=f"with --benchmark: how often; medians are printed (default: {DEFAULT_ROUNDS})",
    )


def without_benchmark_flags(argv: Sequence[str]) -> list[str]:
    """The flags of the swap that is measured.

    >>> without_benchmark_flags(["--benchmark", "figures.json", "--swap", "all", "--compare", "--batch_size 1"])
    ['--swap', 'all']
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_benchmark_flags(parser)
    return parser.parse_known_args(argv)[1]


def split_flags(text: str) -> list[str]:
    """An argparse type: flags as a shell splits them.

    >>> split_flags("--target_video 'my clip.mp4'")
    ['--target_video', 'my clip.mp4']
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of flags ({error})") from error
