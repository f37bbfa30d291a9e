"""Files of any size looked through by blocks: little of them is in memory, and signals come in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 20


def places(wanted: bytes, file: BinaryIO, longest: int) -> Iterator[tuple[bytes, int]]:
    """Where something stands in the rest of a file.

    Args:
        wanted: what is looked for.
        file: is read to its end.
        longest: how many bytes from there on are of interest; less than a block.

    Yields:
        A part of the file and the place in it, followed by as much as is of interest, or by the end of the file.
    """
    for window, seen in _windows(file, longest):
        end = seen + len(wanted) - 1
        place = window.find(wanted, 0, end)
        while place >= 0:
            yield window, place
            place = window.find(wanted, place + 1, end)


def _windows(file: BinaryIO, overlap: int) -> Iterator[tuple[bytes, int]]:
    """Parts of a file that overlap, each with how much of it does not come again."""
    tail = file.read(BLOCK_BYTES)
    while block := file.read(BLOCK_BYTES):
        window = tail + block
        seen = len(window) - overlap
        yield window, seen
        tail = window[seen:]
    yield tail, len(tail)
