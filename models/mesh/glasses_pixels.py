"""The pixels of glasses: kept in front of a swapped face, and taken off a source's skin."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, OVAL
from models.mesh.canvas import FloatImage, Portrait
from models.mesh.colour import blur, masked_blur
from models.mesh.glasses import JUDGED_PX, Glasses, contrasts, draw_features, shrink
from models.mesh.raster import SUBPIXEL_BITS, fixed_point
from utils.inference.blending import weigh
from utils.inference.records import Image, Mask, Points

# Lengths are in pixels of a canvas of JUDGED_PX.
PATH_PX, AROUND_PX = 5, 20  # width of what surely belongs to a path, and of what may; beyond, both fade
FADE_PX = 2.5
MARGIN_PX = 16  # around the paths, that is looked at
NOISE_SIGMA_PX = 0.5
THICKEST_PX, RIVAL_PX = 15, 13  # lines are thinner; of two so near to each other, the clearer one counts
FAINT, PLAIN = (
    7.0,
    14.0,
)  # percent of contrast above that of the skin: up to the first it is skin, from the second on a rim
FOOT, TOP = 0.3, 0.6  # of a line's highest contrast, where it begins, and where it is solid
BRIGHT_SHARE = 0.7  # of a bright line, which may be a reflection on skin
FEATURE_DOUBT = 0.7  # that what goes on from a rim across a brow or an eye belongs to it
EDGE_BLUR_PX = 0.6
TINTED, BLACK = (
    0.6,
    0.45,
)  # lightness inside the rims over that of the cheeks: eyes can be seen behind lenses; they cannot

WIDER_PX, WIDER_ON_BROWS_PX, FEATURE_MARGIN_PX, HALO_PX = 3, 2, 2, 1.0  # beyond a rim, what it has shaded
FILLS = ((10.0, 1.0), (3.0, 0.99))  # reach, and by how much less than the skin around it what is being filled counts
BACKGROUND_SHARE = 0.01  # of a pixel of skin, that one beyond the outline counts
GRAIN_SIGMA_PX = 0.6


def draw_glasses(portrait: Portrait, glasses: Glasses) -> Mask:
    """How much each pixel of a canvas belongs to the glasses: (S, S) float32 in [0, 1].

    Of clear lenses the rims only; of dark ones everything, as nothing can be seen behind them. Their likelihood is in it.
    """
    image, points = shrink(portrait)
    drawn = np.maximum(_draw_rims(image, points, glasses), _draw_dark_lenses(image, points, glasses))
    return _enlarge(drawn * np.float32(glasses.likelihood), portrait.image.shape[0])


def take_off(portrait: Portrait, glasses: Glasses) -> Image:
    """The canvas with skin where the rims are; what is seen behind the lenses stays, and so do the brows beside a rim."""
    size, (image, points) = portrait.image.shape[0], shrink(portrait)
    unit = size / JUDGED_PX
    rims = _draw_rims(image, points, glasses)
    # What a rim has shaded is taken off with it, but of a brow hardly anything.
    widened = cv2.dilate(rims, _square(2 * WIDER_PX + 1)) * (1 - draw_features(points))
    rims = np.maximum(cv2.dilate(rims, _square(2 * WIDER_ON_BROWS_PX + 1)), widened)
    mask = cv2.GaussianBlur(np.maximum(rims, _draw_dark_lenses(image, points, glasses)), (0, 0), HALO_PX)
    weight = _enlarge(np.minimum(2 * mask, 1) * np.float32(glasses.likelihood), size)
    picture = portrait.image.astype(np.float32)
    # Skin is filled with skin: brows and eyes beside a rim would darken the lids.
    face = _fill(points, OVAL) * (1 - cv2.dilate(draw_features(points), _square(2 * FEATURE_MARGIN_PX + 1)))
    filled, face = picture, _enlarge(np.maximum(face, np.float32(BACKGROUND_SHARE)), size)
    for reach_px, doubt in FILLS:  # first anything plausible, then what is next to the rim
        around = masked_blur(filled, face * (1 - np.float32(doubt) * weight), reach_px * unit)
        filled = picture + weigh(around - picture, weight)
    skin = cv2.resize(_fill(points, CHEEKS_AND_NOSE), (size, size)) * (1 - weight)
    filled += weigh(cv2.merge([_make_grain(picture, skin > 0.5, unit)] * 3), weight)
    return cv2.convertScaleAbs(np.maximum(filled, 0))


def _draw_rims(image: Image, points: Points, glasses: Glasses) -> FloatImage:
    """Rims, bridge and arms, (JUDGED_PX, JUDGED_PX)."""
    ways = np.concatenate([*glasses.rims, glasses.bridge, *glasses.arms])
    first = np.clip(np.floor(ways.min(0)).astype(int) - MARGIN_PX, 0, JUDGED_PX - 1)
    last = np.clip(np.ceil(ways.max(0)).astype(int) + MARGIN_PX, first + 1, JUDGED_PX)
    part = (slice(first[1], last[1]), slice(first[0], last[0]))
    on_path, around = (_draw_band(glasses, width)[part] for width in (PATH_PX, AROUND_PX))
    light = cv2.GaussianBlur(contrasts(image[part]), (0, 0), NOISE_SIGMA_PX)
    dark, bright = (
        cv2.morphologyEx(light, hat, _square(THICKEST_PX)) for hat in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)
    )
    skin = dark[(around > 0.5) & (on_path < 0.1)]
    noise = float(np.median(skin)) if len(skin) else 0.0
    # Skin between two dark lines is bright as well.
    line = np.maximum(dark, BRIGHT_SHARE * bright - cv2.dilate(dark, _square(RIVAL_PX)))
    plain = 1 - FEATURE_DOUBT * draw_features(points)[part]
    mask = _go_on(_solid(line * on_path, noise), _solid(line * around * plain, noise))
    whole = np.zeros((JUDGED_PX, JUDGED_PX), np.float32)
    whole[part] = cv2.GaussianBlur(cv2.dilate(mask, _square(3)), (0, 0), EDGE_BLUR_PX)
    return whole


def _draw_band(glasses: Glasses, width_px: int) -> FloatImage:
    """1 on the paths, less beside them."""
    band = np.zeros((JUDGED_PX, JUDGED_PX), np.float32)
    for ways, closed in ((glasses.rims, True), ((glasses.bridge, *glasses.arms), False)):
        cv2.polylines(band, [fixed_point(way) for way in ways], closed, 1.0, width_px, cv2.LINE_8, SUBPIXEL_BITS)
    return cv2.GaussianBlur(band, (0, 0), FADE_PX)


def _solid(line: FloatImage, noise: float) -> FloatImage:
    """Lines as wide as they are seen, in [0, 1]; those that a neighbour outshines are none."""
    peak = cv2.dilate(line, _square(RIVAL_PX))
    solid = np.clip((line / np.maximum(peak, 1e-3) - FOOT) / (TOP - FOOT), 0, 1)
    return solid * np.clip((peak - noise - FAINT) / (PLAIN - FAINT), 0, 1)


def _go_on(sure: FloatImage, likely: FloatImage) -> FloatImage:
    """What is sure, and of what is likely that which it is joined to."""
    joined, likely = sure, np.maximum(sure, likely)
    for _ in range(AROUND_PX):
        joined = np.minimum(cv2.dilate(joined, _square(3)), likely)
    return joined


def _draw_dark_lenses(image: Image, points: Points, glasses: Glasses) -> FloatImage:
    """1 inside the rims if nothing can be seen there, 0 if eyes can; (JUDGED_PX, JUDGED_PX)."""
    lenses = np.zeros((JUDGED_PX, JUDGED_PX), np.float32)
    cv2.fillPoly(lenses, [fixed_point(rim) for rim in glasses.rims], 1.0, cv2.LINE_8, SUBPIXEL_BITS)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    behind, skin = grey[lenses > 0], grey[(_fill(points, CHEEKS_AND_NOSE) > 0) & (lenses == 0)]
    if not (len(behind) and len(skin)):
        return np.zeros_like(lenses)
    ratio = float(np.median(behind)) / max(float(np.median(skin)), 1.0)
    share = np.clip((TINTED - ratio) / (TINTED - BLACK), 0, 1)
    return cv2.GaussianBlur(lenses, (0, 0), EDGE_BLUR_PX) * np.float32(share)


def _make_grain(picture: FloatImage, skin: NDArray[np.bool_], unit: float) -> FloatImage:
    """(S, S) noise as strong as the finest structure of the skin."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    fine = np.abs(grey - blur(grey, 2 * GRAIN_SIGMA_PX * unit))[skin]
    noise = np.random.default_rng(0).standard_normal(grey.shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), GRAIN_SIGMA_PX * unit)
    return noise * np.float32((np.median(fine) if len(fine) else 0) / np.median(np.abs(noise)))


def _enlarge(mask: Mask, size: int) -> Mask:
    return mask if size == JUDGED_PX else cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)


def _fill(points: Points, *polygons: tuple[int, ...]) -> FloatImage:
    filled = np.zeros((JUDGED_PX, JUDGED_PX), np.float32)
    for polygon in polygons:
        cv2.fillPoly(filled, [fixed_point(points[list(polygon)])], 1.0, cv2.LINE_8, SUBPIXEL_BITS)
    return filled


def _square(side_px: int) -> NDArray[np.uint8]:
    return np.ones((side_px, side_px), np.uint8)
