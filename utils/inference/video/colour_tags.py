"""How the numbers of a video's pictures are meant: matrix, primaries, transfer and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.inference.video.planes import RANGE_FULL, RANGE_LIMITED

# ITU-T H.273 code points, as libavutil uses them.
UNSPECIFIED = 2
MATRIX_RGB, MATRIX_BT709, MATRIX_BT601, MATRIX_BT2020_CL, MATRIX_BT2020_NCL = 0, 1, 6, 10, 9
MATRICES = frozenset(
    {MATRIX_BT709, UNSPECIFIED, 4, 5, MATRIX_BT601, 7, MATRIX_BT2020_NCL}
)  # those that swscale computes
RANGE_UNSPECIFIED = 0
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class ColourTags:
    """How the numbers of a YUV picture are meant, as ITU-T H.273 code points (2: not said).

    Attributes:
        matrix: YUV to RGB; a matrix that swscale lacks is read, and written, as BT.601, and RGB is written as BT.709.
        primaries, transfer: carried over, never converted: a high dynamic range clip stays one.
        range: 0 not said (taken as limited), 1 limited (16 to 235), 2 full (0 to 255).
    """

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    range: int = RANGE_UNSPECIFIED


def colour_of(frame: Any) -> ColourTags:
    """The tags of a decoded `av.VideoFrame`; a matrix that swscale lacks is BT.601."""
    matrix = int(frame.colorspace)
    if matrix == MATRIX_RGB or frame.format.is_rgb:
        return ColourTags(MATRIX_BT709, int(frame.color_primaries), int(frame.color_trc), RANGE_LIMITED)
    if matrix == MATRIX_BT2020_CL:
        matrix = MATRIX_BT2020_NCL
    elif matrix not in MATRICES:
        matrix = MATRIX_BT601
    full = frame.format.name.startswith("yuvj")
    return ColourTags(
        matrix, int(frame.color_primaries), int(frame.color_trc), RANGE_FULL if full else int(frame.color_range)
    )
