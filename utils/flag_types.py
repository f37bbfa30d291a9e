"""Types of flags that several groups of flags share; imports nothing heavy."""

from __future__ import annotations

import argparse

MOST = 10**9  # of anything that is counted


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1, and none that only a slip of the hand can mean."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def strict_bool(text: str) -> bool:
    """Parse True or False, in any case, and nothing else.

    >>> strict_bool("false"), strict_bool("True")
    (False, True)
    """
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() == "true"


def add_bool(group: argparse._ArgumentGroup, flag: str, default: bool | None, text: str) -> None:
    """Add a flag that takes True or False; bare it means True."""
    group.add_argument(flag, type=strict_bool, nargs="?", const=True, default=default, metavar="True|False", help=text)
