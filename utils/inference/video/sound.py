"""The sound of a finished video: every track of the original, its packets copied as they are, or encoded anew where that cannot be.

Nothing here touches the picture, and no track is decoded whose codec the container of the result takes.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av

from utils.inference.video.probing import VideoInfo

logger = logging.getLogger(__name__)

MATROSKA_MUXERS = frozenset({"matroska", "webm"})
STREAM_TAGS = ("language", "title", "handler_name")
REENCODED = {"webm": ("libopus", 160_000)}
REENCODED_DEFAULT = ("aac", 192_000)
AAC_RATES_HZ = frozenset(
    {8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000}
)
DEFAULT_RATE_HZ = 48_000
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 8: "7.1"}  # that both encoders know
# Longest lead-in of a codec that is kept where a container cannot say "do not play this": 2112 samples of AAC at 44.1 kHz are 48 ms.
MAX_PRIMING_S = 0.06
LEAD_IN_S = Fraction(3, 100)  # kept before a cut, so that a codec whose packets overlap starts well


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
        route = _route(track, output, video)
        if route is not None:
            routes[track.index] = route
    for stream in original.streams:
        if stream.index not in routes:
            stream.discard = av.stream.Discard.all
    return [_sound_packets(original, routes, video)] if routes else []


class _SoundCopy:
    """Sends packets of one track on, unchanged but for a clock that never runs backwards."""

    def __init__(self, track: Any, stream: Any, output: Any, video: VideoInfo) -> None:
        self.track = track
        self.stream = stream
        self._held: Any = None
        self._next = -(2**62)
        # Matroska would play what an edit list cut off the start.
        self._skips_unplayed = output.format.name in MATROSKA_MUXERS
        self._video = video
        stream.metadata.update(kept_tags(track))
        stream.disposition = track.disposition

    def feed(self, packet: Any, origin_s: Fraction) -> Iterator[Any]:
        """Packets to mux once `packet` of the original is read: the one before it, for the last one may have to be shortened."""
        if not packet.size or (self._skips_unplayed and packet.is_discard and _ends_before_start(packet)):
            return
        if self._is_cut_off(packet):
            return
        shift = round(origin_s / packet.time_base)
        stamp = packet.dts if packet.dts is not None else packet.pts
        dts = max(self._next, stamp - shift) if stamp is not None else max(self._next, 0)
        packet.pts = max(dts, packet.pts - shift) if packet.pts is not None else dts
        packet.dts = dts
        packet.stream = self.stream
        self._next = dts + (self._step(packet.time_base) if stamp is not None else packet.duration or 1)
        previous, self._held = self._held, packet
        if previous is not None:
            yield previous

    def flush(self, origin_s: Fraction) -> Iterator[Any]:
        """The last packet, no longer than the track: a parser says what a whole packet lasts, the container where the sound ends."""
        packet, self._held = self._held, None
        if packet is None:
            return
        ends = [] if self._video.end_s is None else [round(self._video.end_s / packet.time_base)]
        if self.track.duration and self.track.start_time is not None:
            ends.append(self.track.start_time + self.track.duration)
        rest = min(ends, default=packet.pts) - round(origin_s / packet.time_base) - packet.pts
        if 0 < rest < (packet.duration or 0):
            packet.duration = rest
        yield packet

    def _step(self, time_base: Fraction) -> int:
        """The least time between packets that stays one by the clock of MP4, which ticks once a sample."""
        return math.ceil(1 / (time_base * (self.track.codec_context.sample_rate or DEFAULT_RATE_HZ)))

    def _is_cut_off(self, packet: Any) -> bool:
        """Whether a packet lies outside of the wanted part; where a container can hide it, one before the start stays as a lead-in."""
        start_s, end_s = self._video.start_s, self._video.end_s
        if packet.pts is None:
            return False
        lead_s = Fraction(0) if self._skips_unplayed else LEAD_IN_S
        ends_s = (packet.pts + (packet.duration or 0)) * packet.time_base
        begins_late = end_s is not None and packet.pts * packet.time_base >= end_s
        return begins_late or (start_s is not None and ends_s <= start_s - lead_s)


class _SoundEncoder(_SoundCopy):
    """Decodes one track and encodes it in a codec that the container takes; gaps are filled with silence, so that it stays in time."""

    def __init__(self, track: Any, stream: Any, output: Any, video: VideoInfo) -> None:
        super().__init__(track, stream, output, video)
        self._graph: Any = None

    def feed(self, packet: Any, origin_s: Fraction) -> Iterator[Any]:
        """Packets to mux for one packet of the original; one without data empties the decoder."""
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= round(origin_s / frame.time_base)
            if self._graph is None:
                self._graph = self._resampler(frame)
            with suppress(av.EOFError):  # behind the end of a cut
                self._graph.push(frame)
            yield from self._encode()

    def flush(self, origin_s: Fraction) -> Iterator[Any]:
        """What is left in the encoder."""
        if self._graph is not None:
            with suppress(av.EOFError):
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
        nodes = [source, in_time, *self._cut(graph), graph.add("aformat", form), graph.add("abuffersink")]
        graph.link_nodes(*nodes).configure()
        if context.frame_size:
            graph.set_audio_frame_size(context.frame_size)
        return graph

    def _cut(self, graph: Any) -> list[Any]:
        """A filter that cuts the sound, whose times count from the start of the result."""
        video = self._video
        if video.start_s is None and video.end_s is None:
            return []
        end_s = "" if video.end_s is None else f":end={float(video.end_s - video.origin * video.time_base)}"
        return [graph.add("atrim", f"start=0{end_s}" if video.start_s is not None else end_s[1:])]

    def _encode(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield from self.stream.encode(frame)


def _route(track: Any, output: Any, video: VideoInfo) -> _SoundCopy | None:
    """How a track gets into `output`: copied if it takes the codec, else encoded anew; None if it can be neither."""
    number, muxer = track.index, output.format.name
    if track.codec_context is None:
        logger.warning("sound track %d is left out: its codec is not known here", number)
        return None
    if takes(muxer, track):
        return _SoundCopy(track, output.add_stream_from_template(track, opaque=True), output, video)
    codec, bit_rate = REENCODED.get(muxer, REENCODED_DEFAULT)
    context = track.codec_context
    rate = context.sample_rate if codec == "aac" and context.sample_rate in AAC_RATES_HZ else DEFAULT_RATE_HZ
    stream = output.add_stream(codec, rate=rate, layout=LAYOUTS.get(context.channels, "stereo"), bit_rate=bit_rate)
    logger.warning("sound track %d is encoded anew as %s: %s files cannot hold %s", number, codec, muxer, context.name)
    return _SoundEncoder(track, stream, output, video)


def _ends_before_start(packet: Any) -> bool:
    if packet.pts is None:
        return False
    return bool((packet.pts + (packet.duration or 0)) * packet.time_base <= -MAX_PRIMING_S)


def takes(muxer: str, track: Any) -> bool:
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
            packet = None
        if packet is None:
            break
        yield from routes[packet.stream.index].feed(packet, origin_s)
    for route in routes.values():
        yield from route.flush(origin_s)


def kept_tags(stream: Any) -> dict[str, str]:
    """What a track says of itself and not of its old container."""
    return {key: stream.metadata[key] for key in STREAM_TAGS if key in stream.metadata}
