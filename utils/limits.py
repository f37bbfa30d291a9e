"""How large an input may be: pixels of a picture or frame, and frames, both asked before anything is decoded.

A file of some kilobytes may say that it holds gigabytes. What a picture's head says is read here where that takes a few bytes, and by
Pillow elsewhere; OpenCV, which decodes, is given the same limit for the formats that Pillow does not know.
"""

from __future__ import annotations

import argparse
import io
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from utils.errors import UnreadableInput

MOST_MEGAPIXELS = 120.0  # lets cameras and telephones of 100 and 108 megapixels pass, which take 1.5 GB of memory
MOST_FRAME_MEGAPIXELS = 40.0  # of videos, a dozen of whose frames are held at once: 8K has 33 to 38
MOST_FRAMES = 1_000_000  # eleven hours at 25 frames a second
LONGEST_FRAME_S = 6 * 3600  # that a frame is shown: MP4 counts in 31 bits, up to 90,000 a second
PIXEL_BYTES = 8  # of a stored picture with four channels of 16 bits
METADATA_BYTES = 256 << 20  # of a picture file, beside its pixels
HEAD_BYTES = 1 << 16  # in which most formats say the size of a picture
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")  # which may say it at the end of the file
PNG_SIGNATURE, WEBP_SIGNATURES = b"\x89PNG\r\n\x1a\n", (b"RIFF", b"WEBP")
MOST_JPEG_SCANS = (
    64  # each makes the decoder go over the whole picture, however little it holds; encoders write about ten
)
JPEG_SIGNATURE, JPEG_SCAN, JPEG_END = b"\xff\xd8", 0xDA, 0xD9
# Of those with a length behind them: no stuffed byte, TEM, restart, start of a picture or filling.
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)


@dataclass(frozen=True)
class Limits:
    """The most that is read of one file.

    Attributes:
        megapixels: of a picture, or of a frame of a video.
        frames: of a video, an animation or numbered pictures, as far as they are wanted.
    """

    megapixels: float = MOST_MEGAPIXELS
    frames: int = MOST_FRAMES

    @property
    def pixels(self) -> int:
        """The same in single pixels."""
        return int(self.megapixels * 1e6)

    @property
    def picture_bytes(self) -> int:
        """What a file of a picture of this size takes at most, whatever its format."""
        return self.pixels * PIXEL_BYTES + METADATA_BYTES

    def check_size(self, path: Path, width: int, height: int) -> None:
        """Refuse a picture or a frame that is too large.

        Raises:
            UnreadableInput: naming the flag.
        """
        if width * height > self.pixels:
            raise UnreadableInput(
                f"{str(path)!r} has {width}x{height} pixels, more than --max_megapixels {self.megapixels:g}; "
                "scale it down, or raise the limit if you trust the file"
            )

    def check_bytes(self, path: Path, count: int) -> None:
        """Refuse a picture file that is larger than any picture within the limit.

        Raises:
            UnreadableInput: naming the flag.
        """
        if count > self.picture_bytes:
            raise UnreadableInput(
                f"{str(path)!r} has more than the {self.picture_bytes >> 20} MB of a picture within --max_megapixels "
                f"{self.megapixels:g}; scale it down, or raise the limit if you trust the file"
            )

    def check_head(self, path: Path, count: int, head: bytes) -> None:
        """Refuse a picture file of `count` bytes that is larger than any picture of the size which its first `HEAD_BYTES` say.

        Raises:
            UnreadableInput: if it is, or that size is above the limit.
        """
        size = self._size_within(path, head)
        if head[:4] in TIFF_SIGNATURES:
            return
        width, height = size or (0, 0)
        if count > width * height * PIXEL_BYTES + METADATA_BYTES:
            said = f"of {width}x{height} pixels" if size else "whose first bytes do not say its size"
            raise UnreadableInput(f"{str(path)!r} has {count >> 20} MB, too many for a picture {said}; save it anew")

    def check_frames(self, path: Path, count: int) -> None:
        """Refuse what has too many frames.

        Raises:
            UnreadableInput: naming the flag.
        """
        if count > self.frames:
            raise UnreadableInput(
                f"{str(path)!r} has {count} frames or more, above --max_frames {self.frames}; "
                "choose a part with --start and --end, or raise the limit if you trust the file"
            )

    def check_picture(self, path: Path, encoded: bytes) -> None:
        """Refuse a picture by what its head says; one whose head cannot be read is left to the decoder.

        Raises:
            UnreadableInput: naming the flag.
        """
        self._size_within(path, encoded)
        if encoded.startswith(JPEG_SIGNATURE) and _jpeg_scans(encoded) > MOST_JPEG_SCANS:
            raise UnreadableInput(f"{str(path)!r} is a JPEG of more than {MOST_JPEG_SCANS} scans; save it anew")

    def _size_within(self, path: Path, encoded: bytes) -> tuple[int, int] | None:
        """What the head says, if it can be read, and is not refused."""
        try:
            size = size_of_picture(encoded)
        except ValueError as error:
            raise UnreadableInput(f"{str(path)!r} is too large ({error}); see PIL.Image.MAX_IMAGE_PIXELS") from error
        if size is not None:
            self.check_size(path, *size)
        return size

    def bind_decoders(self) -> None:
        """Make OpenCV keep to these limits in this process and its children, and leave Pillow's own limit out.

        For a process of our own, and before OpenCV is imported, which asks once.
        """
        from PIL import Image

        os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(self.pixels)
        Image.MAX_IMAGE_PIXELS = None


def check_pause(path: Path, longest_s: Fraction) -> None:
    """Refuse a video that shows a frame for longer than containers can say.

    Raises:
        UnreadableInput: with how long that is.
    """
    if longest_s > LONGEST_FRAME_S:
        raise UnreadableInput(
            f"{str(path)!r} shows a frame for {round(longest_s / 3600)} hours; its times are damaged: set them anew, "
            "or choose a part with --start and --end"
        )


DEFAULT_LIMITS = Limits()
DEFAULT_VIDEO_LIMITS = Limits(MOST_FRAME_MEGAPIXELS)


def limits_of(args: argparse.Namespace) -> Limits:
    """What the flags say of pictures."""
    return Limits(args.max_megapixels or MOST_MEGAPIXELS, args.max_frames)


def video_limits_of(args: argparse.Namespace) -> Limits:
    """What the flags say of videos, animations and numbered pictures."""
    return Limits(args.max_megapixels or MOST_FRAME_MEGAPIXELS, args.max_frames)


def size_of_picture(encoded: bytes) -> tuple[int, int] | None:
    """Width and height that the head of a picture file says; None if it cannot be read.

    Raises:
        ValueError: if Pillow has a limit of its own, which this is above.

    >>> size_of_picture(PNG_SIGNATURE + bytes(4) + b"IHDR" + (7).to_bytes(4, "big") + (5).to_bytes(4, "big"))
    (7, 5)
    """
    if encoded.startswith(PNG_SIGNATURE):  # Pillow refuses those with large colour profiles
        return int.from_bytes(encoded[16:20], "big"), int.from_bytes(encoded[20:24], "big")
    if (encoded[:4], encoded[8:12]) == WEBP_SIGNATURES and encoded[12:16] == b"VP8X":  # for which Pillow takes memory
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return picture.size
    except Image.DecompressionBombError as error:
        raise ValueError(error) from error
    except Exception:  # Pillow lets errors of many kinds through
        return None


def _jpeg_scans(encoded: bytes) -> int:
    """Up to the end of the first picture: telephones put a film behind it."""
    scans, place = 0, len(JPEG_SIGNATURE)
    while match := JPEG_MARKER.search(encoded, place):
        kind = encoded[match.end() - 1]
        if kind == JPEG_END:
            break
        scans += kind == JPEG_SCAN
        place = match.end() + int.from_bytes(encoded[match.end() : match.end() + 2], "big")
    return scans
