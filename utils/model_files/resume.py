"""From an address to a complete `.part` file: attempt by attempt, each going on where the last one stopped.

An attempt asks for the rest only if nothing has changed since (If-Range), begins a little before the end of what is there and compares the
overlap; a server that answers with anything else is taken from the start. Whether the complete file is the right one, the caller finds out.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from itertools import chain
from pathlib import Path
from typing import IO

from utils.model_files.parts import PartNote, discard, part_bytes, read_note, writable_part, write_note
from utils.model_files.transport import TransferError, open_url, pieces_of

OVERLAP_BYTES = 4096
PROGRESS_BYTES = 2**20  # so much more than ever before makes up for failed attempts
MOST_BYTES = 2 * 2**30  # for a file of unknown size; the largest, G_unet_3blocks.pth, has 240 M parameters of 4 bytes

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: in a row without a megabyte of progress.
        first_pause_s: after the first failure; doubled after each further one.
        longest_pause_s: a pause is never longer, unless the server asks for it.
        timeout_s: for connecting, and for silence.
    """

    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    timeout_s: float = 30.0


def receive(url: str, part: Path, total: int | None, checked: bool, patience: Patience, quiet: bool) -> None:
    """Complete `part`.

    Args:
        url: where the file lies.
        part: where it grows; may hold the beginning from an earlier run.
        total: size of the whole, if known.
        checked: whether a checksum will be compared afterwards, so that a part without a validator may be gone on with.
        patience: when to give up.
        quiet: no progress bar.

    Raises:
        TransferError: if the file cannot be had; what has arrived stays in `part`.
        UnwritableOutput: if `part` cannot be written; likewise.
    """
    furthest, failures = part_bytes(part), 0
    while True:
        try:
            return _attempt(url, part, total, checked, patience.timeout_s, quiet)
        except TransferError as error:
            if not error.retriable:
                raise
            failures += 1
            # Counted from the furthest point ever: a server that sends the same megabyte again and again gets no further attempts.
            if part_bytes(part) >= furthest + PROGRESS_BYTES:
                furthest, failures = part_bytes(part), 1
            if failures >= patience.attempts:
                raise
            pause_s = min(patience.first_pause_s * 2 ** (failures - 1), patience.longest_pause_s)
            pause_s = max(pause_s, error.retry_after_s)
            _log.warning("%s; trying again in %g s", error, pause_s)
        time.sleep(pause_s)


def _attempt(url: str, part: Path, total: int | None, checked: bool, timeout_s: float, quiet: bool) -> None:
    note = read_note(part)
    size = _usable_bytes(part, note, url, total, checked)
    whole = total or (note.total if note else None)
    if size and size == whole:
        return
    headers: dict[str, str] = {}
    if size:
        headers["Range"] = f"bytes={size - OVERLAP_BYTES}-"
        if note and note.validator:
            headers["If-Range"] = note.validator
    try:
        reply = open_url(url, headers, timeout_s)
    except TransferError as error:
        if error.status == 416 and size:
            raise _start_over(part, "the server has less than what has arrived already") from error
        raise
    with reply:
        pieces = pieces_of(reply, timeout_s)
        if reply.status == 206 and note and size:
            note = replace(note, total=_check_range(reply, part, size - OVERLAP_BYTES, whole, note.etag))
            first = _skip_overlap(pieces, part)
        else:
            note = _new_note(reply, url, _check_whole(reply, total))
            size, first = 0, b""
        with writable_part(part):
            if not size:
                part.unlink(missing_ok=True)
            write_note(part, note)
            _check_room(part, note.total, size)
            with part.open("ab", buffering=0) as stream:
                fits = _copy(chain((first,), pieces), stream, part, size, note.total, quiet)
    if not fits:
        raise _start_over(part, f"the server sends more than {part_bytes(part)} bytes")
    if note.total is not None and part_bytes(part) < note.total:
        raise TransferError(f"the connection ended after {part_bytes(part)} of {note.total} bytes", retriable=True)


def _usable_bytes(part: Path, note: PartNote | None, url: str, total: int | None, checked: bool) -> int:
    """How much of a part can be gone on with; 0 to start over."""
    size = part_bytes(part)
    whole = total or (note.total if note else None)
    if note is None or note.url != url or not (checked or note.validator):
        return 0
    if size <= OVERLAP_BYTES and size != whole:
        return 0
    return 0 if whole is not None and size > whole else size


def _check_range(reply: HTTPResponse, part: Path, start: int, whole: int | None, etag: str | None) -> int | None:
    """Size of the whole, from a reply that claims to be its rest.

    Raises:
        TransferError: if it is another range; the part is given up.
    """
    match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start:
        raise _start_over(part, "the server sends another range than it was asked for")
    told = None if match[3] == "*" else int(match[3])
    if whole is not None and told not in (None, whole):
        raise _start_over(part, f"the server now has {told} bytes instead of {whole}")
    if etag and reply.headers.get("ETag", etag) != etag:
        raise _start_over(part, "the server has another version of the file by now")
    return whole if told is None else told


def _check_whole(reply: HTTPResponse, total: int | None) -> int | None:
    """Size of the whole, from a reply that begins at its start; None if it is chunked, so that its end cannot be missed.

    Raises:
        TransferError: if it cannot be the file.
    """
    if reply.status != 200:
        raise TransferError(f"the server answers {reply.status}, which was not asked for")
    if reply.length is None and not reply.chunked:
        if total is None:
            raise TransferError("the server does not say how long the file is")
        return total
    if total is not None and reply.length not in (None, total):
        raise TransferError(f"the server has a file of {reply.length} bytes instead of {total}")
    if (reply.length or 0) > MOST_BYTES and total is None:
        raise TransferError(f"the server has a file of {reply.length} bytes, more than any of ours")
    return reply.length if total is None else total


def _skip_overlap(pieces: Iterator[bytes], part: Path) -> bytes:
    """Read as many bytes as overlap, and compare them with the end of the part; returns what came beyond.

    Raises:
        TransferError: if they differ; the part is given up.
    """
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= OVERLAP_BYTES:
            break
    if len(head) < OVERLAP_BYTES:
        raise TransferError("the connection ended before anything new arrived", retriable=True)
    with writable_part(part), part.open("rb") as stream:
        stream.seek(-OVERLAP_BYTES, os.SEEK_END)
        tail = stream.read()
    if tail != head[:OVERLAP_BYTES]:
        raise _start_over(part, "the server goes on with another file than it began with")
    return head[OVERLAP_BYTES:]


def _copy(pieces: Iterable[bytes], stream: IO[bytes], part: Path, size: int, whole: int | None, quiet: bool) -> bool:
    """Append the body to the part, unbuffered: what has arrived is there, whatever happens next.

    Returns:
        Whether the body is no longer than the whole may be.

    Raises:
        OSError: if it cannot be written.
        TransferError: if the body breaks off.
    """
    from tqdm import tqdm

    with tqdm(
        desc=part.name.removesuffix(".part"),
        total=whole,
        initial=size,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=True if quiet else None,  # None: only on a terminal
        file=sys.stderr,
    ) as bar:
        for piece in pieces:
            size += len(piece)
            if size > (MOST_BYTES if whole is None else whole):
                return False
            rest = memoryview(piece)
            while rest:
                rest = rest[stream.write(rest) :]
            bar.update(len(piece))
    return True


def _check_room(part: Path, whole: int | None, size: int) -> None:
    """Tell a full disk before it is full.

    Raises:
        OSError: if the rest does not fit.
    """
    free = shutil.disk_usage(part.parent).free
    if whole is not None and whole - size > free:
        raise OSError(errno.ENOSPC, f"{whole - size} bytes are needed and {free} are free")


def _start_over(part: Path, reason: str) -> TransferError:
    """Give up a part; the error says why, and that another attempt, which begins at the start, may end better."""
    with writable_part(part):
        discard(part)
    return TransferError(reason, retriable=True)


def _new_note(reply: HTTPResponse, url: str, whole: int | None) -> PartNote:
    return PartNote(url, reply.headers.get("ETag"), reply.headers.get("Last-Modified"), whole)
