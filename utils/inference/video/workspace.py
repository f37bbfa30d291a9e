"""The work folder of one video: beside the output, kept when a run is interrupted so that `--resume` can go on, gone when it ends well.

Its name tells output and settings, so that a run finds what an earlier one with the same settings left behind.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from utils.errors import BadArgument, NoFaceFound, UnreadableInput
from utils.files import TEMPORARY_PREFIX, shown
from utils.locks import held

logger = logging.getLogger(__name__)

DIGEST_LETTERS = 16
LOCK_NAME = "in_use"


@dataclass(frozen=True)
class Workspace:
    """The files of a run, by name.

    Attributes:
        folder: holds them all.
    """

    folder: Path

    @property
    def seen(self) -> Path:
        """Records of the analysis, one JSON line a frame."""
        return self.folder / "seen.jsonl"

    @property
    def checkpoint(self) -> Path:
        """State of the analysis, JSON: see `checkpoint`."""
        return self.folder / "checkpoint.json"

    @property
    def planned(self) -> Path:
        """Records that frames are rendered from."""
        return self.folder / "planned.jsonl"

    def segment(self, number: int) -> Path:
        """Encoded frames; a file of this name is complete."""
        return self.folder / f"segment_{number:06d}.mp4"


@contextmanager
def open_workspace(out: Path, fingerprint: str, resume: bool) -> Iterator[Workspace]:
    """The work folder for `out`.

    It is removed when the block ends well, and also when it ends badly before anything was done that is worth keeping. What other runs
    for the same output left behind is removed, unless such a run still goes on.

    Args:
        out: the output; its folder exists.
        fingerprint: of everything that the result depends on.
        resume: whether to go on with what an earlier run with the same fingerprint left behind.
    """
    family = f"{TEMPORARY_PREFIX}{_digest(out.name)}-"
    folder = out.parent / f"{family}{_digest(fingerprint)}"
    for other in sorted(out.parent.glob(f"{family}*")):
        if other != folder or not resume:
            _remove_unused(other, told=resume)
    folder.mkdir(exist_ok=True)
    with held(folder / LOCK_NAME) as ours:
        if not ours:  # the same run goes on elsewhere
            with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as private:
                yield Workspace(Path(private))
            return
        workspace = Workspace(folder)
        if resume and not workspace.checkpoint.exists():
            logger.warning(f"nothing to resume for {shown(out)!r}; it is begun from the start")
        try:
            yield workspace
        except (BadArgument, NoFaceFound, UnreadableInput):  # trying once more would end the same way
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            if workspace.checkpoint.exists():
                logger.warning(
                    f"what is done is kept in {shown(folder)!r}; the same command with --resume goes on from there"
                )
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:DIGEST_LETTERS]


def _remove_unused(folder: Path, told: bool) -> None:
    try:
        with held(folder / LOCK_NAME) as ours:
            if ours:
                if told:
                    logger.warning(f"{shown(folder)!r} was made with other files or settings and is removed")
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass  # not a folder of ours, or gone already


def replace_durably(path: Path, text: str) -> None:
    """Write `text` to `path` such that after a power cut the file is the new one or the old one."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
