"""Videos in and out: what a file is, its frames, encoded segments, and the finished file with the original's sound.

This is the door to the video modules. Frames are decoded here, one at a time and in this process, because a pipe of raw pictures would
lose their time stamps; `video.encoding` encodes through a pipe, `video.muxing` joins and times. Nothing here touches the pixels.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from utils.errors import UnreadableInput
from utils.files import is_there
from utils.inference.records import Image
from utils.inference.stopwatch import stage
from utils.inference.video.codecs import Encoding, choose_encoding
from utils.inference.video.colour_tags import ColourTags
from utils.inference.video.encoding import SegmentEncoder, write_segment
from utils.inference.video.muxing import get_final_video
from utils.inference.video.options import VideoOptions
from utils.inference.video.parts import choose_part, shown_times
from utils.inference.video.pictures import (
    check_sequence_flags,
    is_sequence,
    picture_frames,
    read_sequence,
    read_webp,
)
from utils.inference.video.pixels import StoredFrame, encodable, to_upright_bgr
from utils.inference.video.probing import (
    VideoInfo,
    check_video_extension,
    open_video,
    read_video,
    video_stream,
)
from utils.inference.video.sound import add_audio_from_another_video

__all__ = [
    "ColourTags",
    "Encoding",
    "SegmentEncoder",
    "StoredFrame",
    "VideoInfo",
    "add_audio_from_another_video",
    "check_video_extension",
    "choose_encoding",
    "encodable",
    "get_final_video",
    "get_frames",
    "get_target",
    "read_target",
    "read_video",
    "write_segment",
]

logger = logging.getLogger(__name__)

ANIMATIONS = frozenset({"gif", "apng"})
SEEK_STEPS_S = (0, 1, 4, 16, 64)  # how much further before the wanted frame each try looks for a key frame


def read_target(path: Path, options: VideoOptions) -> VideoInfo:
    """Describe the video, animation or sequence of pictures at `path` and the part of it that the options ask for.

    Raises:
        UnreadableInput: if `path` is not a video whose frames can be decoded, or too large or long for the limits of the options.
        BadArgument: if the part has no frame.
    """
    video = choose_part(_read_any(path, options), options.start, options.end)
    if (video.frame_count_estimate or 0) > options.limits.frames:
        whole = (
            options.start is None and options.end is None
        )  # what the container says may be wrong; its packets are not
        options.limits.check_frames(path, len(shown_times(video)) if whole else video.frame_count_estimate or 0)
    return video


def _read_any(path: Path, options: VideoOptions) -> VideoInfo:
    check_sequence_flags(path, options.in_fps)
    if is_sequence(path):
        return read_sequence(path, options.in_fps, options.limits)
    if path.suffix.lower() == ".webp" and is_there(path) and path.is_file():
        return read_webp(path, options.limits)
    video = read_video(path, options.limits)
    if video.container in ANIMATIONS and len(shown_times(video)) == 1:
        raise UnreadableInput(f"{str(path)!r} holds a single picture; swap it with --target_image")
    return video


def get_target(
    video: VideoInfo, first_pts: int | None = None, max_frames: int | None = None
) -> Iterator[tuple[int, Image]]:
    """The frames of a video in the order they are shown, each with its time stamp; see `get_frames`."""
    return ((frame.pts, frame.bgr) for frame in get_frames(video, first_pts, max_frames))


def get_frames(video: VideoInfo, first_pts: int | None = None, max_frames: int | None = None) -> Iterator[StoredFrame]:
    """Decode the frames of a video in the order they are shown.

    Frames that cannot be decoded are passed over; a run from the start says in one warning how many packets were damaged.

    Args:
        video: from `read_video`; only the part that it asks for is decoded.
        first_pts: time stamp of the first frame to yield, as an earlier run yielded it; None starts with the first frame.
        max_frames: how many frames to yield at most.

    Yields:
        Frames with strictly rising time stamps in units of `video.time_base`.

    Raises:
        UnreadableInput: if no frame can be decoded, there are more than the limits have, or the file no longer has a frame at `first_pts`.
    """
    count = 0
    for frame in _frames_from(video, first_pts):
        over = video.end_s is not None and frame.pts * video.time_base >= video.end_s
        if over or (max_frames is not None and count >= max_frames):
            break
        count += 1
        video.limits.check_frames(video.path, count)
        yield frame
    if count == 0 and max_frames != 0:
        raise UnreadableInput(f"no frame of {str(video.path)!r} can be decoded; the file is damaged or cut short")


def _frames_from(video: VideoInfo, first_pts: int | None) -> Iterator[StoredFrame]:
    if first_pts is None and video.start_s is not None:
        first_pts = round(video.start_s / video.time_base)
    reformatter = VideoReformatter()
    if video.is_pictures:
        for shot in picture_frames(video, first_pts or 0):
            bgr = to_upright_bgr(shot.decoded, video, reformatter) if shot.picture is None else shot.picture.bgr
            yield StoredFrame(shot.pts, bgr, shot.decoded, shot.picture)
        return
    for pts, frame in _decoded_from(video, first_pts):
        yield StoredFrame(pts, to_upright_bgr(frame, video, reformatter), frame)


def _decoded_from(video: VideoInfo, first_pts: int | None) -> Iterator[tuple[int, Any]]:
    """Time stamps and decoded frames from `first_pts` on: by seeking where that is exact, else by decoding from the start."""
    if first_pts is None:
        yield from _decode(video, None, None)
        return
    for step_s in SEEK_STEPS_S if video.has_pts else ():
        seek_pts = first_pts - round(step_s / video.time_base)
        frames = _decode(video, first_pts, seek_pts)
        first = next(frames, None)
        if first is not None and first[0] == first_pts:
            yield first
            yield from frames
            return
        frames.close()
    found = False
    for pts, frame in _decode(video, None, None):
        found = found or pts == first_pts
        if found:
            yield pts, frame
    if not found:
        raise UnreadableInput(
            f"{str(video.path)!r} has no frame at time stamp {first_pts}; it changed since it was analysed"
        )


def _decode(video: VideoInfo, first_pts: int | None, seek_pts: int | None) -> Generator[tuple[int, Any], None, None]:
    """Decode from the start, or from the key frame before `seek_pts`, dropping what is shown before `first_pts`.

    A seek that ends behind `first_pts` yields nothing: frames shown before the first key frame need frames before it (open GOP), so only
    what follows it in time is whole.
    """
    with open_video(video.path, video.limits) as container:
        stream = video_stream(container, video.path)
        stream.thread_type = "AUTO"
        packets = _packets(container, stream, seek_pts)
        if first_pts is not None:
            key = next(packets, None)
            if key is None or key.pts is None or key.pts > first_pts:
                return
            packets = _chain(key, packets)
        stamps = _StampClock(video)
        damaged = 0
        for packet in packets:
            stamps.note(packet)
            try:
                with stage("decode"):
                    frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                pts = stamps.of(frame)
                if first_pts is None or pts >= first_pts:
                    yield pts, frame
    if damaged and first_pts is None:
        logger.warning(
            "%r: %d damaged packets were passed over; the result lacks their frames", str(video.path), damaged
        )


def _packets(container: Any, stream: Any, seek_pts: int | None) -> Iterator[Any]:
    """Packets of one stream; after a seek, the first of them is a key frame. A file that was cut off ends early."""
    try:
        if seek_pts is not None:
            container.seek(seek_pts, stream=stream, backward=True)
        waiting_for_key = seek_pts is not None
        for packet in container.demux(stream):
            if waiting_for_key and not packet.is_keyframe:
                continue
            waiting_for_key = False
            yield packet
    except av.FFmpegError as error:
        if seek_pts is None:
            logger.warning("%r: reading stopped early (%s)", container.name, error.strerror)


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


class _StampClock:
    """Gives every frame a time stamp that rises, also where the container has none or they are broken."""

    def __init__(self, video: VideoInfo) -> None:
        self._video = video
        self._last: int | None = None
        self._packet_times: list[int] = []

    def note(self, packet: Any) -> None:
        """Remember the time of a packet of a container without presentation times."""
        if not self._video.has_pts and packet.size and packet.dts is not None:
            heapq.heappush(self._packet_times, packet.dts)

    def of(self, frame: Any) -> int:
        """Time stamp of the next frame shown."""
        pts: int | None = frame.pts
        if not self._video.has_pts:
            pts = heapq.heappop(self._packet_times) if self._packet_times else None
        if pts is None:
            pts = 0 if self._last is None else self._last + self._video.frame_duration
        elif self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        return pts
