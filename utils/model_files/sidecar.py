"""The note beside a model file, `NAME.sha256`: its checksum, and the size and time stamp for which that was last compared.

The first line is what `sha256sum` writes, so `sha256sum -c NAME.sha256` works and a line written by hand is understood. For a file whose
checksum the table does not know, this line is the pin. The stamp spares hashing hundreds of megabytes at every start: a file of the same
size and modification time (nanoseconds) counts as compared. Who changes a file and sets its time back is noticed only by --list_weights,
which reads every byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from utils.files import finished_file

SUFFIX = ".sha256"

_FIRST_LINE = re.compile(r"([0-9a-f]{64})(?:\s.*)?")
_STAMP = re.compile(r"# compared: bytes=(\d{1,18}) mtime_ns=(-?\d{1,20})")
_ORIGIN = re.compile(r"# origin: (.*)")
_MOST_BYTES = 10_000


@dataclass(frozen=True)
class Sidecar:
    """What the note says.

    Attributes:
        sha256: 64 hexadecimal digits.
        stamp: size in bytes and modification time in nanoseconds for which the checksum was compared; None if never.
        origin: when and how the file came, in words.
    """

    sha256: str
    stamp: tuple[int, int] | None
    origin: str


def sidecar_path(path: Path) -> Path:
    """Where the note on `path` lies."""
    return path.with_name(path.name + SUFFIX)


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and modification time.

    Raises:
        OSError: if there is no such file.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def read_sidecar(path: Path) -> Sidecar | None:
    """The note on `path`; None if there is none.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it does not begin with a checksum.
    """
    try:
        with sidecar_path(path).open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    return parse_sidecar(text)


def parse_sidecar(text: str) -> Sidecar:
    """Read a note from its text.

    Raises:
        ValueError: if it does not begin with a checksum.

    >>> parse_sidecar("0" * 64 + "  x.pth").stamp is None
    True
    """
    lines = text.splitlines()
    checksum = _FIRST_LINE.fullmatch(lines[0].strip().lower()) if lines else None
    if checksum is None:
        raise ValueError("it does not begin with a SHA-256")
    stamps = [match for match in map(_STAMP.fullmatch, lines) if match]
    origins = [match[1] for match in map(_ORIGIN.fullmatch, lines) if match]
    stamp = (int(stamps[-1][1]), int(stamps[-1][2])) if stamps else None
    return Sidecar(checksum[1], stamp, origins[-1] if origins else "of unknown origin")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the note on `path`, atomically.

    Raises:
        UnwritableOutput: if that is not possible.
    """
    lines = [f"{sidecar.sha256}  {path.name}"]
    if sidecar.stamp:
        lines.append(f"# compared: bytes={sidecar.stamp[0]} mtime_ns={sidecar.stamp[1]}")
    lines.append(f"# origin: {sidecar.origin}")
    with finished_file(sidecar_path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def origin_now(how: str) -> str:
    """`how`, with today's date and time.

    >>> origin_now("found in place").endswith("+00:00")
    True
    """
    return f"{how}, {datetime.now(UTC).isoformat(timespec='seconds')}"
