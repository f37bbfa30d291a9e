"""How long each picture of an animated WebP is shown, out of the heads of its chunks: nothing is decoded, however large the canvas.

Source: RFC 9649, 2.3 to 2.7 (RIFF, VP8X, ANMF).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from utils.limits import WEBP_SIGNATURES

FILE_HEAD_BYTES, CHUNK_HEAD_BYTES = 12, 8
ANIMATION_FLAG = 0x02  # of VP8X
FRAME_HEAD_BYTES = 16  # of ANMF: place, size, duration in ms, flags
DURATION = slice(12, 15)
MOST_CHUNKS_BETWEEN = 1000  # that are no pictures: a profile, metadata, and what else programs put there


def frame_durations(file: BinaryIO) -> Iterator[int]:
    """Milliseconds that each picture is shown, as the file says; none of a file that is not animated.

    Args:
        file: of any content, at any place.

    Raises:
        ValueError: if it is no WebP, cut short, or has far too many chunks.
    """
    length = file.seek(0, 2)
    file.seek(0)
    head = file.read(FILE_HEAD_BYTES)
    if (head[:4], head[8:]) != WEBP_SIGNATURES:
        raise ValueError("no WebP")
    end = 8 + int.from_bytes(head[4:8], "little")
    if end > length:
        raise ValueError(f"{end - length} bytes are missing")
    animated, others = False, 0
    while file.tell() + CHUNK_HEAD_BYTES <= end:
        head = file.read(CHUNK_HEAD_BYTES)
        kind, size = struct.unpack("<4sI", head)
        start = file.tell()
        if start + size > end:
            raise ValueError("a chunk reaches behind its end")
        if kind == b"VP8X" and start == FILE_HEAD_BYTES + CHUNK_HEAD_BYTES:
            animated = bool(int.from_bytes(file.read(1), "little") & ANIMATION_FLAG)
        if kind == b"ANMF" and animated and size >= FRAME_HEAD_BYTES:
            yield int.from_bytes(file.read(FRAME_HEAD_BYTES)[DURATION], "little")
            others = 0
        else:
            others += 1
        if others > MOST_CHUNKS_BETWEEN:
            raise ValueError(f"more than {MOST_CHUNKS_BETWEEN} chunks that are no pictures")
        file.seek(start + size + size % 2)
