"""Memory as the system counts it, and what the C library keeps of it after it was freed."""

from __future__ import annotations

import ctypes
import gc
import sys

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


def give_memory_back() -> None:
    """Return to the system what is free but kept: after loading models, with glibc, half as much again as the embedded pack needs."""
    gc.collect()  # networks and their traces hold each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
