"""The source's own light, taken off its skin once a photo, so that the target's can fall on it.

What differs between the two halves of a face over more than a mole's width is taken for light: side light and cast shadows. What both
have in common stays, as eye sockets and beards cannot be told from light there; only highlights are drawn down. Finer than the mesh,
everything stays: pores, wrinkles, moles, brows.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, EYES, LIPS_OUTER, OVAL, VERTEX_COUNT
from models.mesh.canvas import FloatImage, Portrait, resize_points
from models.mesh.colour import from_tones, masked_blur, ranked, skin_likeness, to_lab, to_tones
from models.mesh.raster import draw_triangle_ids, fill_polygon, fill_polygons, interpolate, triangle_affines
from models.mesh.render import continue_beyond
from models.mesh.topology import MeshTopology
from utils.inference.records import Points

COARSE_PX = 128  # side of the picture on which light is looked for
FEWEST_SKIN_PIXELS = 30
FEATURE_MARGIN_PX = 5
SEEN_SHARES = (
    0.5,
    0.9,
)  # of a vertex' surroundings that are bare skin: below, hair beside it would tint what is seen; above, all is well
SAMPLE_BLUR_PX = 0.016 * COARSE_PX  # about half the distance between vertices
RIM_PX = 0.06 * COARSE_PX  # so far beyond the mesh the light goes on
FIELD_BLUR_PX = 0.012 * COARSE_PX
SPREAD_ROUNDS, SMOOTH_ROUNDS = 12, 2  # of neighbour averaging: into what is no bare skin, and everywhere
LARGEST_LIGHT = 1.0  # a factor of e
SHINE_KNEE, SHINE_ROOM = (
    0.18,
    0.15,
)  # logarithms above the median of bare skin: where highlights begin, and what is left of them


def even_light(photo: Portrait, topology: MeshTopology) -> Portrait:
    """The photo as if its face were lit evenly.

    Args:
        photo: of the source.
        topology: of the mesh.

    Returns:
        The same landmarks, and a picture that differs in the face and around it; what lies farther away is not meant to be looked at.
    """
    size = photo.image.shape[0]
    points = resize_points(photo.points, COARSE_PX / size)
    small = cv2.resize(photo.image, (COARSE_PX, COARSE_PX), interpolation=cv2.INTER_AREA)
    tones = to_tones(small)
    bare = _bare_skin(to_lab(small), points)
    light = estimate_light(*_sample(tones, bare, points), topology)
    ids = draw_triangle_ids(points, topology.closed, COARSE_PX)
    field = cv2.merge(interpolate(ids, triangle_affines(points, topology.closed, light)))
    field = continue_beyond(np.clip(field, -LARGEST_LIGHT, LARGEST_LIGHT), ids, RIM_PX)
    field = cv2.GaussianBlur(field, (0, 0), FIELD_BLUR_PX)
    field[..., 0] += _shine(tones[..., 0] - field[..., 0], bare)
    even = to_tones(photo.image)
    even -= cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR)
    return Portrait(np.round(from_tones(even)).astype(np.uint8), photo.points)


def estimate_light(tones: Points, weight: NDArray[np.float64], topology: MeshTopology) -> Points:
    """How much of the tones of a face's skin is light.

    Args:
        tones: (468, 3) at the vertices.
        weight: (468,) how much bare skin is seen there.
        topology: of the mesh.

    Returns:
        (468, 3), to be subtracted.
    """
    mirror = topology.mirror
    both = np.sqrt(weight * weight[mirror])
    return _spread((tones - tones[mirror]) / 2, both, topology)


def _spread(values: Points, weight: NDArray[np.float64], topology: MeshTopology) -> Points:
    """`values` where `weight` is 1, those of the neighbours where it is 0; then a little smoother. All (468, C) but `weight`, (468,)."""
    start, end = topology.edges.T
    count = np.bincount(start, minlength=VERTEX_COUNT)

    def around(field: Points) -> Points:
        return np.stack([np.bincount(start, part[end], VERTEX_COUNT) / count for part in field.T], 1)

    # The last column is the weight itself: each vertex trusts its own value as far as it is known, and its neighbours for the rest.
    known = weight[:, None] * np.column_stack([values, np.ones(VERTEX_COUNT)])
    reached = known
    for _ in range(SPREAD_ROUNDS):
        reached = known + (1 - weight[:, None]) * around(reached)
    spread = reached[:, :-1] / np.maximum(reached[:, -1:], 1e-3)
    for _ in range(SMOOTH_ROUNDS):
        spread = (spread + around(spread)) / 2
    return spread


def _bare_skin(lab: FloatImage, points: Points) -> FloatImage:
    """(COARSE_PX, COARSE_PX) in [0, 1]: inside the face, without lips, eyes, brows and what has another colour."""
    features = fill_polygons(points, [LIPS_OUTER, *(ring for eye in EYES for ring in (eye.brow, eye.ring))], COARSE_PX)
    features = cv2.dilate(features, np.ones((FEATURE_MARGIN_PX, FEATURE_MARGIN_PX), np.uint8))
    plain = fill_polygon(points, OVAL, COARSE_PX) * (1 - features)
    return plain * skin_likeness(lab, plain * fill_polygon(points, CHEEKS_AND_NOSE, COARSE_PX))


def _sample(tones: FloatImage, bare: FloatImage, points: Points) -> tuple[Points, NDArray[np.float64]]:
    """(468, 3) tones of bare skin around each vertex, and (468,) how much of it there is."""
    places = points[None, :VERTEX_COUNT, :2].astype(np.float32)
    around = cv2.remap(masked_blur(tones, bare, SAMPLE_BLUR_PX), places, None, cv2.INTER_LINEAR)
    share = cv2.remap(cv2.GaussianBlur(bare, (0, 0), SAMPLE_BLUR_PX), places, None, cv2.INTER_LINEAR)
    doubtful, sure = SEEN_SHARES
    weight = np.clip((share[0] - doubtful) / (sure - doubtful), 0, 1)
    return around[0].astype(np.float64), weight.astype(np.float64)


def _shine(light: FloatImage, bare: FloatImage) -> FloatImage:
    """(COARSE_PX, COARSE_PX): by how much the evened lightness of bare skin exceeds what matt skin has."""
    seen = light[bare > 0.5]
    if len(seen) < FEWEST_SKIN_PIXELS:
        return np.zeros_like(light)
    above = np.maximum(light - ranked(seen, 0.5) - np.float32(SHINE_KNEE), 0)
    excess = above - np.float32(SHINE_ROOM) * np.tanh(above / np.float32(SHINE_ROOM))
    return cv2.GaussianBlur(excess * bare, (0, 0), FIELD_BLUR_PX)
