"""Sharpness and grain: the result must be neither crisper nor cleaner than the picture around it.

Lightness is split into bands of fineness; each is given the strength that it has in the target's skin. What amplification
cannot supply, because the source is softer or cleaner than that, is added as grain.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from models.mesh.colour import blur
from models.mesh.topology import Indices
from utils.inference.records import Image

SKIN, FEATURES = 1, 2  # zones
BAND_SIGMAS_PX = (0.8, 1.6, 3.2, 6.4)  # in pixels of the frame; a band is what a blur takes away from the one before
COARSEST_SCALE = (
    2.5  # canvas over frame pixels up to which the bands grow along: beyond, they would hold whole features
)
BAND_MATCHING = (1.0, 0.8, 0.5)  # share of the difference (in logarithms) made up: pores are focus, wrinkles identity
BAND_GAIN_RANGES = ((0.05, 2.0), (0.2, 1.6), (0.5, 1.3))
FOCUS_OF_SHARP_FACES = (0.55, 0.8, 0.9)  # two portraits in focus rarely differ by more than this
FOCUS_POWER = 2.0
LEAST_EDGE_SHARE = 0.05  # of the power at the features, however noisy the picture is
SILENCE = 0.15  # grey levels; weaker bands are rounding
FEWEST_PIXELS, MOST_PIXELS = 100, 8000  # that are compared
MEDIAN_OF_SQUARE = 0.4549  # of a normal variable
GRAIN_SIZE_PX = 0.6  # in pixels of the frame
GRAIN_SHARE, LARGEST_GRAIN = 0.7, 10.0  # of what is missing; grey levels
GRAIN_ONSET = 0.5  # of what is noticed at all: by so much more must be missing for grain in full
EMPHASIS, EMPHASIS_SIGMA_PX = 0.5, 0.8  # what linear interpolation takes away at about the frame's scale


def match_detail(
    image: FloatImage, target: Image, zones: NDArray[np.uint8], frame_scale: float, seed: int
) -> FloatImage:
    """Give `image` the target's sharpness and grain, in place.

    Args:
        image: (H, W, 3) BGR in 0..255.
        target: (H, W, 3) BGR uint8.
        zones: (H, W), SKIN and FEATURES where both show these; other values elsewhere.
        frame_scale: pixels of these pictures per frame pixel.
        seed: of the grain.
    """
    skin = _places(zones, SKIN)
    if len(skin) < FEWEST_PIXELS:
        return image
    unit_px = min(max(frame_scale, 1.0), COARSEST_SCALE)
    target_bands, bands = _split(_lightness(target), unit_px), _split(_lightness(image), unit_px)
    wanted, present = ([_strength(band, skin) for band in split] for split in (target_bands, bands))
    gains = [
        float(np.clip(((strong + SILENCE) / (weak + SILENCE)) ** matching, *bounds))
        for strong, weak, matching, bounds in zip(wanted, present, BAND_MATCHING, BAND_GAIN_RANGES, strict=False)
    ]
    gains = _limit_to_focus(gains, target_bands, bands, skin, _places(zones, FEATURES))
    change = np.zeros_like(bands[0])
    for band, gain in zip(bands, gains, strict=False):  # the coarsest band is only there to compare the others with
        change += band * np.float32(gain - 1)
    missing = np.sqrt(max(wanted[0] ** 2 - (gains[0] * present[0]) ** 2, 0.0))
    noticed = SILENCE + (1 - GRAIN_SHARE) * wanted[0]
    if missing > noticed:
        grain = _make_grain(bands[0].shape, GRAIN_SIZE_PX * max(1.0, frame_scale), seed)
        share = GRAIN_SHARE * min((missing / noticed - 1) / GRAIN_ONSET, 1.0)  # sets in softly: it must not come and go
        change += grain * np.float32(
            min(share * missing / _strength(_split(grain, unit_px, 1)[0], skin), LARGEST_GRAIN)
        )
    return _add_light(image, change)


def _limit_to_focus(
    gains: list[float], target_bands: list[FloatImage], bands: list[FloatImage], skin: Indices, features: Indices
) -> list[float]:
    """Lower the gains of those bands that the target's lens, or its motion, has weakened.

    Skin cannot tell, as it may be noisy and blurred at once; but at the edges of eyes, brows and lips, how much weaker a fine
    band is than the coarsest one depends on the focus and hardly on the face.
    """
    if len(features) < FEWEST_PIXELS:
        return gains
    wanted, present = (
        [_edge_strength(split[0], skin, features), *(_power(band, features) ** 0.5 for band in split[1:])]
        for split in (target_bands, bands)
    )
    focus = [(strong / wanted[-1]) / (weak / present[-1]) for strong, weak in zip(wanted, present, strict=True)]
    return [
        min(gain, (sharp / least) ** FOCUS_POWER)
        for gain, sharp, least in zip(gains, focus, FOCUS_OF_SHARP_FACES, strict=False)
    ]


def _power(band: FloatImage, places: Indices) -> float:
    return float(np.square(band.ravel()[places]).mean()) + SILENCE**2


def _edge_strength(band: FloatImage, skin: Indices, features: Indices) -> float:
    """Root mean square of the finest band at the features, less the noise, which is as strong on the skin."""
    power = _power(band, features)
    return float(np.sqrt(max(power - _strength(band, skin) ** 2, LEAST_EDGE_SHARE * power)))


def _places(zones: NDArray[np.uint8], zone: int) -> Indices:
    """Flat indices of the pixels of a zone, thinned out."""
    places = np.flatnonzero(zones == zone)
    return places[:: len(places) // MOST_PIXELS + 1]


def emphasise(image: FloatImage) -> FloatImage:
    """Raise the finest structure, in place, by about what linear interpolation takes away when the picture is pasted."""
    light = _lightness(image)
    light -= cv2.GaussianBlur(light, (0, 0), EMPHASIS_SIGMA_PX)
    light *= np.float32(EMPHASIS)
    return _add_light(image, light)


def _lightness(image: Image | FloatImage) -> FloatImage:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32, copy=False)


def _add_light(image: FloatImage, change: FloatImage) -> FloatImage:
    """Add to all three channels, in place."""
    return cv2.add(image, cv2.cvtColor(change, cv2.COLOR_GRAY2BGR), dst=image)


def _split(grey: FloatImage, unit_px: float, count: int = len(BAND_SIGMAS_PX)) -> list[FloatImage]:
    """The first `count` bands, fine ones first; what the last blur leaves is dropped."""
    bands = []
    for sigma in BAND_SIGMAS_PX[:count]:
        softer = blur(grey, sigma * unit_px)
        bands.append(grey - softer)
        grey = softer
    return bands


def _strength(band: FloatImage, places: Indices) -> float:
    """Spread of a band, from its median, so that an edge in the region does not count as texture."""
    return float(np.sqrt(np.median(np.square(band.ravel()[places])) / MEDIAN_OF_SQUARE))


def _make_grain(shape: tuple[int, ...], sigma_px: float, seed: int) -> FloatImage:
    """(H, W) float32 noise of unit spread, the same for the same seed."""
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma_px)
    return noise / noise.std()
