"""Puts a finished video together: segments joined without re-encoding, the original's time stamps, sound, subtitles and metadata.

Packets are copied, one at a time. Nothing here decodes or encodes a picture.
"""

from __future__ import annotations

import heapq
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from utils.errors import UnwritableOutput
from utils.files import TEMPORARY_PREFIX
from utils.inference.video.places import place_tag, tells_place
from utils.inference.video.probing import (
    MOV_MUXERS,
    MUXERS,
    VideoInfo,
    check_video_extension,
    media_url,
    open_video,
    video_stream,
)
from utils.inference.video.sound import MATROSKA_MUXERS, add_audio_from_another_video, kept_tags
from utils.inference.video.subtitles import add_chapters, add_subtitles
from utils.provenance.marks import VIDEO_TAGS

logger = logging.getLogger(__name__)

# Start offsets stand in a MOV file in units of its movie clock; libavformat's millisecond would shift sound against picture.
MAX_MOVIE_TIMESCALE = 10_000_000
# Tags that describe the old container and not the film.
FOREIGN_TAGS = frozenset(
    {
        *("major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration"),
        *(tag.lower() for tag in VIDEO_TAGS),
    }
)


def get_final_video(
    segments: Sequence[Path], pts: Sequence[int], video: VideoInfo, out: Path, keep_gps: bool = False
) -> None:
    """Join encoded segments, time every frame as in the original, and add the original's sound tracks.

    Args:
        segments: files of `write_segment`, in order; beside the first lies, meanwhile, what is written only to be read again.
        pts: time stamp of every frame in units of `video.time_base`, strictly rising, as `get_target` yielded them.
        video: the original.
        out: the file to write; its extension chooses the container.
        keep_gps: whether the place where the film was taken is passed on.

    Raises:
        BadArgument: if the extension of `out` is not that of a video.
        UnwritableOutput: if the file cannot be written, or the segments do not belong together.
        ValueError: if the segments hold more or fewer frames than `pts`.
    """
    muxer = MUXERS[check_video_extension(out)]
    times = [value - video.origin for value in pts]
    with (
        ExitStack() as resources,
        _open_output(out, _muxer_options(muxer, video, times[0]), muxer) as output,
    ):
        original = None if video.is_pictures else resources.enter_context(open_video(video.path, video.limits))
        with open_video(segments[0]) as first:
            picture = output.add_stream_from_template(video_stream(first, segments[0]), opaque=True)
        picture.time_base = video.time_base
        if muxer in MOV_MUXERS and picture.codec_context.name == "hevc":
            picture.codec_context.codec_tag = "hvc1"  # the only one that Apple's players take
        packets = _video_packets(segments, times, video, picture, _duration(video, original, times))
        others = (
            []
            if original is None
            else _add_the_rest(original, output, picture, video, segments[0].parent, resources, keep_gps)
        )
        output.metadata.update(VIDEO_TAGS)
        for packet in heapq.merge(packets, *others, key=_decode_time_s):
            output.mux(packet)


def _add_the_rest(
    original: Any,
    output: Any,
    picture: Any,
    video: VideoInfo,
    folder: Path,
    resources: ExitStack,
    keep_gps: bool,
) -> list[Iterator[Any]]:
    """Give `output` what the original has beside its pictures; return the packets of its sound and subtitles, by track."""
    shown = video_stream(original, video.path)
    picture.metadata.update(kept_tags(shown))
    picture.disposition = shown.disposition
    kept = {key: text for key, text in original.metadata.items() if key.lower() not in FOREIGN_TAGS}
    if keep_gps:
        kept |= place_tag(kept)
    output.metadata.update({key: text for key, text in kept.items() if keep_gps or not tells_place(key, text)})
    add_chapters(original, output, video)
    sound = add_audio_from_another_video(original, output, video)
    workspace = resources.enter_context(tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder))
    return [*sound, *add_subtitles(output, video, Path(workspace), resources, keep_gps)]


def _duration(video: VideoInfo, original: Any, times: Sequence[int]) -> int | None:
    """How long the picture lasts, in units of `video.time_base`; None if the original does not say."""
    if video.resampled:
        return len(times) * video.frame_duration
    if video.end_s is not None:
        return round(video.end_s / video.time_base) - video.origin - times[0]
    if original is None:
        return round((video.duration_s or 0) / video.time_base) - video.origin - times[0]
    shown = video_stream(original, video.path)
    if not shown.duration or video.start_s is None:
        return shown.duration or None
    return (shown.start_time or 0) + int(shown.duration) - video.origin - times[0]


def _video_packets(
    segments: Sequence[Path], times: Sequence[int], video: VideoInfo, stream: Any, original_duration: int | None
) -> Iterator[Any]:
    """Packets of all segments with the original's times."""
    clock = _DecodeClock(segments, times, video, original_duration)
    done = 0
    for path in segments:
        count = 0
        with open_video(path) as segment:
            source = video_stream(segment, path)
            if source.codec_context.extradata != stream.codec_context.extradata:
                raise UnwritableOutput(
                    f"segment {str(path)!r} was encoded with other settings; delete the work folder and run again"
                )
            for packet, place in _numbered(segment, source, video.fps):
                if done + place >= len(times):
                    raise ValueError(f"segments hold more than the {len(times)} frames that have a time stamp")
                packet.time_base = video.time_base
                packet.pts = times[done + place]
                packet.dts = clock.decode_time(done + count)
                packet.duration = clock.duration(done + place)
                packet.stream = stream
                count += 1
                yield packet
        done += count
    if done != len(times):
        raise ValueError(f"segments hold {done} frames, but {len(times)} have a time stamp")


class _DecodeClock:
    """Times of decoding for packets whose times of showing are given.

    The n-th packet in decoding order is decoded at the time of the (n - d)-th frame shown, d being the encoder's reordering depth:
    that rises with n, and is never after the packet's own showing, whatever the spacing of the frames. The first of the d packets before
    leads by as much as makes the durations in a MOV file, which are distances of decoding times, add up to the original's duration; the
    others follow closely, for libavformat takes the start of a track from the packet of negative time that is nearest to its showing.
    """

    def __init__(
        self, segments: Sequence[Path], times: Sequence[int], video: VideoInfo, original_duration: int | None
    ) -> None:
        self._times = times
        self._last_duration = _last_frame_duration(video, times, original_duration)
        self._depth, last_place = 0, 0
        for path in segments:
            with open_video(path) as segment:
                places = [place for _, place in _numbered(segment, video_stream(segment, path), video.fps)]
            self._depth = max([self._depth, *(count - place for count, place in enumerate(places))])
            last_place = len(times) - len(places) + places[-1] if places else 0
        total = original_duration or times[-1] + self._last_duration - times[0]
        usual = self._depth * video.frame_duration
        lead = total - self.duration(last_place) - (times[max(0, len(times) - 1 - self._depth)] - times[0])
        self._lead = lead if usual <= 4 * lead <= 32 * usual else usual
        second = times[1] - times[0] if len(times) > 1 else 1
        self._step = max(1, min(second, self._lead // 2) // max(1, self._depth - 1))

    def decode_time(self, count: int) -> int:
        """Time at which packet `count`, in decoding order, is decoded."""
        if count >= self._depth:
            return self._times[count - self._depth]
        return self._times[0] - self._lead + self._step * count

    def duration(self, number: int) -> int:
        """How long frame `number`, in the order of showing, is shown."""
        if number + 1 < len(self._times):
            return self._times[number + 1] - self._times[number]
        return self._last_duration


def _numbered(segment: Any, stream: Any, fps: Fraction) -> Iterator[tuple[Any, int]]:
    """Packets of a segment in decoding order, each with its place in the order of showing."""
    first = None
    for packet in segment.demux(stream):
        if not packet.size:
            continue
        if first is None:
            first = packet.pts  # a key frame, and closed: nothing is shown before it
        yield packet, round((packet.pts - first) * packet.time_base * fps)


def _last_frame_duration(video: VideoInfo, times: Sequence[int], original_duration: int | None) -> int:
    """How long the original shows its last frame: the rest of the stream's duration, else what the packet says, else as the one before."""
    rest = times[0] + (original_duration or 0) - times[-1]
    if 0 < rest <= 2 * video.frame_duration or (video.is_pictures and rest > 0):
        return rest
    last = times[-1] + video.origin
    if video.is_pictures:
        return video.frame_duration
    try:
        with open_video(video.path, video.limits) as original:
            stream = video_stream(original, video.path)
            original.seek(last, stream=stream, backward=True)
            for packet in original.demux(stream):
                if packet.pts == last and packet.duration and video.has_pts:
                    return int(packet.duration)
    except av.FFmpegError:
        pass
    return times[-1] - times[-2] if len(times) > 1 else video.frame_duration


def _decode_time_s(packet: Any) -> float:
    return float(packet.dts * packet.time_base) if packet.dts is not None else -math.inf


def _muxer_options(muxer: str, video: VideoInfo, first_time: int) -> dict[str, str]:
    if muxer in MOV_MUXERS:
        return {"movflags": "faststart", "movie_timescale": str(_movie_timescale(video))}
    if muxer in MATROSKA_MUXERS and first_time >= 0:
        return {"avoid_negative_ts": "disabled"}  # else the sound's priming would move the picture
    return {}


@contextmanager
def _open_output(out: Path, options: dict[str, str], muxer: str) -> Iterator[Any]:
    """Open `out` for writing; whatever fails, no half-written file stays."""
    try:
        output = av.open(media_url(out), "w", format=muxer, options=options)
        try:
            yield output
        except BaseException:
            output.close()
            raise
        output.close()
    except BaseException as error:
        out.unlink(missing_ok=True)
        if isinstance(error, (av.FFmpegError, OSError)):
            reason = error.strerror or str(error)
            raise UnwritableOutput(
                f"cannot write {str(out)!r} ({reason}); check the folder and the free disk space"
            ) from error
        raise


def _movie_timescale(video: VideoInfo) -> int:
    """Clock of a MOV file in which starts of picture and sound are whole numbers, if there is one that players take."""
    scale = video.time_base.denominator
    if video.is_pictures:
        return max(scale, 1000)
    with open_video(video.path, video.limits) as original:
        for track in original.streams.audio:
            common = math.lcm(scale, track.time_base.denominator)
            scale = common if common <= MAX_MOVIE_TIMESCALE else scale
    return max(scale, 1000)
