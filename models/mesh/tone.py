"""Light and colour: the warped source takes the target's tone, and keeps its own texture.

Estimated on the small canvas as an affine function of logarithms, see `to_tones`, and a smooth field; applied to the full canvas in
a single pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LIPS_INNER, LIPS_OUTER
from models.mesh.canvas import FloatImage
from models.mesh.colour import Channels, blur, masked_blur, ranked, spread_ratio, to_tones
from models.mesh.masks import ANALYSIS_PX, Analysis
from utils.inference.blending import weigh
from utils.inference.records import Mask, Points

FEWEST_SKIN_PIXELS = 50
LIGHT_GAIN_RANGE = (1.0, 1.6)  # never below 1: brows and lashes must not fade
LIGHT_GAIN_POWER = 0.5  # half of the difference in contrast is the light's hardness, the rest is skin
CHROMA_FADE_LARGEST = 1.25
CHROMA_FOLLOWS = 0.65  # of the change of colour that is lost where lightness falls to 1/e of the skin's
LIGHT_BLUR_PX = 0.12 * ANALYSIS_PX
CHROMA_BLUR_PX = 0.065 * ANALYSIS_PX  # finer: a shadowed or oddly tinted patch of the source would turn grey otherwise
EDGE_BLUR_PX, EDGE_REACH_PX = 0.03 * ANALYSIS_PX, 0.02 * ANALYSIS_PX
EDGE_SHARE = 0.4  # of what is missing at the border; more is less like the source
EYE_BLUR_PX = 0.035 * ANALYSIS_PX
FIELD_LIMIT, EYE_FIELD_LIMIT = 1.0, 0.5  # factors of e and of its root
EYE_FIELD_SHARE = 0.4
EYE_EDGE_PX = 0.02 * ANALYSIS_PX
LIPS_EDGE_PX = 0.006 * ANALYSIS_PX
LIPS_FEWEST_PIXELS = 5
LIPS_LIGHT_SHARE = 0.4  # of the same change in lightness: dark lips are identity, too
LIPS_SHARE = 0.5  # of the source's own contrast between lips and skin; the rest is the target's
HIGHLIGHT_SHARE, HIGHLIGHT_KNEE, HIGHLIGHT_ROOM = 0.99, 0.18, 0.05  # logarithms, of the target's skin


@dataclass(frozen=True, eq=False)
class Tone:
    """Tones to tones: an affine function, a smooth field, and lightness bent over smoothly from `knee` on.

    Attributes:
        affine: (3, 4), applied to (lightness, red over green, green over blue, 1).
        field: (h, w, 3) float32, to be enlarged.
        knee: lightness above which highlights are compressed.
    """

    affine: NDArray[np.float64]
    field: FloatImage
    knee: float


@dataclass(frozen=True, eq=False)
class Skin:
    """Pixels of skin: mean and standard deviation of tones, (3,) each."""

    mean: Channels
    spread: Channels


def estimate_tone(seen: Analysis, mask: Mask) -> Tone:
    """What makes the warped source look lit like the target; nothing where too little bare skin is seen."""
    bare = seen.bare_skin
    if bare.sum() < FEWEST_SKIN_PIXELS:
        return Tone(np.eye(3, 4), np.zeros_like(seen.warped), float("inf"))
    wanted, present = _measure(seen.target_grain, bare), _measure(seen.warped_grain, bare)
    target, weight = to_tones(seen.target), bare.astype(np.float32)
    fade = _fade(wanted, present)
    contrasts = (_contrast(picture, bare, weight) for picture in (target, seen.warped))
    affine = _match(wanted, present, _light_gain(*contrasts), fade)
    matched = cv2.transform(seen.warped, affine)
    missing = target - matched
    field = _limit(masked_blur(missing, weight + np.float32(1e-3) * seen.shown, LIGHT_BLUR_PX), FIELD_LIMIT)
    missing -= field
    plain = seen.shown * ((1 - seen.features) * np.minimum(seen.target_skin, seen.source_skin) + np.float32(1e-3))
    chroma = np.ascontiguousarray(missing[..., 1:])
    finer = _limit(masked_blur(chroma, plain, CHROMA_BLUR_PX), FIELD_LIMIT)
    light, *tint = cv2.split(field)
    light += _shade_eyes(seen, np.ascontiguousarray(missing[..., 0]))
    field = cv2.merge([light, *(whole + fine for whole, fine in zip(tint, cv2.split(finer), strict=True))])
    field += _meet_edge(seen, mask, target - matched - field)
    field += _tint_lips(seen, target, matched + field, wanted, present, fade)
    knee = float(ranked(seen.target_grain[..., 0][bare], HIGHLIGHT_SHARE)) - HIGHLIGHT_KNEE
    return Tone(affine, field, knee)


def apply_tone(tones: FloatImage, tone: Tone) -> FloatImage:
    """Change the tone of the area that `tone` was estimated on, on a full canvas."""
    toned = cv2.transform(tones, tone.affine)
    toned = cv2.add(toned, cv2.resize(tone.field, tones.shape[1::-1], interpolation=cv2.INTER_LINEAR), dst=toned)
    light = cv2.extractChannel(toned, 0)
    bright = np.flatnonzero(light > tone.knee)
    if len(bright):
        room = np.float32(HIGHLIGHT_KNEE + HIGHLIGHT_ROOM)
        above = light.flat[bright] - np.float32(tone.knee)
        toned.reshape(-1, 3)[bright, 0] = tone.knee + room * np.tanh(above / room)
    return toned


def _match(wanted: Skin, present: Skin, light_gain: float, fade: float) -> NDArray[np.float64]:
    """(3, 4): skin gets the target's tone; what is darker than skin, as hair is, gets less of its colour."""
    gain = np.array([light_gain, fade, fade])
    shift = wanted.mean - gain * present.mean
    affine = np.column_stack([np.diag(gain), shift])
    follow = CHROMA_FOLLOWS * shift[1:]
    affine[1:, 0] += follow
    affine[1:, 3] -= follow * present.mean[0]
    return affine


def _measure(lab: FloatImage, where: NDArray[np.bool_]) -> Skin:
    mean, spread = (values.ravel() for values in cv2.meanStdDev(lab, mask=where.view(np.uint8)))
    return Skin(mean, spread)


def _contrast(tones: FloatImage, bare: NDArray[np.bool_], weight: FloatImage) -> float:
    """How much the lightness of bare skin differs from that around it: by wrinkles, pores and the hardness of the light."""
    light = np.ascontiguousarray(tones[..., 0])
    local = light - masked_blur(light, weight, LIGHT_BLUR_PX)
    return float(np.abs(local[bare]).mean())


def _light_gain(wanted: float, present: float) -> float:
    return float(np.clip((wanted / (present + 1e-3)) ** LIGHT_GAIN_POWER, *LIGHT_GAIN_RANGE))


def _fade(wanted: Skin, present: Skin) -> float:
    """Gain of the chroma, which fades altogether where the target has none."""
    # The spread of both channels together, which holds their distance, too.
    apart = wanted.mean[1:].var()
    return spread_ratio(
        np.sqrt((wanted.spread[1:] ** 2).mean() + apart),
        np.sqrt((present.spread[1:] ** 2).mean() + apart),
        0,
        CHROMA_FADE_LARGEST,
    )


def _limit(field: FloatImage, limit: float) -> FloatImage:
    return np.clip(field, -limit, limit, out=field)


def _meet_edge(seen: Analysis, mask: Mask, missing: FloatImage) -> FloatImage:
    """(h, w, 3): towards the border of the face, where it meets the target's own skin, more of what is `missing` is made up."""
    border = np.float32(EDGE_SHARE) * np.clip(2 - 2 * blur(mask, EDGE_REACH_PX), 0, 1)
    skin = seen.shown * seen.target_skin * (1 - seen.features) + np.float32(1e-3)
    return weigh(_limit(masked_blur(missing, skin, EDGE_BLUR_PX), FIELD_LIMIT), border)


def _tint_lips(
    seen: Analysis, target: FloatImage, toned: FloatImage, wanted: Skin, present: Skin, fade: float
) -> FloatImage:
    """(h, w, 3): brings the lips of `toned` between the source's and the target's contrast to skin."""
    lips, target_lips = _lips(seen, seen.points), _lips(seen, seen.target_points)
    inside, target_inside = lips > 0.5, target_lips * seen.visible > 0.5
    if min(inside.sum(), target_inside.sum()) < LIPS_FEWEST_PIXELS:
        return np.zeros_like(toned)
    source_contrast = _mean(seen.warped, inside) - present.mean
    source_contrast[1:] *= min(1.0, fade)
    target_contrast = _mean(target, target_inside) - wanted.mean
    contrast = LIPS_SHARE * source_contrast + (1 - LIPS_SHARE) * target_contrast
    shift = wanted.mean + contrast - _mean(toned, inside)
    shift[0] *= LIPS_LIGHT_SHARE
    soft = blur(lips, LIPS_EDGE_PX)
    return cv2.merge([soft * np.float32(step) for step in shift])


def _mean(tones: FloatImage, where: NDArray[np.bool_]) -> Channels:
    """Mean of some pixels, (3,)."""
    return np.array(cv2.mean(tones, where.view(np.uint8))[:3])


def _lips(seen: Analysis, points: Points) -> FloatImage:
    return seen.fill(points, LIPS_OUTER) * (1 - seen.fill(points, LIPS_INNER))


def _shade_eyes(seen: Analysis, missing: FloatImage) -> FloatImage:
    """(h, w): draws the lightness of the eye sockets, of which `missing` is missing, towards the target's."""
    hulls = [cv2.convexHull(np.float32(seen.points[list(eye.lids), :2])) for eye in EYES]
    sockets = np.maximum(*(seen.fill(hull[:, 0].astype(np.float64), range(len(hull))) for hull in hulls))
    around = seen.shown * (1 - seen.eyes) + np.float32(1e-3)
    difference = _limit(masked_blur(missing, around, EYE_BLUR_PX), EYE_FIELD_LIMIT)
    return difference * blur(sockets, EYE_EDGE_PX) * np.float32(EYE_FIELD_SHARE)
