"""The 106 landmarks of GHOST's masks, taken from the embedded face mesh where insightface's 2d106 model is missing.

The order is that of 2d106: 0 chin, 1-32 contour, 33-42 image-left eye, 43-51 its brow, 52-71 mouth, 72-86 nose, 87-96 image-right eye,
97-105 its brow. Within a group it jumps about, hence the tables.

Source: insightface, alignment/coordinate_reg, drawing 2d106markup.jpg; MediaPipe's face mesh for the vertices.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import LANDMARK_COUNT as MESH_COUNT
from coordinate_reg.mesh_points import LEFT_EYE, RIGHT_EYE, EyeIndices
from utils.inference.records import Points

COUNT = 106
# Along the contour at even distances, from beside the eye (1, 17) down to the chin (0).
LEFT_CONTOUR_106 = (1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0)
RIGHT_CONTOUR_106 = (17, 25, 26, 27, 28, 29, 30, 31, 32, 18, 19, 20, 21, 22, 23, 24, 0)
LEFT_CONTOUR_MESH = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
RIGHT_CONTOUR_MESH = (356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
# Eyes: outer corner, upper lid to the inner corner, lower lid back; then twice the centre. In the ring of `EyeIndices` every second one.
LEFT_EYE_106, LEFT_PUPIL_106 = (35, 41, 40, 42, 39, 37, 33, 36), (34, 38)
RIGHT_EYE_106, RIGHT_PUPIL_106 = (93, 96, 94, 95, 89, 90, 87, 91), (88, 92)
# Brows: upper edge from the outer to the inner end, lower edge back, less the outer end.
LEFT_BROW_106, LEFT_BROW_MESH = (43, 48, 49, 51, 50, 46, 47, 45, 44), (70, 63, 105, 66, 107, 55, 65, 52, 53)
RIGHT_BROW_106, RIGHT_BROW_MESH = (
    (101, 105, 104, 103, 102, 97, 98, 99, 100),
    (300, 293, 334, 296, 336, 285, 295, 282, 283),
)
# Bridge from between the eyes to the tip; then from its left side down the wing, below the tip, and up again.
NOSE_106 = (72, 73, 74, 86, 75, 76, 77, 78, 79, 80, 85, 84, 83, 82, 81)
NOSE_MESH = (168, 197, 5, 4, 193, 198, 129, 98, 97, 2, 326, 327, 358, 420, 417)
# From the left corner over the upper lip to the right one and back over the lower lip: outer edge, inner edge.
LIPS_106 = (52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54)
LIPS_MESH = (61, 40, 37, 0, 267, 270, 291, 321, 405, 17, 181, 91, 78, 81, 13, 311, 308, 402, 14, 178)


def landmarks_106_from_mesh(landmarks: Points) -> Points:
    """Find 2d106's landmarks on the mesh.

    Args:
        landmarks: (478, 2) or (478, 3) of the embedded landmarker; z is not used.

    Returns:
        (106, 2) float64 in the same pixels. Points of the contour lie between two of the mesh's, all others on one.

    Raises:
        ValueError: if there are not 478 landmarks.
    """
    if landmarks.ndim != 2 or landmarks.shape[0] != MESH_COUNT or landmarks.shape[1] < 2:
        raise ValueError(f"({MESH_COUNT}, 2) or ({MESH_COUNT}, 3) landmarks are needed, not {landmarks.shape}")
    first, second, weight = _places()
    points = np.asarray(landmarks[:, :2], np.float64)
    return points[first] * (1.0 - weight[:, None]) + points[second] * weight[:, None]


@lru_cache(maxsize=1)
def _places() -> tuple[NDArray[np.intp], NDArray[np.intp], Points]:
    """For each of the 106 the two vertices that it lies between, and the weight of the second."""
    first, weight = np.full(COUNT, -1, np.intp), np.zeros(COUNT)
    second = first.copy()
    for indices, vertices in (
        (LEFT_BROW_106, LEFT_BROW_MESH),
        (RIGHT_BROW_106, RIGHT_BROW_MESH),
        (NOSE_106, NOSE_MESH),
        (LIPS_106, LIPS_MESH),
        *_eye(LEFT_EYE_106, LEFT_PUPIL_106, RIGHT_EYE),  # the person's right eye is on the left of the picture
        *_eye(RIGHT_EYE_106, RIGHT_PUPIL_106, LEFT_EYE),
    ):
        first[list(indices)] = second[list(indices)] = vertices
    for indices, vertices in (
        (LEFT_CONTOUR_106, LEFT_CONTOUR_MESH),
        (RIGHT_CONTOUR_106, RIGHT_CONTOUR_MESH),
    ):
        places = np.linspace(0, len(vertices) - 1, len(indices))
        before = np.minimum(places.astype(np.intp), len(vertices) - 2)
        first[list(indices)], second[list(indices)] = np.take(vertices, before), np.take(vertices, before + 1)
        weight[list(indices)] = places - before
    return first, second, weight


def _eye(
    ring: tuple[int, ...], pupil: tuple[int, ...], eye: EyeIndices
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Indices and vertices of the lids, then of the centre."""
    return (ring, eye.ring[::2]), (pupil, (eye.iris,) * len(pupil))
