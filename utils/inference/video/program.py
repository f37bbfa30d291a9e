"""The ffmpeg program that the package imageio-ffmpeg carries."""

from __future__ import annotations

import imageio_ffmpeg

from utils.errors import UnwritableOutput


def ffmpeg_program() -> str:
    """Its path; the environment may name another one (IMAGEIO_FFMPEG_EXE).

    Raises:
        UnwritableOutput: if there is none, or it does not run: it is tried the first time.
    """
    try:
        program: str = imageio_ffmpeg.get_ffmpeg_exe()
    except (RuntimeError, OSError) as error:
        raise UnwritableOutput("cannot start ffmpeg; reinstall the package imageio-ffmpeg") from error
    return program
