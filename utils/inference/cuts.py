"""Where one shot ends and another begins, from the pictures alone.

A cut changes most of the picture at once, and much more than the frames before it did; a moving camera changes it again and again.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Image

SMALL_SIZE = (64, 36)  # width, height
LEAST_CHANGE = 6.0  # mean difference of the small pictures in CIELAB, of 255
LEAST_RATIO = 2.5  # of a change to the largest of those just before it
MOST_CORRELATION = 0.9  # of the lightness of both pictures
REMEMBERED_CHANGES = 3  # a telecine repeats every fifth frame: one of them alone may be zero


class CutDetector:
    """Says of each frame whether it begins a new shot.

    >>> dark, light = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 200, np.uint8)
    >>> detector = CutDetector()
    >>> [detector.is_cut(frame) for frame in (dark, dark, light, light)]
    [False, False, True, False]
    """

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=REMEMBERED_CHANGES)

    def is_cut(self, image: Image) -> bool:
        """Take in the next frame, (H, W, 3) BGR uint8; the first two frames are no cuts."""
        small = cv2.resize(image, SMALL_SIZE, interpolation=cv2.INTER_AREA)
        picture = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32)
        last, self._last = self._last, picture
        if last is None:
            return False
        change = float(np.abs(picture - last).mean())
        usual = max(self._changes, default=float("inf"))
        self._changes.append(change)
        least = max(LEAST_CHANGE, LEAST_RATIO * usual)
        return change >= least and _correlation(picture[..., 0], last[..., 0]) <= MOST_CORRELATION


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Normalised cross-correlation in [-1, 1]; 0 where a picture has no structure."""
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / (np.sqrt((first**2).sum() * (second**2).sum()) + 1e-6))
