"""Similarity transforms between a frame and an aligned crop, and the warps along them.

Convention: an `Affine` is (2, 3) float64 and maps (x, y) column vectors, pixel centres at whole numbers. Names tell the direction:
`frame_to_crop` takes frame pixels to crop pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.records import Affine, Image, Points


def estimate_similarity(from_points: Points, to_points: Points) -> Affine:
    """Least-squares similarity (scale, rotation, translation) between two point sets.

    Args:
        from_points, to_points: (N, 2), N >= 2, not all in one place.

    Returns:
        (2, 3) float64.

    Raises:
        ValueError: if the points are all in one place or not finite.

    Source: S. Umeyama, IEEE PAMI 13 (4), 1991.

    >>> estimate_similarity(np.array([[0., 0.], [1., 0.]]), np.array([[2., 2.], [2., 4.]])).round(6) + 0.0
    array([[ 0., -2.,  2.],
           [ 2.,  0.,  2.]])
    """
    from_mean, to_mean = from_points.mean(axis=0), to_points.mean(axis=0)
    from_centred, to_centred = from_points - from_mean, to_points - to_mean
    variance = float((from_centred**2).sum())
    if not (np.isfinite(variance) and variance > 0 and np.isfinite(to_centred).all()):
        raise ValueError("a similarity needs finite points that are not all in one place")
    left, singular, right = np.linalg.svd(to_centred.T @ from_centred)
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    linear = (left * signs) @ right * float((singular * signs).sum()) / variance
    return np.hstack([linear, (to_mean - linear @ from_mean)[:, None]])


def transform_points(affine: Affine, points: Points) -> Points:
    """Map (N, 2) points by an affine; (N, 3) points keep the unit of z equal to that of x and y.

    >>> transform_points(np.array([[2., 0., 1.], [0., 2., 0.]]), np.array([[1., 1., 3.]]))
    array([[3., 2., 6.]])
    """
    mapped = points[:, :2] @ affine[:, :2].T + affine[:, 2]
    return mapped if points.shape[1] == 2 else np.hstack([mapped, points[:, 2:] * scale_of(affine)])


def scale_of(affine: Affine) -> float:
    """How many target pixels a source pixel becomes, along one axis.

    >>> scale_of(np.array([[0., -2., 5.], [2., 0., 1.]]))
    2.0
    """
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def invert(affine: Affine) -> Affine:
    """The opposite direction.

    Raises:
        ValueError: if the transform is singular.
    """
    linear = affine[:, :2]
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) < 1e-12:
        raise ValueError("the transform is singular")
    inverse = np.linalg.inv(linear)
    return np.hstack([inverse, -inverse @ affine[:, 2:]])


def warp_antialiased(
    image: Image, frame_to_crop: Affine, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT
) -> Image:
    """Cut an aligned crop out of a frame, area-averaged where it shrinks.

    Only the part of the frame that the crop shows is touched, so the cost does not depend on the size of the frame.

    Args:
        image: (H, W, 3) BGR uint8.
        frame_to_crop: (2, 3).
        size: (width, height) of the crop.
        border: OpenCV border mode for what lies outside of the frame.

    Returns:
        (height, width, 3) uint8.
    """
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    margin_px = 2.0 + 2.0 / scale_of(frame_to_crop)
    in_frame = transform_points(invert(frame_to_crop), corners)
    limits = np.array([image.shape[1], image.shape[0]])
    # Replicated borders need at least one row or column of the frame, hence the clip to the last pixel.
    first = np.clip(np.floor(in_frame.min(axis=0) - margin_px), 0, limits - 1).astype(int)
    last = np.clip(np.ceil(in_frame.max(axis=0) + margin_px), first + 1, limits).astype(int)
    region = image[first[1] : last[1], first[0] : last[0]]
    region_to_crop = frame_to_crop.copy()
    region_to_crop[:, 2] += frame_to_crop[:, :2] @ first
    scale = scale_of(frame_to_crop)
    if scale < 0.6:  # a bilinear warp looks at 2 x 2 pixels: beyond this it would skip some
        shrunk_size = np.maximum(1, np.round(np.array(region.shape[1::-1]) * scale * 1.2).astype(int))
        ratio = shrunk_size / np.array(region.shape[1::-1])
        region = cv2.resize(region, (int(shrunk_size[0]), int(shrunk_size[1])), interpolation=cv2.INTER_AREA)
        # Pixel centres are whole numbers: x_region = (x_shrunk + 0.5) / ratio - 0.5
        region_to_crop[:, 2] += region_to_crop[:, :2] @ (0.5 / ratio - 0.5)
        region_to_crop[:, :2] = region_to_crop[:, :2] / ratio
    return cv2.warpAffine(region, region_to_crop, size, flags=cv2.INTER_LINEAR, borderMode=border)
