"""The one finisher of every output: written beside its place under a temporary name, renamed when complete; and paths in messages."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UnwritableOutput


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """Give a temporary path of the same extension; rename it to `path` if the block ends well, remove it otherwise.

    The folder of `path` is created. An existing file stays untouched until the rename, which is atomic.

    Raises:
        UnwritableOutput: if the folder or the file cannot be written.
    """
    temporary = None
    try:
        if path.is_dir():
            raise IsADirectoryError(f"'{path}' is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.", suffix=f".partial{path.suffix}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _take_over_mode(temporary, path)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwritableOutput(f"cannot write '{path}' ({reason}); choose another folder or free some space") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
