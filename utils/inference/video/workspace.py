"""The work folder of one video: beside the output, kept when a run is interrupted so that `--resume` can go on, gone when it ends well.

Its name tells output and settings, so that a run finds what an earlier one with the same settings left behind.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from utils.errors import BadArgument, NoFaceFound, UnwritableOutput
from utils.files import TEMPORARY_PREFIX, name_digest, shown
from utils.locks import held
from utils.weights import sha256_of

logger = logging.getLogger(__name__)

LOCK_NAME = "in_use"
BEGUN_NAME = "publishing"  # once it is there, what lies in the places of pictures is this run's own
FOLDER_MODE = 0o700  # its name can be known beforehand: nobody else may put anything there


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

    def joined(self, extension: str) -> Path:
        """The whole video, before it is signed."""
        return self.folder / f"joined{extension}"

    def clear(self) -> None:
        """Remove what was done; not what says who works here, and what lies elsewhere already."""
        for path in self.folder.iterdir():
            if path.name not in (LOCK_NAME, BEGUN_NAME):
                _remove(path)


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
            folder = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
            _take(folder, stack)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield Workspace(folder)
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
    """Make the folder and hold its lock; whether nobody else does. What lies in its place and was not left by a run of ours is removed.

    Raises:
        UnwritableOutput: if it cannot be.
    """
    while True:
        if _is_foreign(folder, within=False):
            _remove_foreign(folder)
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        with suppress(FileNotFoundError):  # another run ended, and removed it, in between
            if not stack.enter_context(held(folder / LOCK_NAME)):
                return False
            if not _is_foreign(folder, within=True):
                folder.chmod(FOLDER_MODE)
                return True
            _remove_foreign(folder)


def _remove_foreign(folder: Path) -> None:
    logger.warning(f"{shown(folder)!r} holds, or is, what no run of yours has left there; it is removed, and not used")
    _remove(folder)
    if os.path.lexists(folder):
        raise UnwritableOutput(
            f"{shown(folder)!r} cannot be removed and is in the way; remove it, or choose another name"
        )


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it, or whatever else has its name; links are not followed."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with suppress(OSError):
            folder.unlink()


def _is_foreign(folder: Path, within: bool) -> bool:
    """Whether a run of this user cannot have made what has this name: links that lead elsewhere, files of others.

    Args:
        folder: a work folder, if it is there.
        within: whether to look at all that is in it, or only at what is used before it is locked.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return True
        below = folder.rglob("*") if within else [folder / LOCK_NAME]
        return any(map(_is_odd, [folder, *below]))
    except FileNotFoundError:  # not there, or removed just now
        return False


def _is_odd(path: Path) -> bool:
    """Whether something is neither a plain folder nor a plain file with a single name, or belongs to somebody else."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    plain = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
    return not plain or (hasattr(os, "geteuid") and status.st_uid != os.geteuid())


def _remove_unused(folder: Path, told: bool) -> None:
    if _is_foreign(folder, within=False):
        _remove(folder)
        return
    try:
        with held(folder / LOCK_NAME) as ours:
            if ours:
                if told:
                    logger.warning(f"{shown(folder)!r} was made with other files or settings and is removed")
                _remove(folder)
    except OSError:
        pass  # gone already


def replace_durably(path: Path, text: str) -> None:
    """Write `text` to `path` such that after a power cut the file is the new one or the old one."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def publish(partial: Path, path: Path) -> None:
    """Give a file its name once all of it is on the disk, and its digest lies beside it."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    replace_durably(_digest_path(path), sha256_of(partial))
    partial.replace(path)


def is_published(path: Path) -> bool:
    """Whether a file is there, and as `publish` found it."""
    try:
        return _digest_path(path).read_text(encoding="utf-8") == sha256_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
