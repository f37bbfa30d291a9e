"""Drawing the mesh: which triangle covers a pixel, and values at the vertices carried to the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from models.mesh.topology import Indices
from utils.inference.records import Points

IdMap: TypeAlias = NDArray[np.int32]
Way: TypeAlias = NDArray[np.float32]
"""(H, W, 2): x, y in another picture for each pixel."""

SUBPIXEL_BITS = 4
LEVEL_SIDE_PX = 1e-6  # a side that rises less is level
OVERLAP_PX = 0.25  # so far beyond its sides a triangle covers the middles of pixels, so that neighbours leave no gap
SLIVER_PX2 = 2.0  # doubled area below which a triangle is too thin to be inverted
SLIVER_DAMPING_PX2 = 0.25


def fixed_point(points: Points) -> NDArray[np.int32]:
    """(x, y) in OpenCV's fixed point, 1/16 pixel."""
    return np.round(points[:, :2] * (1 << SUBPIXEL_BITS)).astype(np.int32)


def draw_triangle_ids(points: Points, triangles: Indices, size: int, behind: int = 0) -> IdMap:
    """Which triangle covers a pixel; near triangles hide far ones.

    All triangles are drawn at once: first the rows that each covers, then the pixels of those rows.

    Args:
        points: (V, 3) vertices in pixels.
        triangles: (T, 3).
        size: of the picture.
        behind: so many triangles at the end of the list are hidden by all others.

    Returns:
        (size, size) int32: one more than the triangle's row, 0 where there is none.
    """
    depth = points[:, 2][triangles].sum(1)
    depth[len(triangles) - behind :] += np.ptp(depth) + 1
    far_first = np.argsort(-depth, kind="stable")
    x, y = points[:, :2].T[:, triangles[far_first].T]  # (3, T) each
    downwards = np.argsort(y, 0)
    x, y = (np.take_along_axis(corner, downwards, 0) for corner in (x, y))  # upper, middle and lower corner
    triangle, row = _runs(y[0], y[2], size)
    level = np.clip(row, y[0][triangle], y[2][triangle])  # the middle of the row, or the corner nearest to it
    slopes = np.diff(x, axis=0, append=x[:1]) / _steep(np.diff(y, axis=0, append=y[:1]))  # upper, lower and long side
    long = x[0][triangle] + (level - y[0][triangle]) * slopes[2][triangle]
    part = (level >= y[1][triangle]).astype(np.intp)
    short = x[part, triangle] + (level - y[part, triangle]) * slopes[part, triangle]
    run, column = _runs(np.minimum(long, short), np.maximum(long, short), size)
    number = (far_first + 1)[triangle]
    ids = np.zeros(size * size, np.int32)
    ids[(row * size)[run] + column] = number[run]  # of several for one pixel, the last and nearest stays
    return ids.reshape(size, size)


def _steep(rise: Points) -> Points:
    """Without zeros: a level side bounds no row but its own."""
    return np.where(np.abs(rise) < LEVEL_SIDE_PX, LEVEL_SIDE_PX, rise)


def _runs(low: Points, high: Points, size: int) -> tuple[Indices, Indices]:
    """All pixels of some stretches, one stretch after another: which stretch each belongs to, and its number below `size`."""
    first = np.clip(np.ceil(low - OVERLAP_PX), 0, size).astype(np.intp)
    last = np.clip(np.floor(high + OVERLAP_PX), -1, size - 1).astype(np.intp)
    count = np.maximum(last - first + 1, 0)
    stretch = np.repeat(np.arange(len(first)), count)
    return stretch, np.arange(len(stretch)) + (first + count - np.cumsum(count))[stretch]


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
    corners = points[:, :2].T[:, triangles.T]  # (2, 3, T)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]  # (2, T), sides
    # Least squares of the two sides, damped: (S' S + damping)^-1 S', where S has the sides as columns.
    thinness = np.clip(1 - np.abs(first[0] * second[1] - first[1] * second[0]) / SLIVER_PX2, 0, 1)
    damping = SLIVER_DAMPING_PX2 * thinness + 1e-9
    of_first, of_second = (first**2).sum(0) + damping, (second**2).sum(0) + damping
    of_both = (first * second).sum(0)
    determinant = of_first * of_second - of_both**2
    to_first = (of_second * first - of_both * second) / determinant  # (2, T): pixels to shares of the first side
    to_second = (of_first * second - of_both * first) / determinant
    of_corners = values.T[:, triangles.T]  # (C, 3, T)
    start = of_corners[:, 0]
    slopes = (of_corners[:, 1] - start)[:, None] * to_first + (of_corners[:, 2] - start)[
        :, None
    ] * to_second  # (C, 2, T)
    table = np.zeros((values.shape[1], 3, len(triangles) + 1), np.float32)
    table[:, :2, 1:] = slopes
    table[:, 2, 1:] = start - (slopes * corners[:, 0]).sum(1)
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


def pixel_grid(shape: tuple[int, int], first: tuple[float, float] = (0, 0), step: tuple[float, float] = (1, 1)) -> Way:
    """x, y of the pixels of a picture (height, width) that begins at `first` and goes on in steps of `step`, both (x, y)."""
    grid = np.empty((*shape, 2), np.float32)
    grid[..., 0] = first[0] + step[0] * np.arange(shape[1])
    grid[..., 1] = first[1] + step[1] * np.arange(shape[0])[:, None]
    return grid


def fill_polygon(points: Points, polygon: Sequence[int], size: int) -> FloatImage:
    """(size, size) float32 mask of a polygon of landmarks."""
    return fill_polygons(points, [polygon], size)


def fill_polygons(points: Points, polygons: Iterable[Sequence[int]], size: int) -> FloatImage:
    """(size, size) float32 mask of several polygons of landmarks."""
    mask = np.zeros((size, size), np.float32)
    for polygon in polygons:
        cv2.fillPoly(mask, [fixed_point(points[list(polygon)])], 1.0, cv2.LINE_8, SUBPIXEL_BITS)
    return mask
