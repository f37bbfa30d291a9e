"""The codecs that a video is written with: encoder, options, pixel layouts and containers of each, in one table.

A segment must stand alone, so every entry closes its groups of pictures: a key frame first and no reference across the end.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from utils.errors import BadArgument
from utils.inference.video.planes import LAYOUTS, RANGE_FULL, RANGE_LIMITED, PixelLayout
from utils.inference.video.program import ffmpeg_program

PROBE_TIMEOUT_S = 30
MP4, MOV, MKV, WEBM = (".mp4", ".m4v"), (".mov",), (".mkv",), (".webm",)
CONTAINER_EXTENSIONS = (*MP4, *MOV, *MKV, *WEBM)


@dataclass(frozen=True)
class VideoCodec:
    """One way to encode a video.

    Attributes:
        name: what `--codec` calls it.
        encoder: ffmpeg's name.
        extensions: of the containers that hold it.
        layouts: names of pixel layouts by bits of a sample, see `planes.LAYOUTS`.
        quality_option: ffmpeg's option that takes the number of `--crf`; "" if it has none.
        quality: its default: an untouched clip comes back at about 44 dB.
        best, worst: the ends of its scale.
        options: of the encoder, beside the quality.
        even_sizes: whether width and height must be even.
        full_range: whether the container says of its pictures that they are full range; else they are written as limited.
        hardware: whether it needs a device, so that it must be tried before use.
        muxer: libavformat's container for a segment.
    """

    name: str
    encoder: str
    extensions: tuple[str, ...]
    layouts: Mapping[int, str]
    quality_option: str = "crf"
    quality: int = 0
    best: int = 0
    worst: int = 51
    options: Mapping[str, str | int] = field(default_factory=dict)
    even_sizes: bool = True
    full_range: bool = True
    hardware: bool = False
    # Exact time stamps, parameter sets out of band, and a segment that was cut off does not open.
    muxer: str = "mp4"


def _nvenc(name: str, extensions: tuple[str, ...], layouts: Mapping[int, str], worst: int) -> VideoCodec:
    options: dict[str, str | int] = {"preset": "p5", "rc": "vbr", "b:v": 0}
    return VideoCodec(name, name, extensions, layouts, "cq", 19, 1, worst, options, hardware=True)


def _qsv(name: str, extensions: tuple[str, ...], layouts: Mapping[int, str], worst: int) -> VideoCodec:
    return VideoCodec(
        name, name, extensions, layouts, "global_quality", 19, 1, worst, {"preset": "medium"}, hardware=True
    )


EIGHT = {8: "yuv420p"}
EIGHT_OR_TEN = {8: "yuv420p", 10: "yuv420p10le"}
# H.264: an untouched clip comes back at over 44 dB, and finer chroma halves the drift of smooth colours for 7% of the size. Measured on a
# 720x1280 talking head: `superfast` with the look-ahead of `veryfast` takes 7 ms of one core a frame, for 50.3 dB and 1.06 x the size of
# `medium` (six other clips: 0.95 to 1.35 x); `veryfast` 14 ms, 50.7 dB, 0.95 x; `faster` 26 ms, 51.9 dB, 1.01 x; `medium` 39 ms, 52.6 dB.
CODECS = {
    codec.name: codec
    for codec in (
        VideoCodec(
            "h264",
            "libx264",
            (*MP4, *MOV, *MKV),
            EIGHT_OR_TEN,
            quality=16,
            options={
                "preset": "superfast",
                "x264-params": "stitchable=1:open-gop=0:chroma-qp-offset=-3:mbtree=1:rc-lookahead=10",
            },
        ),
        VideoCodec(
            "hevc",
            "libx265",
            (*MP4, *MOV, *MKV),
            EIGHT_OR_TEN,
            quality=17,
            options={
                "preset": "fast",
                "x265-params": "open-gop=0:repeat-headers=0:info=0:cbqpoffs=-3:crqpoffs=-3:log-level=error",
            },
        ),
        VideoCodec(
            "av1",
            "libsvtav1",
            (*MP4, *MKV, *WEBM),
            EIGHT_OR_TEN,
            quality=16,
            worst=63,
            options={"preset": 8, "g": 250},
        ),
        VideoCodec(
            "vp9",
            "libvpx-vp9",
            (*MP4, *MKV, *WEBM),
            EIGHT_OR_TEN,
            quality=18,
            worst=63,
            options={"b:v": 0, "deadline": "good", "cpu-used": 4, "row-mt": 1},
            even_sizes=False,
        ),
        VideoCodec(
            "prores",
            "prores_ks",
            (*MOV, *MKV),
            {10: "yuv422p10le"},
            quality_option="",
            options={"profile:v": "hq", "vendor": "apl0"},
            full_range=False,
            muxer="mov",
        ),
        _nvenc("h264_nvenc", (*MP4, *MOV, *MKV), EIGHT, 51),
        _nvenc("hevc_nvenc", (*MP4, *MOV, *MKV), EIGHT_OR_TEN, 51),
        _nvenc("av1_nvenc", (*MP4, *MKV, *WEBM), EIGHT_OR_TEN, 63),
        _qsv("h264_qsv", (*MP4, *MOV, *MKV), EIGHT, 51),
        _qsv("hevc_qsv", (*MP4, *MOV, *MKV), EIGHT_OR_TEN, 51),
        _qsv("av1_qsv", (*MP4, *MKV, *WEBM), EIGHT_OR_TEN, 63),
    )
}


@dataclass(frozen=True)
class Encoding:
    """How the frames of one video are encoded: the codec, the layout of its samples, and the quality (None: the codec has none)."""

    codec: VideoCodec
    layout: PixelLayout
    quality: int | None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the encoded picture: even ones where the codec has no others."""
        return (width + width % 2, height + height % 2) if self.codec.even_sizes else (width, height)

    def written_range(self, colour_range: int) -> int:
        """The H.273 range that is written for an original's."""
        return RANGE_LIMITED if colour_range == RANGE_FULL and not self.codec.full_range else colour_range


def choose_encoding(out: Path, bits: int = 8, codec_name: str | None = None, crf: int | None = None) -> Encoding:
    """The encoding for an output.

    Args:
        out: its extension names the container.
        bits: of a sample of the original; more than 10 count as 10.
        codec_name: a key of `CODECS`; None for H.264 (HEVC for 10 bits, which more devices play than H.264 of that depth), VP9 in WebM.
        crf: quality on the codec's own scale, lower is better; None for the codec's default.

    Raises:
        BadArgument: if container, codec and quality do not fit together, or this machine cannot encode so.
    """
    extension = out.suffix.lower()
    if codec_name is None:
        codec_name = "vp9" if extension in WEBM else ("hevc" if bits > 8 else "h264")
    codec = CODECS[codec_name]
    if extension not in codec.extensions:
        remedy = f"name the output {' or '.join(f'*{known}' for known in codec.extensions)}"
        fitting = [other.name for other in CODECS.values() if extension in other.extensions and not other.hardware]
        raise BadArgument(f"--codec {codec.name} does not go into {out.name!r}; {remedy}, or use {', '.join(fitting)}")
    if crf is not None and not codec.quality_option:
        raise BadArgument(f"--crf {crf}: {codec.name} has no such scale; leave the flag out")
    if crf is not None and not codec.best <= crf <= codec.worst:
        raise BadArgument(f"--crf {crf}: the scale of {codec.name} goes from {codec.best} (best) to {codec.worst}")
    quality = None if not codec.quality_option else codec.quality if crf is None else crf
    depth = max(codec.layouts) if bits > 8 else min(codec.layouts)
    encoding = Encoding(codec, LAYOUTS[codec.layouts[depth]], quality)
    if codec.hardware and not can_encode(codec_name):
        raise BadArgument(f"--codec {codec.name} does not work on this machine; use {', '.join(working_codecs())}")
    return encoding


def encoder_options(encoding: Encoding) -> dict[str, str | int]:
    """Options for ffmpeg's output, encoder and quality included."""
    codec = encoding.codec
    quality = {codec.quality_option: encoding.quality} if encoding.quality is not None else {}
    return {"c:v": codec.encoder, **codec.options, **quality}


def working_codecs() -> list[str]:
    """Names of all codecs that this machine can encode: those in software, and the devices that were tried and work."""
    return [codec.name for codec in CODECS.values() if not codec.hardware or can_encode(codec.name)]


@cache
def can_encode(codec_name: str) -> bool:
    """Whether ffmpeg encodes a few grey pictures with this codec: a list of encoders does not say whether their device is there."""
    codec = CODECS[codec_name]
    encoding = Encoding(
        codec, LAYOUTS[codec.layouts[max(codec.layouts)]], codec.quality if codec.quality_option else None
    )
    options = [word for key, value in encoder_options(encoding).items() for word in (f"-{key}", str(value))]
    source = ["-f", "lavfi", "-i", "color=gray:size=256x256:rate=25", "-frames:v", "3"]
    command = [
        ffmpeg_program(),
        "-v",
        "error",
        "-nostdin",
        *source,
        "-vf",
        f"format={encoding.layout.name}",
    ]
    try:
        done = subprocess.run(
            [*command, *options, "-f", "null", "-"], check=False, capture_output=True, timeout=PROBE_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
