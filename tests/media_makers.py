"""Small video files for the tests, made on the spot: any rate, size, colour, rotation, sound. Not a test itself."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import imageio_ffmpeg
import numpy as np

FLASH_LEVEL = 235
BEEP_HZ = 1000
BEEP_S = 0.1

# Program text: peak memory of its process in KB. What the system says after the end of a child counts its parent's memory, too.
PEAK_KB = "next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))"


@dataclass(frozen=True)
class Track:
    """One sound track: a beep at every instant of `beeps_s`, silence before and between."""

    codec: str = "aac"
    rate_hz: int = 48_000
    start_s: float = 0.0
    seconds: float = 2.0
    beeps_s: tuple[float, ...] = ()
    language: str = ""


def draw(index: int, width: int, height: int, flash: bool = False) -> np.ndarray:
    """Frame `index` of a smooth moving scene whose frames all differ; nearly white if `flash`."""
    if flash:
        return np.full((height, width, 3), FLASH_LEVEL, np.uint8)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [60 + 80 * x, 50 + 90 * y, 110 + 40 * np.sin(2 * np.pi * (x + index / 40))]
    image = np.stack(planes, -1).astype(np.uint8)
    centre = (int(width * (0.2 + 0.6 * (index % 50) / 50)), height // 2)
    cv2.circle(image, centre, max(3, height // 6), (40, 70, 150), -1, cv2.LINE_AA)
    cv2.rectangle(image, (0, 0), (width // 4, height // 4), (20, 20, 160), -1)  # tells up from down and left from right
    return image


def make_clip(
    path: Path,
    *,
    count: int = 50,
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    colour: tuple[int, int] = (2, 0),
    rotation_deg: int = 0,
    tracks: Sequence[Track] = (),
    flashes: frozenset[int] = frozenset(),
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a clip.

    Args:
        path: its extension chooses the container.
        count: number of frames.
        rate: nominal frames a second.
        times: time stamp of each frame in units of `time_base`, for a variable rate; default: one after the other at `rate`.
        time_base: default 1 / `rate`.
        size: stored width, height.
        codec, pix_fmt, options: of the picture.
        colour: matrix and range as H.273 has them.
        rotation_deg: counter-clockwise display rotation to ask for.
        tracks: sound tracks.
        flashes: numbers of the white frames.
        metadata: of the container.
    """
    time_base = time_base or 1 / Fraction(rate)
    width, height = size
    with av.open(str(path), "w") as output:
        output.metadata.update(metadata or {})
        stream: Any = output.add_stream(
            codec, rate=rate, width=width, height=height, pix_fmt=pix_fmt, options=options or {}
        )
        stream.codec_context.time_base = time_base
        stream.codec_context.colorspace, stream.codec_context.color_range = colour
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        sounds = [(_add_track(output, track), track) for track in tracks]
        for sound, track in sounds:
            for packet in _sound(sound, track):
                output.mux(packet)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(draw(index, width, height, index in flashes), "bgr24")
            matrix, value_range = colour
            frame = frame.reformat(
                format=pix_fmt,
                src_color_range=2,
                dst_color_range=value_range or 1,
                dst_colorspace=matrix if matrix != 2 else 5,
                interpolation=0x4 | 0x40000 | 0x2000,  # bicubic, accurate rounding, full chroma
            )
            frame.colorspace, frame.color_range = colour
            frame.pts, frame.time_base = (times[index] if times else index), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _add_track(output: Any, track: Track) -> Any:
    stream = output.add_stream(track.codec, rate=track.rate_hz, layout="mono")
    if track.language:
        stream.metadata["language"] = track.language
    return stream


def _sound(stream: Any, track: Track) -> list[Any]:
    rate, context = track.rate_hz, stream.codec_context
    samples = np.zeros(int(rate * track.seconds), np.float32)
    for beep_s in track.beeps_s:
        first = round((beep_s - track.start_s) * rate)
        tone = 0.6 * np.sin(2 * np.pi * BEEP_HZ * np.arange(int(BEEP_S * rate)) / rate + np.pi / 2)
        samples[first : first + len(tone)] = tone[: max(0, len(samples) - first)]
    resampler = av.AudioResampler(format=context.format.name, layout="mono", rate=rate)
    packets, step = [], 960 if "opus" in track.codec else 1024
    for start in range(0, len(samples), step):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + step], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start + round(track.start_s * rate), Fraction(1, rate)
        for ready in resampler.resample(frame):
            packets += stream.encode(ready)
    return packets + stream.encode(None)


def run_ffmpeg(*arguments: object) -> None:
    """Run the bundled ffmpeg; its own messages are part of the failure."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(done.stderr)


def payloads(path: Path) -> list[list[tuple[float, bytes]]]:
    """Of every sound track: start in seconds and bytes of every packet."""
    with av.open(str(path)) as container:
        tracks: dict[int, list[tuple[float, bytes]]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(container.streams.audio) if tracks else ():
            if packet.size:
                tracks[packet.stream.index].append((float(packet.pts * packet.time_base), bytes(packet)))
    return list(tracks.values())


def frame_times(path: Path) -> list[Fraction]:
    """Presentation time of every frame in seconds, by decoding."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0) if frame.pts is not None]


def flash_times(path: Path) -> list[float]:
    """Instants in seconds at which the picture turns white."""
    times, was_white = [], False
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            white = float(frame.to_ndarray(format="gray").mean()) > 200
            if white and not was_white:
                times.append(float(frame.pts * frame.time_base))
            was_white = white
    return times


def beep_times(path: Path, track: int = 0) -> list[float]:
    """Instants in seconds at which a beep sets in."""
    times: list[float] = []
    loud_until_s = -1.0
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono")
        for frame in container.decode(audio=track):
            for ready in resampler.resample(frame):
                loud = np.flatnonzero(np.abs(ready.to_ndarray()[0]) > 0.25)
                for sample in loud:
                    at = float(ready.pts * ready.time_base) + sample / ready.sample_rate
                    if at - loud_until_s > BEEP_S:
                        times.append(at)
                    loud_until_s = at
    return times
