"""Progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def show_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, unit="frame", disable=None, file=sys.stderr)
