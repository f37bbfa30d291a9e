"""Motion blur: a moving face is drawn as blurred as the target is, along its way and no farther than it moves during one frame.

How much of the way the shutter was open for is read off the pictures. Along the motion, blur takes the contrast of brows, eyes and lips
away; across it, their contrast stays. What the ratio of the two has lost in the target is what the drawn face must lose.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.mesh.canvas import FloatImage
from utils.inference.records import Image, Points

SHORTEST_SHARE = 0.02  # of the region's width: shorter ways are not seen
ONSET_SHARES = (
    0.015,
    0.05,
)  # judged lengths over that width: none of the blur below, all of it above; short ones are often misjudged
JUDGED_PX = 160  # width at which the region is judged
EDGE_SIGMA_PX = 1.6  # at that width; finer structure may be noise
SHUTTERS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)  # open for these shares of a frame
SHORTEST_BLUR_PX = 1.0
UNDERSTATED = 1.4  # true over judged length, on portraits blurred by 6 to 25 % of their width
FEWEST_PIXELS = 200


def match_motion(face: FloatImage, target: Image, region: NDArray[np.bool_], motion: NDArray[np.float64]) -> FloatImage:
    """`face` with the target's motion blur; `face` itself where nothing moves.

    Args:
        face: (H, W, 3) BGR in 0..255.
        target: (H, W, 3) BGR uint8.
        region: (H, W), where `face` is drawn; elsewhere it says nothing.
        motion: (2,) x, y in pixels of these pictures during a frame.
    """
    columns = np.flatnonzero(region.any(0))
    if not len(columns):
        return face
    width, way = float(columns[-1] - columns[0] + 1), float(np.hypot(*motion))
    if way < SHORTEST_SHARE * width:
        return face
    direction = motion / way
    factor = min(JUDGED_PX / width, 1.0)
    size = (max(1, round(region.shape[1] * factor)), max(1, round(region.shape[0] * factor)))
    small = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if small.sum() < FEWEST_PIXELS:
        return face
    drawn, wanted = (cv2.resize(_lightness(picture), size, interpolation=cv2.INTER_AREA) for picture in (face, target))
    shutter = _judge_shutter(np.where(small, drawn, wanted), wanted, small, direction, factor * way)
    length = min(UNDERSTATED * shutter, 1.0) * way
    faint, sure = ONSET_SHARES
    length *= float(np.clip((length / width - faint) / (sure - faint), 0, 1))
    if length < SHORTEST_BLUR_PX:
        return face
    # Outside the region the target goes on, so that blur mixes nothing undefined into the face.
    return blur_along(np.where(region[..., None], face, np.float32(target)), direction, length)


def _judge_shutter(
    drawn: FloatImage, wanted: FloatImage, region: NDArray[np.bool_], direction: NDArray[np.float64], way_px: float
) -> float:
    """The share of the way along which `drawn` must be blurred to lose as much contrast along it as `wanted` has lost, in [0, 1]."""
    limit = _contrast(wanted, region, direction)
    shorter, before = 0.0, _contrast(drawn, region, direction)
    if before <= limit:
        return 0.0
    for shutter in SHUTTERS:
        left = _contrast(blur_along(drawn, direction, shutter * way_px), region, direction)
        if left <= limit:
            return shorter + (shutter - shorter) * (before - limit) / (before - left)
        shorter, before = shutter, min(before, left)  # where a longer way gives more contrast again, it says nothing
    return 1.0


def _contrast(light: FloatImage, region: NDArray[np.bool_], direction: NDArray[np.float64]) -> float:
    """Logarithm of the power of the gradient along a direction over that across it."""
    smooth = cv2.GaussianBlur(light, (0, 0), EDGE_SIGMA_PX)
    by_x, by_y = (cv2.Scharr(smooth, cv2.CV_32F, *order)[region] for order in ((1, 0), (0, 1)))
    xx, xy, yy = (float(np.dot(*pair)) / len(by_x) for pair in ((by_x, by_x), (by_x, by_y), (by_y, by_y)))
    x, y = direction
    along, across = x * x * xx + 2 * x * y * xy + y * y * yy, y * y * xx - 2 * x * y * xy + x * x * yy
    return float(np.log(max(along, 0.0) + 1e-6) - np.log(max(across, 0.0) + 1e-6))


def blur_along(picture: FloatImage, direction: Points, length_px: float) -> FloatImage:
    """Mean over a straight way of `length_px` in the unit vector `direction`, centred on each pixel; the border goes on beyond itself."""
    if length_px < SHORTEST_BLUR_PX:
        return picture
    radius = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    steps = (np.arange(4 * int(np.ceil(length_px))) + 0.5) / (4 * int(np.ceil(length_px))) - 0.5
    places = radius + steps[:, None] * length_px * direction
    whole = np.floor(places).astype(int)
    part = places - whole
    for right in (0, 1):
        for down in (0, 1):
            weight = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1])
            np.add.at(kernel, (whole[:, 1] + down, whole[:, 0] + right), weight.astype(np.float32))
    return cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _lightness(picture: Image | FloatImage) -> FloatImage:
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32, copy=False)
