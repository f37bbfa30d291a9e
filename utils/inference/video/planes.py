"""The pixels of a video as they are stored: brightness and two colour planes, of 8 or 10 bits.

The pipeline works on 8-bit BGR. What it changed is put back here into the stored planes as a difference, so that a pixel that was not
changed keeps its very value: its depth, its range, its chroma. Pure functions on NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.blending import Patch
from utils.inference.records import Image

Plane: TypeAlias = NDArray[Any]  # (h, w) uint8 or uint16
Planes: TypeAlias = tuple[Plane, Plane, Plane]  # Y, Cb, Cr

# ITU-T H.273 matrix coefficients: (Kr, Kb) of each code point that is computed here.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
BT601 = 6
RANGE_LIMITED, RANGE_FULL = 1, 2
# H.273: a chroma sample of 4:2:0 and 4:2:2 lies on the left one of its two columns.
DEPTHS = {np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U}
LEFT_SITED = np.array([[0.25, 0.5, 0.25]], np.float32)


@dataclass(frozen=True)
class PixelLayout:
    """How planes are stored.

    Attributes:
        name: ffmpeg's name of the pixel format.
        bits: of a sample; more than 8 are stored in uint16, little-endian.
        columns, rows: luma samples to one chroma sample, across and down.
    """

    name: str
    bits: int
    columns: int
    rows: int

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of an array of samples."""
        return np.uint8 if self.bits == 8 else np.uint16


LAYOUTS = {
    layout.name: layout
    for layout in (
        PixelLayout("yuv420p", 8, 2, 2),
        PixelLayout("yuv420p10le", 10, 2, 2),
        PixelLayout("yuv422p10le", 10, 2, 1),
        PixelLayout("yuv444p", 8, 1, 1),
        PixelLayout("yuv444p10le", 10, 1, 1),
    )
}


def add_difference(
    planes: Planes,
    before: Image,
    patch: Patch,
    layout: PixelLayout,
    matrix: int,
    colour_range: int,
    levels: NDArray[np.float32] | None = None,
) -> Planes:
    """Change stored pixels as the pipeline changed their 8-bit picture.

    Args:
        planes: upright, in `layout`; at least as large as the pictures; not modified.
        before: (H, W, 3) BGR uint8, what the planes were converted to.
        patch: what became of a part of it.
        layout: of the planes.
        matrix: H.273 code point; one that is not known here counts as BT.601.
        colour_range: 2 for full range, anything else for limited.
        levels: (256,) the RGB level that each level of the pictures stands for, if not itself; see `colour_views`.

    Returns:
        Planes that equal `planes` wherever the patch equals `before`; a chroma sample counts as equal if the columns and rows that it is
        filtered from are.
    """
    new, old = patch.image, before[patch.place]
    if levels is not None:
        new, old = cv2.LUT(new, levels), cv2.LUT(old, levels)
    left, top, right, bottom = _whole_samples(patch, before, layout)
    difference = np.zeros((bottom - top, right - left, 3), np.float32)
    height, width = new.shape[:2]
    inner = difference[patch.top - top :, patch.left - left :][:height, :width]
    cv2.subtract(new, old, dst=inner, dtype=cv2.CV_32F)
    luma, blue, red = cv2.split(cv2.transform(difference, _bgr_to_planes(matrix, layout.bits, colour_range)))
    x, y = left // layout.columns, top // layout.rows
    return (
        _added(planes[0], luma, left, top, layout.bits),
        _added(planes[1], _to_chroma_size(blue, layout), x, y, layout.bits),
        _added(planes[2], _to_chroma_size(red, layout), x, y, layout.bits),
    )


def turn_planes(planes: Planes, clockwise_deg: int, mirrored: bool) -> Planes:
    """Mirror left to right if asked, then turn: what makes stored planes upright. The chroma must be as fine one way as the other."""
    turned = [np.rot90(plane[:, ::-1] if mirrored else plane, -clockwise_deg // 90) for plane in planes]
    return turned[0], turned[1], turned[2]


def pad_planes(planes: Planes, width: int, height: int, layout: PixelLayout) -> Planes:
    """Planes of a picture of `width` x `height`, continued by their last column and row as far as they are too small."""
    sizes = [(width, height)] + [(-(-width // layout.columns), -(-height // layout.rows))] * 2
    padded = []
    for plane, (columns, rows) in zip(planes, sizes, strict=True):
        missing = ((0, rows - plane.shape[0]), (0, columns - plane.shape[1]))
        padded.append(np.pad(plane, missing, mode="edge") if any(count for _, count in missing) else plane)
    return padded[0], padded[1], padded[2]


def _whole_samples(patch: Patch, frame: Image, layout: PixelLayout) -> tuple[int, int, int, int]:
    """Left, top, right, bottom around a patch of a frame, whole chroma samples wide with one to spare."""
    rows, columns = patch.place
    left = max(0, columns.start // layout.columns - 1) * layout.columns
    top = max(0, rows.start // layout.rows - 1) * layout.rows
    right, bottom = columns.stop + 2 * layout.columns, rows.stop + layout.rows
    return left, top, min(right, frame.shape[1]), min(bottom, frame.shape[0])


@cache
def _bgr_to_planes(matrix: int, bits: int, colour_range: int) -> NDArray[np.float32]:
    """(3, 3) float32: from a difference of 8-bit BGR to one of Y, Cb, Cr (H.273, 8.3)."""
    red, blue = LUMA_WEIGHTS.get(matrix, LUMA_WEIGHTS[BT601])
    luma = np.array([blue, 1 - red - blue, red])
    luma_step, chroma_step = _steps(bits, colour_range)
    chroma_blue = (np.array([1, 0, 0]) - luma) * chroma_step / (2 * (1 - blue))
    chroma_red = (np.array([0, 0, 1]) - luma) * chroma_step / (2 * (1 - red))
    return np.stack([luma * luma_step, chroma_blue, chroma_red]).astype(np.float32)


def _steps(bits: int, colour_range: int) -> tuple[float, float]:
    """Steps of luma, and of chroma from lowest to highest, for one level of 8-bit RGB (H.273, 8.3)."""
    if colour_range == RANGE_FULL:
        step = (2**bits - 1) / 255
        return step, step
    depth = 2 ** (bits - 8)
    return 219 * depth / 255, 224 * depth / 255


def _to_chroma_size(difference: NDArray[np.float32], layout: PixelLayout) -> NDArray[np.float32]:
    """Filter and thin out to the chroma plane's size."""
    if layout.rows == 2:
        if difference.shape[0] % 2:
            difference = np.concatenate([difference, difference[-1:]])
        difference = (difference[0::2] + difference[1::2]) * np.float32(0.5)
    if layout.columns == 2:
        filtered = cv2.filter2D(difference, -1, LEFT_SITED, borderType=cv2.BORDER_REPLICATE)
        difference = filtered[:, ::2].astype(np.float32, copy=False)
    return difference


def _added(plane: Plane, difference: NDArray[np.float32], left: int, top: int, bits: int) -> Plane:
    height, width = difference.shape
    result = plane.copy()
    part = result[top : top + height, left : left + width]
    part[:] = np.minimum(cv2.add(part, difference, dtype=DEPTHS[part.dtype]), 2**bits - 1)  # cv2 rounds and saturates
    return result
