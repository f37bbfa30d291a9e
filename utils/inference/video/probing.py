"""What a video file is: opened, checked and described, in one place and with PyAV (there is no ffprobe).

Only containers that hold their own media are opened: playlists, picture sequences and network addresses are refused by name, so that a
crafted file cannot make us read another one. Nothing here decodes more than the first frame.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from stat import S_ISREG
from typing import Any

import av
import numpy as np

from utils.errors import BadArgument, UnreadableInput
from utils.inference.video.colour_tags import ColourTags, colour_of
from utils.inference.video.sample_tables import check_sample_tables
from utils.limits import DEFAULT_VIDEO_LIMITS, Limits, check_pause

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Extension of an output and libavformat's name of its container; AVI is none of them, for it has no time stamps."""
MOV_MUXERS = frozenset({"mp4", "mov"})

# Demuxers of libavformat that read one self-contained file with moving pictures.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,ivf,gif,apng,dv,rm,wtv,"
    "h264,hevc,m4v,mpegvideo,yuv4mpegpipe"
)
PICTURE_BRANDS = frozenset({"avif", "heic", "heix", "mif1"})  # AVIF and HEIF photos lie in a MOV container
# Containers that store packets in decoding order without a time of presentation; their frames come at the packets' times, sorted.
CONTAINERS_WITHOUT_PTS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})
PICTURE_FILES, WEBP = "picture files", "webp"  # what `pictures` reads, in place of libavformat's name
FALLBACK_FPS = Fraction(25)
MAX_SANE_FPS = 1000
SLOWEST_FPS = Fraction(1, 1000)  # that the encoder is told, whatever a file says


@dataclass(frozen=True)
class VideoInfo:
    """One video file. Sizes are upright: as shown, after the rotation that the file asks for.

    Attributes:
        path: the file.
        container: libavformat's name of the demuxer.
        stream_index: of the video stream within the file; cover pictures are passed over.
        width, height: upright size in pixels.
        rotation_deg: clockwise turn from stored to upright picture: 0, 90, 180 or 270; done after the mirroring.
        mirrored: whether the stored picture is first mirrored left to right.
        fps: nominal rate, for rate control and for frames without a time stamp; the time stamps are what counts.
        time_base: seconds per unit of a frame's time stamp.
        origin: time stamp, in units of `time_base`, that becomes zero in the result: not 0 only where a container's clock starts anywhere.
        frame_count_estimate: None if the file does not say.
        duration_s: None if the file does not say.
        sample_aspect_ratio: width of an upright pixel by its height; None if not said.
        colour: colour tags.
        bits: of a sample.
        start_s, end_s: the part that is wanted, in seconds by the file's clock: times of its first frame and of the one that is no longer
            in it. None reaches to the end of the video on that side.
        resampled: whether frames come at `fps` instead of at the original's times.
        limits: the most that is read.
    """

    path: Path
    container: str
    stream_index: int
    width: int
    height: int
    rotation_deg: int
    mirrored: bool
    fps: Fraction
    time_base: Fraction
    origin: int
    frame_count_estimate: int | None
    duration_s: float | None
    sample_aspect_ratio: Fraction | None
    colour: ColourTags
    bits: int = 8
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    resampled: bool = False
    limits: Limits = DEFAULT_VIDEO_LIMITS

    @property
    def has_pts(self) -> bool:
        """Whether the container stores a presentation time for every frame."""
        return self.container not in CONTAINERS_WITHOUT_PTS

    @property
    def frame_bytes(self) -> int:
        """What a frame takes as 8-bit BGR."""
        return 3 * self.width * self.height

    @property
    def is_pictures(self) -> bool:
        """Whether it is read by `pictures`: there is no sound, and nothing to open as a container."""
        return self.container in (PICTURE_FILES, WEBP)

    @property
    def frame_duration(self) -> int:
        """Units of `time_base` from one frame to the next at the nominal rate, at least 1."""
        return max(1, round(1 / (self.fps * self.time_base)))


def check_video_extension(path: Path) -> str:
    """The extension of `path` in small letters, if videos can be written with it.

    >>> check_video_extension(Path("holiday.MP4"))
    '.mp4'

    Raises:
        BadArgument: for any other extension.
    """
    extension = path.suffix.lower()
    if extension not in MUXERS:
        raise BadArgument(f"cannot write a video as {str(path)!r}; use one of the extensions {', '.join(MUXERS)}")
    return extension


def media_url(path: Path) -> str:
    """`path` as libav takes it, whatever it contains: absolute, and marked as a file, so that nothing in it reads as a protocol."""
    return f"file:{path.absolute()}"


@contextmanager
def open_video(path: Path, limits: Limits = DEFAULT_VIDEO_LIMITS) -> Iterator[Any]:
    """Open `path` for demuxing.

    Yields:
        The open `av.container.InputContainer`. Its streams decode no larger frames than `limits` has, wherever in the file they come.

    Raises:
        UnreadableInput: if there is no such file, or it is not a video in a container that is read here.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UnreadableInput(f"video {str(path)!r} does not exist; check the path") from None
    except OSError as error:
        raise UnreadableInput(f"video {str(path)!r} cannot be read ({error.strerror}); check the path") from error
    if not S_ISREG(status.st_mode):
        raise UnreadableInput(f"video {str(path)!r} is not a file; give the path of a video file")
    if status.st_size == 0:
        raise UnreadableInput(f"video {str(path)!r} is empty (0 bytes); copy or download it again")
    options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS, "max_pixels": str(limits.pixels)}
    try:
        check_sample_tables(path, limits)
        container = av.open(media_url(path), options=options, metadata_errors="replace")
    except PermissionError as error:
        raise UnreadableInput(
            f"video {str(path)!r} cannot be read: permission denied; check its permissions"
        ) from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableInput(
            f"{str(path)!r} is not a readable video ({_reason(error)}): "
            "damaged, cut short or of an unknown format; open it in a player, or convert it to MP4"
        ) from error
    with container:
        for stream in container.streams.video:
            if stream.codec_context is not None:
                stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        yield container


def read_video(path: Path, limits: Limits = DEFAULT_VIDEO_LIMITS) -> VideoInfo:
    """Describe the video at `path`; its first frame is decoded, so that an unplayable file is refused before any work.

    Raises:
        UnreadableInput: if `path` is not a video whose frames can be decoded, or they are larger than `limits` has.
    """
    with open_video(path, limits) as container:
        stream = video_stream(container, path)
        limits.check_size(path, stream.codec_context.width, stream.codec_context.height)
        _check_whole(stream, path)
        frame = _first_frame(container, stream, path, limits)
        rotation_deg, mirrored = _orientation(frame)
        turned = rotation_deg in (90, 270)
        time_base = stream.time_base or Fraction(1, 90000)
        check_pause(path, time_base)
        aspect = stream.sample_aspect_ratio or None
        duration_s = _duration_s(container, stream)
        fps = _nominal_fps(stream)
        # An AVI counts the ticks of its clock, of which some have no frame.
        count = stream.frames if container.format.name not in CONTAINERS_WITHOUT_PTS else 0
        return VideoInfo(
            path=path,
            container=container.format.name,
            stream_index=stream.index,
            width=frame.height if turned else frame.width,
            height=frame.width if turned else frame.height,
            rotation_deg=rotation_deg,
            mirrored=mirrored,
            fps=fps,
            time_base=time_base,
            origin=_origin(container, time_base),
            frame_count_estimate=count or (round(duration_s * float(fps)) if duration_s else None),
            duration_s=duration_s,
            sample_aspect_ratio=1 / aspect if aspect and turned else aspect,
            colour=colour_of(frame),
            bits=max(component.bits for component in frame.format.components),
            limits=limits,
        )


def video_stream(container: Any, path: Path) -> Any:
    """The first stream of moving pictures in `container`; a cover picture or a still is none.

    Raises:
        UnreadableInput: if there is none, or its codec is not known.
    """
    disposition = av.stream.Disposition
    still = disposition.attached_pic | disposition.still_image | disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams or container.metadata.get("major_brand") in PICTURE_BRANDS:
        what = "only sound" if container.streams.audio else "a picture or no media at all"
        raise UnreadableInput(f"{str(path)!r} has no video stream ({what}); give a video file")
    if streams[0].codec_context is None:
        raise UnreadableInput(f"the video codec of {str(path)!r} is not known here; convert the file to H.264 first")
    return streams[0]


def _check_whole(stream: Any, path: Path) -> None:
    """Refuse a file whose own index names frames behind its end: an interrupted copy or download, of which half would be swapped."""
    size = path.stat().st_size
    missing = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    if missing:
        raise UnreadableInput(
            f"{str(path)!r} is cut short: {missing} of its {len(stream.index_entries)} frames lie behind its end; copy it again"
        )


def _first_frame(container: Any, stream: Any, path: Path, limits: Limits) -> Any:
    stream.thread_type = "AUTO"
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue  # a damaged start: the first frame that can be decoded decides
            if frames:
                return frames[0]
    except av.FFmpegError as error:
        raise UnreadableInput(
            f"no frame of {str(path)!r} can be decoded ({_reason(error)}); the file is damaged or encrypted"
        ) from error
    raise UnreadableInput(
        f"no frame of {str(path)!r} can be decoded; the file is damaged, encrypted or cut short, "
        f"or its frames are larger than --max_megapixels {limits.megapixels:g}"
    )


def _orientation(frame: Any) -> tuple[int, bool]:
    """Clockwise turn in degrees, and whether to mirror left to right before it, out of the display matrix (ISO 14496-12, 6.2.2)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), np.int32)[:5])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # the stored picture is mirrored first, which turns its x axis round
    degrees = float(np.degrees(np.arctan2(b, a)))
    return round(degrees / 90) % 4 * 90, mirrored


def _nominal_fps(stream: Any) -> Fraction:
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate and 0 < rate <= MAX_SANE_FPS:
            return max(Fraction(rate).limit_denominator(100_000), SLOWEST_FPS)
    return FALLBACK_FPS


def _duration_s(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _origin(container: Any, time_base: Fraction) -> int:
    """Zero, but for the clocks of broadcast streams, which start anywhere: there the earliest track starts at zero, as ffmpeg has it."""
    if not container.format.flags & av.format.Flags.ts_discont.value:
        return 0
    tracks = (*container.streams.video, *container.streams.audio)
    starts = [
        track.start_time * track.time_base for track in tracks if track.start_time is not None and track.time_base
    ]
    return round(min(starts) / time_base) if starts else 0


def _reason(error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:
        return "not one of the video formats known here"  # what libavformat says to a demuxer outside its list
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().splitlines()[0]
