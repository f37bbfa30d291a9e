"""The face mesh laid flat: each texel is a fixed point of the mesh, so that turning, expression and size leave it where it is.

The openings of eyes and mouth have no triangles and are not looked at.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LANDMARK_COUNT, LIPS_OUTER, OVAL, VERTEX_COUNT
from models.mesh.canvas import FloatImage, Portrait, cut_out, estimate_frame_to_canvas, resize_points
from models.mesh.colour import blur
from models.mesh.glasses import JUDGED_PX, measure_glasses
from models.mesh.raster import draw_triangle_ids, fill_polygon
from models.mesh.topology import Indices
from utils.inference.alignment import scale_of, transform_points
from utils.inference.occlusion.appearance import FLAT_PX, lies_inside, make_appearance
from utils.inference.records import Affine, Appearance, Face, Image, Mask, Points, Texels
from utils.inference.shrinking import halve

MARGIN_TEXELS = 1.0
CANVAS_PX = 128  # side of a canvas that is about as fine as texels are
LEAST_SCALE = 0.7  # of what texels are picked from, to that: at less, pixels between them would be skipped
MARGIN_PX = 2  # of a frame, around the landmarks
PLACED_PX = 128  # side of the small crop that a flat map is drawn on
TURNED_AWAY = 0.25  # a triangle's area in the picture over its flat one, relative to the median: less is seen edge-on
CONTOUR_TEXELS = 5  # beside what is turned away lies the contour, where landmarks slip
FEATURE_TOLERANCE, OUTLINE_TOLERANCE = 1.6, 1.4  # eyes, brows and lips move; at the outline hair and background look in
OUTLINE_SHARE = 0.85  # within which share of the oval nothing but the face is expected
SPLAT_PX, SPREAD_PX = 0.01 * PLACED_PX, 0.025 * PLACED_PX
ENOUGH_SPLATS, FAINTEST = 0.05, 1e-3  # texels a pixel


class MeshSurface:
    """The flat space of the mesh. See `Surface`.

    Args:
        triangles: (852, 3) vertex indices of the face mesh.
        layout: (468, 2) flat place of each vertex, in [0, 1].
    """

    slack_texels = 1

    def __init__(self, triangles: NDArray[np.integer], layout: NDArray[np.floating]) -> None:
        self._triangles: Indices = np.ascontiguousarray(triangles, np.intp)
        self._flat = np.zeros((VERTEX_COUNT, 3))
        self._flat[:, :2] = MARGIN_TEXELS + layout * (FLAT_PX - 1 - 2 * MARGIN_TEXELS)
        self._ids = draw_triangle_ids(self._flat, self._triangles, FLAT_PX)
        self._covered = self._ids > 0
        self._triangle_of_texel = self._triangles[self._ids[self._covered] - 1]
        self._shares = _shares(self._flat, self._triangles, self._ids)
        self._areas = _areas(self._flat, self._triangles)
        self.tolerance = _tolerance(self._flat)

    def flatten(self, frame: Image, face: Face) -> Appearance:
        """See `Surface`.

        Raises:
            ValueError: if `face` has no dense landmarks.
        """
        landmarks = _landmarks_of(face)
        places = np.zeros((FLAT_PX, FLAT_PX, 2))
        places[self._covered] = self._places(landmarks)
        region, in_region = _cut_out(frame, landmarks, places)
        picture = cv2.remap(
            region, in_region.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        inside = lies_inside(places.reshape(-1, 2), frame)
        frame_to_canvas = estimate_frame_to_canvas(landmarks, JUDGED_PX)
        portrait = Portrait(cut_out(frame, frame_to_canvas, JUDGED_PX), transform_points(frame_to_canvas, landmarks))
        appearance = make_appearance(picture, self._turned_to_camera(landmarks) & inside)
        return replace(appearance, glasses=measure_glasses(portrait))

    def place(self, occluded: Texels, face: Face, frame_to_crop: Affine, size: int) -> Mask:
        """See `Surface`.

        Raises:
            ValueError: if `face` has no dense landmarks.
        """
        points = transform_points(frame_to_crop, _landmarks_of(face))
        small = resize_points(points[:VERTEX_COUNT], PLACED_PX / size)
        fronts = (_areas(small, self._triangles) * self._areas > 0)[self._ids[self._covered] - 1]
        places = np.rint(self._places(small)[fronts]).astype(np.intp)
        within = ((places >= 0) & (places < PLACED_PX)).all(1)
        pixels = places[within] @ (1, PLACED_PX)
        hidden = occluded[self._covered][fronts][within]
        count, of_these = (
            np.bincount(pixels, weights, PLACED_PX**2).reshape(PLACED_PX, PLACED_PX).astype(np.float32)
            for weights in (None, hidden.astype(np.float64))
        )
        near, around = (
            blur(of_these, sigma) / (blur(count, sigma) + np.float32(FAINTEST)) for sigma in (SPLAT_PX, SPREAD_PX)
        )
        # The openings, and a narrow rim around the mesh, are as hidden as what lies beside them.
        hidden_map = np.where(blur(count, SPLAT_PX) > ENOUGH_SPLATS, near, around)
        return 1 - cv2.resize(hidden_map, (size, size), interpolation=cv2.INTER_LINEAR)

    def _places(self, points: Points) -> Points:
        """(texels, 2): where the covered texels, row by row, lie in the picture of `points`."""
        corners = points[self._triangle_of_texel, :2]  # (texels, 3, 2)
        return np.einsum("tk,tkc->tc", self._shares, corners)

    def _turned_to_camera(self, points: Points) -> Texels:
        """Texels whose triangle, and those around it, are not seen edge-on or from behind."""
        ratios = _areas(points, self._triangles) / np.where(np.abs(self._areas) < 1e-3, 1e-3, self._areas)
        turned_away = np.concatenate([[False], ratios < TURNED_AWAY * np.median(ratios)])[self._ids]
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CONTOUR_TEXELS, CONTOUR_TEXELS))
        # Single triangles beside the nose and the lips fold; a contour is longer than that.
        contour = cv2.morphologyEx(turned_away.astype(np.uint8), cv2.MORPH_OPEN, kernel)
        return self._covered & ~turned_away & (cv2.dilate(contour, kernel) == 0)


def _cut_out(frame: Image, landmarks: Points, places: Points) -> tuple[Image, Points]:
    """The part of `frame` around a face, halved until it is about as fine as texels are; and the `places` (..., 2) in it."""
    limits = np.array(frame.shape[1::-1])
    first = np.clip(np.floor(landmarks.min(0)[:2]) - MARGIN_PX, 0, limits - 1).astype(int)
    last = np.clip(np.ceil(landmarks.max(0)[:2]) + MARGIN_PX, first + 1, limits).astype(int)
    region, in_region = frame[first[1] : last[1], first[0] : last[0]], places - first
    scale = scale_of(estimate_frame_to_canvas(landmarks, CANVAS_PX))
    while scale < LEAST_SCALE and min(region.shape[:2]) > 1:
        region, in_region, scale = halve(region), (in_region - 0.5) / 2, 2 * scale
    return region, in_region


def _landmarks_of(face: Face) -> Points:
    if face.landmarks is None or face.landmarks.shape != (LANDMARK_COUNT, 3):
        raise ValueError(f"the mesh's surface needs ({LANDMARK_COUNT}, 3) landmarks for every face")
    return face.landmarks


def _areas(points: Points, triangles: Indices) -> Points:
    """(T,) signed, doubled."""
    a, b, c = (points[triangles[:, corner], :2] for corner in range(3))
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def _shares(flat: Points, triangles: Indices, ids: NDArray[np.int32]) -> Points:
    """(texels, 3) barycentric coordinates of the covered texels, row by row."""
    y, x = np.nonzero(ids)
    texels = np.column_stack([x, y]).astype(np.float64)
    a, b, c = (flat[triangles[ids[y, x] - 1, corner], :2] for corner in range(3))

    def doubled(p: Points, q: Points, r: Points) -> Points:
        return (q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]

    parts = np.stack([doubled(texels, b, c), doubled(texels, c, a), doubled(texels, a, b)], 1)
    # Rounding puts a texel just outside of the thinnest triangles, where coordinates would run away.
    parts = np.clip(parts / doubled(a, b, c)[:, None], 0, 1)
    return parts / parts.sum(1, keepdims=True)


def _tolerance(flat: Points) -> FloatImage:
    oval = flat.copy()
    centre = oval[list(OVAL)].mean(0)
    oval = centre + OUTLINE_SHARE * (oval - centre)
    tolerance = np.where(fill_polygon(oval, OVAL, FLAT_PX) > 0.5, np.float32(1), np.float32(OUTLINE_TOLERANCE))
    for ring in (LIPS_OUTER, *(eye.brow for eye in EYES)):
        tolerance[fill_polygon(flat, ring, FLAT_PX) > 0] = FEATURE_TOLERANCE
    for eye in EYES:
        hull = cv2.convexHull(np.round(flat[list(eye.lids), :2]).astype(np.int32))
        cv2.fillPoly(tolerance, [hull], FEATURE_TOLERANCE)
    return tolerance
