"""Subtitles and chapters of a finished video: those of the original, shifted and cut as the picture is.

Subtitle packets are copied where the container takes their format; text in another format is rewritten by ffmpeg, pictures cannot be.
"""

from __future__ import annotations

import logging
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import av

from utils.errors import UnreadableInput
from utils.inference.video.places import tells_positions
from utils.inference.video.probing import DEMUXERS, MOV_MUXERS, VideoInfo, media_url, open_video
from utils.inference.video.program import ffmpeg_program
from utils.inference.video.sound import kept_tags, takes

logger = logging.getLogger(__name__)

TEXT_FORMATS = {"matroska": "subrip", "webm": "webvtt"}  # to rewrite to; else `mov_text`
NATIVE = {"mp4": frozenset({"mov_text"}), "mov": frozenset({"mov_text"}), "webm": frozenset({"webvtt"})}
REWRITING_TIMEOUT_S = 600
MOST_TRACKS = 32  # as a Blu-ray disc has; each is opened by itself, and may be rewritten by a process of its own
FIRST_CUES = 20  # a log has a position in every one, once there is any


def add_subtitles(
    output: Any, video: VideoInfo, folder: Path, resources: ExitStack, keep_gps: bool
) -> list[Iterator[Any]]:
    """Add every subtitle track of the original to `output`; a warning tells which cannot be held, or tells places.

    Args:
        output: open output container, before its first packet.
        video: the original and the wanted part of it.
        folder: where rewritten tracks lie meanwhile.
        resources: keeps files open until the packets are read.
        keep_gps: whether a track that tells where the film was taken is added, too.

    Returns:
        Iterators over packets to mux, each in the order of decode time.
    """
    with open_video(video.path, video.limits) as original:
        tracks = original.streams.subtitles[:MOST_TRACKS]
        left_out = len(original.streams.subtitles) - len(tracks)
        logs = set() if keep_gps else _flight_logs(original, tracks)
        numbers = [track.index for track in tracks if track.index not in logs]
    if left_out:
        logger.warning("%d subtitle tracks are left out: the first %d are kept", left_out, MOST_TRACKS)
    for number in sorted(logs):
        logger.warning("subtitle track %d is left out: it tells where the film was taken; --keep_gps keeps it", number)
    return [packets for number in numbers for packets in _added(number, output, video, folder, resources)]


def add_chapters(original: Any, output: Any, video: VideoInfo) -> None:
    """Give `output` the chapters of `original` that reach into the wanted part."""
    chapters: list[dict[str, Any]] = []
    for chapter in original.chapters():
        unit = chapter["time_base"]
        start, end = _clipped(chapter["start"], chapter["end"], unit, video)
        if start < end:
            chapters.append({**chapter, "id": len(chapters) + 1, "start": start, "end": end})
    output.set_chapters(chapters)


def _added(number: int, output: Any, video: VideoInfo, folder: Path, resources: ExitStack) -> Iterator[Iterator[Any]]:
    """The packets of one track, if the container can hold it in any form."""
    muxer = output.format.name
    with ExitStack() as closing:
        original = closing.enter_context(open_video(video.path, video.limits))
        track = original.streams[number]
        name = track.codec_context.name if track.codec_context else "unknown"
        tags, disposition = kept_tags(track), track.disposition
        if _native(name, muxer) and takes(muxer, track):
            resources.push(closing.pop_all())
        else:
            rewritten = folder / f"subtitles_{number}"
            if not _rewrite(video, number, muxer, rewritten):
                logger.warning("subtitle track %d (%s) is left out: %s files cannot hold it", number, name, muxer)
                return
            try:
                track = resources.enter_context(open_video(rewritten)).streams.subtitles[0]
            except (UnreadableInput, IndexError):
                logger.warning("subtitle track %d (%s) is left out: it has no line that can be read", number, name)
                return
    stream = output.add_stream_from_template(track, opaque=True)
    stream.metadata.update(tags)
    stream.disposition = disposition
    yield _packets(track, stream, video)


def _flight_logs(original: Any, tracks: Sequence[Any]) -> set[int]:
    """Numbers of the tracks that tell positions, as drones write them under each frame."""
    undecided, logs = Counter({track.index: FIRST_CUES for track in tracks}), set()
    with suppress(av.FFmpegError):  # a file that was cut off ends early
        packets = original.demux(*tracks)
        while undecided and (packet := next(packets, None)) is not None:
            number = packet.stream.index
            if not packet.size or number not in undecided:
                continue
            undecided[number] -= 1
            if tells_positions(bytes(packet)):
                logs.add(number)
            if number in logs or not undecided[number]:
                del undecided[number]
    return logs


def _native(name: str, muxer: str) -> bool:
    """Whether a format is one that players expect in a container; Matroska holds all but that of MOV."""
    return name in NATIVE[muxer] if muxer in NATIVE else name != "mov_text"


def _rewrite(video: VideoInfo, number: int, muxer: str, out: Path) -> bool:
    """Write a track of text in the container's own format into a file; whether that worked."""
    limits = ["-protocol_whitelist", "file", "-format_whitelist", DEMUXERS, "-max_pixels", str(video.limits.pixels)]
    source = [*limits, "-copyts", "-i", media_url(video.path), "-map", f"0:{number}"]
    codec, container = TEXT_FORMATS.get(muxer, "mov_text"), "mp4" if muxer in MOV_MUXERS else "matroska"
    target = ["-c:s", codec, "-f", container, media_url(out)]
    command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", *source, *target]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=REWRITING_TIMEOUT_S).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _packets(track: Any, stream: Any, video: VideoInfo) -> Iterator[Any]:
    """Packets of a track within the wanted part, by the clock of the result."""
    next_time = 0
    for packet in track.container.demux(track):
        if not packet.size or packet.pts is None:
            continue
        start, end = _clipped(packet.pts, packet.pts + (packet.duration or 0), packet.time_base, video)
        if start >= end:
            continue
        packet.pts = packet.dts = max(start, next_time)
        packet.duration = max(0, end - packet.pts)
        next_time = packet.pts + 1
        packet.stream = stream
        yield packet


def _clipped(start: int, end: int, unit: Any, video: VideoInfo) -> tuple[int, int]:
    """An interval by the clock of the result, as far as it lies in the wanted part; empty if it does not."""
    origin = round(video.origin * video.time_base / unit)
    if video.start_s is not None:
        start = max(start, round(video.start_s / unit))
    if video.end_s is not None:
        end = min(end, round(video.end_s / unit))
    return start - origin, end - origin
