"""The edge of what is in front of a face, found in the pixels of the crop: a flat map only says where about it runs.

Source of the idea: local colour models on both sides of an uncertain band, as in interactive matting (Wang and Cohen, Image and Video
Matting, 2007). Here they are Gaussian, learned by blurring, and the coarse map is their prior.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Image, Mask

LARGEST_PX = 320  # side of the picture that the edge is found in
CELL_PX = 4  # colours are learned from a picture that is smaller by this
BAND = 0.02  # of the side: half the width of the band in which the edge may run
REACH = 0.03  # of the side: from how far around colours are learned
LEAST_VARIANCE = 30.0  # of a colour channel, in grey levels squared
ENOUGH_MASS = 0.05  # share of the surroundings from which on colours are believed
PRIOR_WEIGHT = 3.0  # of the coarse map, in logits
LARGEST_LOGIT = 12.0
EDGE_BLUR_PX = 0.8
SAFE_LEVEL, SURE_LEVEL = (
    0.35,
    0.65,
)  # chance of being in front at which a pixel begins to count as such, and at which it fully does

FloatImage = NDArray[np.float32]


def refine_visible(crop: Image, coarse: Mask) -> Mask:
    """Move the edge of a coarse map to where the colours change.

    Args:
        crop: (S, S, 3) BGR uint8.
        coarse: (S, S) float32 in [0, 1]; 0 where something hides the face.

    Returns:
        (S, S) float32 in [0, 1], 0 or 1 further than a narrow band from the edge of `coarse`.
    """
    side = crop.shape[0]
    work = max(min(side, LARGEST_PX) // CELL_PX, 1) * CELL_PX
    hidden = cv2.resize(1 - coarse, (work, work), interpolation=cv2.INTER_LINEAR)
    reach = round(BAND * work)
    possible = cv2.dilate((hidden > 0.5).astype(np.uint8), _square(reach))
    rows, columns = np.flatnonzero(possible.any(1)), np.flatnonzero(possible.any(0))
    if not len(rows):
        return np.ones((side, side), np.float32)
    cells = tuple(slice(max(0, line[0] // CELL_PX - 1), line[-1] // CELL_PX + 2) for line in (rows, columns))
    area = tuple(slice(line.start * CELL_PX, min(line.stop * CELL_PX, work)) for line in cells)
    sure = cv2.erode((hidden > 0.5).astype(np.uint8), _square(reach))
    small = cv2.resize(crop, (work, work), interpolation=cv2.INTER_AREA)
    band = (possible[area] > 0) & (sure[area] == 0)
    # The colours vary slowly: every pixel takes those of its cell.
    y, x = (places // CELL_PX for places in np.nonzero(band))
    front, face = (_learn(small, region)[cells][y, x] for region in (sure, 1 - possible))
    support = np.clip(np.minimum(front[:, 6], face[:, 6]) / ENOUGH_MASS, 0, 1)
    picture = small[area][band].astype(np.float32)
    evidence = _log_likelihood(picture, front) - _log_likelihood(picture, face)
    logit = support * np.clip(evidence, -LARGEST_LOGIT, LARGEST_LOGIT) + PRIOR_WEIGHT * (2 * hidden[area][band] - 1)
    chance = sure[area].astype(np.float32)
    chance[band] = 1 / (1 + np.exp(-logit))
    chance = cv2.GaussianBlur(cv2.medianBlur(chance, 3), (0, 0), EDGE_BLUR_PX)
    visible = np.ones((work, work), np.float32)
    visible[area] -= np.clip((chance - SAFE_LEVEL) / (SURE_LEVEL - SAFE_LEVEL), 0, 1)
    return cv2.resize(visible, (side, side), interpolation=cv2.INTER_LINEAR)


def _learn(picture: Image, region: NDArray[np.uint8]) -> FloatImage:
    """Per cell, 7 values: mean and variance of the colours of `region` around it, and how much of `region` is around."""
    size = (picture.shape[1] // CELL_PX, picture.shape[0] // CELL_PX)
    weight = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    colours = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    sigma = REACH * size[0]
    sums = cv2.GaussianBlur(np.concatenate([colours * weight, colours**2 * weight], 2), (0, 0), sigma)
    mass = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    means = sums / (mass + np.float32(1e-6))
    variance = np.maximum(means[..., 3:] - means[..., :3] ** 2, 0) + np.float32(LEAST_VARIANCE)
    return np.concatenate([means[..., :3], variance, mass], 2)


def _log_likelihood(picture: FloatImage, learned: FloatImage) -> FloatImage:
    """(n,) of n colours, each under the Gaussian that was learned around it."""
    step, variance = picture - learned[:, :3], learned[:, 3:6]
    return -0.5 * np.einsum("nc->n", step * step / variance + np.log(variance))


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
