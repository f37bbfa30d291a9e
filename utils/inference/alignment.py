"""Similarity transforms between a frame and an aligned crop, and the warps along them.

Convention: an `Affine` is (2, 3) float64 and maps (x, y) column vectors, pixel centres at whole numbers. Names tell the direction:
`frame_to_crop` takes frame pixels to crop pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.records import Affine, Image, Points
from utils.inference.shrinking import halve

# insightface 0.2.1, face_align, src1..src5: left profile, left, frontal, right, right profile. Points as in `Face.keypoints`.
POSE_TEMPLATES_112: Points = np.array(
    [
        [(51.642, 50.115), (57.617, 49.990), (35.740, 69.007), (51.157, 89.050), (57.025, 89.702)],
        [(45.031, 50.118), (65.568, 50.872), (39.677, 68.111), (45.177, 86.190), (64.246, 86.758)],
        [(39.730, 51.138), (72.270, 51.138), (56.000, 68.493), (42.463, 87.010), (69.537, 87.010)],
        [(46.845, 50.872), (67.382, 50.118), (72.737, 68.111), (48.167, 86.758), (67.236, 86.190)],
        [(54.796, 49.990), (60.771, 50.115), (76.673, 69.007), (55.388, 89.702), (61.257, 89.050)],
    ]
)
TEMPLATE_PX = 112  # side of the crop that the templates are given for
LEAST_BILINEAR_SCALE = 0.6  # a bilinear warp looks at 2 x 2 pixels: below this it would skip some
SMALLEST_SCALE = 1e-9  # crop pixels per frame pixel; less means that the keypoints have no likeness to any face


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


def estimate_pose_alignment(keypoints: Points, size: int) -> tuple[Affine, int]:
    """Similarity from a face's keypoints to that of the five pose templates which it fits best.

    Args:
        keypoints: (5, 2), as in `Face.keypoints`.
        size: side of the square crop in pixels; GHOST's is 224.

    Returns:
        `frame_to_crop` (2, 3) float64, and the index of the template in `POSE_TEMPLATES_112`: the one with the smallest sum of distances
        between warped keypoints and template, the first of equals.

    Raises:
        ValueError: if the keypoints are not finite, all in one place, or so unlike a face that no similarity has a size.

    Source: GHOST, with insightface 0.2.1's estimate_norm in its mode None. Its template coordinates are doubled for 224.

    >>> frame_to_crop, template = estimate_pose_alignment(POSE_TEMPLATES_112[2] * 4 + 100, 224)
    >>> frame_to_crop.round(6) + 0.0, template
    (array([[  0.5,   0. , -50. ],
           [  0. ,   0.5, -50. ]]), 2)
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.shape != POSE_TEMPLATES_112.shape[1:]:
        raise ValueError(f"five keypoints (5, 2) are needed, not {keypoints.shape}")
    if not np.isfinite(keypoints).all():
        raise ValueError("keypoints that are not finite cannot be aligned")
    templates = POSE_TEMPLATES_112 * (size / TEMPLATE_PX)
    candidates = [estimate_similarity(keypoints, template) for template in templates]
    distances = [
        float(np.linalg.norm(transform_points(frame_to_crop, keypoints) - template, axis=1).sum())
        for frame_to_crop, template in zip(candidates, templates, strict=True)
    ]
    best = int(np.argmin(distances))
    if not (np.isfinite(candidates[best]).all() and scale_of(candidates[best]) > SMALLEST_SCALE):
        raise ValueError("the keypoints are too far from any face's to be aligned")
    return candidates[best], best


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
    (xx, xy), (yx, yy) = affine[:, :2].tolist()
    return float(abs(xx * yy - xy * yx) ** 0.5)


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


def warp_bilinear(image: Image, frame_to_crop: Affine, size: int) -> Image:
    """Cut an aligned square crop out of a frame as GHOST does: 2 x 2 pixels are looked at, however much the crop shrinks the frame.

    The released networks were trained on such crops. For anything else, `warp_antialiased` is the better choice.

    Args:
        image: (H, W, 3) BGR uint8.
        frame_to_crop: (2, 3).
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) BGR uint8; black outside of the frame.
    """
    return cv2.warpAffine(
        image, frame_to_crop, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )


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
    region, region_to_crop = _cut_region(image, frame_to_crop, size)
    scale = scale_of(frame_to_crop)
    while scale < LEAST_BILINEAR_SCALE / 2 and min(region.shape[:2]) > 1:
        region, region_to_crop = halve(region), _after_resizing(region_to_crop, np.array([0.5, 0.5]))
        scale *= 2
    if scale < LEAST_BILINEAR_SCALE:
        region, region_to_crop = _resized(region, region_to_crop, 1.2 * scale, cv2.INTER_AREA)
    return cv2.warpAffine(region, region_to_crop, size, flags=cv2.INTER_LINEAR, borderMode=border)


def warp_sharp(image: Image, frame_to_crop: Affine, size: tuple[int, int]) -> Image:
    """Cut an aligned crop that does not shrink out of a frame, as sharp as cubic interpolation leaves it.

    As `warp_antialiased`; the frame's edge goes on beyond its border. The region is doubled by cubic interpolation first: between pixels
    that are so close, linear interpolation softens next to nothing, and both together take half the time of a cubic warp.
    """
    region, region_to_crop = _cut_region(image, frame_to_crop, size)
    region, region_to_crop = _resized(region, region_to_crop, 2.0, cv2.INTER_CUBIC)
    return cv2.warpAffine(region, region_to_crop, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _cut_region(image: Image, frame_to_crop: Affine, size: tuple[int, int]) -> tuple[Image, Affine]:
    """The part of a frame that a crop of `size` (width, height) shows, with a margin, and its way to the crop."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    margin_px = 2.0 + 2.0 / scale_of(frame_to_crop)
    in_frame = transform_points(invert(frame_to_crop), corners)
    limits = np.array([image.shape[1], image.shape[0]])
    # Replicated borders need at least one row or column of the frame, hence the clip to the last pixel.
    first = np.clip(np.floor(in_frame.min(axis=0) - margin_px), 0, limits - 1).astype(int)
    last = np.clip(np.ceil(in_frame.max(axis=0) + margin_px), first + 1, limits).astype(int)
    region_to_crop = frame_to_crop.copy()
    region_to_crop[:, 2] += frame_to_crop[:, :2] @ first
    return image[first[1] : last[1], first[0] : last[0]], region_to_crop


def _resized(region: Image, region_to_crop: Affine, factor: float, interpolation: int) -> tuple[Image, Affine]:
    """A region resized by about `factor`, and its way to the crop."""
    size = np.maximum(1, np.round(np.array(region.shape[1::-1]) * factor).astype(int))
    resized = cv2.resize(region, (int(size[0]), int(size[1])), interpolation=interpolation)
    return resized, _after_resizing(region_to_crop, size / np.array(region.shape[1::-1]))


def _after_resizing(region_to_crop: Affine, ratio: Points) -> Affine:
    """From a region that was resized by `ratio` (2,): pixel centres are whole numbers, so x_region = (x_resized + 0.5) / ratio - 0.5."""
    linear = region_to_crop[:, :2]
    return np.hstack([linear / ratio, (region_to_crop[:, 2] + linear @ (0.5 / ratio - 0.5))[:, None]])
