"""Where one shot ends and another begins, from the pictures alone.

A cut changes most of the picture at once, and much more than the frames before it did; a moving camera changes it again and again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Image
from utils.inference.stopwatch import stage

SMALL_SIZE = (64, 36)  # width, height
SAMPLES = 8  # pixels looked at for a pixel of the small picture, each way
LEAST_CHANGE = 6.0  # mean difference of the small pictures in CIELAB, of 255
LEAST_RATIO = 2.5  # of a change to the largest of those just before it
MOST_CORRELATION = 0.9  # of the lightness of both pictures
REMEMBERED_CHANGES = 3  # a telecine repeats every fifth frame: one of them alone may be zero


@dataclass
class CutDetector:
    """Says of each frame whether it begins a new shot.

    Attributes:
        last: the frame before, small, (36, 64, 3) CIELAB.
        changes: the last few differences of neighbouring frames.

    >>> dark, light = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 200, np.uint8)
    >>> detector = CutDetector()
    >>> [detector.is_cut(frame) for frame in (dark, dark, light, light)]
    [False, False, True, False]
    """

    last: NDArray[np.uint8] | None = None
    changes: list[float] = field(default_factory=list)

    @stage("cuts")
    def is_cut(self, image: Image) -> bool:
        """Take in the next frame, (H, W, 3) BGR uint8; the first two frames are no cuts."""
        small = cv2.resize(_thinned(image), SMALL_SIZE, interpolation=cv2.INTER_AREA)
        picture = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.uint8, copy=False)
        last, self.last = self.last, picture
        if last is None:
            return False
        change = float(cv2.absdiff(picture, last).mean())
        usual = max(self.changes, default=float("inf"))
        self.changes = [*self.changes, change][-REMEMBERED_CHANGES:]
        least = max(LEAST_CHANGE, LEAST_RATIO * usual)
        return change >= least and _correlation(picture[..., 0], last[..., 0]) <= MOST_CORRELATION


def _thinned(image: Image) -> Image:
    """A grid of pixels out of a large picture: the mean of some is as good as that of all."""
    size = [min(side, SAMPLES * small) for side, small in zip(image.shape[1::-1], SMALL_SIZE, strict=True)]
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)


def _correlation(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Normalised cross-correlation in [-1, 1]; 0 where a picture has no structure."""
    a, b = first - np.mean(first), second - np.mean(second)
    return float((a * b).sum() / (np.sqrt((a**2).sum() * (b**2).sum()) + 1e-6))
