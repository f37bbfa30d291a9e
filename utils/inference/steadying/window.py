"""A window that slides over the frames of a run: every frame is answered from as many frames before it as after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")
Answer = TypeVar("Answer")


class Window(ABC, Generic[Value, Answer]):
    """Takes in one value a frame, None where the person is missing, and answers `radius` frames later.

    Holds 2 * `radius` + 1 values at most.

    Args:
        radius: how many frames the window reaches to either side.
    """

    def __init__(self, radius: int) -> None:
        self._radius = radius
        self._values: deque[Value | None] = deque(maxlen=2 * radius + 1)
        self._waiting = 0

    def push(self, value: Value | None) -> list[Answer | None]:
        """Take in the next frame; nothing for the first `radius` frames, then the answer for the frame that many before."""
        self._values.append(value)
        if self._waiting < self._radius:
            self._waiting += 1
            return []
        return [self._answer(list(self._values), len(self._values) - 1 - self._radius)]

    def finish(self) -> list[Answer | None]:
        """What is left, `radius` answers at most; afterwards a new track may begin."""
        values = list(self._values)
        rest = [self._answer(values, len(values) - place) for place in range(self._waiting, 0, -1)]
        self._values.clear()
        self._waiting = 0
        return rest

    @abstractmethod
    def _answer(self, values: Sequence[Value | None], place: int) -> Answer | None:
        """For the frame at `place`, from those around it that the window still holds."""
