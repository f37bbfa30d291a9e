"""Sharpness and grain: the result must be neither crisper nor cleaner than the picture around it.

Lightness is split into bands of fineness; each is given the strength that it has in the target's skin. What the source's finest band
lacks is taken from the target's own, at its place: sensor noise, blocks of compression and pores look and move as around the face.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from models.mesh.colour import blur, ranked
from models.mesh.topology import Indices

SKIN, FEATURES = 1, 2  # zones
BAND_SIGMAS_PX = (0.8, 1.6, 3.2, 6.4)  # in pixels of the frame; a band is what a blur takes away from the one before
COARSEST_SCALE = (
    2.5  # canvas over frame pixels up to which the bands grow along: beyond, they would hold whole features
)
HALVED_FROM = 2  # the band from which on half the resolution is enough
BAND_MATCHING = (1.0, 0.8, 0.5)  # share of the difference (in logarithms) made up: pores are focus, wrinkles identity
BAND_GAIN_RANGES = ((0.05, 1.25), (0.2, 1.6), (0.5, 1.3))
FOCUS_OF_SHARP_FACES = (0.55, 0.8, 0.9)  # two portraits in focus rarely differ by more than this
FOCUS_POWER = 2.0
LEAST_EDGE_SHARE = 0.05  # of the power at the features, however noisy the picture is
SILENCE = 0.15  # grey levels; weaker bands are rounding
FEWEST_PIXELS, MOST_PIXELS = 100, 8000  # that are compared
MEDIAN_OF_SQUARE = 0.4549  # of a normal variable
GRAIN_LIMIT = 2.0  # spreads of the target's finest band; what is stronger is a hair or an edge, not grain
EMPHASIS = 0.9  # what interpolation takes away, to the canvas and back, at about the frame's scale
EMPHASIS_SIGMA_PX = 0.7


def match_detail(image: FloatImage, target: FloatImage, zones: NDArray[np.uint8], frame_scale: float) -> FloatImage:
    """Give `image` the target's sharpness and grain, in place.

    Both as they are to be pasted, after `emphasise`: of grain that is coarser or finer than the target's it raises another share.

    Args:
        image: (H, W, 3) BGR in 0..255; both sides even.
        target: (H, W, 3) BGR in 0..255.
        zones: SKIN and FEATURES where both show these, other values elsewhere; the same part as `image`, in any resolution.
        frame_scale: pixels of these pictures per frame pixel.
    """
    skin, features = (_Zone(zones, zone) for zone in (SKIN, FEATURES))
    if skin.size < FEWEST_PIXELS:
        return image
    unit_px = min(max(frame_scale, 1.0), COARSEST_SCALE)
    splits = [_split(_lightness(picture), unit_px) for picture in (target, image)]
    wanted, present = ([_strength(skin.of(band)) for band in split] for split in splits)
    gains = [
        float(np.clip(((strong + SILENCE) / (weak + SILENCE)) ** matching, *bounds))
        for strong, weak, matching, bounds in zip(wanted, present, BAND_MATCHING, BAND_GAIN_RANGES, strict=False)
    ]
    if features.size >= FEWEST_PIXELS:
        edges = (
            _edge_strengths([features.of(band) for band in split], noise[0])
            for split, noise in zip(splits, (wanted, present), strict=True)
        )
        gains = _limit_to_focus(gains, *edges)
    _, finer, fine, _ = splits[1]  # the coarsest band is only there to compare the others with
    change = finer * np.float32(gains[1] - 1)
    change += cv2.resize(fine * np.float32(gains[2] - 1), change.shape[1::-1])
    # Bands overlap: what is left of the finest is seen when the others are done.
    finest = _finest(_lightness(image) + change, unit_px)
    gain, reached = _gain_to_reach(wanted[0], gains[0], skin.of(finest), skin.of(_finest(finest, unit_px)))
    change += finest * np.float32(gain - 1)
    lacking = 1 - (reached / max(wanted[0], SILENCE)) ** 2  # of the power
    if lacking > 0:
        limit = GRAIN_LIMIT * wanted[0]
        grain = np.clip(splits[0][0], -limit, limit)
        # Elsewhere hair and glasses would come through.
        shown = cv2.resize((zones > 0).astype(np.float32), grain.shape[1::-1])
        change += cv2.multiply(grain, shown, scale=lacking**0.5)
    return _add_light(image, change)


def _gain_to_reach(wanted: float, most: float, finest: FloatImage, of_itself: FloatImage) -> tuple[float, float]:
    """The gain of the finest band, `most` at most, after which it is as strong as `wanted`; and how strong it is then.

    A blur leaves some of a band behind, so that the strength falls less than the gain: by about a straight line.

    Args:
        wanted: strength.
        most: what focus, or noise that must not be raised, allows.
        finest: (N,) values of the band.
        of_itself: (N,) of the finest band of that band.
    """
    least = min(BAND_GAIN_RANGES[0][0], most)
    low, high = (_strength(finest + np.float32(gain - 1) * of_itself) for gain in (least, most))
    share = float(np.clip((wanted - low) / max(high - low, SILENCE), 0, 1))
    return least + share * (most - least), low + share * (high - low)


class _Zone:
    """The middles of a zone's pixels, thinned out, to be looked at in pictures of any resolution."""

    def __init__(self, zones: NDArray[np.uint8], zone: int) -> None:
        places = np.flatnonzero(zones == zone)
        self._places = places[:: len(places) // MOST_PIXELS + 1]
        self._shape = zones.shape
        self._indices: dict[tuple[int, ...], Indices] = {}
        self.size = len(self._places)

    def of(self, band: FloatImage) -> FloatImage:
        """(N,) values."""
        if band.shape not in self._indices:
            y, x = np.divmod(self._places, self._shape[1])
            rows, columns = (
                (2 * place + 1) * now // (2 * then)
                for place, now, then in zip((y, x), band.shape, self._shape, strict=True)
            )
            self._indices[band.shape] = rows * band.shape[1] + columns
        return np.take(band, self._indices[band.shape])


def _limit_to_focus(gains: list[float], wanted: list[float], present: list[float]) -> list[float]:
    """Lower the gains of those bands that the target's lens, or its motion, has weakened.

    Skin cannot tell, as it may be noisy and blurred at once; but at the edges of eyes, brows and lips, how much weaker a fine
    band is than the coarsest one depends on the focus and hardly on the face.

    Args:
        gains: of the bands, without the coarsest.
        wanted, present: strengths at these edges, of all bands.
    """
    focus = [(strong / wanted[-1]) / (weak / present[-1]) for strong, weak in zip(wanted, present, strict=True)]
    return [
        min(gain, (sharp / least) ** FOCUS_POWER)
        for gain, sharp, least in zip(gains, focus, FOCUS_OF_SHARP_FACES, strict=False)
    ]


def _edge_strengths(bands: list[FloatImage], noise: float) -> list[float]:
    """Root mean squares of bands at the features; of the finest less the noise, which is as strong as on the skin."""
    powers = [float(np.dot(band, band)) / len(band) + SILENCE**2 for band in bands]
    powers[0] = max(powers[0] - noise**2, LEAST_EDGE_SHARE * powers[0])
    return np.sqrt(powers).tolist()


def emphasise(image: FloatImage) -> FloatImage:
    """Raise the finest structure, in place, by about what linear interpolation takes away when the picture is pasted."""
    light = _lightness(image)
    light -= cv2.GaussianBlur(light, (0, 0), EMPHASIS_SIGMA_PX)
    light *= np.float32(EMPHASIS)
    return _add_light(image, light)


def _lightness(image: FloatImage) -> FloatImage:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def _add_light(image: FloatImage, change: FloatImage) -> FloatImage:
    """Add to all three channels, in place."""
    return cv2.add(image, cv2.cvtColor(change, cv2.COLOR_GRAY2BGR), dst=image)


def _split(grey: FloatImage, unit_px: float) -> list[FloatImage]:
    """The bands, fine ones first; what the last blur leaves is dropped. The two coarser ones are as well seen on half the picture."""
    bands = []
    for place, sigma in enumerate(BAND_SIGMAS_PX):
        if place == HALVED_FROM:
            grey = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
            unit_px /= 2
        softer = blur(grey, sigma * unit_px)
        bands.append(grey - softer)
        grey = softer
    return bands


def _finest(grey: FloatImage, unit_px: float) -> FloatImage:
    return grey - blur(grey, BAND_SIGMAS_PX[0] * unit_px)


def _strength(band: FloatImage) -> float:
    """Spread of the values of a band, from their median, so that an edge in the region does not count as texture."""
    return float(ranked(np.abs(band), 0.5)) / MEDIAN_OF_SQUARE**0.5
