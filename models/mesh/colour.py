"""Colour arithmetic: CIELAB in OpenCV's float ranges (L in 0..100), means over masked neighbourhoods, and a model of skin."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from utils.inference.records import Image

SKIN_SPREAD_FLOOR = (7.0, 3.5, 3.5)  # L, a, b: no skin is taken to be more uniform than this
SKIN_SHADOW_WEIGHT, SKIN_LIGHT_WEIGHT = 0.7, 0.5  # lightness varies over a face more than colour does
SKIN_INSIDE, SKIN_OUTSIDE = 2.24, 4.48  # deviations up to which a pixel is skin, and from which on it is not
SKIN_FEWEST_PIXELS = 12
GREY_CHROMA = 1.5  # mean |a|, |b| below which a picture is black and white


def to_lab(bgr: Image | FloatImage) -> FloatImage:
    """BGR in 0..255 to CIELAB."""
    return cv2.cvtColor(np.multiply(bgr, 1 / 255, dtype=np.float32), cv2.COLOR_BGR2LAB)


def from_lab(lab: FloatImage) -> FloatImage:
    """CIELAB to BGR in 0..255, clipped to what can be shown."""
    bgr = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
    bgr *= 255
    return np.clip(bgr, 0, 255, out=bgr)


def is_grey(lab: FloatImage) -> bool:
    """Whether a picture has no colour to match."""
    return float(np.abs(lab[..., 1:]).mean()) < GREY_CHROMA


def blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """Gaussian blur; a wide one is computed on a smaller picture."""
    factor = 1
    while sigma_px / (2 * factor) >= 2.5 and min(image.shape[:2]) % (2 * factor) == 0:
        factor *= 2
    if factor == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma_px)
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma_px / factor), (width, height))


def masked_blur(image: FloatImage, mask: FloatImage, sigma_px: float) -> FloatImage:
    """Gaussian mean over those neighbours that `mask` keeps. `image` (H, W) or (H, W, C), `mask` (H, W)."""
    spread = (..., None) if image.ndim == 3 else ...
    return blur(image * mask[spread], sigma_px) / (blur(mask, sigma_px) + np.float32(1e-4))[spread]


def skin_likeness(lab: FloatImage, region: FloatImage) -> FloatImage:
    """How much each pixel looks like the skin inside `region`; (H, W) in [0, 1], all 1 if there is too little to learn from."""
    samples = lab[region > 0.5]
    if len(samples) < SKIN_FEWEST_PIXELS:
        return np.ones(lab.shape[:2], np.float32)
    centre = np.median(samples, 0)
    spread = np.maximum(1.4826 * np.median(np.abs(samples - centre), 0), SKIN_SPREAD_FLOOR).astype(np.float32)
    deviation = (lab - centre) / spread
    deviation[..., 0] *= np.where(deviation[..., 0] > 0, np.float32(SKIN_LIGHT_WEIGHT), np.float32(SKIN_SHADOW_WEIGHT))
    distance = np.sqrt(np.einsum("hwc,hwc->hw", deviation, deviation))
    return np.clip((SKIN_OUTSIDE - distance) / (SKIN_OUTSIDE - SKIN_INSIDE), 0, 1)


def spread_ratio(wanted: NDArray[np.float32], present: NDArray[np.float32], low: float, high: float) -> float:
    """Standard deviation of `wanted` over that of `present`, bounded."""
    return float(np.clip(wanted.std() / (present.std() + 1e-3), low, high))
