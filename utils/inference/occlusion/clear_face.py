"""What a face looks like when nothing is in front of it: for each texel its usual colour and how much that changes, over a track.

Robust throughout: what covers a texel for less than half of the time, or looks less like the face's skin than what it covers, is left
out. Pure functions on flat pictures; colours are CIELAB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.occlusion.appearance import FLAT_PX, flat_picture, unpack_texels
from utils.inference.records import Appearance, Image, Mask, Texels

Lab = NDArray[np.float32]
"""(FLAT_PX, FLAT_PX, 3): L in 0..100."""

SPREAD_FLOOR = np.array([6.0, 3.0, 3.0], np.float32)  # L, a, b: no skin is taken to be steadier than this
OFTEN_SEEN = 0.25  # of the samples, from which on a texel is judged
LEARNING_ROUNDS = 3
LIGHT_OUTLIERS = (6.0, 4.5, 4.5, 4.5)  # round by round, deviations from which on a texel says nothing about the light
LIGHT_STIFFNESS = 0.01  # how reluctantly light is taken to vary over the face
LIGHT_STEP = 2  # texels; light varies slowly
SKIN_SPREAD = np.array([18.0, 7.0, 7.0], np.float32)
LEAST_SKIN_WEIGHT = 0.15
BYTES_PER_UNIT, BYTES_AT_ZERO = np.array([2.55, 1, 1], np.float32), np.array([0, 128, 128], np.float32)  # L, a, b
SPREAD_PARTS = 8
MAD_TO_DEVIATION = 1.4826
BURNT_FROM, BURNT_TO, BURNT_SHARE = 78.0, 92.0, 0.35  # L: a hard light bleaches skin, so that bright texels say less
NOISE_QUANTILE, NOISE_QUANTILE_OF_UNIT = 0.3, 0.4  # the calm part of the face tells how exactly this frame fits
NOISE_CHANGE = 1.8  # from the usual noise of the track to that of a frame, at most
ROUGH_NOISE = 0.9  # beyond it, hard light wanders over the face, and piece by piece that looks like an occluder
NOISE_RANGE = (0.45, 2.0)


@dataclass(frozen=True, eq=False)
class ClearFace:
    """One track's face without anything in front of it, as small as it can be kept.

    Attributes:
        colour: (FLAT_PX, FLAT_PX, 3) uint8: L in 0..255, a and b shifted by 128.
        spread: (FLAT_PX, FLAT_PX, 3) uint8, in parts of 1 / SPREAD_PARTS.
        known: (FLAT_PX, FLAT_PX) bool: seen often enough.
        noise: what its frames usually deviate by; 1 is what `SPREAD_FLOOR` says.
        slack: texels by which a point of the face may be off its place.
        glasses: median of `Appearance.glasses`.
    """

    colour: NDArray[np.uint8]
    spread: NDArray[np.uint8]
    known: Texels
    noise: float
    slack: int
    glasses: float

    def expect(self) -> Expectation:
        """What frames of the track are compared with; ten times as large."""
        colour = (self.colour.astype(np.float32) - BYTES_AT_ZERO) / BYTES_PER_UNIT
        return Expectation(colour, self.spread.astype(np.float32) / np.float32(SPREAD_PARTS), self.slack)


class Expectation:
    """The colours that a frame should have, and what is computed from them once.

    Args:
        colour: (FLAT_PX, FLAT_PX, 3) CIELAB.
        spread: the same: by how much it may differ.
        slack: texels by which a point of the face may be off its place.
    """

    def __init__(self, colour: Lab, spread: Lab, slack: int) -> None:
        self._colour = colour
        y, x = np.mgrid[0:FLAT_PX, 0:FLAT_PX].astype(np.float32) * 2 / (FLAT_PX - 1) - 1
        self._terms = np.stack([np.ones_like(x), x, y, (colour[..., 0] - 50) / 25], -1)  # (FLAT_PX, FLAT_PX, 4)
        self._thin = slice(None, None, LIGHT_STEP), slice(None, None, LIGHT_STEP)
        self._thin_terms, self._thin_scale = self._terms[self._thin], 1 / spread[self._thin]
        self._scales = 1 / _around(spread, slack)
        self._scaled_colours = _around(colour, slack) * self._scales

    def relight(self, picture: Lab, seen: Texels) -> Lab:
        """`picture` in the light of the expected colours: less a robust fit of their difference, linear in place and in lightness."""
        shown = seen[self._thin]
        if not shown.any():
            return picture
        difference = (picture[self._thin] - self._colour[self._thin])[shown]
        scale, basis = self._thin_scale[shown], self._thin_terms[shown]
        factors = np.zeros((4, 3), np.float32)
        factors[0] = np.median(difference, 0)
        stiffness = LIGHT_STIFFNESS * len(basis) * np.diag(np.array([1, 3, 3, 3], np.float32))
        prior = stiffness @ factors
        for limit in LIGHT_OUTLIERS:
            steps = (difference - basis @ factors) * scale
            weights = np.clip(1 - np.einsum("nc,nc->n", steps, steps) / limit**2, 0, 1) ** 2
            weighted = basis.T * weights
            factors = np.linalg.solve(weighted @ basis + stiffness, weighted @ difference + prior)
        return picture - self._terms @ factors.astype(np.float32)

    def deviation(self, picture: Lab) -> NDArray[np.float32]:
        """(FLAT_PX, FLAT_PX) from the most similar colour expected nearby, in spreads."""
        steps = picture * self._scales - self._scaled_colours
        return np.sqrt(np.einsum("syxc,syxc->syx", steps, steps).min(0))


def _around(picture: Lab, slack: int) -> Lab:
    """(9, FLAT_PX, FLAT_PX, 3): `picture` moved by `slack` texels, or not, each way; its border goes on."""
    if slack == 0:
        return picture[None]
    framed = cv2.copyMakeBorder(picture, slack, slack, slack, slack, cv2.BORDER_REPLICATE)
    places = range(0, 2 * slack + 1, (slack + 1) // 2)
    return np.stack([framed[y : y + FLAT_PX, x : x + FLAT_PX] for y in places for x in places])


def learn_clear_face(appearances: Sequence[Appearance], tolerance: Mask, slack: int) -> ClearFace:
    """Learn a face.

    Args:
        appearances: some of its frames, at least one, spread over the track.
        tolerance, slack: of the `Surface` that laid them flat.
    """
    pictures: Lab = np.stack([to_lab(flat_picture(appearance)) for appearance in appearances])
    seen = np.stack([unpack_texels(appearance.seen) for appearance in appearances])
    weights = seen.astype(np.float32) + np.float32(1e-3)
    levels = np.stack([_level(picture, shown) for picture, shown in zip(pictures, seen, strict=True)])
    lit_alike: Lab = pictures - (levels - np.median(levels, 0)).astype(np.float32)[:, None, None]
    weights *= _skin_weights(lit_alike, seen)
    floor: Lab = SPREAD_FLOOR * tolerance[..., None]
    spread = floor
    colour = _weighted_median(lit_alike, weights)
    for _ in range(LEARNING_ROUNDS):
        expected = Expectation(colour, spread, slack)
        lit_alike = np.stack([expected.relight(*pair) for pair in zip(pictures, seen, strict=True)])
        colour = _weighted_median(lit_alike, weights)
        spread = np.maximum(MAD_TO_DEVIATION * _weighted_median(np.abs(lit_alike - colour), weights), floor)
    expected = Expectation(colour, spread, slack)
    deviations = (expected.deviation(picture)[shown] for picture, shown in zip(lit_alike, seen, strict=True))
    noise = float(np.median([_noise(deviation) for deviation in deviations if len(deviation)] or [1.0]))
    return ClearFace(
        np.clip(np.rint(colour * BYTES_PER_UNIT + BYTES_AT_ZERO), 0, 255).astype(np.uint8),
        np.clip(np.rint(spread * SPREAD_PARTS), 0, 255).astype(np.uint8),
        seen.mean(0) >= OFTEN_SEEN,
        noise,
        slack,
        float(np.median([appearance.glasses for appearance in appearances])),
    )


def measure_deviation(appearance: Appearance, clear: ClearFace, expected: Expectation) -> tuple[Mask, Texels]:
    """How far a frame is from the clear face.

    Args:
        appearance: of a frame.
        clear: of its track.
        expected: of `clear`.

    Returns:
        (FLAT_PX, FLAT_PX) float32 deviations, the frame's light and noise taken out, 0 where nothing is known; and where something is.
    """
    judged = unpack_texels(appearance.seen) & clear.known
    if not judged.any():
        return np.zeros((FLAT_PX, FLAT_PX), np.float32), judged
    picture = to_lab(flat_picture(appearance))
    deviation = expected.deviation(expected.relight(picture, judged)) * judged
    burnt = np.clip((picture[..., 0] - BURNT_FROM) / (BURNT_TO - BURNT_FROM), 0, 1)
    deviation *= 1 - (1 - BURNT_SHARE) * burnt
    noise = float(np.clip(_noise(deviation[judged]), clear.noise / NOISE_CHANGE, clear.noise * NOISE_CHANGE))
    noise *= max(1.0, noise / ROUGH_NOISE)
    return deviation / np.float32(np.clip(noise, *NOISE_RANGE)), judged


def _noise(deviations: NDArray[np.float32]) -> float:
    """What the calm part of a face deviates by, 1 for what `SPREAD_FLOOR` says."""
    return float(np.quantile(deviations, NOISE_QUANTILE)) / NOISE_QUANTILE_OF_UNIT


def to_lab(picture: Image) -> Lab:
    """BGR uint8 to CIELAB."""
    return cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_BGR2LAB)


def _level(picture: Lab, seen: Texels) -> NDArray[np.float32]:
    """(3,) median colour of what is seen."""
    return np.median(picture[seen] if seen.any() else picture.reshape(-1, 3), 0).astype(np.float32)


def _skin_weights(pictures: Lab, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(K, FLAT_PX, FLAT_PX): of two things that a texel shows by turns, the one more like skin is the face."""
    skin = np.median(pictures[seen], 0) if seen.any() else np.zeros(3)
    steps = (pictures - skin.astype(np.float32)) / SKIN_SPREAD
    return LEAST_SKIN_WEIGHT + np.exp(-0.5 * np.einsum("kyxc,kyxc->kyx", steps, steps))


def _weighted_median(values: Lab, weights: NDArray[np.float32]) -> Lab:
    """Along the first axis of (K, H, W, 3); `weights` (K, H, W)."""
    order = np.argsort(values, 0)
    mass = np.take_along_axis(np.broadcast_to(weights[..., None], values.shape), order, 0).cumsum(0)
    middle = (mass >= mass[-1:] / 2).argmax(0)
    return np.take_along_axis(values, np.take_along_axis(order, middle[None], 0), 0)[0]
