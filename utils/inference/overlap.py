"""Stages that run beside each other: each in a thread of its own, a few items ahead of the one that takes them.

OpenCV, onnxruntime, OpenVINO, torch, libav and pipes release Python's lock while they work, so threads use all cores and pass pictures on
without copying them. Order is kept, memory is bounded by the depth of the queues, which is less where pictures are large, and an error
comes out where the items are taken.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH = 2  # items that wait between two stages
BYTES_AHEAD = 128 << 20  # of pictures that wait between two stages; enough for every depth here up to 4K
ITEMS_APART = 100
POLL_S = 0.1  # how soon a stage notices that nobody takes its items any more
ENDING_S = 0.5  # how long a stage that is called off may take to finish the item in its hands

_apart: ContextVar[bool] = ContextVar("_apart", default=False)


@contextmanager
def one_after_another() -> Iterator[None]:
    """Inside, every stage finishes `ITEMS_APART` items before the next one begins, so that each has the machine to itself."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


@dataclass(frozen=True)
class _End:
    """What follows the last item: the error that ended the stage, if one did."""

    error: BaseException | None = None


def depth_within(item_bytes: int, most: int = DEPTH) -> int:
    """How many items of this size may wait between two stages, at most `most`; none of the largest.

    >>> depth_within(3 * 4096 * 2160, 5), depth_within(3 * 7680 * 4320, 5), depth_within(1 << 30, 5)
    (5, 1, 0)
    """
    return min(most, BYTES_AHEAD // max(1, item_bytes))


def ahead(items: Iterable[Item], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order, made in a thread that is up to `depth` of them ahead.

    The thread begins with the first item that is asked for. Closing the iterator, or dropping it, ends the thread and closes `items`.

    Args:
        items: made in the thread; it sees the context variables of the one who asks for the first item.
        depth: how many items may wait; with 0 there is no thread, and an item is made when it is asked for.

    Raises:
        BaseException: whatever `items` raises, after the items before it.
    """
    if _apart.get():
        iterator = iter(items)
        while some := list(islice(iterator, ITEMS_APART)):
            yield from some
        return
    if not depth:
        yield from items
        return
    stage = _Stage(items, depth)
    try:
        yield from stage.taken()
    finally:
        stage.end()


class _Stage(Generic[Item]):
    """A thread that goes through an iterable, and the queue that it fills."""

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._items = iter(items)
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._called_off = threading.Event()
        # A daemon, so that one that hangs in a library does not keep the process from ending.
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), daemon=True)
        self._thread.start()

    def taken(self) -> Generator[Item, None, None]:
        """The items as they come."""
        while True:
            item = self._take()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def end(self) -> None:
        """Let the thread finish the item in its hands, and no other."""
        self._called_off.set()
        self._thread.join(ENDING_S)

    def _take(self) -> Item | _End:
        while True:
            try:
                return self._queue.get(
                    timeout=POLL_S
                )  # waiting in steps, since on Windows Ctrl-C breaks into no longer wait
            except queue.Empty:
                continue

    def _work(self) -> None:
        end = _End()
        try:
            try:
                for item in self._items:
                    if not self._put(item):
                        break
            finally:
                close = getattr(self._items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # also what is no error: it is raised where the items are taken
            end = _End(error)
        self._put(end)

    def _put(self, item: Item | _End) -> bool:
        """Whether there was somebody to take it."""
        while not self._called_off.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False
