"""Puts a finished video together: segments joined without re-encoding, the original's time stamps, its sound tracks, its metadata.

Packets are copied, one at a time; a sound track is encoded anew only if the container of the result cannot hold its codec. Nothing
here decodes or encodes a picture.
"""

from __future__ import annotations

import heapq
import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from utils.errors import UnwritableOutput
from utils.inference.video_encoding import segment_codec
from utils.inference.video_probing import MUXERS, VideoInfo, check_video_extension, media_url, open_video, video_stream

logger = logging.getLogger(__name__)

MOV_MUXERS = frozenset({"mp4", "mov"})
MATROSKA_MUXERS = frozenset({"matroska", "webm"})
# Start offsets stand in a MOV file in units of its movie clock; libavformat's millisecond would shift sound against picture.
MAX_MOVIE_TIMESCALE = 10_000_000
# Tags that describe the old container and not the film.
FOREIGN_TAGS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration", "comment"})
STREAM_TAGS = ("language", "title", "handler_name")
REENCODED = {"webm": ("libopus", 160_000)}
REENCODED_DEFAULT = ("aac", 192_000)
AAC_RATES_HZ = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000})
DEFAULT_RATE_HZ = 48_000
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}  # that both encoders know
# Longest lead-in of a codec that is kept where a container cannot say "do not play this": 2112 samples of AAC at 44.1 kHz are 48 ms.
MAX_PRIMING_S = 0.06


def get_final_video(segments: Sequence[Path], pts: Sequence[int], video: VideoInfo, out: Path, comment: str) -> None:
    """Join encoded segments, time every frame as in the original, and add the original's sound tracks.

    Args:
        segments: files of `write_segment`, in order.
        pts: time stamp of every frame in units of `video.time_base`, strictly rising, as `get_target` yielded them.
        video: the original.
        out: the file to write; its extension chooses the container.
        comment: text for the metadata field of that name.

    Raises:
        BadArgument: if the extension of `out` is not that of a video.
        UnwritableOutput: if the file cannot be written, or the segments do not belong together.
        ValueError: if the segments hold more or fewer frames than `pts`.
    """
    muxer = MUXERS[check_video_extension(out)]
    times = [value - video.origin for value in pts]
    if segment_codec(out) == "h264" and (video.width % 2 or video.height % 2):
        logger.warning(
            "%r: H.264 has even sizes only; the last column or row is doubled, from %dx%d", str(out), video.width, video.height
        )
    with _open_output(out, _muxer_options(muxer, video, times[0]), muxer) as output, open_video(video.path) as original:
        with open_video(segments[0]) as first:
            picture = output.add_stream_from_template(video_stream(first, segments[0]), opaque=True)
        shown = video_stream(original, video.path)
        picture.time_base = video.time_base
        picture.metadata.update(_kept_tags(shown))
        picture.disposition = shown.disposition
        output.metadata.update({key: text for key, text in original.metadata.items() if key.lower() not in FOREIGN_TAGS})
        output.metadata["comment"] = comment
        packets = _video_packets(segments, times, video, picture, shown.duration)
        sound = add_audio_from_another_video(original, output, video)
        for packet in heapq.merge(packets, *sound, key=_decode_time_s):
            output.mux(packet)


def add_audio_from_another_video(original: Any, output: Any, video: VideoInfo) -> list[Iterator[Any]]:
    """Add every sound track of `original` to `output`, copied unchanged where the container takes its codec.

    Args:
        original: open input container, not read from elsewhere meanwhile.
        output: open output container, before its first packet.
        video: what `read_video` says of the original.

    Returns:
        Iterators over packets to mux, each in the order of decode time: merge them with the video's.
    """
    routes: dict[int, _SoundCopy] = {}
    for track in original.streams.audio:
        route = _route(track, output)
        if route is not None:
            routes[track.index] = route
    for stream in original.streams:
        if stream.index not in routes:
            stream.discard = av.stream.Discard.all
    return [_sound_packets(original, routes, video)] if routes else []


class _SoundCopy:
    """Sends packets of one track on, unchanged but for a clock that never runs backwards."""

    def __init__(self, track: Any, stream: Any, output: Any) -> None:
        self.track = track
        self.stream = stream
        self._next = 0
        self._skips_unplayed = output.format.name in MATROSKA_MUXERS  # it would play what an edit list cut off the start
        stream.metadata.update(_kept_tags(track))
        stream.disposition = track.disposition

    def feed(self, packet: Any, origin_s: Fraction) -> Iterator[Any]:
        """Packets to mux for one packet of the original; the last one has no data."""
        if not packet.size or (self._skips_unplayed and packet.is_discard and _ends_before_start(packet)):
            return
        shift = round(origin_s / packet.time_base)
        dts = packet.dts if packet.dts is not None else packet.pts
        dts = self._next if dts is None else dts - shift
        packet.pts = dts if packet.pts is None else packet.pts - shift
        packet.dts = min(dts, packet.pts)
        packet.stream = self.stream
        self._next = dts + (packet.duration or 1)
        yield packet


class _SoundEncoder(_SoundCopy):
    """Decodes one track and encodes it in a codec that the container takes; gaps are filled with silence, so that it stays in time."""

    def __init__(self, track: Any, stream: Any, output: Any) -> None:
        super().__init__(track, stream, output)
        self._graph: Any = None

    def feed(self, packet: Any, origin_s: Fraction) -> Iterator[Any]:
        """Packets to mux for one packet of the original; the last one has no data and empties the encoder."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(origin_s / frame.time_base)
            if self._graph is None:
                self._graph = self._resampler(frame)
            self._graph.push(frame)
            yield from self._encode()
        if not packet.size and self._graph is not None:
            self._graph.push(None)
            yield from self._encode()
            yield from self.stream.encode(None)

    def _resampler(self, frame: Any) -> Any:
        context = self.stream.codec_context
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=frame.time_base
        )
        in_time = graph.add("aresample", "async=1:min_hard_comp=0.01")
        form = f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}:channel_layouts={context.layout.name}"
        graph.link_nodes(source, in_time, graph.add("aformat", form), graph.add("abuffersink")).configure()
        if context.frame_size:
            graph.set_audio_frame_size(context.frame_size)
        return graph

    def _encode(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield from self.stream.encode(frame)


def _route(track: Any, output: Any) -> _SoundCopy | None:
    """How a track gets into `output`: copied if it takes the codec, else encoded anew; None if it can be neither."""
    number, muxer = track.index, output.format.name
    if track.codec_context is None:
        logger.warning("sound track %d is left out: its codec is not known here", number)
        return None
    if _takes(muxer, track):
        return _SoundCopy(track, output.add_stream_from_template(track, opaque=True), output)
    codec, bit_rate = REENCODED.get(muxer, REENCODED_DEFAULT)
    context = track.codec_context
    rate = context.sample_rate if codec == "aac" and context.sample_rate in AAC_RATES_HZ else DEFAULT_RATE_HZ
    stream = output.add_stream(codec, rate=rate, layout=LAYOUTS.get(context.channels, "stereo"), bit_rate=bit_rate)
    logger.warning("sound track %d is encoded anew as %s: %s files cannot hold %s", number, codec, muxer, context.name)
    return _SoundEncoder(track, stream, output)


def _ends_before_start(packet: Any) -> bool:
    if packet.pts is None:
        return False
    return bool((packet.pts + (packet.duration or 0)) * packet.time_base <= -MAX_PRIMING_S)


def _takes(muxer: str, track: Any) -> bool:
    """Whether a container holds this very track: its header is written to memory, for libavformat's own list promises too much."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(track, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _sound_packets(original: Any, routes: dict[int, _SoundCopy], video: VideoInfo) -> Iterator[Any]:
    origin_s = video.origin * video.time_base
    packets = original.demux([route.track for route in routes.values()])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.warning("%r: the sound ends early (%s)", str(video.path), error.strerror)
            return
        if packet is None:
            return
        yield from routes[packet.stream.index].feed(packet, origin_s)


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
    that rises with n, and is never after the packet's own showing, whatever the spacing of the frames. The first d packets come
    before the first frame is shown, by as much as makes the durations in a MOV file, which are distances of decoding times, add up to
    the original's duration.
    """

    def __init__(self, segments: Sequence[Path], times: Sequence[int], video: VideoInfo, original_duration: int | None) -> None:
        self._times = times
        self._last_duration = _last_frame_duration(video, times)
        self._depth, last_place = 0, 0
        for path in segments:
            with open_video(path) as segment:
                places = [place for _, place in _numbered(segment, video_stream(segment, path), video.fps)]
            self._depth = max([self._depth, *(count - place for count, place in enumerate(places))])
            last_place = len(times) - len(places) + places[-1] if places else 0
        total = original_duration or times[-1] + self._last_duration - times[0]
        usual = self._depth * video.frame_duration
        lead = total - self.duration(last_place) - (times[max(0, len(times) - 1 - self._depth)] - times[0])
        self._lead = lead if self._depth <= lead <= 8 * usual else usual

    def decode_time(self, count: int) -> int:
        """Time at which packet `count`, in decoding order, is decoded."""
        if count >= self._depth:
            return self._times[count - self._depth]
        return self._times[0] - self._lead * (self._depth - count) // self._depth

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


def _last_frame_duration(video: VideoInfo, times: Sequence[int]) -> int:
    """How long the original shows its last frame; the file's word if it has one, else as long as the frame before."""
    last = times[-1] + video.origin
    try:
        with open_video(video.path) as original:
            stream = video_stream(original, video.path)
            original.seek(last, stream=stream, backward=True)
            for packet in original.demux(stream):
                if packet.pts == last and packet.duration and video.has_pts:
                    return int(packet.duration)
    except av.FFmpegError:
        pass
    return times[-1] - times[-2] if len(times) > 1 else video.frame_duration


def _kept_tags(stream: Any) -> dict[str, str]:
    return {key: stream.metadata[key] for key in STREAM_TAGS if key in stream.metadata}


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
            raise UnwritableOutput(f"cannot write {str(out)!r} ({reason}); check the folder and the free disk space") from error
        raise


def _movie_timescale(video: VideoInfo) -> int:
    """Clock of a MOV file in which starts of picture and sound are whole numbers, if there is one that players take."""
    scale = video.time_base.denominator
    with open_video(video.path) as original:
        for track in original.streams.audio:
            common = math.lcm(scale, track.time_base.denominator)
            scale = common if common <= MAX_MOVIE_TIMESCALE else scale
    return max(scale, 1000)
