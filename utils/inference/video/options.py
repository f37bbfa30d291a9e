"""What the flags say about a video: what of it is swapped, and how the result is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from utils.limits import DEFAULT_VIDEO_LIMITS, Limits

SOFTWARE_CODECS = ("h264", "hevc", "av1", "vp9", "prores")
HARDWARE_CODECS = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv")
CODEC_NAMES = (*SOFTWARE_CODECS, *HARDWARE_CODECS)


@dataclass(frozen=True)
class Moment:
    """A point of a video: a time in seconds from its start, or the number of a frame, the first being 0."""

    seconds: Fraction | None = None
    frame: int | None = None

    def __str__(self) -> str:
        return f"{self.frame}f" if self.frame is not None else f"{float(self.seconds or 0):g}"


@dataclass(frozen=True)
class VideoOptions:
    """Choices for one video; every default leaves the video as it is.

    Attributes:
        codec: one of `CODEC_NAMES`; None for the container's own.
        crf: quality on the codec's scale; None for the codec's default.
        start: the first frame that is shown then or later begins the result; None for the first of all.
        end: the first frame that is shown then or later is the first left out; None leaves out none.
        out_fps: frames a second of the result, by repeating or leaving out frames; None keeps every frame at its time.
        in_fps: frames a second of numbered picture files; None for 25.
        keep_frames: folder for the frames of the result as PNG; None writes none.
        matte: folder for what compositing elsewhere needs: `face/` the generated faces unblended, `mask/` what is shown of them.
        limits: the most that is read.
    """

    codec: str | None = None
    crf: int | None = None
    start: Moment | None = None
    end: Moment | None = None
    out_fps: Fraction | None = None
    in_fps: Fraction | None = None
    keep_frames: Path | None = None
    matte: Path | None = None
    limits: Limits = field(default=DEFAULT_VIDEO_LIMITS, repr=False, compare=False)  # which shape no result
