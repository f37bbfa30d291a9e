"""Pictures as a video: numbered files (`frames/%05d.png`) and animated WebP, which libav does not decode.

A sequence has no clock of its own; its n-th file is shown at n / fps, whatever its number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image as PillowImage

from utils.errors import BadArgument, UnreadableInput
from utils.files import is_there
from utils.inference.video.colour_tags import MATRIX_BT709, ColourTags
from utils.inference.video.planes import RANGE_LIMITED
from utils.inference.video.probing import PICTURE_FILES, SLOWEST_FPS, WEBP, VideoInfo
from utils.inference.video.webp_chunks import frame_durations
from utils.limits import DEFAULT_VIDEO_LIMITS, Limits, size_of_picture
from utils.pictures import WRITABLE_EXTENSIONS, Picture, read_picture, to_deep_bgr

logger = logging.getLogger(__name__)

NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")
PICTURE_EXTENSIONS = (*WRITABLE_EXTENSIONS, ".bmp")
DEFAULT_FPS = Fraction(25)
WEBP_TIME_BASE = Fraction(1, 1000)
FileState = tuple[str, int, int]  # absolute path, size, time of the last change in ns
PICTURE_HEAD_BYTES = 64
WEBP_DEFAULT_MS = 100  # where a file says 0, as browsers do


@dataclass(frozen=True, eq=False)
class PictureFrame:
    """One picture of a sequence: its time, an `av.VideoFrame` of its pixels, and its file's content if it has a file of its own."""

    pts: int
    decoded: Any
    picture: Picture | None


def is_sequence(path: Path) -> bool:
    """Whether a path means numbered files.

    >>> is_sequence(Path("out/%05d.png")), is_sequence(Path("50%d.mp4"))
    (True, False)
    """
    return path.suffix.lower() in PICTURE_EXTENSIONS and NUMBER.search(path.name) is not None and not is_there(path)


def numbered(path: Path, number: int) -> Path:
    """The file of a sequence with this number.

    >>> numbered(Path("out/%05d.png"), 12).name
    '00012.png'
    """
    return path.with_name(NUMBER.sub(lambda match: str(number).zfill(int(match[1] or 0)), path.name, count=1))


def sequence_files(path: Path) -> list[tuple[int, Path]]:
    """Number and path of the files of a sequence that are there, in order of their numbers; gaps are passed over."""
    wanted = names_like(path)
    matches = ((wanted.fullmatch(entry.name), entry) for entry in path.parent.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def names_like(path: Path) -> re.Pattern[str]:
    """What the names of a sequence's files look like; the group is the number."""
    number = NUMBER.search(path.name)
    assert number is not None
    before, after = re.escape(path.name[: number.start()]), re.escape(path.name[number.end() :])
    return re.compile(before + (rf"(\d{{{number[1]},}})" if number[1] else r"(0|[1-9]\d*)") + after)


def read_sequence(path: Path, fps: Fraction | None, limits: Limits = DEFAULT_VIDEO_LIMITS) -> VideoInfo:
    """Describe numbered picture files as a video.

    Raises:
        UnreadableInput: if there is none, or the first cannot be decoded or is larger than `limits` has.
    """
    try:
        files = sequence_files(path)
    except OSError as error:
        raise UnreadableInput(f"cannot read the folder of {str(path)!r} ({error.strerror}); check the path") from error
    if not files:
        raise UnreadableInput(f"no file is named like {str(path)!r}; check the folder and the number of digits")
    missing = files[-1][0] - files[0][0] + 1 - len(files)
    if missing:
        logger.warning(
            f"{str(path)!r}: {missing} numbers between the first and the last have no file; they are passed over"
        )
    rate = fps or DEFAULT_FPS
    picture = read_picture(files[0][1], limits)
    height, width = picture.bgr.shape[:2]
    bits = 8 if picture.stored.pixels.dtype == np.uint8 else 16
    return _info(path, PICTURE_FILES, (width, height), rate, 1 / rate, len(files), len(files) / rate, bits, limits)


def read_webp(path: Path, limits: Limits = DEFAULT_VIDEO_LIMITS) -> VideoInfo:
    """Describe an animated WebP as a video.

    Raises:
        UnreadableInput: if it is damaged, a single picture, or larger or longer than `limits` has.
    """
    durations = _webp_durations(path, limits)
    if len(durations) < 2:
        raise UnreadableInput(f"{str(path)!r} holds a single picture; swap it with --target_image")
    with path.open("rb") as file:
        size = size_of_picture(file.read(PICTURE_HEAD_BYTES))
    assert size is not None, "only what has a canvas is animated"
    limits.check_size(path, *size)
    seconds = sum(durations) * WEBP_TIME_BASE
    rate = max((len(durations) / seconds).limit_denominator(1001), SLOWEST_FPS)
    return _info(path, WEBP, size, rate, WEBP_TIME_BASE, len(durations), seconds, 8, limits)


def target_files(video: VideoInfo) -> list[Path]:
    """The files that a video is read from."""
    return [path for _, path in sequence_files(video.path)] if video.container == PICTURE_FILES else [video.path]


def file_states(video: VideoInfo) -> list[FileState]:
    """What the files of a video are now.

    Raises:
        UnreadableInput: if one is not there any more.
    """
    try:
        found = [(str(path.absolute()), path.stat()) for path in target_files(video)]
    except OSError as error:
        raise UnreadableInput(
            f"{str(video.path)!r} cannot be read any more ({error.strerror}); check the path"
        ) from error
    return [(path, status.st_size, status.st_mtime_ns) for path, status in found]


def check_unchanged(video: VideoInfo, before: Sequence[FileState]) -> None:
    """Make sure that the files of a video are what they were before: it is read twice, and its sound after that.

    Raises:
        UnreadableInput: if they are not.
    """
    if file_states(video) != before:
        raise UnreadableInput(f"{str(video.path)!r} changed while it was read; is it still being written? run again")


def only_file(video: VideoInfo) -> Path | None:
    """The file that a video is read from, if it is one."""
    return None if video.container == PICTURE_FILES else video.path


def result_numbers(video: VideoInfo, pts: Sequence[int], count: int) -> Sequence[int]:
    """What the pictures of a result are called: as their originals are; counted on from the first one at another rate, else from 1 on.

    Args:
        video: the original, with the clock of the result.
        pts: time stamps of the original's frames, by its own clock.
        count: how many pictures the result has.
    """
    if video.container != PICTURE_FILES:
        return range(1, count + 1)
    numbers = [number for number, _ in sequence_files(video.path)]
    first = numbers[pts[0]]
    return range(first, first + count) if video.resampled else [numbers[place] for place in pts]


def picture_times(video: VideoInfo) -> list[int]:
    """Time stamp of every picture."""
    if video.container == PICTURE_FILES:
        return list(range(len(sequence_files(video.path))))
    return np.cumsum([0, *_webp_durations(video.path, video.limits)[:-1]]).tolist()


def picture_frames(video: VideoInfo, first_pts: int) -> Iterator[PictureFrame]:
    """The pictures that are shown from `first_pts` on.

    Raises:
        UnreadableInput: if one is damaged, or has another size than the first.
    """
    if video.container == PICTURE_FILES:
        for pts, (_, path) in enumerate(sequence_files(video.path)):
            if pts >= first_pts:
                picture = read_picture(path, video.limits)
                _check_size(picture.bgr.shape[1::-1], video, path)
                yield PictureFrame(pts, _to_frame(picture), picture)
        return
    try:
        with PillowImage.open(video.path) as webp:
            for number, pts in enumerate(picture_times(video)):
                if pts < first_pts:
                    continue
                webp.seek(number)
                rgb = np.asarray(webp.convert("RGB"))
                yield PictureFrame(pts, av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), None)
    except (OSError, EOFError, ValueError) as error:
        raise UnreadableInput(f"{str(video.path)!r} is damaged or cut short ({error}); use a whole file") from error


def _to_frame(picture: Picture) -> Any:
    if picture.stored.pixels.dtype == np.uint16:
        return av.VideoFrame.from_ndarray(to_deep_bgr(picture), format="bgr48le")
    return av.VideoFrame.from_ndarray(picture.bgr, format="bgr24")


def _check_size(size: tuple[int, ...], video: VideoInfo, path: Path) -> None:
    if size != (video.width, video.height):
        raise UnreadableInput(
            f"{str(path)!r} is {size[0]}x{size[1]} pixels, the first picture {video.width}x{video.height}; scale them alike"
        )


def _webp_durations(path: Path, limits: Limits) -> list[int]:
    """Milliseconds that each picture of a WebP file is shown; none if it is a single one.

    Raises:
        UnreadableInput: if the file is damaged, or has more pictures than `limits`.
    """
    durations = []
    try:
        with path.open("rb") as file:
            for number, duration in enumerate(frame_durations(file), 1):
                limits.check_frames(path, number)
                durations.append(duration or WEBP_DEFAULT_MS)
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{str(path)!r} is damaged or cut short ({error}); use a whole file") from error
    return durations


def _info(
    path: Path,
    container: str,
    size: tuple[int, int],
    fps: Fraction,
    time_base: Fraction,
    count: int,
    seconds: Fraction,
    bits: int,
    limits: Limits,
) -> VideoInfo:
    return VideoInfo(
        path=path,
        container=container,
        stream_index=0,
        width=size[0],
        height=size[1],
        rotation_deg=0,
        mirrored=False,
        fps=fps,
        time_base=time_base,
        origin=0,
        frame_count_estimate=count,
        duration_s=float(seconds),
        sample_aspect_ratio=None,
        colour=ColourTags(matrix=MATRIX_BT709, range=RANGE_LIMITED),
        bits=bits,
        limits=limits,
    )


def check_sequence_flags(path: Path, fps: Fraction | None) -> None:
    """Refuse a rate for what has its own.

    Raises:
        BadArgument: if `path` is no sequence.
    """
    if fps is not None and not is_sequence(path):
        raise BadArgument(
            f"--in_fps is for picture files (frames/%05d.png); {path.name!r} has its own times, leave it out"
        )
