"""The source side, computed once for each photo: its canvas in several sizes, and which half of the face to take where."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, FACING, LANDMARK_COUNT, NOSE_RIDGE, VERTEX_COUNT
from models.mesh.albedo import even_light
from models.mesh.canvas import FloatImage, Portrait, choose_size, cut_out, estimate_frame_to_canvas, resize_points
from models.mesh.colour import to_tones
from models.mesh.eyes import EyeColour, are_eyes_lit, measure_eye_colour
from models.mesh.glasses import find_glasses
from models.mesh.glasses_pixels import take_off
from models.mesh.raster import draw_triangle_ids
from models.mesh.render import complete_skin
from models.mesh.topology import MeshTopology
from utils.inference.alignment import transform_points
from utils.inference.records import Image, Points, View

SMALLEST_PX, LARGEST_PX = 512, 1024
MINIFY_FROM = 1.3  # texture pixels per canvas pixel above which the texture is blurred before sampling
BLUR_PER_SCALE_PX = 0.35
KEPT_SIZES = 3  # of canvases for which a texture stays prepared
SEEN_ENOUGH = 0.3  # visibility of the better half from which on the two are compared
OUTLINE_ROUNDS = 4  # rings of vertices that may follow their neighbours
RIDGE_SEEN = (0.5, 0.6)  # visibility of the nose's ridge: half where it is the contour, more where both flanks are seen
CONTOUR_RETREAT = (
    1.0  # of the way from there to the neighbours that are seen; among these are other points of the ridge
)
MIRROR_GAIN = 0.15  # by how much the other half must be seen better before it replaces this one


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A portrait in several sizes.

    Attributes:
        levels: BGR canvases, finest first, each half as large as the one before.
        points: (478, 3) landmarks in pixels of `levels[0]`.
    """

    levels: tuple[Image, ...]
    points: Points

    def portrait_for(self, size: int) -> Portrait:
        """The picture to sample for a canvas of `size` pixels: about as fine as that, so that nothing aliases."""
        image = next((level for level in reversed(self.levels) if level.shape[0] >= MINIFY_FROM * size), self.levels[0])
        scale = image.shape[0] / size
        points = self.points_at(image.shape[0])
        return Portrait(
            cv2.GaussianBlur(image, (0, 0), BLUR_PER_SCALE_PX * scale) if scale > MINIFY_FROM else image, points
        )

    def points_at(self, size: int) -> Points:
        """The landmarks in pixels of a canvas of `size` pixels."""
        return resize_points(self.points, size / self.levels[0].shape[0])


@dataclass(frozen=True, eq=False)
class SizedTexture:
    """A source as it is sampled for canvases of one size.

    Attributes:
        photo: of the source.
        skin: (T, T, 3) tones, see `to_tones`, complete.
        skin_points: (478, 3) its landmarks in pixels of the canvas, not of `skin`.
    """

    photo: Portrait
    skin: FloatImage
    skin_points: Points


@dataclass(frozen=True, eq=False)
class SourceTexture:
    """What a swap needs of a source photo.

    Attributes:
        photo: the source as it was taken.
        skin: the same with both halves of the face, see `complete_skin`.
        eyes_lit: whether the eyes can be seen well enough to be used.
        eye_colours: iris colour of the right and the left eye; None where it cannot be measured.
    """

    photo: Pyramid
    skin: Pyramid
    eyes_lit: bool
    eye_colours: tuple[EyeColour | None, ...]
    _sized: dict[int, SizedTexture] = field(default_factory=dict)

    def sized(self, size: int) -> SizedTexture:
        """For canvases of `size` pixels; kept for the next frames, in which faces are about as large."""
        found = self._sized.get(size)
        if found is None:
            skin = to_tones(self.skin.portrait_for(size).image)
            found = SizedTexture(self.photo.portrait_for(size), skin, self.skin.points_at(size))
            if len(self._sized) >= KEPT_SIZES:
                self._sized.clear()
            self._sized[size] = found
        return found


def prepare_texture(view: View, topology: MeshTopology) -> SourceTexture:
    """Compute the source side of a swap.

    Raises:
        ValueError: if the view's face has no dense landmarks.
    """
    landmarks = view.face.landmarks
    if landmarks is None or landmarks.shape != (LANDMARK_COUNT, 3):
        raise ValueError(f"the mesh generator needs ({LANDMARK_COUNT}, 3) landmarks; {view.name!r} has none")
    size = choose_size(landmarks, SMALLEST_PX, LARGEST_PX)
    frame_to_canvas = estimate_frame_to_canvas(landmarks, size)
    photo = Portrait(cut_out(view.image, frame_to_canvas, size), transform_points(frame_to_canvas, landmarks))
    glasses = find_glasses(photo)
    bare = photo if glasses is None else Portrait(take_off(photo, glasses), photo.points)
    even = even_light(bare, topology)
    visibility = measure_visibility(photo.points, topology, size)
    inner = Portrait(even.image, retreat_from_contour(even.points, visibility, topology))
    return SourceTexture(
        photo=_build_pyramid(photo),
        skin=_build_pyramid(complete_skin(inner, weigh_own_half(visibility, topology), topology)),
        eyes_lit=are_eyes_lit(photo.image, photo.points),
        eye_colours=tuple(measure_eye_colour(photo.image, photo.points, eye) for eye in EYES),
    )


def _build_pyramid(portrait: Portrait) -> Pyramid:
    levels = [portrait.image]
    while levels[-1].shape[0] // 2 >= SMALLEST_PX // 2 and levels[-1].shape[0] % 2 == 0:
        half = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (half, half), interpolation=cv2.INTER_AREA))
    return Pyramid(tuple(levels), portrait.points)


def retreat_from_contour(points: Points, visibility: NDArray[np.float64], topology: MeshTopology) -> Points:
    """Landmarks to sample a turned face at: where the ridge of the nose is its contour, they lie a little further inside.

    Otherwise landmarks that are off by a pixel take what is behind the nose into the middle of the face.

    Args:
        points: (478, 3) landmarks.
        visibility: (468,), see `measure_visibility`.
        topology: of the mesh.

    Returns:
        (478, 3); those of a face that shows both flanks of its nose are unchanged.
    """
    start, end = topology.edges.T
    seen = visibility[end] ** 2
    total = np.maximum(np.bincount(start, seen, VERTEX_COUNT), 1e-3)
    inside = np.stack([np.bincount(start, seen * part[end], VERTEX_COUNT) / total for part in points.T], 1)
    ridge = list(NOSE_RIDGE)
    contour, clear = RIDGE_SEEN
    share = CONTOUR_RETREAT * np.clip((clear - visibility[ridge]) / (clear - contour), 0, 1)
    retreated = points.copy()
    retreated[ridge] += share[:, None] * (inside[ridge] - points[ridge])
    return retreated


def weigh_own_half(visibility: NDArray[np.float64], topology: MeshTopology) -> NDArray[np.float64]:
    """(468,) in [0, 1]: 1 where a vertex is shown as it is, less where the mirrored half of the face is seen better.

    Near the outline neither half is seen well; such vertices follow their neighbours further in.
    """
    mirrored = visibility[topology.mirror]
    better = mirrored > visibility + MIRROR_GAIN
    weight = np.where(better, np.clip(visibility / np.maximum(mirrored, 1e-3), 0, 1) ** 2, 1.0)
    known = (np.maximum(visibility, mirrored) > SEEN_ENOUGH).astype(np.float64)
    start, end = topology.edges.T
    for _ in range(OUTLINE_ROUNDS):
        reached = np.bincount(start, known[end], VERTEX_COUNT)
        around = np.bincount(start, (known * weight)[end], VERTEX_COUNT) / np.maximum(reached, 1)
        newly = (known == 0) & (reached > 0)
        weight[newly] = around[newly]
        known[newly] = 1
    return weight


def vertex_normals(points: Points, topology: MeshTopology) -> Points:
    """(468, 3) unit normals; those that face the camera have a negative z."""
    a, b, c = (points[topology.triangles[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros((VERTEX_COUNT, 3))
    for corner in range(3):
        np.add.at(normals, topology.triangles[:, corner], across)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    return -normals if normals[list(FACING), 2].mean() > 0 else normals


def measure_visibility(points: Points, topology: MeshTopology, size: int) -> NDArray[np.float64]:
    """How well each vertex is seen, in [0, 1]: turned to the camera, and not hidden by a nearer part of the face.

    A vertex beside a badly seen one counts less, so that the border of the seen region is not used to its last pixel.
    """
    triangles = topology.triangles
    ids = draw_triangle_ids(points, triangles, size)
    drawn = np.bincount(ids.ravel(), minlength=len(triangles) + 1)[1:].astype(np.float64)
    a, b, c = (points[triangles[:, corner], :2] for corner in range(3))
    area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    shown = np.clip(drawn / np.maximum(np.abs(area), 2.0), 0, 1)
    shown[np.abs(area) < 2] = np.minimum(shown[np.abs(area) < 2], 0.5)
    shown[area * np.sign(np.median(area)) <= 0] = 0  # turned away in the picture
    corner = triangles.ravel()
    shown_sum, count = (
        np.bincount(corner, np.repeat(shown, 3), VERTEX_COUNT),
        np.bincount(corner, minlength=VERTEX_COUNT),
    )
    around = shown_sum / np.maximum(count, 1)
    facing = np.clip((-vertex_normals(points, topology)[:, 2] - 0.05) / 0.45, 0, 1) ** 1.5
    visibility = facing * np.clip((around - 0.45) / 0.4, 0, 1)
    worst_near = visibility.copy()
    np.minimum.at(worst_near, topology.edges[:, 0], visibility[topology.edges[:, 1]])
    return (visibility + worst_near) / 2
