"""Memory as the system counts it, and what the C library keeps of it after it was freed."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys

from utils.errors import OutOfMemory, SwapError

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


# Most libraries have no class of their own for it, and loaders of libraries say it in words of the system.
MESSAGES = (
    *("out of memory", "alloc_failed", "can't allocate memory", "cannot allocate memory", "not enough memory"),
    *("insufficient memory", "bad_alloc", "failed to map segment", "can't start new thread"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library, or one that it was raised from, says that memory ran out.

    >>> is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(ValueError("no"))
    (True, False)
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    said = str(error).lower()
    return any(message in said for message in MESSAGES) or (
        error.__cause__ is not None and is_out_of_memory(error.__cause__)
    )


def as_swap_error(error: Exception) -> SwapError | None:
    """What the user is told of an error: that memory ran out wherever it did; None for a defect of the program."""
    own = isinstance(error, SwapError)
    cause = error.__cause__ if own else error  # our own words may hold the name of any file
    if not isinstance(error, OutOfMemory) and cause is not None and is_out_of_memory(cause):
        return OutOfMemory("memory ran out; end other programs, or use a smaller picture, --batch_size or --workers")
    return error if isinstance(error, SwapError) else None


def load_unwinder() -> None:
    """Have glibc load now what it needs to end a thread: it aborts the process if memory has run out by the time it looks for it."""
    backtrace = getattr(ctypes.CDLL(None), "backtrace", None) if sys.platform == "linux" else None
    if backtrace is not None:
        backtrace((ctypes.c_void_p * 1)(), 1)


def give_memory_back() -> None:
    """Return to the system what is free but kept: after loading models, with glibc, half as much again as the embedded pack needs."""
    gc.collect()  # networks and their traces hold each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
