"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_memory_back() -> None:
    """Return to the system what is free but kept: after loading models, with glibc, half as much again as the embedded pack needs."""
    gc.collect()  # networks and their traces hold each other
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
