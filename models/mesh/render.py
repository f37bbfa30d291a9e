"""Drawing one picture with another's mesh: the source's skin in the result's shape."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import VERTEX_COUNT
from models.mesh.canvas import CELLS, Area, FloatImage, Portrait, choose_area, resize_points
from models.mesh.colour import masked_blur
from models.mesh.masks import ANALYSIS_PX, shrink
from models.mesh.raster import IdMap, interpolate, triangle_affines
from models.mesh.topology import MeshTopology
from utils.inference.records import Image, Points

MIRROR_EDGE_PX = 0.012 * ANALYSIS_PX
FULLY_OWN = 0.99


def render_source(
    source: Portrait, own_weight: NDArray[np.float64], points: Points, ids: IdMap, topology: MeshTopology
) -> Image:
    """(S, S, 3) uint8: the half of the source's face that is seen badly is completed by the mirrored other half.

    Args:
        source: the picture to sample.
        own_weight: (468,) in [0, 1], 1 where a vertex is taken from its own half.
        points: (478, 3) landmarks of the result.
        ids: (S, S) of the triangles of `points`.
        topology: of the mesh.

    Outside the mesh the picture is undefined.
    """
    size = ids.shape[0]
    area = choose_area(points, size)
    halves = np.column_stack([source.points[:VERTEX_COUNT, :2], source.points[topology.mirror, :2]])
    table = triangle_affines(points, topology.triangles, halves)
    picture = np.zeros((size, size, 3), np.uint8)
    area.of(picture)[:] = _sample(source.image, ids, table[:2], area)
    if own_weight.min() > FULLY_OWN:
        return picture
    weight = _spread_weight(own_weight, points, ids, topology)
    mixed = _mixed_area(weight)
    if mixed is not None:
        mirrored = _sample(source.image, ids, table[2:], mixed)
        own = mixed.of(picture)
        share = cv2.resize(mixed.of(weight), own.shape[1::-1])
        own[:] = cv2.blendLinear(np.ascontiguousarray(own), mirrored, share, 1 - share)
    return picture


def _sample(image: Image, ids: IdMap, table: FloatImage, area: Area) -> Image:
    map_x, map_y = interpolate(area.of(ids), table, area.origin(ids.shape[0]))
    return cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _spread_weight(own_weight: NDArray[np.float64], points: Points, ids: IdMap, topology: MeshTopology) -> FloatImage:
    """(A, A) weight of the face's own half, 1 outside the mesh; it varies slowly, so the small canvas is fine enough."""
    small_points = resize_points(points, ANALYSIS_PX / ids.shape[0])
    small_ids = shrink(ids, cv2.INTER_NEAREST)
    (weight,) = interpolate(small_ids, triangle_affines(small_points, topology.triangles, own_weight[:, None]))
    inside = (small_ids > 0).astype(np.float32)
    spread = masked_blur(np.clip(weight, 0, 1), inside, MIRROR_EDGE_PX)
    near = cv2.dilate(inside, np.ones((5, 5), np.uint8)) > 0
    return np.where(near, np.clip(spread, 0, 1), np.float32(1))


def _mixed_area(weight: FloatImage) -> Area | None:
    """The area in which the mirrored half is needed."""
    mirrored = weight < FULLY_OWN
    rows, columns = np.flatnonzero(mirrored.any(1)), np.flatnonzero(mirrored.any(0))
    if not len(rows):
        return None
    cell = ANALYSIS_PX // CELLS
    return Area(int(columns[0]) // cell, int(rows[0]) // cell, int(columns[-1]) // cell + 1, int(rows[-1]) // cell + 1)
