"""How long the stages of a run take: `with stage("detect"):` around the work, and a `Stopwatch` around the run.

Without a stopwatch nothing is measured. A stage inside another counts for itself only. Threads that are started in the context of a
stopwatch report to it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

STAGES = (
    *("start-up", "decode", "cuts", "detect", "landmarks", "embed", "lay flat", "plan"),
    *("align", "generate", "mask", "blend", "encode", "sign"),
)
"""In the order in which a frame goes through them."""

_running: ContextVar[Stopwatch | None] = ContextVar("_running", default=None)
_open = threading.local()  # .inner_s: seconds spent in stages inside the one that this thread is in


@dataclass
class Stopwatch:
    """Wall-clock seconds by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, seconds: float) -> None:
        """Count time for a stage; from any thread."""
        with self._lock:
            self.seconds[name] += seconds


@contextmanager
def measuring(stopwatch: Stopwatch) -> Iterator[None]:
    """Inside, stages report to `stopwatch`."""
    token = _running.set(stopwatch)
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time spent inside, less that of stages in it, for the stage of this name (one of `STAGES`)."""
    stopwatch = _running.get()
    if stopwatch is None:
        yield
        return
    outer_s: float = getattr(_open, "inner_s", 0.0)
    _open.inner_s = 0.0
    started = time.perf_counter()
    try:
        yield
    finally:
        whole_s = time.perf_counter() - started
        stopwatch.add(name, whole_s - _open.inner_s)
        _open.inner_s = outer_s + whole_s
