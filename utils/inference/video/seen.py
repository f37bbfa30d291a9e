"""The records of an analysis on the disk, with checkpoints from which an interrupted one goes on.

A checkpoint holds a digest of itself and of the records before it: what was damaged, or altered by anything else, is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from utils.inference.frame_records import FrameRecord, write_record
from utils.inference.video.workspace import Workspace, replace_durably
from utils.memory import give_memory_back

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A state of the analysis, and how many bytes of records belong to it."""

    state: Mapping[str, Any]
    size: int


def read_checkpoint(workspace: Workspace) -> Checkpoint | None:
    """The last checkpoint; None if it, or what belongs to it, is not there or not as it was written."""
    try:
        fields = json.loads(workspace.checkpoint.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or fields.pop("sha256", None) != _digest_of(fields):
            return None
        checkpoint, seen = Checkpoint(fields["state"], fields["bytes"]), _Digest(workspace)
        seen.go_on(checkpoint.size)
    except (OSError, ValueError, RecursionError):
        return None
    return checkpoint if (seen.size, seen.hexdigest()) == (checkpoint.size, fields["seen"]) else None


class SeenWriter:
    """Appends records to those that are there, and makes checkpoints; use it in a `with` statement."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._file = workspace.seen.open("a", encoding="utf-8")
        self._digest = _Digest(workspace)

    def __enter__(self) -> SeenWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, record: FrameRecord) -> None:
        """Append one."""
        write_record(self._file, record)

    def save(self, state: Mapping[str, Any]) -> None:
        """Make sure that the analysis can go on from here, where its state is `state`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._digest.go_on(os.fstat(self._file.fileno()).st_size)
        fields = {"bytes": self._digest.size, "seen": self._digest.hexdigest(), "state": state}
        replace_durably(self._workspace.checkpoint, json.dumps({**fields, "sha256": _digest_of(fields)}))
        give_memory_back()


class _Digest:
    """Of the records on the disk, as far as they were read; each is read once, however many checkpoints there are."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.seen
        self._hash = hashlib.sha256()
        self.size = 0

    def go_on(self, size: int) -> None:
        """Read on until `size` bytes are digested, or the file ends."""
        with self._path.open("rb") as file:
            file.seek(self.size)
            while piece := file.read(min(PIECE_BYTES, size - self.size)):
                self._hash.update(piece)
                self.size += len(piece)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _digest_of(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields).encode("ascii")).hexdigest()
