"""Drawing the mesh: which triangle covers a pixel, and values at the vertices carried to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from models.mesh.topology import Indices
from utils.inference.records import Points

IdMap: TypeAlias = NDArray[np.int32]

SUBPIXEL_BITS = 4
SLIVER_PX2 = 2.0  # doubled area below which a triangle is too thin to be inverted
SLIVER_DAMPING_PX2 = 0.25


def fixed_point(points: Points) -> NDArray[np.int32]:
    """(x, y) in OpenCV's fixed point, 1/16 pixel."""
    return np.round(points[:, :2] * (1 << SUBPIXEL_BITS)).astype(np.int32)


def draw_triangle_ids(points: Points, triangles: Indices, size: int) -> IdMap:
    """Which triangle covers a pixel; near triangles hide far ones.

    Returns:
        (size, size) int32: one more than the triangle's row, 0 where there is none.
    """
    ids = np.zeros((size, size), np.int32)
    corners = fixed_point(points)[triangles]
    far_first = np.argsort(-points[triangles, 2].mean(1), kind="stable")
    for triangle in far_first.tolist():
        cv2.fillConvexPoly(ids, corners[triangle], triangle + 1, cv2.LINE_8, SUBPIXEL_BITS)
    return ids


def triangle_affines(points: Points, triangles: Indices, values: Points) -> FloatImage:
    """Per triangle, the affine function of (x, y) that takes `values` at its vertices.

    A triangle seen edge-on has no such function; its corners are weighted so that the answer stays bounded.

    Args:
        points: (V, 2 or more) vertices in pixels.
        triangles: (T, 3).
        values: (V, C).

    Returns:
        (C, 3, T + 1) float32, factors of x, y and 1; place 0, for "no triangle", is zero. Indexed by `draw_triangle_ids`.
    """
    a, b, c = (points[triangles[:, corner], :2] for corner in range(3))
    sides = np.stack([b - a, c - a], 2)  # (T, 2, 2), columns are sides
    thinness = np.clip(1 - np.abs(np.linalg.det(sides)) / SLIVER_PX2, 0, 1)
    damping = (SLIVER_DAMPING_PX2 * thinness + 1e-9)[:, None, None] * np.eye(2)
    transposed = sides.transpose(0, 2, 1)
    inverse = np.linalg.solve(transposed @ sides + damping, transposed)  # (T, 2, 2): pixels to barycentric coordinates
    of_a, of_b, of_c = (values[triangles[:, corner]] for corner in range(3))
    slopes = np.stack([of_b - of_a, of_c - of_a], 2) @ inverse  # (T, C, 2)
    constant = of_a - (slopes * a[:, None, :]).sum(2)
    table = np.zeros((values.shape[1], 3, len(triangles) + 1), np.float32)
    table[:, :2, 1:] = slopes.transpose(1, 2, 0)
    table[:, 2, 1:] = constant.T
    return table


def interpolate(ids: IdMap, table: FloatImage, origin: tuple[int, int] = (0, 0)) -> list[FloatImage]:
    """Values at the pixels of `ids`.

    Args:
        ids: (H, W) part of a map from `draw_triangle_ids`.
        table: (C, 3, T + 1) from `triangle_affines`.
        origin: (x, y) of the first pixel of `ids`.

    Returns:
        C planes, (H, W) float32.
    """
    index = ids.astype(np.intp)
    x = np.arange(origin[0], origin[0] + ids.shape[1], dtype=np.float32)
    y = np.arange(origin[1], origin[1] + ids.shape[0], dtype=np.float32)[:, None]
    planes = []
    for of_x, of_y, constant in table:
        plane = np.take(of_x, index, mode="clip")
        plane *= x
        term = np.take(of_y, index, mode="clip")
        term *= y
        plane += term
        plane += np.take(constant, index, mode="clip")
        planes.append(plane)
    return planes


def fill_polygon(points: Points, polygon: Sequence[int], size: int) -> FloatImage:
    """(size, size) float32 mask of a polygon of landmarks, antialiased."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillPoly(mask, [fixed_point(points[list(polygon)])], 1.0, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask
