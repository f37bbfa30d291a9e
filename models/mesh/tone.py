"""Light and colour: the warped source takes the target's tone, and keeps its own texture.

Estimated on the small canvas as an affine function of LAB and a smooth field; applied to the full canvas in a single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LIPS_INNER, LIPS_OUTER
from models.mesh.canvas import FloatImage
from models.mesh.colour import Channels, blur, masked_blur, ranked, scale_channels, spread_ratio
from models.mesh.masks import ANALYSIS_PX, Analysis
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
HIGHLIGHT_SHARE, HIGHLIGHT_KNEE, HIGHLIGHT_ROOM = 0.99, 12.0, 3.0  # L of the target's skin


@dataclass(frozen=True, eq=False)
class Tone:
    """LAB to LAB: `gain * lab + offset + field`, and lightness bent over smoothly from `knee` on.

    Attributes:
        gain, offset: (3,).
        field: (h, w, 3) float32, to be enlarged.
        knee: L above which highlights are compressed.
    """

    gain: Channels
    offset: Channels
    field: FloatImage
    knee: float


@dataclass(frozen=True, eq=False)
class Skin:
    """Pixels of skin: mean and standard deviation of LAB, (3,) each."""

    mean: Channels
    spread: Channels


def estimate_tone(seen: Analysis) -> Tone:
    """What makes the warped source look lit like the target; nothing where too little bare skin is seen."""
    bare = seen.bare_skin
    if bare.sum() < FEWEST_SKIN_PIXELS:
        return Tone(np.ones(3), np.zeros(3), np.zeros_like(seen.warped), float("inf"))
    wanted, present = _measure(seen.target_grain, bare), _measure(seen.warped_grain, bare)
    gain = _gains(wanted, present)
    offset = wanted.mean - gain * present.mean
    matched = scale_channels(seen.warped, gain, offset)
    missing = seen.target - matched
    field = _limit(masked_blur(missing, bare + np.float32(1e-3) * seen.shown, LIGHT_BLUR_PX), FIELD_LIMIT)
    missing -= field
    plain = seen.shown * ((1 - seen.features) * (seen.target_skin > 0.5) + np.float32(1e-3))
    chroma = np.ascontiguousarray(missing[..., 1:])
    finer = _limit(masked_blur(chroma, plain, CHROMA_BLUR_PX), FIELD_LIMIT)
    light, *tint = cv2.split(field)
    light += _shade_eyes(seen, np.ascontiguousarray(missing[..., 0]))
    finer += _tint_lips(seen, wanted, present, chroma - finer, float(gain[1:].min()))
    field = cv2.merge([light, *(whole + fine for whole, fine in zip(tint, cv2.split(finer), strict=True))])
    knee = float(ranked(seen.target_grain[..., 0][bare], HIGHLIGHT_SHARE)) - HIGHLIGHT_KNEE
    return Tone(gain, offset, field, knee)


def apply_tone(lab: FloatImage, tone: Tone) -> FloatImage:
    """Change the tone of the area that `tone` was estimated on, on a full canvas."""
    toned = scale_channels(lab, tone.gain, tone.offset)
    toned = cv2.add(toned, cv2.resize(tone.field, lab.shape[1::-1], interpolation=cv2.INTER_LINEAR), dst=toned)
    light = cv2.extractChannel(toned, 0)
    bright = np.flatnonzero(light > tone.knee)
    if len(bright):
        room = np.float32(HIGHLIGHT_KNEE + HIGHLIGHT_ROOM)
        above = light.flat[bright] - np.float32(tone.knee)
        toned.reshape(-1, 3)[bright, 0] = tone.knee + room * np.tanh(above / room)
    return toned


def _measure(lab: FloatImage, where: NDArray[np.bool_]) -> Skin:
    mean, spread = (values.ravel() for values in cv2.meanStdDev(lab, mask=where.view(np.uint8)))
    return Skin(mean, spread)


def _gains(wanted: Skin, present: Skin) -> Channels:
    """Ratios of spread, (3,); chroma fades altogether where the target has none."""
    light = spread_ratio(wanted.spread[0], present.spread[0], *LIGHT_GAIN_RANGE)
    chroma = [spread_ratio(wanted.spread[channel], present.spread[channel], *CHROMA_GAIN_RANGE) for channel in (1, 2)]
    # The spread of both channels together, which holds their distance, too.
    apart = wanted.mean[1:].var()
    fade = spread_ratio(
        np.sqrt((wanted.spread[1:] ** 2).mean() + apart),
        np.sqrt(((present.spread[1:] * chroma) ** 2).mean() + apart),
        0,
        CHROMA_FADE_LARGEST,
    )
    return np.array([light, chroma[0] * fade, chroma[1] * fade])


def _limit(field: FloatImage, limit: float) -> FloatImage:
    return np.clip(field, -limit, limit, out=field)


def _tint_lips(seen: Analysis, wanted: Skin, present: Skin, missing: FloatImage, fade: float) -> FloatImage:
    """(h, w, 2): brings the lips' colour, which lacks `missing`, between the source's and the target's contrast to skin."""
    lips, target_lips = _lips(seen, seen.points), _lips(seen, seen.target_points)
    inside, target_inside = lips > 0.5, target_lips * seen.visible > 0.5
    if min(inside.sum(), target_inside.sum()) < LIPS_FEWEST_PIXELS:
        return np.zeros_like(missing)
    source_contrast = _chroma_of(seen.warped, inside) - present.mean[1:]
    target_contrast = _chroma_of(seen.target, target_inside) - wanted.mean[1:]
    contrast = LIPS_SHARE * min(1.0, fade) * source_contrast + (1 - LIPS_SHARE) * target_contrast
    matched = _chroma_of(seen.target, inside) - cv2.mean(missing, inside.view(np.uint8))[:2]
    shift = wanted.mean[1:] + contrast - matched
    soft = blur(lips, LIPS_EDGE_PX)
    return cv2.merge([soft * np.float32(step) for step in shift])


def _chroma_of(lab: FloatImage, where: NDArray[np.bool_]) -> Channels:
    """Mean a and b of some pixels, (2,)."""
    return np.array(cv2.mean(lab, where.view(np.uint8))[1:3])


def _lips(seen: Analysis, points: Points) -> FloatImage:
    return seen.fill(points, LIPS_OUTER) * (1 - seen.fill(points, LIPS_INNER))


def _shade_eyes(seen: Analysis, missing: FloatImage) -> FloatImage:
    """(h, w): draws the lightness of the eye sockets, of which `missing` is missing, towards the target's."""
    hulls = [cv2.convexHull(np.float32(seen.points[list(eye.lids), :2])) for eye in EYES]
    sockets = np.maximum(*(seen.fill(hull[:, 0].astype(np.float64), range(len(hull))) for hull in hulls))
    around = seen.shown * (1 - seen.eyes) + np.float32(1e-3)
    difference = _limit(masked_blur(missing, around, EYE_BLUR_PX), EYE_FIELD_LIMIT)
    return difference * blur(sockets, EYE_EDGE_PX) * np.float32(EYE_FIELD_SHARE)
