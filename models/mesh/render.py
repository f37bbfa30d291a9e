"""Drawing one picture with another's mesh: the source's skin in the result's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import LEFT_EYE, RIGHT_EYE, VERTEX_COUNT
from models.mesh.canvas import Area, FloatImage, Portrait, choose_area, estimate_frame_to_canvas, resize_points
from models.mesh.colour import masked_blur
from models.mesh.raster import IdMap, Way, draw_triangle_ids, fill_polygons, interpolate, pixel_grid, triangle_affines
from models.mesh.topology import OPENINGS, MeshTopology
from utils.inference.alignment import transform_points
from utils.inference.records import Image, Points

COARSE_PX = 128  # side of the picture on which the halves of a face are weighed
MIRROR_EDGE_PX = 0.012 * COARSE_PX
FULLY_OWN = 0.99
RIM_PX = 0.06 * COARSE_PX  # so far beyond the mesh the source's photo goes on
RIM_BLURS = (
    (0.03 * COARSE_PX, 1.0),
    (0.005 * COARSE_PX, 0.999),
)  # reach, and by how much less than its rim the inside of an opening counts
EDGE_PX = 3.0  # so far beyond the mesh a drawing goes on


def complete_skin(photo: Portrait, own_weight: NDArray[np.float64], topology: MeshTopology) -> Portrait:
    """All of the source's skin: without eyes and mouth, and the half that is seen badly completed by the mirrored other half.

    Args:
        photo: of the source.
        own_weight: (468,) in [0, 1], 1 where a vertex is taken from its own half.
        topology: of the mesh.

    Returns:
        The face turned to the front if it had to be completed.
    """
    whole = photo if own_weight.min() > FULLY_OWN else _complete_halves(photo, own_weight, topology)
    return Portrait(_close_openings(whole), whole.points)


def _close_openings(portrait: Portrait) -> Image:
    """The picture with the colours of lids and lips inside of eyes and mouth: a closed mouth must not show the source's teeth."""
    size, image = portrait.image.shape[0], portrait.image.copy()
    opened = fill_polygons(portrait.points, OPENINGS, size)
    margin = round(RIM_BLURS[0][0] / COARSE_PX * size)
    for ring in OPENINGS:
        corners = np.clip(portrait.points[list(ring), :2], margin, size - margin)
        columns, rows = (
            slice(int(low) - margin, int(high) + margin)
            for low, high in zip(corners.min(0), corners.max(0), strict=True)
        )
        inside, closed = opened[rows, columns], image[rows, columns].astype(np.float32)
        for reach_px, doubt in RIM_BLURS:  # first anything plausible, then what is next to the rim
            around = masked_blur(closed, 1 - doubt * inside, reach_px / COARSE_PX * size)
            cv2.copyTo(around, inside.astype(np.uint8), closed)
        image[rows, columns] = closed
    return image


def _complete_halves(photo: Portrait, own_weight: NDArray[np.float64], topology: MeshTopology) -> Portrait:
    size = photo.image.shape[0]
    turned = _turn_to_front(photo.points)
    points = transform_points(estimate_frame_to_canvas(turned, size), turned)
    ids = draw_triangle_ids(points, topology.closed, size)
    own, mirrored = (
        _sample(photo.image, _way_to(corners, points, ids, topology))
        for corners in (photo.points[:VERTEX_COUNT], photo.points[topology.mirror])
    )
    share = cv2.resize(_spread_weight(own_weight, resize_points(points, COARSE_PX / size), topology), (size, size))
    return Portrait(cv2.blendLinear(own, mirrored, share, 1 - share), points)


def _turn_to_front(points: Points) -> Points:
    """Landmarks turned about the middle of the face until right and left are equally far away."""
    across = (points[list(LEFT_EYE.halo)] - points[list(RIGHT_EYE.halo)]).mean(0)
    x = across / np.linalg.norm(across)
    y = np.cross([0.0, 0.0, 1.0], x)
    y /= np.linalg.norm(y)
    centre = points.mean(0)
    return centre + (points - centre) @ np.column_stack([x, y, np.cross(x, y)])


def _way_to(corners: Points, points: Points, ids: IdMap, topology: MeshTopology) -> Way:
    """Where the pixels of `ids`, drawn at `points`, lie in a picture whose vertices are at `corners`."""
    shift = corners[:, :2] - points[: len(corners), :2]
    planes = interpolate(ids, triangle_affines(points, topology.closed, shift))
    size = ids.shape[0]
    return continue_beyond(cv2.merge(planes), ids, RIM_PX / COARSE_PX * size) + pixel_grid((size, size))


def _sample(image: Image, way: Way) -> Image:
    return cv2.remap(image, way, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _spread_weight(own_weight: NDArray[np.float64], points: Points, topology: MeshTopology) -> FloatImage:
    """(COARSE_PX, COARSE_PX) weight of the face's own half; it varies slowly."""
    ids = draw_triangle_ids(points, topology.closed, COARSE_PX)
    (weight,) = interpolate(ids, triangle_affines(points, topology.closed, own_weight[:, None]))
    spread = masked_blur(np.clip(weight, 0, 1), (ids > 0).astype(np.float32), MIRROR_EDGE_PX)
    return np.clip(continue_beyond(spread, ids, RIM_PX), 0, 1)


def continue_beyond(values: FloatImage, ids: IdMap, reach_px: float) -> FloatImage:
    """Beyond the mesh, for about `reach_px`, `values` (H, W) or (H, W, C) go on as they are at its rim."""
    inside = (ids > 0).view(np.uint8)
    around = masked_blur(values, inside.astype(np.float32), reach_px / 3)
    return cv2.copyTo(values, inside, around)


@dataclass(frozen=True, eq=False)
class Drawing:
    """The result's mesh, drawn once for all that follows: on half a canvas, as what the mesh tells varies slowly.

    Attributes:
        points: (478, 3) landmarks in pixels of the full canvas.
        size: side of the full canvas.
        area: what is drawn.
        ids: of `area` on half a canvas, openings closed; see `draw_triangle_ids`.
        topology: of the mesh.
    """

    points: Points
    size: int
    area: Area
    ids: IdMap
    topology: MeshTopology

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the area on the full canvas."""
        return self.area.shape(self.size)

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the area on the full canvas."""
        return self.area.origin(self.size)

    def skin(self) -> FloatImage:
        """1 in the mesh without its openings; (h, w) of half the area."""
        return ((self.ids > 0) & (self.ids <= len(self.topology.triangles))).astype(np.float32)

    def covered(self) -> FloatImage:
        """1 in the mesh and its openings, 0 elsewhere, in between where the mesh ends in the middle of a pixel; of the area, full size."""
        return cv2.resize((self.ids > 0).astype(np.float32), self.shape[::-1])

    def shifts_to(self, faces: Sequence[Points]) -> list[Way]:
        """For each of some faces, (468 or more, 2 or more) landmarks on the full canvas: how far off the same point of the face lies there.

        In pixels of the full canvas, for the pixels of half the area; 0 outside of the mesh.
        """
        shifts = np.hstack([face[:VERTEX_COUNT, :2] - self.points[:VERTEX_COUNT, :2] for face in faces])
        table = triangle_affines(resize_points(self.points, 0.5), self.topology.closed, shifts)
        planes = interpolate(self.ids, table, self.area.origin(self.size // 2))
        return [cv2.merge(planes[at : at + 2]) for at in range(0, len(planes), 2)]

    def warp(self, picture: FloatImage, shift: Way) -> FloatImage:
        """`picture` of a face, square and showing what its canvas shows, drawn on the area of the full canvas and a little beyond the mesh.

        Args:
            picture: (T, T, C).
            shift: to its landmarks, from `shifts_to`.
        """
        way = follow(continue_beyond(shift, self.ids, EDGE_PX), self.origin, picture.shape[0] / self.size)
        return cv2.remap(picture, way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def draw_mesh(points: Points, size: int, topology: MeshTopology) -> Drawing:
    """Draw the mesh of a result with (478, 3) landmarks `points` for a canvas of `size` pixels."""
    area = choose_area(points, size)
    # Where an opening is closed, the skin on both sides of it is drawn.
    openings = len(topology.closed) - len(topology.triangles)
    ids = draw_triangle_ids(resize_points(points, 0.5), topology.closed, size // 2, behind=openings)
    return Drawing(points, size, area, area.of(ids), topology)


def follow(shift: Way, origin: tuple[int, int], scale: float = 1.0) -> Way:
    """Where the pixels of a full canvas are to be looked up.

    Args:
        shift: from `Drawing.shifts_to`, or a part of that.
        origin: (x, y) of its first pixel on the full canvas.
        scale: pixels of the other picture per canvas pixel.
    """
    height, width = shift.shape[:2]
    # The first pixel of half a canvas covers the first two of the full one.
    place = pixel_grid((height, width), (origin[0] + 0.5, origin[1] + 0.5), (2, 2))
    place += shift
    way = cv2.addWeighted(place, scale, place, 0, (scale - 1) / 2)
    return cv2.resize(way, (2 * width, 2 * height))
