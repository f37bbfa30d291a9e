"""How many samples an MP4 or MOV file announces without listing them: some bytes that would make libav fill gigabytes with its index.
And how many boxes it is made of, which are walked one by one.

Reads the heads of boxes only. Source: ISO/IEC 14496-12, 8.7.3.2 (stsz), 8.8.8 (trun), 8.4.3 (hdlr), 8.6.1.2 (stts).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from utils.errors import UnreadableInput
from utils.limits import Limits

CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"dinf", b"udta", b"clip")
)
WHATEVER_A_SAMPLE_HAS = 0x100 | 0x200 | 0x400 | 0x800  # flags of a trun that lists durations, sizes, flags or offsets
MOST_DEPTH = 10
MOST_BOXES = 1_000_000  # a fragment has seven: a day and a half by the second, an hour and a half by the frame
REMEMBERED = 16  # files that passed
EVERY_SAMPLE_THE_SAME = (1, 1)  # an stts of uncompressed sound, whose index has an entry for a thousand samples


def check_sample_tables(path: Path, limits: Limits) -> None:
    """Refuse a file that announces more samples than `limits` has frames, and does not list them; other kinds of files pass.

    A file that passed is walked again only when it changed: it is opened for each of its tracks, and more often.

    Raises:
        UnreadableInput: naming the flag, or a remedy.
        OSError: if the file cannot be read.
    """
    status = path.stat()
    _check_state(path, status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns), limits)


@lru_cache(REMEMBERED)
def _check_state(path: Path, size: int, state: tuple[int, ...], limits: Limits) -> None:
    """`check_sample_tables`; `state` differs whenever the file does."""
    with path.open("rb") as file:
        announced, fixed, sound, uneven = 0, 0, False, False
        for number, (kind, start, end) in enumerate(_boxes(file, 0, size, MOST_DEPTH), 1):
            if number > MOST_BOXES:
                raise UnreadableInput(
                    f"{str(path)!r} has more than {MOST_BOXES} boxes; copy its tracks into a new MP4 with ffmpeg -c copy"
                )
            if kind == b"cmov":
                raise UnreadableInput(f"{str(path)!r} has a compressed movie header; convert it to MP4 first")
            if kind == b"trak":
                fixed, sound, uneven = 0, False, False
            elif kind == b"hdlr":
                subtype = _words(file, start + 8, end, 1)
                sound = (sound or subtype == (_number(b"soun"),)) and subtype != (_number(b"vide"),)
            elif kind == b"stts":
                entry = _words(file, start + 4, end, 3)
                uneven = uneven or (entry[:1] + entry[2:]) != EVERY_SAMPLE_THE_SAME
            elif kind == b"stsz":
                sample_bytes, count = (*_words(file, start + 4, end, 2), 0, 0)[:2]
                fixed = count if sample_bytes else 0
            elif kind == b"trun":
                flags, count = (*_words(file, start, end, 2), 0, 0)[:2]
                announced += 0 if flags & WHATEVER_A_SAMPLE_HAS else count
            if fixed and kind in (b"stsz", b"stts", b"hdlr") and (uneven or not sound):
                announced = max(announced, fixed)
            if announced > limits.frames:
                raise UnreadableInput(
                    f"{str(path)!r} announces {announced} frames that it does not list, above --max_frames {limits.frames}; "
                    "raise the limit if you trust the file"
                )


def _boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and begin and end of the content, of every box between two places, and of those within."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = (*struct.unpack(">Q", file.read(8).ljust(8, b"\0")),)[0], 16
        close = end if size == 0 else start + size
        if close < start + head:
            return  # no box: the file is another one, or damaged
        yield kind, start + head, min(close, end)
        if kind in CONTAINERS and depth:
            yield from _boxes(file, start + head, min(close, end), depth - 1)
        start = close


def _words(file: BinaryIO, start: int, end: int, count: int) -> tuple[int, ...]:
    """Numbers of 32 bits, as many as there are."""
    file.seek(start)
    content = file.read(max(0, min(4 * count, end - start)))
    return struct.unpack(f">{len(content) // 4}I", content[: len(content) // 4 * 4])


def _number(code: bytes) -> int:
    return int.from_bytes(code, "big")
