"""Light and colour: the warped source takes the target's tone, and keeps its own texture.

Estimated on the small canvas as an affine function of LAB and a smooth field; applied to the full canvas in a single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LIPS_INNER, LIPS_OUTER
from models.mesh.canvas import Area, FloatImage
from models.mesh.colour import blur, masked_blur, spread_ratio
from models.mesh.masks import ANALYSIS_PX, Analysis
from models.mesh.raster import SUBPIXEL_BITS, fill_polygon, fixed_point
from utils.inference.records import Points

FEWEST_SKIN_PIXELS = 50
LIGHT_GAIN_RANGE = (0.45, 1.92)
CHROMA_GAIN_RANGE = (0.8, 1.2)
CHROMA_FADE_LARGEST = 1.25
LIGHT_BLUR_PX = 0.12 * ANALYSIS_PX
CHROMA_BLUR_PX = 0.065 * ANALYSIS_PX  # finer: a shadowed or oddly tinted patch of the source would turn grey otherwise
EYE_BLUR_PX = 0.035 * ANALYSIS_PX
FIELD_LIMIT, EYE_FIELD_LIMIT = 40.0, 25.0
EYE_FIELD_SHARE = 0.4
EYE_EDGE_PX = 0.02 * ANALYSIS_PX
LIPS_EDGE_PX = 0.006 * ANALYSIS_PX
LIPS_FEWEST_PIXELS = 5
LIPS_SHARE = 0.5  # of the source's own contrast between lips and skin; the rest is the target's
HIGHLIGHT_PERCENTILE, HIGHLIGHT_KNEE, HIGHLIGHT_ROOM = 99, 12.0, 3.0  # L of the target's skin


@dataclass(frozen=True, eq=False)
class Tone:
    """LAB to LAB: `gain * lab + offset + field`, and lightness bent over smoothly from `knee` on.

    Attributes:
        gain, offset: (3,) float32.
        field: (A, A, 3) float32, to be enlarged to the canvas.
        knee: L above which highlights are compressed.
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    field: FloatImage
    knee: float


def estimate_tone(seen: Analysis) -> Tone:
    """What makes the warped source look lit like the target; nothing where too little bare skin is seen."""
    bare = seen.bare_skin
    if bare.sum() < FEWEST_SKIN_PIXELS:
        zero = np.zeros(3, np.float32)
        return Tone(zero + 1, zero, np.zeros_like(seen.warped), float("inf"))
    wanted, present = seen.target_grain[bare], seen.warped_grain[bare]
    gain = _gains(wanted, present)
    offset = wanted.mean(0) - gain * present.mean(0)
    matched = seen.warped * gain + offset
    skin_mask = bare + np.float32(1e-3) * seen.shown
    field = np.clip(_difference(seen.target, matched, skin_mask, LIGHT_BLUR_PX), -FIELD_LIMIT, FIELD_LIMIT)
    colour_mask = seen.shown * ((1 - seen.features) * (seen.target_skin > 0.5) + np.float32(1e-3))
    finer = _difference(seen.target[..., 1:], (matched + field)[..., 1:], colour_mask, CHROMA_BLUR_PX)
    field[..., 1:] += np.clip(finer, -FIELD_LIMIT, FIELD_LIMIT)
    field[..., 1:] += _tint_lips(seen, matched + field, wanted, present, float(gain[1:].min()))
    field[..., 0] += _shade_eyes(seen, matched[..., 0] + field[..., 0])
    knee = float(np.percentile(wanted[:, 0], HIGHLIGHT_PERCENTILE)) - HIGHLIGHT_KNEE
    return Tone(gain, offset, field, knee)


def apply_tone(lab: FloatImage, tone: Tone, area: Area) -> FloatImage:
    """Change the tone of an area of a full canvas, in place."""
    lab *= tone.gain
    lab += cv2.resize(area.of(tone.field) + tone.offset, lab.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    light = lab[..., 0]
    bright = light > tone.knee
    if bright.any():
        room = np.float32(HIGHLIGHT_KNEE + HIGHLIGHT_ROOM)
        light[bright] = tone.knee + room * np.tanh((light[bright] - np.float32(tone.knee)) / room)
    return lab


def _gains(wanted: NDArray[np.float32], present: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ratios of spread, (3,); chroma fades altogether where the target has none."""
    light = spread_ratio(wanted[:, 0], present[:, 0], *LIGHT_GAIN_RANGE)
    chroma = [spread_ratio(wanted[:, channel], present[:, channel], *CHROMA_GAIN_RANGE) for channel in (1, 2)]
    matched = (present[:, 1:] - present[:, 1:].mean(0)) * np.array(chroma, np.float32) + wanted[:, 1:].mean(0)
    fade = spread_ratio(wanted[:, 1:], matched, 0, CHROMA_FADE_LARGEST)
    return np.array([light, chroma[0] * fade, chroma[1] * fade], np.float32)


def _difference(wanted: FloatImage, present: FloatImage, mask: FloatImage, sigma_px: float) -> FloatImage:
    return masked_blur(wanted - present, mask, sigma_px)


def _tint_lips(
    seen: Analysis, matched: FloatImage, wanted: NDArray[np.float32], present: NDArray[np.float32], fade: float
) -> FloatImage:
    """(A, A, 2): brings the lips' colour between the source's and the target's contrast to skin."""
    lips, target_lips = _lips(seen.points), _lips(seen.target_points)
    inside, target_inside = lips > 0.5, target_lips * seen.visible > 0.5
    if min(inside.sum(), target_inside.sum()) < LIPS_FEWEST_PIXELS:
        return np.zeros((*lips.shape, 2), np.float32)
    source_contrast = seen.warped[inside, 1:].mean(0) - present[:, 1:].mean(0)
    target_contrast = seen.target[target_inside, 1:].mean(0) - wanted[:, 1:].mean(0)
    contrast = LIPS_SHARE * min(1.0, fade) * source_contrast + (1 - LIPS_SHARE) * target_contrast
    shift = wanted[:, 1:].mean(0) + contrast - matched[inside, 1:].mean(0)
    return shift * blur(lips, LIPS_EDGE_PX)[..., None]


def _lips(points: Points) -> FloatImage:
    return fill_polygon(points, LIPS_OUTER, ANALYSIS_PX) * (1 - fill_polygon(points, LIPS_INNER, ANALYSIS_PX))


def _shade_eyes(seen: Analysis, light: FloatImage) -> FloatImage:
    """(A, A): draws the lightness of the eye sockets towards the target's."""
    sockets = np.zeros_like(light)
    for eye in EYES:
        hull = cv2.convexHull(fixed_point(seen.points[list(eye.lids)]))
        cv2.fillPoly(sockets, [hull], 1.0, cv2.LINE_AA, SUBPIXEL_BITS)
    around = seen.shown * (1 - seen.eyes) + np.float32(1e-3)
    difference = _difference(seen.target[..., 0], light, around, EYE_BLUR_PX)
    return np.clip(difference, -EYE_FIELD_LIMIT, EYE_FIELD_LIMIT) * blur(sockets, EYE_EDGE_PX) * EYE_FIELD_SHARE
