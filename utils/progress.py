"""How long work is shown to whoever waits for it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable so that going through it is shown."""

    def __call__(self, items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
        """The same items; `description` says what is done with them, `total` how many there are, if known."""


def no_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """The `Progress` that shows nothing."""
    return items


def show_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=description, total=total, unit="frame", disable=None, file=sys.stderr)
