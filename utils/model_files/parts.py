"""A download that grows: `NAME.part`, and beside it `NAME.part.json` with what is needed to go on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.errors import UnwritableOutput
from utils.files import shown


@dataclass(frozen=True)
class PartNote:
    """What is known of a part: its address, the server's validators, and the size of the whole if the server told it."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range may say: a strong ETag, else a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def part_of(path: Path) -> Path:
    """Where a download grows that will be `path`."""
    return path.with_name(path.name + ".part")


def discard(part: Path) -> None:
    """Remove a part and its note."""
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def read_note(part: Path) -> PartNote | None:
    """The note on a part; None if there is none that makes sense, so that the part is not gone on with."""
    try:
        content = json.loads(_note_path(part).read_text(encoding="utf-8"))
        note = PartNote(**content)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = all(value is None or isinstance(value, str) for value in (note.etag, note.modified))
    return note if texts and isinstance(note.url, str) and isinstance(note.total, int | None) else None


def write_note(part: Path, note: PartNote) -> None:
    """Write the note on a part; one that is cut short is as good as none.

    Raises:
        OSError: if that is not possible.
    """
    _note_path(part).write_text(json.dumps(asdict(note)), encoding="utf-8")


def part_bytes(part: Path) -> int:
    """How much has arrived."""
    return part.stat().st_size if part.is_file() else 0


@contextmanager
def writable_part(part: Path) -> Iterator[None]:
    """Turn errors of the file system into one with a remedy.

    Raises:
        UnwritableOutput: for every OSError in the block.
    """
    try:
        yield
    except OSError as error:
        raise UnwritableOutput(
            f"cannot write {shown(part)!r} ({error.strerror or error}); free some space or check the folder, and run the "
            "same command again: it goes on with what is there"
        ) from error


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")
