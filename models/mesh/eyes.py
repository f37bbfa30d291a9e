"""The openings: the source's eyes looking where the target looks, and the target's own mouth.

Everything works on a small box around one opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from models.mesh.colour import from_lab, to_lab
from models.mesh.raster import SUBPIXEL_BITS, draw_triangle_ids, fixed_point, interpolate, triangle_affines
from models.mesh.topology import EYES, EyeIndices, Indices
from utils.inference.records import Image, Points

EyeColour: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

EDGE_BLUR = 0.0035  # of the canvas
OPEN_ENOUGH = 0.8  # lid distance in iris radii under which an eye shows too little to be used
OPENER_THAN = 0.8  # of the target's opening, which the source's must reach
SMALLEST_IRIS_PX = 2.0
SPLINE_STIFFNESS = 0.01
EXPOSURE_RANGE = (0.4, 1.8)
CAST_LIMIT = 15.0
IRIS_INNER, IRIS_OUTER = 0.35, 0.85  # of its radius: without pupil and rim
IRIS_FEWEST_PIXELS = 8
IRIS_OPENING = 0.9
IRIS_SMALLEST_RECOLOURED_PX = 2.5
IRIS_SHIFT_LIMIT, IRIS_SHIFT_SHARE = (15.0, 15.0, 25.0), (0.5, 0.9, 0.9)  # L, a, b


@dataclass(frozen=True, eq=False)
class Patch:
    """The inside of one opening: `image` (h, w, 3) BGR float32 and its `weight` (h, w), to be laid into `box` of the canvas."""

    box: Box
    image: FloatImage
    weight: FloatImage


def lay_in(canvas: FloatImage, patch: Patch) -> None:
    """Blend a patch into the canvas, in place."""
    left, top, right, bottom = patch.box
    area = canvas[top:bottom, left:right]
    area += (patch.image - area) * patch.weight[..., None]


def warp_opening(target: Image, target_points: Points, points: Points, hole: Indices) -> Patch:
    """The target's own inside of an opening, moved with the landmarks."""
    size = target.shape[0]
    sigma_px = max(0.6, EDGE_BLUR * size)
    box = _box_around(points[np.unique(hole)], int(np.ceil(3 * sigma_px)) + 2, size)
    left, top, right, bottom = box
    flat = np.column_stack([points[:, :2] - (left, top), np.zeros(len(points))])
    ids = draw_triangle_ids(flat, hole, max(right - left, bottom - top))[: bottom - top, : right - left]
    map_x, map_y = interpolate(ids, triangle_affines(flat, hole, target_points[:, :2]))
    inside = (ids > 0).astype(np.float32)
    x, y = _pixel_grid(box)
    reach = (int(6 * sigma_px) | 1,) * 2
    near = np.maximum(cv2.blur(inside, reach), np.float32(1e-6))
    map_x = np.where(ids > 0, map_x, x + cv2.blur((map_x - x) * inside, reach) / near)
    map_y = np.where(ids > 0, map_y, y + cv2.blur((map_y - y) * inside, reach) / near)
    image = cv2.remap(target, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Patch(box, image.astype(np.float32), cv2.GaussianBlur(inside, (0, 0), sigma_px))


def give_source_eyes(
    patches: list[Patch],
    points: Points,
    source: Image,
    source_points: Points,
    colours: tuple[EyeColour | None, ...],
    grey: bool,
) -> list[Patch]:
    """Replace the target's eyes by the source's; both or none, as a face with one of each seems to wink.

    Where the source's eyes are less open than the target's, the target's stay and take the colour of the source's iris.

    Args:
        patches: the openings of the right and the left eye, from `warp_opening`.
        points: (478, 3) landmarks of the result.
        source: canvas to sample, with its landmarks `source_points`.
        colours: of the source's irises.
        grey: whether the target has no colour.
    """
    if _eyes_usable(points, source_points, patches):
        return [
            _transplant(patch, points, source, source_points, eye, grey)
            for patch, eye in zip(patches, EYES, strict=True)
        ]
    if grey:
        return patches
    return [_recolour(patch, points, eye, colour) for patch, eye, colour in zip(patches, EYES, colours, strict=True)]


def _eyes_usable(points: Points, source_points: Points, patches: list[Patch]) -> bool:
    opening = np.mean([_lid_distance(points, eye) / iris_radius(points, eye) for eye in EYES])
    radii = [iris_radius(source_points, eye) for eye in EYES]
    source_opening = np.mean([_lid_distance(source_points, eye) / r for eye, r in zip(EYES, radii, strict=True)])
    return bool(source_opening >= max(OPENER_THAN * opening, OPEN_ENOUGH) and np.mean(radii) >= SMALLEST_IRIS_PX)


def iris_radius(points: Points, eye: EyeIndices) -> float:
    """Mean distance of the rim from the centre of the iris."""
    spokes = points[list(eye.rim), :2] - points[eye.iris, :2]
    return max(float(np.linalg.norm(spokes, axis=1).mean()), 1e-3)


def _lid_distance(points: Points, eye: EyeIndices) -> float:
    return float(np.linalg.norm(points[eye.upper, :2] - points[eye.lower, :2]))


def _transplant(
    patch: Patch, points: Points, source: Image, source_points: Points, eye: EyeIndices, grey: bool
) -> Patch:
    """The source's eye in the result's lids, its iris where the target's is, exposed and tinted like the target's eye."""
    x, y = _pixel_grid(patch.box)
    used = patch.weight > 1e-3
    from_points, to_points = _eye_pairs(points, eye), _eye_pairs(source_points, eye)
    inside = [
        cv2.pointPolygonTest(points[list(eye.ring), :2].astype(np.float32), tuple(p), False) >= 0
        for p in from_points[16:].tolist()
    ]
    kept = np.array([True] * 16 + inside)
    sampled = _bend(from_points[kept], to_points[kept], np.column_stack([x[used], y[used]]))
    image = patch.image.copy()
    image[used] = cv2.remap(
        source, sampled.astype(np.float32)[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[0]
    lab, target_lab = to_lab(image), to_lab(patch.image)
    solid = patch.weight > 0.3
    lab[used] = _expose(lab[used], lab[solid], target_lab[solid], grey)
    return Patch(patch.box, from_lab(lab), patch.weight)


def _expose(
    lab: NDArray[np.float32], eye: NDArray[np.float32], target: NDArray[np.float32], grey: bool
) -> NDArray[np.float32]:
    """Match an eye to another by the white of both, which is their brighter part."""
    gain = np.clip((np.percentile(target[:, 0], 85) + 8) / (np.percentile(eye[:, 0], 85) + 8), *EXPOSURE_RANGE)
    saturation = min(float(np.abs(target[:, 1:]).mean() / (np.abs(eye[:, 1:]).mean() + 1e-3)), 1.0) if grey else 1.0
    target_white = target[target[:, 0] >= np.percentile(target[:, 0], 70), 1:].mean(0)
    white = eye[eye[:, 0] >= np.percentile(eye[:, 0], 70), 1:].mean(0) * saturation
    cast = np.clip(target_white - white, -CAST_LIMIT, CAST_LIMIT)
    light = (lab[:, :1] + 8) * gain - 8
    return np.concatenate([light, lab[:, 1:] * saturation + cast], 1).astype(np.float32)


def _eye_pairs(points: Points, eye: EyeIndices) -> Points:
    """(19, 2): the lid line, the centre of the iris, and its left and right end along the eye's axis."""
    ring = points[list(eye.ring), :2]
    axis = points[eye.inner, :2] - points[eye.outer, :2]
    reach = axis / max(float(np.linalg.norm(axis)), 1e-6) * iris_radius(points, eye)
    centre = points[eye.iris, :2]
    return np.concatenate([ring, [centre, centre + reach, centre - reach]])


def _bend(from_points: Points, to_points: Points, where: Points) -> Points:
    """Thin-plate spline through pairs of points, evaluated at `where`; all (K, 2)."""
    unit = max(float(np.ptp(from_points, 0).max()), 1e-6)
    origin = from_points.mean(0)
    nodes, queries = (from_points - origin) / unit, (where - origin) / unit

    def kernel(points: Points) -> Points:
        squared = ((points[:, None] - nodes[None]) ** 2).sum(-1)
        return 0.5 * squared * np.log(squared + 1e-9)

    def plane(points: Points) -> Points:
        return np.column_stack([np.ones(len(points)), points])

    count = len(nodes)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = kernel(nodes) + SPLINE_STIFFNESS * np.eye(count)
    system[:count, count:] = plane(nodes)
    system[count:, :count] = plane(nodes).T
    weights = np.linalg.solve(system, np.concatenate([to_points, np.zeros((3, 2))]))
    return kernel(queries) @ weights[:count] + plane(queries) @ weights[count:]


def measure_eye_colour(image: Image | FloatImage, points: Points, eye: EyeIndices) -> EyeColour | None:
    """Median LAB of an iris without its pupil, (3,); None if the eye is too closed or too small to tell."""
    radius = iris_radius(points, eye)
    if _lid_distance(points, eye) < IRIS_OPENING * radius:
        return None
    box = _box_around(points[[*eye.ring, *eye.rim]], 2, image.shape[0])
    mask = _iris_mask(points, eye, radius, box) > 0.5
    if mask.sum() <= IRIS_FEWEST_PIXELS:
        return None
    left, top, right, bottom = box
    return np.median(to_lab(image[top:bottom, left:right])[mask], 0)


def _recolour(patch: Patch, points: Points, eye: EyeIndices, colour: EyeColour | None) -> Patch:
    """Shift the colour of the target's iris towards the source's; gaze and reflections stay."""
    radius = iris_radius(points, eye)
    too_small = radius < IRIS_SMALLEST_RECOLOURED_PX or _lid_distance(points, eye) < IRIS_OPENING * radius
    mask = _iris_mask(points, eye, radius, patch.box)
    if colour is None or too_small or (mask > 0.5).sum() <= IRIS_FEWEST_PIXELS:
        return patch
    lab = to_lab(patch.image)
    shift = np.clip(colour - np.median(lab[mask > 0.5], 0), -np.array(IRIS_SHIFT_LIMIT), IRIS_SHIFT_LIMIT)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, radius * 0.12))
    lab += (soft[..., None] * (shift * IRIS_SHIFT_SHARE)).astype(np.float32)
    return Patch(patch.box, from_lab(lab), patch.weight)


def _iris_mask(points: Points, eye: EyeIndices, radius: float, box: Box) -> FloatImage:
    """The coloured ring of an iris as far as the lids show it, on `box`."""
    left, top, right, bottom = box
    shape = (bottom - top, right - left)
    local = points - (left, top, 0)
    centre = fixed_point(local[eye.iris : eye.iris + 1])[0].tolist()
    unit = 1 << SUBPIXEL_BITS
    iris, lids = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    cv2.circle(iris, centre, int(radius * IRIS_OUTER * unit), 1.0, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.circle(iris, centre, int(radius * IRIS_INNER * unit), 0.0, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    cv2.fillPoly(lids, [fixed_point(local[list(eye.ring)])], 1.0, cv2.LINE_AA, SUBPIXEL_BITS)
    return iris * lids


def _box_around(points: Points, margin: int, size: int) -> Box:
    """The box of some landmarks, widened, inside the canvas and at least one pixel large."""
    left, top = (int(v) for v in np.clip(np.floor(points[:, :2].min(0)) - margin, 0, size - 1))
    right, bottom = (int(v) for v in np.clip(np.ceil(points[:, :2].max(0)) + margin + 1, (left + 1, top + 1), size))
    return left, top, right, bottom


def _pixel_grid(box: Box) -> tuple[FloatImage, FloatImage]:
    left, top, right, bottom = box
    x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    return x, y
