"""From rendered frames to the segments of a video: the encoding that fits, and the original's samples beside every result.

Segments have a fixed length and are encoded each by itself, so that every run makes the same ones.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from utils.errors import BadArgument
from utils.inference.colour_tags import HDR_TRANSFERS
from utils.inference.records import Image
from utils.inference.video_codecs import Encoding, choose_encoding
from utils.inference.video_encoding import write_segment
from utils.inference.video_options import VideoOptions
from utils.inference.video_parts import Timeline
from utils.inference.video_pixels import StoredFrame, encodable
from utils.inference.video_probing import VideoInfo

logger = logging.getLogger(__name__)

SEGMENT_FRAMES = 250  # rendered, encoded and closed together

Result = TypeVar("Result")


def encoding_for(video: VideoInfo, out: Path, options: VideoOptions) -> Encoding:
    """The encoding of a result; says in a warning what of the original it cannot hold.

    Raises:
        BadArgument: if container, codec and quality do not fit together, or the codec would band a high dynamic range.
    """
    encoding = choose_encoding(out, video.bits, options.codec, options.crf)
    name, codec = str(video.path), encoding.codec.name
    if video.bits > encoding.layout.bits:
        transfer = HDR_TRANSFERS.get(video.colour.transfer)
        if transfer and encoding.layout.bits == 8:
            raise BadArgument(f"{name!r} is HDR ({transfer}) and {codec} has 8 bits here; use --codec hevc, av1 or vp9")
        logger.warning(f"{name!r} has {video.bits} bits a sample; {codec} keeps {encoding.layout.bits} of them")
    if encoding.size(video.width, video.height) != (video.width, video.height):
        logger.warning(
            f"{name!r}: {codec} has even sizes only; in the result the last column or row is doubled, "
            f"from {video.width}x{video.height}"
        )
    return encoding


def render_beside(
    frames: Iterable[StoredFrame], render: Callable[[Iterator[Image]], Iterator[Result]]
) -> Iterator[tuple[StoredFrame, Result]]:
    """Every frame with what `render` makes of it.

    Args:
        frames: the originals.
        render: takes their pictures and gives one result for each, in order, however many it takes ahead.
    """
    waiting: deque[StoredFrame] = deque()

    def pictures() -> Iterator[Image]:
        for frame in frames:
            waiting.append(frame)
            yield frame.bgr

    for result in render(pictures()):
        yield waiting.popleft(), result


def write_segments(
    rendered: Iterable[tuple[StoredFrame, Image]], timeline: Timeline, folder: Path, encoding: Encoding
) -> list[Path]:
    """Encode the frames of a result in segments, each by itself; return their paths."""
    planes = (encodable(frame, result, timeline.video, encoding) for frame, result in rendered)
    starts = range(0, len(timeline.times), SEGMENT_FRAMES)
    segments = [folder / f"segment_{first // SEGMENT_FRAMES:06d}.mp4" for first in starts]
    for segment in segments:
        write_segment(islice(planes, SEGMENT_FRAMES), segment, timeline.video, encoding)
    return segments
