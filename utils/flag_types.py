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
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return value
