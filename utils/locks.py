"""A lock between processes. The operating system holds it and drops it with the process, so that a lock can never be stale.

Locks by flock on POSIX and by msvcrt on Windows; the file is only what they hold on to, and says nothing by being there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UnwritableOutput

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PAUSE_S = 0.1

_log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to `path`, waiting as long as another process holds it.

    The lock file is `.NAME.lock` beside `path` and is removed afterwards. Its folder is created.

    Raises:
        UnwritableOutput: if the folder cannot be written, or its file system knows no locks.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquire(lock, path)
    except OSError as error:
        raise UnwritableOutput(
            f"cannot write in {str(path.parent)!r} ({error.strerror or error}); check the folder and its permissions"
        ) from error
    try:
        yield
    finally:
        _release(lock, handle)


@contextmanager
def claimed(lock: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock that the file `lock` stands for, which is removed afterwards; gives False if another process holds it.

    Args:
        lock: in a folder that is there.
        wait: until nobody else holds it.

    Raises:
        OSError: if the file cannot be written, or its file system knows no locks.
    """
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if try_lock(handle):
            if is_still(lock, handle):
                break
            os.close(handle)  # its holder removed it in between: the next try makes a new one
            continue
        os.close(handle)
        if not wait:
            yield False
            return
        time.sleep(PAUSE_S)
    try:
        yield True
    finally:
        _release(lock, handle)


@contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Take the lock that the file `lock` stands for without waiting; gives False if another process holds it, or has removed
    the file meanwhile. The file stays.

    Raises:
        OSError: if the file cannot be written, or its file system knows no locks.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(handle) and is_still(lock, handle)
    finally:
        os.close(handle)


def _acquire(lock: Path, path: Path) -> int:
    told = False
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if try_lock(handle) and is_still(lock, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not told:
            _log.warning("another process works on %s; waiting for it", path.name)
            told = True
        time.sleep(PAUSE_S)


def try_lock(handle: int) -> bool:
    """Whether nobody else held it.

    Raises:
        OSError: if the file system knows no locks.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_still(lock: Path, handle: int) -> bool:
    """Whether the locked file is the one that others will find: the former holder may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _release(lock: Path, handle: int) -> None:
    # POSIX: removed while held, so that nobody can lock a file that is about to go. Windows does not let an open file go; there the
    # second attempt removes it, unless another process has opened it meanwhile.
    with contextlib.suppress(OSError):
        lock.unlink()
    os.close(handle)
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            lock.unlink()
