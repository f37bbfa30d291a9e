"""Which pixels of a swapped crop are pasted: the convex hull of its 106 landmarks, shrunk or grown, with a soft border.

Pure functions on crops of 224 x 224 pixels. How much the mask shrinks depends on how much the swap's face is narrower than the face that it
covers. Source: GHOST (doi 10.1109/ACCESS.2022.3196668), face_mask_static. Landmarks are in the order of insightface's 2d106 model.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Image, Mask, MaskParameters, Points

CROP_PX = 224
LANDMARK_COUNT = 106
# The contour at ear, cheek and jaw; "left" is the left of the picture.
LEFT_CONTOUR, RIGHT_CONTOUR = (1, 2, 13), (17, 18, 29)
# The upper edge of either brow, and the point of the upper lid below each of its points.
BROWS = (43, 48, 49, 51, 50, 102, 103, 104, 105, 101)
UPPER_LIDS = (35, 41, 40, 42, 39, 89, 95, 94, 96, 93)
MUCH_NARROWER_PX, NARROWER_PX, WIDER_PX = 6.0, 3.0, -3.0  # sums over three landmarks
CIRCLE_RADIUS_PX, CIRCLE_BLUR_PX, CIRCLE_SIGMA_PX = 90, 21, 11.0
FARTHEST_PX = 10_000  # landmarks beyond it are moved onto it; OpenCV's integer geometry overflows with huge coordinates


MUCH_NARROWER = MaskParameters(15, 15, 10, 2.7)
NARROWER = MaskParameters(10, 10, 8, 2.0)
ALIKE = MaskParameters(5, 5, 5, 2.0)
WIDER = MaskParameters(-5, 5, 10, 0.5)


def choose_mask_parameters(landmarks: Points, landmarks_target: Points) -> MaskParameters:
    """Choose by how much narrower the swapped face is.

    Args:
        landmarks: (106, 2) of the swapped crop.
        landmarks_target: (106, 2) of the original crop.

    Returns:
        The choice; that for faces of one width where landmarks are not finite.

    Raises:
        ValueError: if there are not 106 landmarks.
    """
    inwards = _checked(landmarks)[:, 0] - _checked(landmarks_target)[:, 0]
    if not np.isfinite(inwards).all():
        return ALIKE
    narrower_px = max(inwards[list(LEFT_CONTOUR)].sum(), -inwards[list(RIGHT_CONTOUR)].sum())
    if narrower_px > MUCH_NARROWER_PX:
        return MUCH_NARROWER
    if narrower_px > NARROWER_PX:
        return NARROWER
    return WIDER if narrower_px < WIDER_PX else ALIKE


def face_mask(landmarks: Points, parameters: MaskParameters) -> Image:
    """The mask of one crop.

    Args:
        landmarks: (106, 2) of the swapped crop, anywhere.
        parameters: see `choose_mask_parameters`.

    Returns:
        (224, 224) uint8; 255 keeps the swap. It is `circle_mask()` where landmarks are not finite or leave nothing of a mask.

    Raises:
        ValueError: if there are not 106 landmarks.
    """
    points = _checked(landmarks)
    if not np.isfinite(points).all():
        return circle_mask()
    hull = cv2.convexHull(_raise_brows(points, parameters.brow_factor))
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    cv2.fillConvexPoly(mask, hull, 255)
    square = np.ones((abs(parameters.erode_px), abs(parameters.erode_px)), np.uint8)
    mask = cv2.erode(mask, square) if parameters.erode_px > 0 else cv2.dilate(mask, square)
    border_px = 2 * parameters.sigma_y
    inner = np.zeros_like(mask)
    inside = slice(border_px, CROP_PX - border_px)
    inner[inside, inside] = mask[inside, inside]
    mask = cv2.GaussianBlur(inner, (0, 0), sigmaX=parameters.sigma_x, sigmaY=parameters.sigma_y)
    return mask if mask.any() else circle_mask()


def circle_mask() -> Image:
    """(224, 224) uint8: what is pasted where no landmarks say it better."""
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    cv2.circle(mask, (CROP_PX // 2, CROP_PX // 2), CIRCLE_RADIUS_PX, 255, -1)
    return cv2.GaussianBlur(mask, (CIRCLE_BLUR_PX, CIRCLE_BLUR_PX), CIRCLE_SIGMA_PX)


def face_mask_static(
    landmarks: Points, landmarks_target: Points, parameters: MaskParameters | None = None
) -> tuple[Mask, MaskParameters]:
    """The mask of one crop, ready for `paste_back`, and the parameters that made it.

    Args:
        landmarks: (106, 2) of the swapped crop.
        landmarks_target: (106, 2) of the original crop; only looked at when the parameters are yet to be chosen.
        parameters: those of the person's first frame, if this is a later one.

    Returns:
        (224, 224) float32 in [0, 1]; 1 keeps the swap.

    Raises:
        ValueError: if there are not 106 landmarks.
    """
    if parameters is None:
        parameters = choose_mask_parameters(landmarks, landmarks_target)
    return face_mask(landmarks, parameters).astype(np.float32) / np.float32(255), parameters


def _checked(landmarks: Points) -> Points:
    points = np.asarray(landmarks, np.float64)
    if points.shape != (LANDMARK_COUNT, 2):
        raise ValueError(f"({LANDMARK_COUNT}, 2) landmarks are needed, not {points.shape}")
    return points


def _raise_brows(points: Points, factor: float) -> NDArray[np.int32]:
    """(106, 2) int32: truncated, and the brows raised by `factor` halves of their height over the lid and truncated again."""
    whole = np.clip(points, -FARTHEST_PX, FARTHEST_PX).astype(np.int32)
    brows, lids = whole[list(BROWS)], whole[list(UPPER_LIDS)]
    whole[list(BROWS)] = (brows + factor * 0.5 * (brows - lids)).astype(np.int32)
    return whole
