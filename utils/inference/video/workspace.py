"""The work folder of one video: beside the output, kept when a run is interrupted so that `--resume` can go on, gone when it ends well.

Its name tells output and settings, so that a run finds what an earlier one with the same settings left behind.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from utils.errors import BadArgument, NoFaceFound
from utils.files import TEMPORARY_PREFIX, name_digest, shown
from utils.locks import held

logger = logging.getLogger(__name__)

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
    family = f"{TEMPORARY_PREFIX}{name_digest(out.name)}-"
    folder = out.parent / f"{family}{name_digest(fingerprint)}"
    for other in sorted(out.parent.glob(f"{family}*")):
        if other != folder or not resume:
            _remove_unused(other, told=resume)
    with ExitStack() as stack:
        if not _take(folder, stack):  # the same run goes on elsewhere
            if resume:
                raise BadArgument(
                    f"a run that makes {shown(out)!r} goes on already; wait for it, or leave --resume out"
                )
            yield Workspace(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent)))
            )
            return
        workspace = Workspace(folder)
        if resume and not workspace.checkpoint.exists():
            logger.warning(f"nothing to resume for {shown(out)!r}; it is begun from the start")
        try:
            yield workspace
        except BaseException as error:
            if workspace.checkpoint.exists() and not isinstance(error, BadArgument | NoFaceFound):
                error.add_note(
                    f"what is done is kept in {shown(folder)!r}, the same command with --resume goes on from there"
                )
            else:  # nothing is there yet, or trying once more would end the same way
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _take(folder: Path, stack: ExitStack) -> bool:
    """Make the folder and hold its lock; whether nobody else does."""
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another run ended, and removed it, in between
            return stack.enter_context(held(folder / LOCK_NAME))


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
    partial.write_text(text, encoding="utf-8")
    publish(partial, path)


def publish(partial: Path, path: Path) -> None:
    """Give a file its name once all of it is on the disk."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
