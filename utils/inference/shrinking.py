"""Pictures made smaller by averaging areas. OpenCV halves ten times as fast as it averages by other factors, so halves come first."""

from __future__ import annotations

import cv2

from utils.inference.records import Image


def halve(image: Image) -> Image:
    """(H // 2, W // 2, 3) BGR uint8: the mean of every 2 x 2 pixels; an odd last row or column is left out."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Resize a picture to `size` (width, height), none of which is larger than the picture's; (height, width, 3) BGR uint8."""
    while _can_be_halved(image.shape[1], size[0]) and _can_be_halved(image.shape[0], size[1]):
        image = halve(image)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _can_be_halved(length: int, wanted: int) -> bool:
    return length % 2 == 0 and length >= 2 * wanted
