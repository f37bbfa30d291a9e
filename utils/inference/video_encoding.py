"""Encodes frames into one segment of a video, through a pipe to the ffmpeg binary that imageio-ffmpeg brings (by ffmpeg-python).

A segment stands alone: its own encoder, a key frame first, no reference outside it; segments of one video join without re-encoding.
Nothing here knows of time stamps or sound: frames of a segment are a constant rate apart, and the muxer gives them their real times.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np

from utils.errors import UnwritableOutput
from utils.inference.records import Image
from utils.inference.video_probing import RANGE_FULL, RANGE_LIMITED, VideoInfo, media_url

SEGMENT_MUXER = "mp4"  # exact time stamps, parameter sets out of band, and a segment that was cut off does not open
# Constant quality at which an untouched clip comes back at over 44 dB, and finer chroma, which halves the drift of smooth colours for
# 7% of the size. `faster` costs 28 ms of one core a 720p frame, `veryfast` 20 (and 1.2 dB), `fast` 38 (for 0.8 dB): all measured.
H264_OPTIONS = {
    "vcodec": "libx264",
    "preset": "faster",
    "crf": 16,
    "x264-params": "stitchable=1:open-gop=0:chroma-qp-offset=-3",
}
VP9_OPTIONS = {"vcodec": "libvpx-vp9", "crf": 18, "video_bitrate": 0, "deadline": "good", "cpu-used": 4, "row-mt": 1}
SCALE_FLAGS = "area+accurate_rnd+full_chroma_inp+full_chroma_int"
# ITU-T H.273 matrix to the name that ffmpeg's scale filter has for it; what is not said is BT.601, as it was on the way in.
SCALE_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
MAX_ASPECT_TERM = 65_535  # of numerator and denominator, what H.264 holds
MAX_ERROR_LINES = 20
STOP_TIMEOUT_S = 10


class SegmentEncoder:
    """One ffmpeg process that turns frames into one segment; use it in a `with` statement.

    Leaving the block normally finishes the segment; leaving it by an exception stops ffmpeg and removes what it wrote.
    """

    def __init__(self, path: Path, video: VideoInfo, codec: str = "h264") -> None:
        """Nothing is started yet.

        Args:
            path: the segment; overwritten, whatever its extension.
            video: size, nominal rate, pixel shape and colours.
            codec: `h264`, or `vp9` for WebM.
        """
        self.path = path
        self.frame_count = 0
        self._video = video
        # H.264 in yuv420p has even sizes only; VP9 has any.
        self._pad_right, self._pad_bottom = (video.width % 2, video.height % 2) if codec == "h264" else (0, 0)
        self._options = H264_OPTIONS if codec == "h264" else VP9_OPTIONS
        self._errors: deque[str] = deque(maxlen=MAX_ERROR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> SegmentEncoder:
        self._process = _start(self._command())
        self._reader = threading.Thread(target=self._drain, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        return self

    def write(self, frame: Image) -> None:
        """Encode one (H, W, 3) BGR uint8 frame of the video's upright size.

        Raises:
            UnwritableOutput: if ffmpeg has stopped.
            ValueError: if the frame has another size or type.
        """
        expected = (self._video.height, self._video.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.shape} {frame.dtype} instead of {expected} uint8")
        if self._pad_right or self._pad_bottom:
            border = cv2.BORDER_REPLICATE
            frame = cv2.copyMakeBorder(frame, 0, self._pad_bottom, 0, self._pad_right, border).astype(
                np.uint8, copy=False
            )
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(np.ascontiguousarray(frame).data.cast("B"))
        except OSError as error:  # a broken pipe, or EINVAL on Windows: ffmpeg has said why
            raise self._failure() from error
        self.frame_count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._kill()
            return
        process = self._running()
        try:
            assert process.stdin is not None
            process.stdin.close()
            status = process.wait()
        except OSError as pipe_error:
            raise self._failure() from pipe_error
        except BaseException:
            self._kill()
            raise
        self._join()
        if status != 0 or self.frame_count == 0:
            raise self._failure()

    def _command(self) -> list[str]:
        # Always limited range, which every player takes as yuv420p; besides, swscale makes full range half a level too low in chroma.
        video, colour = self._video, self._video.colour
        size = (video.width + self._pad_right, video.height + self._pad_bottom)
        rate = f"{video.fps.numerator}/{video.fps.denominator}"
        frames = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="bgr24", video_size=size, framerate=rate)
        frames = frames.filter(
            "scale",
            in_range="pc",
            out_range="tv",
            out_color_matrix=SCALE_MATRICES.get(colour.matrix, "bt601"),
            flags=SCALE_FLAGS,
        ).filter("format", "yuv420p")
        frames = frames.filter(
            "setparams",
            range=RANGE_LIMITED if colour.range == RANGE_FULL else colour.range,
            colorspace=colour.matrix,
            color_primaries=colour.primaries,
            color_trc=colour.transfer,
        )
        if video.sample_aspect_ratio:
            aspect = f"{video.sample_aspect_ratio.numerator}/{video.sample_aspect_ratio.denominator}"
            frames = frames.filter("setsar", sar=aspect, max=MAX_ASPECT_TERM)
        output = frames.output(media_url(self.path), format=SEGMENT_MUXER, pix_fmt="yuv420p", **self._options)
        output = output.global_args("-hide_banner", "-nostats", "-loglevel", "error").overwrite_output()
        command: list[str] = output.compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
        return command

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("SegmentEncoder is used outside its `with` block")
        return self._process

    def _drain(self, stream: Any) -> None:
        for line in stream:
            self._errors.append(line.decode("utf-8", "replace").strip())

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        if self._process is not None and self._process.stderr is not None:
            self._process.stderr.close()

    def _kill(self) -> None:
        process = self._running()
        process.kill()
        process.wait()
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # what was still in the buffer has nowhere to go
            process.stdin.close()
        self._join()
        self.path.unlink(missing_ok=True)

    def _failure(self) -> UnwritableOutput:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running().wait(STOP_TIMEOUT_S)  # let it say why
        self._kill()
        reason = "; ".join(self._errors) or f"ffmpeg stopped with status {self._running().returncode}"
        return UnwritableOutput(
            f"cannot encode to {str(self.path)!r} ({reason}); check the folder and the free disk space"
        )


def write_segment(frames: Iterable[Image], path: Path, video: VideoInfo, codec: str = "h264") -> int:
    """Encode `frames` to a segment file.

    Args:
        frames: (H, W, 3) BGR uint8 of the video's upright size, in order.
        path: the segment to write.
        video: size, nominal rate, pixel shape and colours.
        codec: `h264`, or `vp9` for WebM.

    Returns:
        How many frames were encoded.

    Raises:
        UnwritableOutput: if ffmpeg cannot be started or stops, or there was no frame.
    """
    with SegmentEncoder(path, video, codec) as encoder:
        for frame in frames:
            encoder.write(frame)
    return encoder.frame_count


def segment_codec(out: Path) -> str:
    """Codec of the segments for an output: VP9 where the container is WebM, else H.264."""
    return "vp9" if out.suffix.lower() == ".webm" else "h264"


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start ffmpeg in its own session, so that Ctrl-C reaches us first and we decide what becomes of it."""
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        options["start_new_session"] = True
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        raise UnwritableOutput(f"cannot start ffmpeg ({error}); reinstall the package imageio-ffmpeg") from error
