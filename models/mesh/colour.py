"""Colour arithmetic: CIELAB in OpenCV's float ranges (L in 0..100), means over masked neighbourhoods, and a model of skin."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from utils.inference.blending import weigh
from utils.inference.records import Image

Channels: TypeAlias = NDArray[np.floating]
"""A number for each channel: (3,)."""

TONES = np.array(
    ((0.114, 0.587, 0.299), (0.0, -1.0, 1.0), (-1.0, 1.0, 0.0))
)  # lightness, red over green, green over blue
TONE_FLOOR = 6.0  # grey levels added before the logarithm, so that noise in the dark stays small
TONE_WHITE = 255 + TONE_FLOOR
SKIN_SPREAD_FLOOR = (10.0, 3.5, 3.5)  # L, a, b: no skin is taken to be more uniform than this
SKIN_SHADOW_WEIGHT, SKIN_LIGHT_WEIGHT = 0.7, 0.5  # lightness varies over a face more than colour does
SKIN_INSIDE, SKIN_OUTSIDE = 2.24, 4.48  # deviations up to which a pixel is skin, and from which on it is not
SKIN_FEWEST_PIXELS = 12
SMALLEST_SIGMA_PX = 2.0  # down to which a picture is shrunk before it is blurred
GREY_CHROMA = 1.5  # mean |a|, |b| below which a picture is black and white


def to_lab(bgr: Image | FloatImage) -> FloatImage:
    """BGR in 0..255 to CIELAB."""
    return cv2.cvtColor(np.multiply(bgr, 1 / 255, dtype=np.float32), cv2.COLOR_BGR2LAB)


def from_lab(lab: FloatImage) -> FloatImage:
    """CIELAB to BGR in 0..255, clipped to what can be shown."""
    bgr = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
    bgr *= 255
    return np.clip(bgr, 0, 255, out=bgr)


def to_tones(bgr: Image | FloatImage) -> FloatImage:
    """BGR in 0..255 to natural logarithms: of lightness (0 is white), of red over green, and of green over blue.

    Light and pigment act as factors, which are sums here: what a shadow or a brow takes from pale skin, it takes from dark skin, too,
    and a darker skin differs by nearly the same vector everywhere.
    Source: Tsumura et al. 1999, "Independent-component analysis of skin color image".
    """
    tones = np.add(bgr, TONE_FLOOR, dtype=np.float32)
    tones *= 1 / TONE_WHITE
    return cv2.transform(cv2.log(tones, dst=tones), TONES)


def from_tones(tones: FloatImage) -> FloatImage:
    """The way back from `to_tones`: BGR in 0..255, clipped to what can be shown."""
    bgr = cv2.exp(cv2.transform(tones, np.linalg.inv(TONES)))
    bgr *= TONE_WHITE
    bgr -= TONE_FLOOR
    return np.clip(bgr, 0, 255, out=bgr)


def is_grey(lab: FloatImage) -> bool:
    """Whether a picture has no colour to match."""
    return float(np.abs(lab[..., 1:]).mean()) < GREY_CHROMA


def scale_channels(image: FloatImage, gain: Channels, offset: Channels) -> FloatImage:
    """`gain * image + offset`, each channel with its own."""
    return cv2.transform(image, np.column_stack([np.diag(gain), offset]))


def blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """Gaussian blur; a wide one is computed on a smaller picture."""
    blurred = _blur_small(image, sigma_px)
    return blurred if blurred.shape == image.shape else cv2.resize(blurred, image.shape[1::-1])


def masked_blur(image: FloatImage, mask: FloatImage, sigma_px: float) -> FloatImage:
    """Gaussian mean over those neighbours that `mask` keeps. `image` (H, W) or (H, W, C), `mask` (H, W)."""
    # There is nothing beyond the border: it must not count as a mirror image.
    kept, weight = (_blur_small(part, sigma_px, cv2.BORDER_CONSTANT) for part in (weigh(image, mask), mask))
    mean = weigh(kept, np.reciprocal(weight + np.float32(1e-4)))
    return mean if mean.shape == image.shape else cv2.resize(mean, image.shape[1::-1])


def _blur_small(image: FloatImage, sigma_px: float, border: int = cv2.BORDER_DEFAULT) -> FloatImage:
    """Gaussian blur of a picture that is shrunk as far as that loses nothing."""
    factor = 1
    while (
        sigma_px / (2 * factor) >= SMALLEST_SIGMA_PX
        and image.shape[0] % (2 * factor) == image.shape[1] % (2 * factor) == 0
    ):
        factor *= 2
    if factor > 1:
        size = (image.shape[1] // factor, image.shape[0] // factor)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(image, (0, 0), sigma_px / factor, borderType=border)


def skin_likeness(lab: FloatImage, region: FloatImage) -> FloatImage:
    """How much each pixel looks like the skin inside `region`; (H, W) in [0, 1], all 1 if there is too little to learn from."""
    samples = lab[region > 0.5].T
    if samples.shape[1] < SKIN_FEWEST_PIXELS:
        return np.ones(lab.shape[:2], np.float32)
    centre = ranked(samples, 0.5)
    spread = np.maximum(1.4826 * ranked(np.abs(samples - centre[:, None]), 0.5), SKIN_SPREAD_FLOOR)
    light, *chroma = cv2.split(scale_channels(lab, 1 / spread, -centre / spread))
    light = np.maximum(SKIN_LIGHT_WEIGHT * light, -SKIN_SHADOW_WEIGHT * light)
    distance = cv2.magnitude(light, cv2.magnitude(*chroma))
    return np.clip((SKIN_OUTSIDE - distance) / (SKIN_OUTSIDE - SKIN_INSIDE), 0, 1)


def ranked(values: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """The value above `share` of all `values` along the last axis."""
    rank = int(share * values.shape[-1])
    return np.partition(values, rank)[..., rank]


def spread_ratio(wanted: float, present: float, low: float, high: float) -> float:
    """Standard deviation wanted over that present, bounded."""
    return float(np.clip(wanted / (present + 1e-4), low, high))
