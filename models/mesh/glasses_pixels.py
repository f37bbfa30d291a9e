"""The pixels of glasses: kept in front of a swapped face, and taken off a source."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE
from models.mesh.canvas import FloatImage, Portrait, resize_points
from models.mesh.colour import masked_blur
from models.mesh.glasses import JUDGED_PX, Glasses, contrasts, draw_features
from models.mesh.raster import SUBPIXEL_BITS, fixed_point
from utils.inference.records import Image, Mask, Points

WORK_PX = 512  # side of the largest canvas on which pixels are judged
UNIT = 1 / JUDGED_PX  # lengths below are in pixels of a canvas of JUDGED_PX
BAND_PX = 5  # width of what is taken to lie on a path; and less and less so far beyond it
THICKEST_PX = 15  # of a line
FAINT, PLAIN = 7.0, 14.0  # percent of contrast at the middle of a line, up to which it is skin, and from which on it is a rim
FOOT, TOP = 0.3, 0.6  # of the contrast in the middle of a line, where it begins, and where it is solid
NEIGHBOURHOOD_PX = 13
BRIGHT_SHARE = 0.7
FEATURE_DOUBT = 0.7
GROWTH_PX = 20
SOFT_PX = 0.6
TINTED, BLACK = 0.6, 0.45  # lightness behind the lenses over that of the cheeks: eyes can be seen; cannot
FILL_PX, FILL_DOUBT = (10.0, 3.0), (1.0, 0.98)
WIDER_PX, HALO_PX = 2.0, 1.0  # beyond its pixels, where a rim has left traces on the skin


def draw_glasses(portrait: Portrait, glasses: Glasses) -> Mask:
    """How much each pixel of a canvas, (S, S) float32 in [0, 1], belongs to the glasses.

    Of clear lenses the rims only; dark ones as a whole, as nothing is to be seen behind them.
    """
    size = portrait.image.shape[0]
    work = min(size, WORK_PX)
    image = portrait.image if work == size else cv2.resize(portrait.image, (work, work), interpolation=cv2.INTER_AREA)
    points, unit = resize_points(portrait.points, work / size), work / JUDGED_PX
    light = cv2.GaussianBlur(contrasts(image), (0, 0), 0.5 * unit)
    kernel = _square(THICKEST_PX * unit)
    dark, bright = (cv2.morphologyEx(light, kind, kernel) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    near = _square(NEIGHBOURHOOD_PX * unit)
    # Skin between two dark lines is bright as well.
    line = np.maximum(dark, BRIGHT_SHARE * bright - cv2.dilate(dark, near))
    line *= cv2.resize(1 - FEATURE_DOUBT * draw_features(resize_points(points, 1 / unit)), (work, work))
    on_path, around = _draw_band(glasses, work, BAND_PX), _draw_band(glasses, work, GROWTH_PX)
    noise = float(np.median(dark[on_path > 0.5]))
    sure, likely = (_solid(line * band, near, noise) for band in (on_path, around))
    mask = _grow(sure, likely, round(GROWTH_PX * unit))
    mask = cv2.GaussianBlur(cv2.dilate(mask, np.ones((3, 3), np.uint8)), (0, 0), SOFT_PX)
    mask = np.maximum(mask, _dark_lenses(image, points, glasses))
    mask = np.clip(mask * np.float32(glasses.likelihood), 0, 1)
    return mask if work == size else cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)


def _solid(line: FloatImage, near: NDArray[np.uint8], noise: float) -> FloatImage:
    """Lines as wide as they are seen, in [0, 1]; those that others nearby outshine are none."""
    peak = cv2.dilate(line, near)
    solid = np.clip((line / np.maximum(peak, 1e-3) - FOOT) / (TOP - FOOT), 0, 1)
    return solid * np.clip((peak - noise - FAINT) / (PLAIN - FAINT), 0, 1)


def _grow(sure: FloatImage, likely: FloatImage, reach_px: int) -> FloatImage:
    """What is `likely` belongs to it where it goes on from what is `sure`."""
    grown, likely = sure, np.maximum(sure, likely)
    for _ in range(reach_px):
        grown = np.minimum(cv2.dilate(grown, np.ones((3, 3), np.uint8)), likely)
    return grown


def _draw_band(glasses: Glasses, size: int, width_px: float) -> FloatImage:
    """1 on the paths, less beside them."""
    band = np.zeros((size, size), np.float32)
    unit = size / JUDGED_PX
    width = round(width_px * unit) + 1
    for ways, closed in ((glasses.rims, True), ((glasses.bridge, *glasses.arms), False)):
        lines = [fixed_point(resize_points(way.copy(), unit)) for way in ways]
        cv2.polylines(band, lines, closed, 1.0, width, cv2.LINE_8, SUBPIXEL_BITS)
    return cv2.GaussianBlur(band, (0, 0), BAND_PX / 2 * unit)


def _dark_lenses(image: Image, points: Points, glasses: Glasses) -> FloatImage:
    size = image.shape[0]
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cheeks, lenses = np.zeros((2, size, size), np.uint8)
    cv2.fillPoly(cheeks, [fixed_point(points[list(CHEEKS_AND_NOSE)])], 1, cv2.LINE_8, SUBPIXEL_BITS)
    cv2.fillPoly(lenses, [fixed_point(resize_points(rim.copy(), size / JUDGED_PX)) for rim in glasses.rims], 1, cv2.LINE_8, SUBPIXEL_BITS)
    skin = grey[(cheeks > 0) & (lenses == 0)]
    if not len(skin):
        return np.zeros((size, size), np.float32)
    ratio = float(np.median(grey[lenses > 0])) / max(float(np.median(skin)), 1.0)
    share = np.clip((TINTED - ratio) / (TINTED - BLACK), 0, 1)
    return cv2.GaussianBlur(lenses.astype(np.float32), (0, 0), size / JUDGED_PX) * np.float32(share)


def take_off(portrait: Portrait, glasses: Glasses) -> Image:
    """The canvas with skin where rims were."""
    size = portrait.image.shape[0]
    unit = size / JUDGED_PX
    mask = cv2.dilate(draw_glasses(portrait, glasses), _square(2 * WIDER_PX * unit))
    rows, columns = (np.flatnonzero((mask > 0.01).any(axis)) for axis in (1, 0))
    if not len(rows):
        return portrait.image
    margin = round(4 * FILL_PX[0] * unit)
    part = tuple(slice(max(0, line[0] - margin), line[-1] + margin) for line in (rows, columns))
    picture = portrait.image[part].astype(np.float32)
    weight = cv2.GaussianBlur(mask[part], (0, 0), HALO_PX * unit)
    filled = picture.copy()
    for reach_px, doubt in zip(FILL_PX, FILL_DOUBT, strict=True):
        around = masked_blur(filled, 1 - doubt * np.minimum(2 * weight, 1), reach_px * unit)
        filled = picture + np.minimum(2 * weight, 1)[..., None] * (around - picture)
    image = portrait.image.copy()
    image[part] = cv2.convertScaleAbs(filled)
    return image


def _square(side_px: float) -> NDArray[np.uint8]:
    side = 2 * round(side_px / 2) + 1
    return np.ones((side, side), np.uint8)
