"""How much of a swap is shown: all of it on a face that a generator does well, less of it towards what it cannot do, and nothing beyond.

A profile, a face of a few pixels and a face that is mostly outside of the frame are left as they are. The way there is gradual in the face
itself, so that nothing switches on or off from one frame to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from utils.inference.model_pack import FadeLimits
from utils.inference.records import Face
from utils.inference.steadying.window import Window

FULL_SIZE = 1.25  # times the smallest height: from there on a swap is shown in full
VISIBLE_SHARE = (
    0.3,
    0.5,
)  # of the box inside the frame: nothing below, all above; a face cut in half is still placed well (looked at)
RADIUS_FRAMES = 6  # of the window over which strengths are averaged
NOSE_REACH, NOSE_TURN = 2.0, 0.783  # yaw = NOSE_TURN * atan(NOSE_REACH * x), see `yaw_of`


def fade_of(face: Face, frame_size: tuple[int, int], limits: FadeLimits) -> float:
    """How much of a swap is to be seen in one frame, in [0, 1].

    Args:
        face: smoothed, where there are neighbours to smooth with.
        frame_size: width and height in pixels.
        limits: of the generator.
    """
    full, gone = limits.yaw_deg
    turned = 1 - _rise(abs(yaw_of(face, limits.cheeks)), full, gone)
    height = float(face.box[3] - face.box[1])
    large = _rise(height, limits.min_face_px, FULL_SIZE * limits.min_face_px)
    return turned * large * _rise(visible_share(face, frame_size), *VISIBLE_SHARE)


class StrengthSmoother(Window[float, float]):
    """Averages what `fade_of` says of one person over the frames around, so that a misplaced landmark does not flash a face in and out.

    Holds 13 numbers at most. A run ends where the person is missing.

    >>> smoother = StrengthSmoother()
    >>> strengths = [answer for value in [0.0] * 8 + [1.0] + [0.0] * 8 for answer in smoother.push(value)] + smoother.finish()
    >>> round(strengths[8], 2), round(strengths[11], 2), strengths[0]
    (0.14, 0.08, 0.0)
    """

    def __init__(self) -> None:
        super().__init__(RADIUS_FRAMES)

    def _answer(self, values: Sequence[float | None], place: int) -> float | None:
        own = values[place]
        if own is None:
            return None
        total, weights = own, 1.0
        for step in (-1, 1):
            for distance in range(1, RADIUS_FRAMES + 1):
                other = place + step * distance
                value = values[other] if 0 <= other < len(values) else None
                if value is None:
                    break
                weight = 1 - distance / (RADIUS_FRAMES + 1)
                total, weights = total + weight * value, weights + weight
        return total / weights


def yaw_of(face: Face, cheeks: tuple[int, int] | None = None) -> float:
    """Turn of the head in degrees; 0 is frontal, positive turns the nose to the right of the picture.

    With dense landmarks, from the depth of the cheeks. Else from x, the nose's way from the middle of the eyes along the line between them,
    over its length; fitted to the former on 300 faces up to 65 degrees, with a deviation of 3 degrees, 5 beyond 35.
    """
    if cheeks is not None and face.landmarks is not None:
        across = face.landmarks[cheeks[1]] - face.landmarks[cheeks[0]]
        return math.degrees(math.atan2(across[2], math.hypot(across[0], across[1])))
    right, left, nose = face.keypoints[:3]
    across = left - right
    x = float((nose - (right + left) / 2) @ across) / max(float(across @ across), 1e-9)
    return NOSE_TURN * math.degrees(math.atan(NOSE_REACH * x))


def visible_share(face: Face, frame_size: tuple[int, int]) -> float:
    """Share of the face's box that lies inside the frame, in [0, 1]."""
    inside = np.clip(face.box, 0, [*frame_size, *frame_size])
    seen = (inside[2] - inside[0]) * (inside[3] - inside[1])
    return float(seen / max(face.area, 1e-9))


def _rise(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, smooth between; a step where both are the same."""
    if value <= low or math.isinf(low):
        return 0.0
    if value >= high:
        return 1.0
    share = (value - low) / (high - low)
    return share * share * (3 - 2 * share)
