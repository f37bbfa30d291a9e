"""Drawing one picture with another's mesh: the source's skin in the result's shape."""

from __future__ import annotations

import cv2
import numpy as np

from models.mesh.canvas import FloatImage, resize_points
from models.mesh.colour import masked_blur
from models.mesh.masks import ANALYSIS_PX
from models.mesh.raster import IdMap, draw_triangle_ids, interpolate, triangle_affines
from models.mesh.texture import SourceTexture
from models.mesh.topology import VERTEX_COUNT, MeshTopology
from utils.inference.records import Image, Points

MIRROR_EDGE_PX = 0.012 * ANALYSIS_PX
FULLY_OWN = 0.99


def render_source(
    source: Image, source_points: Points, texture: SourceTexture, points: Points, ids: IdMap, topology: MeshTopology
) -> Image:
    """(S, S, 3) uint8: the half of the source's face that is seen badly is completed by the mirrored other half.

    Args:
        source, source_points: the picture to sample and its landmarks, from `texture.sampled_for`.
        points: (478, 3) landmarks of the result.
        ids: of the triangles of `points`.
    """
    own = _sample(source, source_points[:VERTEX_COUNT], points, ids, topology)
    if texture.own_weight.min() > FULLY_OWN:
        return own
    mirrored = _sample(source, source_points[topology.mirror], points, ids, topology)
    weight = cv2.resize(_own_weight(texture, points, ids.shape[0], topology), own.shape[1::-1])
    return cv2.blendLinear(own, mirrored, weight, 1 - weight)


def _sample(source: Image, source_points: Points, points: Points, ids: IdMap, topology: MeshTopology) -> Image:
    map_x, map_y = interpolate(ids, triangle_affines(points, topology.triangles, source_points[:, :2]))
    return cv2.remap(source, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _own_weight(texture: SourceTexture, points: Points, size: int, topology: MeshTopology) -> FloatImage:
    """(A, A) weight of the face's own half; varies slowly, so the small canvas is fine enough."""
    points = resize_points(points, ANALYSIS_PX / size)
    ids = draw_triangle_ids(points, topology.triangles, ANALYSIS_PX)
    (weight,) = interpolate(ids, triangle_affines(points, topology.triangles, texture.own_weight[:, None]))
    return np.clip(masked_blur(weight, (ids > 0).astype(np.float32), MIRROR_EDGE_PX), 0, 1)
