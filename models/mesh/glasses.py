"""Glasses: whether a face wears them, and where their rims, bridge and arms run.

Nothing is trained. The picture is laid out in strips along the ways that glasses must take: around both eyes, over the nose and to the
temples. In each, the best smooth path is sought. Wrinkles, brows and shadows look like one part of glasses, hardly ever like all of them.

Source of the paths: dynamic programming over a polar picture, as is usual for the outlines of irises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS, EYES, LEFT_EYE, RIGHT_EYE
from models.mesh.canvas import FloatImage, Portrait, resize_points
from models.mesh.raster import SUBPIXEL_BITS, fixed_point
from utils.inference.records import Image, Points

Strips: TypeAlias = NDArray[np.float64]
"""Places in the picture, (strips, length, depth, 2): along the way of a part, and across it."""

JUDGED_PX = 256  # side of the canvas on which glasses are sought; all lengths in pixels refer to it
LENGTH, DEPTH = 32, 36  # samples along a strip, and across it
LAP, MARGIN = 2, 5  # samples more at both ends and on both sides, for the filters
EYE_HEIGHT_PX = 0.135 * JUDGED_PX  # unit of height around an eye; that of width is the eye's, as turning narrows both
EYE_WIDTHS = (0.5, 1.2)  # within which the unit of width may be, in units of height
LOWER_RIM_DEG, LOWER_RIM_RANGE = (
    (-11.0, 163.0),
    (0.68, 1.65),
)  # from the nose below the eye to the temple; the lids end below
BRIDGE_SHARES, BRIDGE_ROWS_PX = (0.05, 0.95), (-14.0, 21.0)  # from one inner corner of the eyes to the other
ARM_SHARES, ARM_ROWS_PX = (0.35, 0.95), (-23.0, 12.0)  # from the outer corner of an eye to the end of the face
SHORTEST_ARM_PX = 8.0  # of a shorter temple nothing is taken, of one twice as long everything
SHADOW_LEVELS = 15.0  # grey levels added before contrasts are taken, so that noise in shadows is none
LINE_SAMPLES, EDGE_SAMPLES = 11, 3  # lines are thinner; edges are measured so far to both sides
EDGE_SHARE = 0.4  # an edge says less than a line of the same contrast
NOISE_TIMES = 2.0  # the median of a strip, which does not count
CLEAR = 8.0  # percent of contrast; a clearer line says no more
BEND_COST = 0.3  # percent, for a sample to the side
# Sums of the means along rims, bridge and arms up to which there are no glasses, and from which on there are. Of 158 photos, those without
# reach 17.8, twenty of the 22 with begin at 18.9. Medians of clips without reach 12.5, two with are at 17.8; a small dim face
# is at 13.4, where wrinkles in photos are.
ONCE, USUALLY = (18.0, 19.2), (16.5, 17.5)

RIM_STEPS, RIM_RANGE = 48, (0.62, 1.6)  # of a whole rim
RIM_CENTRE = (-0.15, 0.15)  # of a lens from the eye's, in units: to the temple, and down
RIM_LAP = 8  # steps that are gone twice, so that a rim closes
RIM_CLEAR, RIM_REACH, RIM_BEND_COST = 16.0, 2, 1.0
BRIGHT_SHARE = 0.6  # of a bright line, which may be skin beside a dark one
OTHER_EYE_SHARE = 0.5  # the rims are alike
HINT, HINT_PX = 6.0, 5  # percent of contrast added where the strips have found something, and how wide
WIDE, WIDE_COST = 1.1, 8.0  # from which distance on, and by how many percent a unit, a rim must be clearer
FEATURE_SHARE = 0.3  # of what a line says on a brow or an eye


@dataclass(frozen=True, eq=False)
class Glasses:
    """Where a face's glasses run, on a canvas of JUDGED_PX.

    Attributes:
        likelihood: in (0, 1], that there are any.
        rims: around the right and the left eye, closed, (RIM_STEPS, 2) each.
        bridge: from the right to the left, (LENGTH, 2).
        arms: over those temples that can be seen, away from the eyes, (LENGTH, 2) each.
    """

    likelihood: float
    rims: tuple[Points, Points]
    bridge: Points
    arms: tuple[Points, ...]


def measure_glasses(portrait: Portrait) -> float:
    """How clearly lines run where glasses have theirs, on a canvas of any size: percent of contrast."""
    return _seek(*shrink(portrait)).clear


def find_glasses(portrait: Portrait, usual: float | None = None) -> Glasses | None:
    """The glasses of a face; None if it wears none.

    Args:
        portrait: on a canvas of any size.
        usual: median of `measure_glasses` over other frames of the same face, which is surer than what this one says.
    """
    if usual is not None and _likelihood(usual, USUALLY) <= 0:
        return None
    image, points = shrink(portrait)
    found = _seek(image, points)
    likelihood = _likelihood(found.clear, ONCE) if usual is None else _likelihood(usual, USUALLY)
    if likelihood <= 0:
        return None
    ways = _pick(found.places[:, LAP:-LAP, MARGIN:-MARGIN], _trace(found.sums))
    right, left = _close_rims(found.light, points, ways)
    return Glasses(likelihood, (right, left), ways[2], tuple(ways[3:][_shown_arms(points) > 0]))


def _likelihood(clear: float, bounds: tuple[float, float]) -> float:
    none, sure = bounds
    return min((clear - none) / (sure - none), 1.0)


@dataclass(frozen=True, eq=False)
class _Search:
    """The five parts as far as they have been sought: contrasts, strips in them, the best sums along these, and what these amount to."""

    light: FloatImage
    places: Strips
    sums: FloatImage
    clear: float


def _seek(image: Image, points: Points) -> _Search:
    light, places = contrasts(image), _lay_out(points)
    means, sums = _follow(_judge_parts(_sample(light, places)))
    # Of the arms one is enough: the other may be turned away, or under hair.
    clear = float(means[:2].mean() + means[2] + (means[3:] * _shown_arms(points)).max())
    return _Search(light, places, sums, clear)


def shrink(portrait: Portrait) -> tuple[Image, Points]:
    """The canvas and its landmarks at JUDGED_PX."""
    size = portrait.image.shape[0]
    if size == JUDGED_PX:
        return portrait.image, portrait.points
    image = cv2.resize(portrait.image, (JUDGED_PX, JUDGED_PX), interpolation=cv2.INTER_AREA)
    return image, resize_points(portrait.points, JUDGED_PX / size)


def contrasts(image: Image) -> FloatImage:
    """100 times the logarithm of lightness: its differences are contrasts in percent."""
    table = (100 * np.log(np.arange(256) + SHADOW_LEVELS)).astype(np.float32)
    return cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), table)


def draw_features(points: Points) -> FloatImage:
    """1 on brows and in the openings of the eyes, 0 elsewhere; (JUDGED_PX, JUDGED_PX)."""
    drawn = np.zeros((JUDGED_PX, JUDGED_PX), np.uint8)
    for polygon in (polygon for eye in EYES for polygon in (eye.brow, eye.ring)):
        cv2.fillPoly(drawn, [fixed_point(points[list(polygon)])], 1, cv2.LINE_8, SUBPIXEL_BITS)
    return cv2.dilate(drawn, np.ones((5, 5), np.uint8)).astype(np.float32)


def _lay_out(points: Points) -> Strips:
    """Below both eyes, over the nose, to both temples."""
    angles = np.radians(_spread(LOWER_RIM_DEG, LENGTH, LAP))
    rims = _around_eyes(points, angles, _spread(LOWER_RIM_RANGE, DEPTH, MARGIN), (0.0, 0.0))
    right, left = points[[RIGHT_EYE.inner, LEFT_EYE.inner], :2]
    bridge = right + _spread(BRIDGE_SHARES, LENGTH, LAP)[:, None] * (left - right)
    temples = []
    for eye, cheek in zip(EYES, CHEEKS, strict=True):
        outer = points[eye.outer, :2]
        temples.append(outer + _spread(ARM_SHARES, LENGTH, LAP)[:, None] * (points[cheek, 0] - outer[0], 0.0))
    level = [_beside(bridge, BRIDGE_ROWS_PX), *(_beside(temple, ARM_ROWS_PX) for temple in temples)]
    return np.concatenate([rims, level])


def _spread(ends: tuple[float, float], count: int, more: int) -> NDArray[np.floating]:
    """`count` values from one end to the other, and so many `more` beyond each."""
    return ends[0] + (ends[1] - ends[0]) / (count - 1) * np.arange(-more, count + more)


def _beside(line: Points, rows_px: tuple[float, float]) -> Strips:
    """The places above and below a line (N, 2)."""
    rows = _spread(rows_px, DEPTH, MARGIN)
    return line[:, None] + np.column_stack([np.zeros_like(rows), rows])


def _around_eyes(
    points: Points, angles: NDArray[np.floating], radii: NDArray[np.floating], centre: tuple[float, float]
) -> Strips:
    """The angle 0 points to the nose, 90 degrees down; `centre` and `radii` are in units of the eye."""
    places = centre + np.column_stack([np.cos(angles), np.sin(angles)])[:, None] * radii[:, None]
    strips = []
    for eye, to_nose in zip(EYES, (1, -1), strict=True):
        corners = points[[eye.outer, eye.inner], :2]
        width = EYE_HEIGHT_PX * np.clip(abs(corners[1, 0] - corners[0, 0]) / EYE_HEIGHT_PX, *EYE_WIDTHS)
        strips.append(corners.mean(0) + places * (to_nose * width, EYE_HEIGHT_PX))
    return np.stack(strips)


def _shown_arms(points: Points) -> NDArray[np.floating]:
    """(2,) in [0, 1]: how much of the right and the left temple can be seen."""
    lengths = (points[list(CHEEKS), 0] - points[[eye.outer for eye in EYES], 0]) * (-1, 1)
    return np.clip(lengths / SHORTEST_ARM_PX - 1, 0, 1)


def _sample(picture: FloatImage, places: Strips) -> FloatImage:
    """(strips, length, depth) without the laps, smoothed along the strips; the margins are still there."""
    strips, length, depth, _ = places.shape
    flat = places.reshape(strips * length, depth, 2).astype(np.float32)
    values = cv2.remap(picture, flat, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.blur(values, (1, 2 * LAP + 1)).reshape(strips, length, depth)[:, LAP:-LAP]


def _lines(values: FloatImage) -> tuple[FloatImage, FloatImage]:
    """How much darker, and how much brighter, a sample is than what lies on both sides of it; (strips, length, DEPTH)."""
    flat, kernel = values.reshape(-1, values.shape[2]), np.ones((1, LINE_SAMPLES), np.uint8)
    dark, bright = (cv2.morphologyEx(flat, kind, kernel) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    return tuple(hat.reshape(values.shape)[..., MARGIN:-MARGIN] for hat in (dark, bright))


def _edges(values: FloatImage) -> FloatImage:
    """How much brighter it is farther from the eye, (strips, length, DEPTH)."""
    outer, inner = MARGIN + EDGE_SAMPLES, MARGIN - EDGE_SAMPLES
    return np.maximum(values[..., outer : outer + DEPTH] - values[..., inner : inner + DEPTH], 0)


def _judge_parts(values: FloatImage) -> FloatImage:
    """How much each sample of the five strips looks like its part of glasses, in 0..CLEAR percent."""
    dark, bright = _lines(values)
    # Seen from the skin below, rims of all kinds are an edge, thick ones too; the shadow beside a nose is no line.
    parts = np.concatenate([EDGE_SHARE * _edges(values[:2]), dark[2:3], np.maximum(dark, bright)[3:]])
    noise = np.median(parts.reshape(len(parts), -1), axis=1)
    return np.clip(parts - NOISE_TIMES * noise[:, None, None], 0, CLEAR)


def _follow(lines: FloatImage, reach: int = 1, cost: float = BEND_COST) -> tuple[FloatImage, FloatImage]:
    """The best path through each strip, which moves by `reach` samples at most at each step and pays for it.

    Returns:
        Means along the paths, (strips,); and the best sums up to each sample, (length, strips, reach + depth + reach).
    """
    strips, length, depth = lines.shape
    sums = np.full((length, strips, depth + 2 * reach), -np.inf, np.float32)
    middle = slice(reach, reach + depth)
    sums[0, :, middle] = lines[:, 0]
    for here in range(1, length):
        before = sums[here - 1]
        best = before[:, middle]
        for step in range(1, reach + 1):
            low, high = reach - step, reach + step
            bent = np.maximum(before[:, low : low + depth], before[:, high : high + depth])
            best = np.maximum(best, bent - np.float32(step * cost))
        np.add(best, lines[:, here], out=sums[here, :, middle])
    return sums[-1].max(1) / length, sums


def _trace(sums: FloatImage, reach: int = 1, cost: float = BEND_COST) -> NDArray[np.intp]:
    """(strips, length): at which sample each path of `_follow` is."""
    every, steps = np.arange(sums.shape[1]), np.arange(-reach, reach + 1)[:, None]
    path = [sums[-1].argmax(1)]
    for before in sums[-2::-1]:
        place = path[-1]
        path.append(place + (before[every, place + steps] - cost * np.abs(steps)).argmax(0) - reach)
    return np.stack(path[::-1], 1) - reach


def _pick(places: Strips, paths: NDArray[np.intp]) -> Points:
    """(strips, length, 2)."""
    picked: Points = np.take_along_axis(places, paths[:, :, None, None], 2)[:, :, 0]
    return picked


def _close_rims(light: FloatImage, points: Points, ways: Points) -> Points:
    """(2, RIM_STEPS, 2): the whole of both rims, which the lower rims, the bridge and the arms lead to."""
    lap = RIM_LAP + LAP
    angles = 2 * np.pi / RIM_STEPS * np.arange(-lap, RIM_STEPS + lap)
    places = _around_eyes(points, angles + np.pi / 2, _spread(RIM_RANGE, DEPTH, MARGIN), RIM_CENTRE)
    dark, bright = _lines(_sample(light, places))
    hints = np.zeros((JUDGED_PX, JUDGED_PX), np.float32)
    cv2.polylines(hints, [np.rint(way).astype(np.int32) for way in ways], False, 1.0, HINT_PX)
    inner = slice(MARGIN, -MARGIN)
    plain = 1 - (1 - FEATURE_SHARE) * _sample(draw_features(points), places)[..., inner]
    lines = np.minimum(np.maximum(dark, BRIGHT_SHARE * bright) * plain, RIM_CLEAR)
    lines = lines + OTHER_EYE_SHARE * lines[::-1] + HINT * _sample(hints, places)[..., inner]
    lines = lines - WIDE_COST * np.maximum(_spread(RIM_RANGE, DEPTH, 0) - WIDE, 0).astype(np.float32)
    _, sums = _follow(lines, RIM_REACH, RIM_BEND_COST)
    rims = _pick(places[:, LAP:-LAP, inner], _trace(sums, RIM_REACH, RIM_BEND_COST))
    return rims[:, RIM_LAP:-RIM_LAP]
