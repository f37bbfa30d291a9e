"""What the flags say about a video: what of it is swapped, and how the result is written."""

from __future__ import annotations

from dataclasses import dataclass

SOFTWARE_CODECS = ("h264", "hevc", "av1", "vp9", "prores")
HARDWARE_CODECS = ("h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv")
CODEC_NAMES = (*SOFTWARE_CODECS, *HARDWARE_CODECS)


@dataclass(frozen=True)
class VideoOptions:
    """Choices for one video; every default leaves the video as it is.

    Attributes:
        codec: one of `CODEC_NAMES`; None for the container's own.
        crf: quality on the codec's scale; None for the codec's default.
    """

    codec: str | None = None
    crf: int | None = None
