"""The canvas: an upright square in which every face has the same place and size, whatever its size in the frame.

Convention: `frame_to_canvas` maps frame pixels (x, y) to canvas pixels, pixel centres at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import LEFT_EYE, LIP_OPENING, MOUTH_LEFT, MOUTH_RIGHT, RIGHT_EYE, VERTEX_COUNT
from utils.inference.alignment import scale_of, warp_antialiased, warp_sharp
from utils.inference.records import Affine, Image, Points

FloatImage: TypeAlias = NDArray[np.float32]
Pixel = TypeVar("Pixel", np.uint8, np.float32, np.int32, np.bool_)

EYES_TO_MOUTH = 0.30  # of the canvas' side
EYES_WEIGHT = 0.62  # the canvas' centre lies on the line from the eyes to the mouth, nearer the eyes
SIDE_STEP_PX = 64  # a canvas' side is a multiple of this
CELLS = (
    32  # an area is whole cells of a canvas that is divided into as many each way: whole pixels on half a canvas, too
)
AREA_MARGIN = 1.5  # cells around the mesh that a swap may touch


@dataclass(frozen=True, eq=False)
class Portrait:
    """A face on a canvas: `image` (S, S, 3) BGR uint8 and its 478 landmarks `points` (478, 3), in pixels of it."""

    image: Image
    points: Points


@dataclass(frozen=True)
class Area:
    """A rectangle of a canvas in whole cells, so that it means the same on canvases of all sizes; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, picture: NDArray[Pixel]) -> NDArray[Pixel]:
        """The view of this area in a square picture."""
        cell = picture.shape[0] // CELLS
        return picture[self.top * cell : self.bottom * cell, self.left * cell : self.right * cell]

    def shape(self, size: int) -> tuple[int, int]:
        """(height, width) on a canvas of `size` pixels."""
        cell = size // CELLS
        return (self.bottom - self.top) * cell, (self.right - self.left) * cell

    def origin(self, size: int) -> tuple[int, int]:
        """(x, y) of the first pixel on a canvas of `size` pixels."""
        return self.left * size // CELLS, self.top * size // CELLS


def choose_area(points: Points, size: int) -> Area:
    """The part of a canvas that the mesh covers, with a margin."""
    cells = points[:VERTEX_COUNT, :2] * (CELLS / size)
    left, top = np.clip(np.floor(cells.min(0) - AREA_MARGIN), 0, CELLS - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(cells.max(0) + AREA_MARGIN), (left + 1, top + 1), CELLS).astype(int).tolist()
    return Area(left, top, right, bottom)


def estimate_frame_to_canvas(landmarks: Points, size: int) -> Affine:
    """Similarity that puts a face upright into the middle of a `size` x `size` canvas. (2, 3) float64."""
    right, left, mouth = _anchors(landmarks)
    across = left - right
    scale = EYES_TO_MOUTH * size / _face_measure(landmarks)
    cos, sin = scale * across / np.linalg.norm(across)
    rotation = np.array([[cos, sin], [-sin, cos]])
    centre = EYES_WEIGHT * (right + left) / 2 + (1 - EYES_WEIGHT) * mouth
    return np.column_stack([rotation, np.full(2, size / 2) - rotation @ centre])


def choose_size(landmarks: Points, smallest: int, largest: int) -> int:
    """Side of a canvas at least as fine as the frame: a multiple of 64 px between `smallest` and `largest`."""
    native = _face_measure(landmarks) / EYES_TO_MOUTH
    return int(np.clip(np.ceil(native / SIDE_STEP_PX) * SIDE_STEP_PX, smallest, largest))


def _anchors(landmarks: Points) -> tuple[Points, Points, Points]:
    """Centres of the right eye, the left eye and the mouth."""
    right = landmarks[[RIGHT_EYE.outer, RIGHT_EYE.inner], :2].mean(0)
    left = landmarks[[LEFT_EYE.outer, LEFT_EYE.inner], :2].mean(0)
    mouth = landmarks[[MOUTH_RIGHT, MOUTH_LEFT, *LIP_OPENING], :2].mean(0)
    return right, left, mouth


def _face_measure(landmarks: Points) -> float:
    """Eye distance or eye-mouth distance, the larger: turning the head shortens only one of them."""
    right, left, mouth = _anchors(landmarks)
    across, down = np.linalg.norm(left - right), np.linalg.norm(mouth - (right + left) / 2)
    return max(float(across), float(down), 1e-6)


def resize_points(points: Points, factor: float) -> Points:
    """Landmarks of a picture in the pixels of the same picture resized by `factor`, pixel centres kept.

    >>> resize_points(np.array([[0.0, 1.0, 4.0]]), 2.0).tolist()
    [[0.5, 2.5, 8.0]]
    """
    resized = points * factor
    resized[:, :2] += (factor - 1) / 2
    return resized


def cut_out(frame: Image, frame_to_canvas: Affine, size: int) -> Image:
    """Warp `frame` to a (size, size, 3) canvas; the frame's edge goes on beyond its border."""
    if scale_of(frame_to_canvas) < 1:
        return warp_antialiased(frame, frame_to_canvas, (size, size), cv2.BORDER_REPLICATE)
    # Where nothing is lost by shrinking, linear interpolation would be what softens the face most.
    return warp_sharp(frame, frame_to_canvas, (size, size))
