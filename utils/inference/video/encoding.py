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

import ffmpeg
import numpy as np

from utils.errors import UnwritableOutput
from utils.inference.stopwatch import stage
from utils.inference.video.codecs import Encoding, encoder_options
from utils.inference.video.planes import Planes
from utils.inference.video.probing import VideoInfo, media_url
from utils.inference.video.program import ffmpeg_program

MAX_ASPECT_TERM = 65_535  # of numerator and denominator, what H.264 holds
MAX_ERROR_LINES = 20
STOP_TIMEOUT_S = 10


class SegmentEncoder:
    """One ffmpeg process that turns frames into one segment; use it in a `with` statement.

    Leaving the block normally finishes the segment; leaving it by an exception stops ffmpeg and removes what it wrote.
    """

    def __init__(self, path: Path, video: VideoInfo, encoding: Encoding) -> None:
        """Nothing is started yet.

        Args:
            path: the segment; overwritten, whatever its extension.
            video: size, nominal rate, pixel shape and colours.
            encoding: from `choose_encoding`.
        """
        self.path = path
        self.frame_count = 0
        self._video = video
        self._encoding = encoding
        self._size = encoding.size(video.width, video.height)
        self._errors: deque[str] = deque(maxlen=MAX_ERROR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> SegmentEncoder:
        self._process = _start(self._command())
        self._reader = threading.Thread(target=self._drain, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        return self

    def write(self, planes: Planes) -> None:
        """Encode one frame: planes in the encoding's layout and size, see `pixels.encodable`.

        Raises:
            UnwritableOutput: if ffmpeg has stopped.
            ValueError: if the planes have another size or type.
        """
        layout, (width, height) = self._encoding.layout, self._size
        if planes[0].shape != (height, width) or planes[0].dtype != layout.dtype:
            raise ValueError(f"frame {planes[0].shape} {planes[0].dtype} instead of {(height, width)} in {layout.name}")
        process = self._running()
        assert process.stdin is not None
        try:
            with stage("encode"):
                for plane in planes:
                    process.stdin.write(np.ascontiguousarray(plane).data.cast("B"))
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
            with stage("encode"):
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
        video, colour, encoding = self._video, self._video.colour, self._encoding
        rate = f"{video.fps.numerator}/{video.fps.denominator}"
        frames = ffmpeg.input(
            "pipe:0", format="rawvideo", pix_fmt=encoding.layout.name, video_size=self._size, framerate=rate
        )
        frames = frames.filter(
            "setparams",
            range=encoding.written_range(colour.range),
            colorspace=colour.matrix,
            color_primaries=colour.primaries,
            color_trc=colour.transfer,
        )
        if video.sample_aspect_ratio:
            aspect = f"{video.sample_aspect_ratio.numerator}/{video.sample_aspect_ratio.denominator}"
            frames = frames.filter("setsar", sar=aspect, max=MAX_ASPECT_TERM)
        output = frames.output(media_url(self.path), format=encoding.codec.muxer, **encoder_options(encoding))
        output = output.global_args("-hide_banner", "-nostats", "-loglevel", "error").overwrite_output()
        command: list[str] = output.compile(cmd=ffmpeg_program())
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


def write_segment(frames: Iterable[Planes], path: Path, video: VideoInfo, encoding: Encoding) -> int:
    """Encode `frames` to a segment file.

    Args:
        frames: planes in the encoding's layout and size, in order.
        path: the segment to write.
        video: size, nominal rate, pixel shape and colours.
        encoding: from `choose_encoding`.

    Returns:
        How many frames were encoded.

    Raises:
        UnwritableOutput: if ffmpeg cannot be started or stops, or there was no frame.
    """
    with SegmentEncoder(path, video, encoding) as encoder:
        for frame in frames:
            encoder.write(frame)
    return encoder.frame_count


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
