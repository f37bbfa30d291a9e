"""The one finisher of every output: written beside its place under a temporary name, renamed when complete."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from utils.errors import BadArgument, UnwritableOutput
from utils.locks import claimed, is_still, try_lock

LOCKS_LET_OTHERS_WRITE = sys.platform != "win32"  # encoders write to the file by its name
DIGEST_LETTERS = 16
TEMPORARY_PREFIX = ".swap-"  # plain and short: the output's own name may be as long as a name can be


@contextmanager
def finished_file(path: Path, family: Path | None = None) -> Iterator[Path]:
    """Give a temporary path of the same extension; rename it to `path` if the block ends well, remove it otherwise.

    The folder of `path` is created. An existing file stays untouched until the rename, which is atomic. A link stays a link: the file
    that it points to is replaced.

    Args:
        path: the file.
        family: the output to which it belongs, if it is not that itself: `remove_stale_partials` finds what was left of both.

    Raises:
        UnwritableOutput: if the folder or the file cannot be written.
    """
    temporary = None
    with writing(path) as place, ExitStack() as held:
        try:
            temporary = _new_partial(place, _partial_prefix(family or place), held)
            yield temporary
            _take_over_mode(temporary, place)
            temporary.replace(place)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextmanager
def finished_pair(path: Path, companion: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """`finished_file` for a file and one that belongs to it: they get their names one right after the other, and nobody else's in between.

    Args:
        path: as above; its folder exists.
        companion: in the same folder; None if there is none.
    """
    if companion is None:
        with finished_file(path) as temporary:
            yield temporary, None
        return
    lock = companion.with_name(f"{TEMPORARY_PREFIX}{name_digest(companion.name)}.lock")
    with (
        claimed(lock, wait=True),
        finished_file(path) as temporary,
        finished_file(companion, real_path(path)) as beside,
    ):
        yield temporary, beside


def remove_stale_partials(path: Path) -> None:
    """Remove what processes that were killed left of the file that was to be `path`; what cannot be removed stays.

    Looks through the whole folder: once a run, not for every file.
    """
    if not LOCKS_LET_OTHERS_WRITE:
        return
    place = real_path(path)
    prefix = _partial_prefix(place)
    with suppress(OSError), os.scandir(place.parent) as entries:  # names only: it may hold the results of a large batch
        for partial in [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]:
            _remove_unless_held(partial)


def _remove_unless_held(partial: Path) -> None:
    with suppress(OSError):  # somebody else removed it
        handle = os.open(partial, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if try_lock(handle):
                partial.unlink()
        finally:
            os.close(handle)


def _new_partial(place: Path, prefix: str, held: ExitStack) -> Path:
    """An empty temporary file, locked as long as somebody is at it, so that nobody takes it for a stale one."""
    while True:
        handle, name = tempfile.mkstemp(f".partial{place.suffix}", prefix, place.parent)
        partial = Path(name)
        if not LOCKS_LET_OTHERS_WRITE:
            os.close(handle)
            return partial
        held.callback(os.close, handle)
        try:
            if try_lock(handle) and is_still(partial, handle):
                return partial
        except OSError:  # the file system knows no locks
            partial.unlink(missing_ok=True)
            raise
        # Else somebody took it for a stale one before it was locked, and removes it.


def name_digest(name: str) -> str:
    """Stands for the name of an output in the names of what is written beside it: short, however long the name is."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:DIGEST_LETTERS]


def _partial_prefix(place: Path) -> str:
    return f"{TEMPORARY_PREFIX}part-{name_digest(place.name)}-"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the place that an output really has, its folder created, and say it clearly when something cannot be written there.

    Raises:
        UnwritableOutput: if there is something else than a file, or for any OSError in the block.
    """
    try:
        try:
            place = path.resolve() if path.is_symlink() else path
        except RuntimeError as error:  # Python 3.12 and before; later ones raise an OSError
            raise UnwritableOutput(
                f"cannot write {str(path)!r}: it is a link to itself; choose another name"
            ) from error
        if place.exists() and not place.is_file():
            kind = "a folder" if place.is_dir() else "not a plain file"
            raise UnwritableOutput(f"cannot write {str(path)!r}: it is {kind}; choose another name")
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
    except OSError as error:
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another name or folder"
        raise UnwritableOutput(f"cannot write {str(path)!r} ({error.strerror or error}); {remedy}") from error


def refuse_to_overwrite(out: Path, inputs: Iterable[Path]) -> None:
    """Make sure that an output is none of the inputs, under whatever name.

    Raises:
        BadArgument: if it is.
    """
    for path in inputs:
        try:
            same = out.samefile(path)
        except OSError:  # one of them is not there, or cannot be looked at: reading or writing it will say so
            same = False
        if same:
            raise BadArgument(
                f"the output {str(out)!r} is also an input; choose another name, nothing is overwritten in place"
            )


def real_path(path: Path) -> Path:
    """Where links lead, whether anything is there or not; what leads to itself is left."""
    return Path(os.path.realpath(path))


def is_there(path: Path) -> bool:
    """Whether something has this name; nothing has one that is too long, or a link to itself."""
    try:
        return path.exists()
    except (OSError, RuntimeError):
        return False


def shown(path: Path) -> str:
    """The path as the user would type it: relative where it lies below the current folder."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _take_over_mode(temporary: Path, path: Path) -> None:
    """Give the temporary file, which is private, the permissions of the file that it replaces or those of any new file."""
    if path.exists():
        mode = path.stat().st_mode & 0o777
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    temporary.chmod(mode)
