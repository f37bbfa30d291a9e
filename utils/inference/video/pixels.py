"""From a decoded frame to the two forms that are worked with: upright 8-bit BGR for the nets, upright stored planes for the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from utils.inference.blending import Patch
from utils.inference.records import Image
from utils.inference.stopwatch import stage
from utils.inference.video.codecs import Encoding
from utils.inference.video.colour_tags import (
    MATRICES,
    MATRIX_BT601,
    MATRIX_BT2020_CL,
    MATRIX_BT2020_NCL,
    MATRIX_RGB,
    UNSPECIFIED,
)
from utils.inference.video.colour_views import levels_of_view, view_of_levels
from utils.inference.video.planes import (
    LAYOUTS,
    RANGE_FULL,
    RANGE_LIMITED,
    PixelLayout,
    Plane,
    Planes,
    add_difference,
    pad_planes,
    turn_planes,
)
from utils.inference.video.probing import VideoInfo

# Without the last two flags swscale comes out a level dark. Of the filters, bilinear here and `area` on the way back lose the least chroma
# (measured: 0.5 dB less loss than bicubic both ways, in two thirds of the time).
TO_BGR = int(Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT)
TO_PLANES = int(
    Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, eq=False)
class StoredFrame:
    """One frame of a video as the pipeline sees it, and as it was decoded.

    Attributes:
        pts: time stamp in units of the video's time base.
        bgr: upright (H, W, 3) BGR uint8, contiguous.
        decoded: the `av.VideoFrame`, not yet turned upright.
        picture: what the frame's own file holds, a `utils.pictures.Picture`, if it has one.
    """

    pts: int
    bgr: Image
    decoded: Any
    picture: Any = None


@stage("decode")
def to_upright_bgr(frame: Any, video: VideoInfo, reformatter: VideoReformatter) -> Image:
    """One decoded frame as (H, W, 3) BGR uint8 of the video's upright size, by its own matrix and range; PQ as a usual display shows it.

    `reformatter` is best used for all frames of a video, one at a time: setting one up takes as long as half a 720p frame.
    """
    _name_matrix(frame)
    width, height = _stored_size(video)
    # By way of planes, which swscale makes in two thirds of the time; the numbers are the same.
    green, blue, red = _planes(
        reformatter.reformat(frame, width, height, "gbrp", interpolation=TO_BGR), LAYOUTS["yuv444p"]
    )
    image = cv2.merge([blue, green, red]).astype(np.uint8, copy=False)
    if video.mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    if video.rotation_deg:
        image = cv2.rotate(image, TURNS[video.rotation_deg]).astype(np.uint8, copy=False)
    view = view_of_levels(video.colour.transfer)
    if view is not None:
        image = cv2.LUT(image, view).astype(np.uint8, copy=False)
    return np.ascontiguousarray(image)


@stage("encode")
def encodable(frame: StoredFrame, patch: Patch | None, video: VideoInfo, encoding: Encoding) -> Planes:
    """The planes to encode for a frame; but for what `patch` changed they are the original's own samples.

    Args:
        frame: the original; its planes are converted if the encoding stores others than it has.
        patch: what became of a part of `frame.bgr`; None if nothing did.
        video: what the frame belongs to.
        encoding: names the layout; its codec says whether the range may be full and odd sizes stay.
    """
    layout, colour_range = encoding.layout, encoding.written_range(video.colour.range)
    stored = upright_planes(frame.decoded, video, layout, colour_range)
    if patch is not None:
        levels = levels_of_view(video.colour.transfer)
        stored = add_difference(stored, frame.bgr, patch, layout, video.colour.matrix, colour_range, levels)
    return pad_planes(stored, *encoding.size(video.width, video.height), layout)


def upright_planes(frame: Any, video: VideoInfo, layout: PixelLayout, colour_range: int) -> Planes:
    """Planes of a decoded frame in `layout` and the video's upright size; unaltered samples if it is stored so already."""
    _name_matrix(frame)
    width, height = _stored_size(video)
    if not (video.rotation_deg or video.mirrored):
        return _planes(_converted(frame, width, height, layout, video, colour_range), layout)
    whole = width % layout.columns == 0 and height % layout.rows == 0
    if whole and layout.columns == layout.rows:
        planes = _planes(_converted(frame, width, height, layout, video, colour_range), layout)
        return turn_planes(planes, video.rotation_deg, video.mirrored)
    fine = LAYOUTS["yuv444p" if layout.bits == 8 else "yuv444p10le"]
    planes = _planes(_converted(frame, width, height, fine, video, colour_range), fine)
    upright = _from_planes(turn_planes(planes, video.rotation_deg, video.mirrored), fine, frame, colour_range)
    return _planes(_converted(upright, video.width, video.height, layout, video, colour_range), layout)


def _converted(frame: Any, width: int, height: int, layout: PixelLayout, video: VideoInfo, colour_range: int) -> Any:
    """The frame in another layout, size or range; itself if nothing differs."""
    own_range = RANGE_FULL if _is_full(frame) else RANGE_LIMITED
    wanted_range = RANGE_FULL if colour_range == RANGE_FULL else RANGE_LIMITED
    same = frame.format.name.replace("yuvj", "yuv") == layout.name and (frame.width, frame.height) == (width, height)
    if same and own_range == wanted_range:
        return frame
    matrix = MATRIX_BT601 if video.colour.matrix == UNSPECIFIED else video.colour.matrix
    own_matrix = int(frame.colorspace)
    return frame.reformat(
        width,
        height,
        layout.name,
        src_colorspace=matrix if own_matrix in (MATRIX_RGB, UNSPECIFIED) else own_matrix,
        dst_colorspace=matrix,
        src_color_range=own_range,
        dst_color_range=wanted_range,
        interpolation=TO_PLANES,
    )


def _planes(frame: Any, layout: PixelLayout) -> Planes:
    """The samples of a frame that is in `layout`; a view of its memory, which it keeps alive."""
    planes: list[Plane] = []
    for number, plane in enumerate(frame.planes):
        columns, rows = (layout.columns, layout.rows) if number else (1, 1)
        width, height = -(-frame.width // columns), -(-frame.height // rows)
        stored = np.frombuffer(plane, layout.dtype).reshape(-1, plane.line_size // np.dtype(layout.dtype).itemsize)
        planes.append(stored[:height, :width])
    return planes[0], planes[1], planes[2]


def _from_planes(planes: Planes, layout: PixelLayout, like: Any, colour_range: int) -> Any:
    """A frame of these samples, with the colours of `like`."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, layout.name)
    for place, samples in zip(frame.planes, planes, strict=True):
        lines = np.zeros((samples.shape[0], place.line_size // samples.dtype.itemsize), layout.dtype)
        lines[:, : samples.shape[1]] = samples
        place.update(lines)
    frame.colorspace, frame.color_range = int(like.colorspace), colour_range
    return frame


def _stored_size(video: VideoInfo) -> tuple[int, int]:
    return (video.height, video.width) if video.rotation_deg in (90, 270) else (video.width, video.height)


def _is_full(frame: Any) -> bool:
    return frame.format.name.startswith("yuvj") or int(frame.color_range) == RANGE_FULL


def _name_matrix(frame: Any) -> None:
    """Name a matrix that swscale knows, where the frame's is another, so that it does not refuse."""
    if int(frame.colorspace) not in MATRICES | {MATRIX_RGB}:
        frame.colorspace = MATRIX_BT2020_NCL if int(frame.colorspace) == MATRIX_BT2020_CL else UNSPECIFIED
