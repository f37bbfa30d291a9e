"""Putting a generated face back: into its frame, and across a border that must not be seen.

Pure functions on NumPy arrays. Convention: `frame_to_crop` maps frame pixels (x, y) to crop pixels, pixel centres at whole
numbers; a face is continued beyond its crop by its edge pixels, a mask by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.alignment import invert, scale_of
from utils.inference.records import Affine, Image, Mask

SHRINK_FROM = 1.4  # crop pixels per frame pixel above which plain interpolation would skip pixels
SHRUNK_SCALE = 1.15  # crop pixels per frame pixel after shrinking


@dataclass(frozen=True, eq=False)
class WarpedFace:
    """A generated face in the pixels of its frame, in the rectangle that its mask reaches.

    Attributes:
        left, top: of the rectangle.
        image: (h, w, 3) BGR uint8.
        weight: (h, w) float32 in [0, 1]; 1 shows `image`, 0 the frame.
    """

    left: int
    top: int
    image: Image
    weight: Mask

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle."""
        height, width = self.weight.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, eq=False)
class Patch:
    """What became of a rectangle of a frame; all else of the frame stays.

    Attributes:
        left, top: of the rectangle.
        image: (h, w, 3) BGR uint8.
    """

    left: int
    top: int
    image: Image

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle."""
        height, width = self.image.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def put_on(self, frame: Image) -> Image:
        """A copy of the frame with the patch on it."""
        result = frame.copy()
        result[self.place] = self.image
        return result


def blend_patch(frame: Image, faces: Sequence[WarpedFace]) -> Patch | None:
    """Blend faces into a frame, one over the other; only pixels of the rectangle around them are looked at, and none is changed.

    Args:
        frame: (H, W, 3) BGR uint8.
        faces: in the order in which they are laid over it.

    Returns:
        The rectangle around all faces; None if there are none.
    """
    if not faces:
        return None
    top, left = (min(face.place[axis].start for face in faces) for axis in (0, 1))
    bottom, right = (max(face.place[axis].stop for face in faces) for axis in (0, 1))
    image = frame[top:bottom, left:right].copy()
    for face in faces:
        lay_over(image, replace(face, left=face.left - left, top=face.top - top))
    return Patch(left, top, image)


def paste_back(frame: Image, face: Image, mask: Mask, frame_to_crop: Affine, strength: float = 1.0) -> Image:
    """Blend a generated face into its frame.

    Args:
        frame: (H, W, 3) BGR uint8; not modified.
        face: (S, S, 3) BGR uint8, aligned.
        mask: (S, S) float32 in [0, 1]; 1 keeps `face`.
        frame_to_crop: (2, 3) float64, frame pixels (x, y) to crop pixels.
        strength: in [0, 1], a factor of the mask: 0 gives the frame, 1 the whole swap.

    Returns:
        (H, W, 3) BGR uint8, equal to `frame` outside the warped mask.

    Raises:
        ValueError: if `face` and `mask` differ in size, or the transform is singular.

    Source: GHOST, get_final_image. It blends the whole frame and truncates; here the mask's region is blended and rounded.
    """
    warped = warp_to_frame(face, mask, frame_to_crop, frame.shape[0], frame.shape[1], strength)
    result = frame.copy()
    if warped is not None:
        lay_over(result, warped)
    return result


def lay_over(frame: Image, warped: WarpedFace) -> None:
    """Blend a face into its frame, in place; no other pixel than those of its rectangle is looked at."""
    below = frame[warped.place]
    change = weigh(cv2.subtract(warped.image, below, dtype=cv2.CV_32F), warped.weight)
    cv2.add(below, change, dst=below, dtype=cv2.CV_8U)  # rounds


def weigh(image: NDArray[np.float32], weight: Mask) -> NDArray[np.float32]:
    """`image` (H, W) or (H, W, C), every channel multiplied by `weight` (H, W); five times as fast as broadcasting."""
    return cv2.multiply(image, weight if image.ndim == 2 else cv2.merge([weight] * image.shape[2]))


def warp_to_frame(
    face: Image, mask: Mask, frame_to_crop: Affine, height: int, width: int, strength: float = 1.0
) -> WarpedFace | None:
    """A generated face as `paste_back` lays it over a frame of this size; None if its mask does not reach it."""
    if face.shape[:2] != mask.shape[:2]:
        raise ValueError(f"face {face.shape[:2]} and mask {mask.shape[:2]} differ in size")
    crop_to_frame, scale = invert(frame_to_crop), scale_of(frame_to_crop)
    if scale > SHRINK_FROM:
        face, mask, crop_to_frame = _shrink(face, mask, crop_to_frame, SHRUNK_SCALE / scale)
    region = _warped_region(mask, crop_to_frame, height, width)
    if region is None:
        return None
    left, top, right, bottom = region
    crop_to_region = crop_to_frame.copy()
    crop_to_region[:, 2] -= (left, top)
    size = (right - left, bottom - top)
    image = cv2.warpAffine(face, crop_to_region, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpAffine(mask, crop_to_region, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if strength != 1:
        weight *= np.float32(strength)
    return WarpedFace(left, top, image.astype(np.uint8, copy=False), weight.astype(np.float32, copy=False))


def _shrink(face: Image, mask: Mask, crop_to_frame: Affine, factor: float) -> tuple[Image, Mask, Affine]:
    """Average a crop that is finer than its frame down to about the frame's resolution."""
    height, width = face.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    stretch_x, stretch_y = width / size[0], height / size[1]
    small_to_crop = np.array([[stretch_x, 0, (stretch_x - 1) / 2], [0, stretch_y, (stretch_y - 1) / 2], [0, 0, 1]])
    small_face = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    small_mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return small_face, small_mask, crop_to_frame @ small_to_crop


def _warped_region(mask: Mask, crop_to_frame: Affine, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the frame's pixels that the mask can reach; None if there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    x, y = (columns[0] - 1, columns[-1] + 1), (rows[0] - 1, rows[-1] + 1)
    corners = np.array([(i, j, 1) for i in x for j in y], np.float64) @ crop_to_frame.T
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)) + 1, (width, height)).astype(int).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else None


def blend_bands(change: NDArray[np.float32], mask: Mask, levels: int) -> NDArray[np.float32]:
    """What to add to a picture to lay another over it, coarse structure across a wide border and fine structure across a narrow one.

    Args:
        change: (H, W, 3) float32, the other picture less this one.
        mask: (H, W) float32 in [0, 1], the finest border; each level doubles its width.
        levels: number of times that the pictures are halved.

    Returns:
        (H, W, 3) float32, 0 where every level's mask is.

    Source: Burt and Adelson, A multiresolution spline with application to image mosaics, 1983. Their pyramids are linear, so that of the
    difference is enough.
    """
    weight, stack = mask, []
    for _ in range(levels):
        coarse = cv2.pyrDown(change)
        fine = cv2.pyrUp(coarse, dstsize=change.shape[1::-1])
        stack.append(weigh(np.subtract(change, fine, out=fine), weight))
        change, weight = coarse, cv2.pyrDown(weight)
    blended = weigh(change, weight)
    for band in reversed(stack):
        blended = cv2.pyrUp(blended, dstsize=band.shape[1::-1])
        blended += band
    return blended
