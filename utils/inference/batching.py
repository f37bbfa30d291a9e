"""As many faces at once as the memory holds.

The models' memory need depends on the device and on who else uses it, so it is found out by trying. torch is imported late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from utils.errors import OutOfMemory
from utils.memory import is_out_of_memory

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class BatchLimit:
    """The most items that go through a network at once: halved whenever memory runs out, and remembered. The first time, it warns.

    Attributes:
        size: the present limit.
    """

    def __init__(self, size: int) -> None:
        """Start with `size`, at least 1.

        Raises:
            ValueError: if it is less.
        """
        if size < 1:
            raise ValueError(f"a batch needs at least one item, not {size}")
        self.size = size
        self._warned = False

    def run(self, step: Callable[[slice], Sequence[Item]], count: int) -> list[Item]:
        """Send `count` items through `step`.

        Args:
            step: answers one result for every item of the slice that it is given; it is called again, with fewer, when memory runs out.
            count: how many items there are.

        Returns:
            All results in order.

        Raises:
            OutOfMemory: if memory does not suffice for a single item.
        """
        results: list[Item] = []
        while len(results) < count:
            part = slice(len(results), min(len(results) + self.size, count))
            try:
                results += step(part)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler, whose traceback still held the tensors of the failed attempt.
            self._halve(part.stop - part.start)
        return results

    def _halve(self, tried: int) -> None:
        _release_memory()
        if tried <= 1:
            raise OutOfMemory(
                "not enough memory for a single face; end other programs that use the device, or take --device cpu"
            )
        self.size = tried // 2
        log = logger.info if self._warned else logger.warning
        log(f"not enough memory for {tried} faces at once; going on with {self.size}")
        self._warned = True


def _release_memory() -> None:
    """Give memory that PyTorch keeps for later back to the device."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
