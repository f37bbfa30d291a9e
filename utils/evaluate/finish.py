"""Whether a swapped face looks as if it belonged to its picture: seam, edge colour, sharpness, grain. Pure functions on one face.

Everything is compared with the same face of the target before the swap, so that 1 (or 0, for the colour) is a swap that cannot be seen.
The edge of a mask is no line: a generator may join the pictures further inside. So the edge is looked at along contours from a little
outside of where the mask is a half to well inside, and the worst of them counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, EYES, LIPS_OUTER
from models.mesh.canvas import FloatImage
from models.mesh.colour import skin_likeness, to_lab
from utils.evaluate.colour_difference import ciede2000
from utils.evaluate.expression import eye_distance
from utils.inference.records import Image, Mask, Points

FEATURES = (LIPS_OUTER, *(part for eye in EYES for part in (eye.ring, eye.brow)))
# Lengths without a unit are shares of the eye distance.
MARGIN = 0.5  # around the mask that is looked at
CONTOUR_DEPTHS = (-0.04, 0.0, 0.04, 0.08, 0.12, 0.16)  # inwards from where the mask is a half
EDGE_SIGMA, LEAST_EDGE_SIGMA_PX = 0.02, 2.0  # width of a step that counts as a seam
SHADING_SIGMAS = 3.0  # times that: what changes over more is shading
ARCS = 32  # pieces of a contour, within which a step has to go one way: a seam does, texture does not
FEWEST_IN_AN_ARC, FEWEST_PIXELS = 3, 24
LEAST_STEP = 0.5  # CIELAB units over EDGE_SIGMA: what is fainter in a smooth face is not seen
TRIMMED = 0.1  # of the arcs, at either end
COLOUR_SIGMA = 0.06  # over which skin is averaged before its colour is compared
LINE_MARGIN, FEATURE_MARGIN = 0.04, 0.06  # around the lines of eyes, brows and lips, and around the whole of them
BLURS_PX = (0.6, 1.2)  # between which gradients are compared to tell how wide an edge is
SHARP_EYES_PX = 80.0  # eye distance up to which blurs are those of single pixels; they grow with larger faces
STRONGEST = 0.2  # share of the pixels along those lines that are edges
GRAIN_SIGMA_PX = 0.8
ROUNDING = 0.29  # grey levels, 1 / sqrt(12): what whole numbers add to any picture


@dataclass(frozen=True)
class Finish:
    """How well one swapped face fits into its picture.

    Attributes:
        seam: step across the edge of the mask over that in the target; 1 is invisible.
        edge_colour: CIEDE2000 between the skin at the edge and the target's own.
        sharpness: of eyes, brows and lips over the target's; 1 is as sharp.
        grain: of bare skin over the target's; 1 is as grainy.
    """

    seam: float
    edge_colour: float
    sharpness: float
    grain: float


@dataclass(frozen=True, eq=False)
class FacePair:
    """One face of a picture before and after the swap.

    Attributes:
        target, result: (H, W, 3) BGR uint8.
        weight: (H, W) float32 in [0, 1]; 0 where nothing was pasted.
        target_points, result_points: (478, 3) landmarks of the face in each.
    """

    target: Image
    result: Image
    weight: Mask
    target_points: Points
    result_points: Points

    @cached_property
    def unit_px(self) -> float:
        """The eye distance."""
        return eye_distance(self.target_points)

    @cached_property
    def depth_px(self) -> FloatImage:
        """(H, W) distance from the contour where the mask is a half, positive inside."""
        inside = (self.weight >= 0.5).astype(np.uint8)
        within, without = (
            cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (inside, 1 - inside)
        )
        return np.asarray(within - without, np.float32)

    @cached_property
    def labs(self) -> tuple[FloatImage, FloatImage]:
        """Both pictures, target first, as CIELAB."""
        return to_lab(self.target), to_lab(self.result)

    @cached_property
    def edge_sigma_px(self) -> float:
        """EDGE_SIGMA in pixels."""
        return max(LEAST_EDGE_SIGMA_PX, EDGE_SIGMA * self.unit_px)

    @cached_property
    def plain(self) -> NDArray[np.bool_]:
        """(H, W): no eyes, brows or lips in either picture."""
        features = [_fill(self.weight.shape, points, FEATURES) for points in (self.target_points, self.result_points)]
        return cv2.dilate(np.maximum(*features), _disc(FEATURE_MARGIN * self.unit_px)) == 0

    @cached_property
    def bare_skin(self) -> NDArray[np.bool_]:
        """(H, W): where both pictures show plain skin."""
        bare = self.plain
        for lab, points in zip(self.labs, (self.target_points, self.result_points), strict=True):
            cheeks = _fill(self.weight.shape, points, [CHEEKS_AND_NOSE]) * self.plain
            smooth = cv2.GaussianBlur(lab, (0, 0), self.edge_sigma_px)
            bare = bare & (skin_likeness(smooth, cheeks.astype(np.float32)) > 0.5)
        return bare

    @cached_property
    def contours(self) -> list[NDArray[np.bool_]]:
        """(H, W) of each depth of CONTOUR_DEPTHS: a line as wide as EDGE_SIGMA."""
        half_px = self.edge_sigma_px / 2
        return [np.abs(self.depth_px - depth * self.unit_px) <= half_px for depth in CONTOUR_DEPTHS]


def cut_pair(pair: FacePair) -> FacePair | None:
    """The part of both pictures around the mask; None if nothing was pasted."""
    rows, columns = np.flatnonzero((pair.weight >= 0.5).any(1)), np.flatnonzero((pair.weight >= 0.5).any(0))
    if not len(rows):
        return None
    margin = round(MARGIN * pair.unit_px)
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    place = slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)
    target_points, result_points = (points - (left, top, 0) for points in (pair.target_points, pair.result_points))
    return FacePair(pair.target[place], pair.result[place], pair.weight[place], target_points, result_points)


def judge_finish(pair: FacePair) -> Finish:
    """All figures of a face; NaN where there is too little to see."""
    cut = cut_pair(pair)
    if cut is None:
        return Finish(np.nan, np.nan, np.nan, np.nan)
    return Finish(seam_ratio(cut), edge_colour(cut), sharpness_ratio(cut), grain_ratio(cut))


def seam_ratio(pair: FacePair) -> float:
    """Step across the mask's edge in the result over that at the same places in the target, on the worst contour.

    The step is the change of CIELAB, without shading, along the edge's normal over EDGE_SIGMA, averaged with its sign within each of ARCS
    arcs. The ratio of the steps' lengths is averaged over the arcs (in logarithms, without the largest and the smallest), so that an edge
    which the target has itself, like the jaw, does not outweigh a seam elsewhere. Eyes, brows and lips are left out. Two equal pictures
    give exactly 1; faces pasted with scissors 1.4 to 5.
    """
    steps = [_steps_inwards(lab, pair.depth_px, pair.edge_sigma_px) for lab in pair.labs]
    arcs = _arcs(pair.weight)
    ratios = []
    for contour in pair.contours:
        place = contour & pair.plain
        counts = np.bincount(arcs[place], minlength=ARCS)
        if place.sum() >= FEWEST_PIXELS and (counts >= FEWEST_IN_AN_ARC).any():
            before, after = (LEAST_STEP + _mean_steps(step[place], arcs[place], counts) for step in steps)
            ratios.append(float(np.exp(_trimmed_mean(np.log(after / before)))))
    return max(ratios, default=np.nan)


def edge_colour(pair: FacePair) -> float:
    """Median CIEDE2000 between both pictures' skin, averaged over COLOUR_SIGMA, on the worst contour of the mask's edge."""
    bare = pair.bare_skin.astype(np.float32)
    target, result = (_masked_mean(lab, bare, COLOUR_SIGMA * pair.unit_px) for lab in pair.labs)
    places = [contour & pair.bare_skin for contour in pair.contours]
    medians = [
        float(np.median(ciede2000(target[place], result[place]))) for place in places if place.sum() >= FEWEST_PIXELS
    ]
    return max(medians, default=np.nan)


def sharpness_ratio(pair: FacePair) -> float:
    """How narrow the edges of eyes, brows and lips are, in the result over the target.

    A blur weakens the gradient of a narrow edge more than that of a wide one, whatever its contrast: who has darker brows is not sharper.

    Source: Zhuo and Sim, Defocus map estimation from a single image, Pattern Recognition 44, 2011.
    """
    before, after = (
        _narrowness(picture, points, pair)
        for picture, points in ((pair.target, pair.target_points), (pair.result, pair.result_points))
    )
    return after / before


def grain_ratio(pair: FacePair) -> float:
    """Robust spread of the finest band on bare skin inside the mask, in the result over the target."""
    place = pair.bare_skin & (pair.weight >= 0.5)
    if place.sum() < FEWEST_PIXELS:
        return np.nan
    before, after = (ROUNDING + _spread(_finest_band(picture)[place]) for picture in (pair.target, pair.result))
    return after / before


def _steps_inwards(lab: FloatImage, depth_px: FloatImage, sigma_px: float) -> FloatImage:
    """(H, W, 3) change of a picture without its shading along the mask's inward normal, over `sigma_px`."""
    depth = cv2.GaussianBlur(depth_px, (0, 0), 2 * sigma_px)
    normal_y, normal_x = np.gradient(depth)
    size = sigma_px / np.maximum(np.hypot(normal_x, normal_y), 1e-6)
    smooth = cv2.GaussianBlur(lab - cv2.GaussianBlur(lab, (0, 0), SHADING_SIGMAS * sigma_px), (0, 0), sigma_px)
    down, right = (np.asarray(np.gradient(smooth, axis=axis), np.float32) for axis in (0, 1))
    return right * (normal_x * size)[..., None] + down * (normal_y * size)[..., None]


def _arcs(weight: Mask) -> NDArray[np.intp]:
    """(H, W) number of the sector around the middle of the mask."""
    rows, columns = np.nonzero(weight >= 0.5)
    down, right = (np.arange(size) - place.mean() for size, place in zip(weight.shape, (rows, columns), strict=True))
    angle = np.arctan2(down[:, None], right)
    return np.asarray(np.floor((angle / (2 * np.pi) % 1) * ARCS), np.intp) % ARCS


def _mean_steps(steps: FloatImage, arcs: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Length of the mean step of each arc that has enough pixels; `steps` (N, 3), `arcs` (N,), `counts` (ARCS,)."""
    enough = counts >= FEWEST_IN_AN_ARC
    sums = np.stack([np.bincount(arcs, channel, ARCS) for channel in steps.T], -1)
    return np.linalg.norm(sums[enough], axis=-1) / counts[enough]


def _trimmed_mean(values: NDArray[np.float64]) -> float:
    cut = int(TRIMMED * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


def _narrowness(picture: Image, points: Points, pair: FacePair) -> float:
    """1 over the width of the strongest edges along the features, in arbitrary units; NaN if there are none."""
    lines = np.zeros(pair.weight.shape, np.uint8)
    for ring in FEATURES:
        cv2.polylines(lines, [np.rint(points[list(ring), :2]).astype(np.int32)], True, 1)
    near = (cv2.dilate(lines, _disc(LINE_MARGIN * pair.unit_px)) > 0) & (pair.weight >= 0.5)
    if near.sum() < FEWEST_PIXELS:
        return np.nan
    unit = max(1.0, pair.unit_px / SHARP_EYES_PX)
    sharp, blurred = (_gradient(picture, unit * sigma_px)[near] for sigma_px in BLURS_PX)
    edges = blurred >= np.quantile(blurred, 1 - STRONGEST)
    ratio = float(sharp[edges].sum() / max(float(blurred[edges].sum()), 1e-6))
    return float(np.sqrt(max(ratio**2 - 1, 1e-6)))


def _gradient(picture: Image, sigma_px: float) -> NDArray[np.float64]:
    """(H, W) length of the gradient of the blurred grey picture."""
    smooth = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), sigma_px)
    return np.asarray(np.hypot(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)))


def _finest_band(picture: Image) -> FloatImage:
    """(H, W) grey levels: what a blur takes away."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), GRAIN_SIGMA_PX))


def _spread(values: NDArray[np.floating]) -> float:
    """Standard deviation of a normal variable with this median distance from 0."""
    return 1.4826 * float(np.median(np.abs(values)))


def _masked_mean(image: FloatImage, mask: FloatImage, sigma_px: float) -> FloatImage:
    kept, weight = (cv2.GaussianBlur(part, (0, 0), sigma_px) for part in (image * mask[..., None], mask))
    return kept / np.maximum(weight, 1e-4)[..., None]


def _fill(shape: tuple[int, ...], points: Points, polygons: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    filled = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(filled, [np.rint(points[list(polygon), :2]).astype(np.int32)], 1)
    return filled


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
