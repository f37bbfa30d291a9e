"""The openings: the source's eyes looking where the target looks, and the target's own mouth.

Everything works on a small box around one opening.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, EYES, EyeIndices
from models.mesh.canvas import FloatImage, Portrait
from models.mesh.colour import from_lab, to_lab
from models.mesh.raster import SUBPIXEL_BITS, Way, fixed_point, pixel_grid
from models.mesh.render import Drawing, follow
from utils.inference.blending import weigh
from utils.inference.records import Image, Points

EyeColour: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

EDGE_BLUR, EDGE_BLUR_LEAST_PX = 0.0035, 0.6  # of the canvas
SOLID = 0.3  # weight from which on a pixel belongs to the eye
OPEN_ENOUGH = 0.8  # lid distance in iris radii under which an eye shows too little to be used
OPENER_THAN = 0.8  # of the target's opening, which the source's must reach
SMALLEST_IRIS_PX = 2.0
WHITES_LIT = 0.5  # lightness of the whites over that of the skin, below which an eye lies in shadow or behind glasses
SPLINE_STIFFNESS = 0.01
SPLINE_GRID = 24  # nodes each way at which the spline is computed
EXPOSURE_RANGE = (0.4, 1.8)
CAST_LIMIT = 15.0
IRIS_INNER, IRIS_OUTER = 0.35, 0.85  # of its radius: without pupil and rim
IRIS_FEWEST_PIXELS = 8
IRIS_OPENING = 0.9
IRIS_SMALLEST_RECOLOURED_PX = 2.5
IRIS_SHIFT_LIMIT, IRIS_SHIFT_SHARE = (15.0, 15.0, 25.0), (0.5, 0.9, 0.9)  # L, a, b


@dataclass(frozen=True, eq=False)
class Patch:
    """The inside of one opening: (h, w, 3) BGR float32 and its weight (h, w), to be laid into `box` of the canvas."""

    box: Box
    image: FloatImage
    weight: FloatImage


def lay_in(picture: FloatImage, patch: Patch, origin: tuple[int, int]) -> None:
    """Blend a patch into a part of the canvas whose first pixel is `origin` (x, y), in place."""
    (left, top, right, bottom), (x, y) = patch.box, origin
    area = picture[top - y : bottom - y, left - x : right - x]
    area += weigh(patch.image - area, patch.weight)


def warp_opening(target: Image, drawing: Drawing, shift: Way, ring: Sequence[int]) -> Patch:
    """The target's own inside of an opening, moved with the landmarks.

    Args:
        target: (S, S, 3).
        drawing: of the result.
        shift: to the target, from `Drawing.shifts_to`.
        ring: landmarks around the opening.
    """
    sigma_px = max(EDGE_BLUR_LEAST_PX, EDGE_BLUR * drawing.size)
    corners = drawing.points[list(ring)]
    box = _even(_box_around(corners, int(np.ceil(3 * sigma_px)) + 2, drawing.size))
    left, top, right, bottom = box
    x, y = drawing.origin
    part = shift[(top - y) // 2 : (bottom - y) // 2, (left - x) // 2 : (right - x) // 2]
    image = cv2.remap(target, follow(part, (left, top)), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(inside, [fixed_point(corners - (left, top, 0))], 1.0, cv2.LINE_8, SUBPIXEL_BITS)
    return Patch(box, image.astype(np.float32), cv2.GaussianBlur(inside, (0, 0), sigma_px))


def give_source_eyes(
    patches: list[Patch], points: Points, source: Portrait, lit: bool, colours: tuple[EyeColour | None, ...], grey: bool
) -> list[Patch]:
    """Replace the target's eyes by the source's; both or none, as a face with one of each seems to wink.

    Where the source's eyes are in the dark or less open than the target's, the target's stay and take the colour of the source's irises.

    Args:
        patches: the openings of the right and the left eye, from `warp_opening`.
        points: (478, 3) landmarks of the result.
        source: canvas to sample.
        lit: whether the source's eyes can be seen well, from `are_eyes_lit`.
        colours: of the source's irises.
        grey: whether the target has no colour.
    """
    if lit and _open_enough(points, source.points):
        return [_transplant(patch, points, source, eye, grey) for patch, eye in zip(patches, EYES, strict=True)]
    if grey:
        return patches
    return [_recolour(patch, points, eye, colour) for patch, eye, colour in zip(patches, EYES, colours, strict=True)]


def _open_enough(points: Points, source_points: Points) -> bool:
    wanted, present = (
        float(np.mean([_lid_distance(face, eye) / iris_radius(face, eye) for eye in EYES]))
        for face in (points, source_points)
    )
    radius_px = float(np.mean([iris_radius(points, eye) for eye in EYES]))
    return present >= max(OPENER_THAN * wanted, OPEN_ENOUGH) and radius_px >= SMALLEST_IRIS_PX


def are_eyes_lit(image: Image, points: Points) -> bool:
    """Whether the whites of both eyes are bright beside the skin: exposed like the target's, dark ones would turn red or blue."""

    def lightness(polygon: tuple[int, ...], percentile: float) -> float:
        box = _box_around(points[list(polygon)], 1, image.shape[0])
        left, top, right, bottom = box
        inside = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(inside, [fixed_point(points[list(polygon)] - (left, top, 0))], 1, cv2.LINE_8, SUBPIXEL_BITS)
        values = to_lab(image[top:bottom, left:right])[..., 0][inside > 0]
        return float(np.percentile(values, percentile)) if len(values) else 0.0

    whites = min(lightness(eye.ring, 85) for eye in EYES)
    return whites >= WHITES_LIT * lightness(CHEEKS_AND_NOSE, 50)


def iris_radius(points: Points, eye: EyeIndices) -> float:
    """Mean distance of the rim from the centre of the iris."""
    spokes = points[list(eye.rim), :2] - points[eye.iris, :2]
    return max(float(np.linalg.norm(spokes, axis=1).mean()), 1e-3)


def _lid_distance(points: Points, eye: EyeIndices) -> float:
    return float(np.linalg.norm(points[eye.upper, :2] - points[eye.lower, :2]))


def _transplant(patch: Patch, points: Points, source: Portrait, eye: EyeIndices, grey: bool) -> Patch:
    """The source's eye in the result's lids, its iris where the target's is, with the target's exposure and tint."""
    nodes = _eye_nodes(points, eye)
    lids = points[list(eye.ring), :2].astype(np.float32)
    kept = [*range(16), *(i for i in range(16, 19) if cv2.pointPolygonTest(lids, nodes[i].tolist(), False) >= 0)]
    way = _bend(nodes[kept], _eye_nodes(source.points, eye)[kept], patch.box)
    sampled = cv2.remap(source.image, way, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lab, solid = to_lab(sampled), patch.weight > SOLID
    lab = _expose(lab, lab[solid], to_lab(np.clip(patch.image, 0, 255))[solid], grey)
    return Patch(patch.box, from_lab(lab), patch.weight)


def _expose(lab: FloatImage, eye: NDArray[np.float32], target: NDArray[np.float32], grey: bool) -> FloatImage:
    """Match `lab` to a target by the white of both eyes, which is their brighter part; `eye`, `target`: (N, 3) pixels."""
    gain = np.clip((np.percentile(target[:, 0], 85) + 8) / (np.percentile(eye[:, 0], 85) + 8), *EXPOSURE_RANGE)
    saturation = min(float(np.abs(target[:, 1:]).mean() / (np.abs(eye[:, 1:]).mean() + 1e-3)), 1.0) if grey else 1.0
    target_white = target[target[:, 0] >= np.percentile(target[:, 0], 70), 1:].mean(0)
    white = eye[eye[:, 0] >= np.percentile(eye[:, 0], 70), 1:].mean(0) * saturation
    cast = np.clip(target_white - white, -CAST_LIMIT, CAST_LIMIT)
    light = (lab[..., :1] + 8) * gain - 8
    return np.concatenate([light, lab[..., 1:] * saturation + cast], -1).astype(np.float32)


def _eye_nodes(points: Points, eye: EyeIndices) -> Points:
    """(19, 2): the lid line, the centre of the iris, and its two ends along the eye's axis."""
    ring = points[list(eye.ring), :2]
    axis = points[eye.inner, :2] - points[eye.outer, :2]
    reach = axis / max(float(np.linalg.norm(axis)), 1e-6) * iris_radius(points, eye)
    centre = points[eye.iris, :2]
    return np.concatenate([ring, [centre, centre + reach, centre - reach]])


def _bend(from_nodes: Points, to_nodes: Points, box: Box) -> Way:
    """Thin-plate spline that takes `from_nodes` to `to_nodes`, (K, 2), at the pixels of `box`.

    So smooth a function needs to be computed at few pixels only; those between are interpolated.
    """
    left, top, right, bottom = box
    columns = np.linspace(left, right - 1, min(right - left, SPLINE_GRID))
    rows = np.linspace(top, bottom - 1, min(bottom - top, SPLINE_GRID))
    where = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    unit = max(float(np.ptp(from_nodes, 0).max()), 1e-6)
    origin = from_nodes.mean(0)
    nodes, queries = (from_nodes - origin) / unit, (where - origin) / unit

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
    weights = np.linalg.solve(system, np.concatenate([to_nodes, np.zeros((3, 2))]))
    bent = (kernel(queries) @ weights[:count] + plane(queries) @ weights[count:]).reshape(len(rows), len(columns), 2)
    steps = ((len(columns) - 1) / max(right - left - 1, 1), (len(rows) - 1) / max(bottom - top - 1, 1))
    nodes_at = pixel_grid((bottom - top, right - left), step=steps)
    return cv2.remap(bent.astype(np.float32), nodes_at, None, cv2.INTER_LINEAR)


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
    lab = to_lab(np.clip(patch.image, 0, 255))
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


def _even(box: Box) -> Box:
    """Widened to whole pixels of half a canvas."""
    left, top, right, bottom = box
    return left // 2 * 2, top // 2 * 2, (right + 1) // 2 * 2, (bottom + 1) // 2 * 2
