"""Picture files in and out, without losing what the swap does not touch.

A picture is swapped as upright 8-bit BGR. When it is written, only the pixels that changed are put back into the pixels as they were
stored: 16-bit depth, alpha, grey, colour profile and orientation stay. Every written picture carries the marks of `utils.provenance`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from utils.errors import BadArgument, UnreadableInput
from utils.files import finished_file
from utils.inference.records import Image
from utils.inference.stopwatch import stage
from utils.limits import DEFAULT_LIMITS, HEAD_BYTES, Limits
from utils.picture_codecs import Pixels, StoredPicture, decode_picture, encode_picture, is_animated, to_eight_bit
from utils.provenance.label import draw_label, put_label
from utils.provenance.marking import DEFAULT_MARKING, Marking

logger = logging.getLogger(__name__)

WRITABLE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
MIN_SIDE_PX = 2

# EXIF orientation -> (quarter turns clockwise, then mirror left-right) that make the stored pixels upright. Source: EXIF 2.32, tag 0x0112.
UPRIGHT_TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (1, True),
    6: (1, False),
    7: (3, True),
    8: (3, False),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture file: upright (H, W, 3) BGR uint8, on which the pipeline works, what the file holds, and the file itself."""

    bgr: Image
    stored: StoredPicture
    encoded: bytes = b""


def check_picture_extension(path: Path) -> None:
    """Refuse an output name whose format cannot be written or cannot carry the marks.

    Raises:
        BadArgument: with the formats that can.
    """
    if path.suffix.lower() not in WRITABLE_EXTENSIONS:
        raise BadArgument(f"cannot write a picture named {path.name!r}; use one of {', '.join(WRITABLE_EXTENSIONS)}")


def read_picture(path: Path, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Read and decode a picture.

    Raises:
        UnreadableInput: if the file is missing, empty, damaged, cut short, not a picture or a larger one than `limits` has.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # a pipe would be waited for without end
            raise UnreadableInput(f"{str(path)!r} is not a file; give a picture file")
        limits.check_bytes(path, status.st_size)
        encoded = _read_whole(path, status.st_size, limits) if status.st_size else b""  # some files of /proc never end
    except OSError as error:
        raise UnreadableInput(f"cannot read {str(path)!r} ({error.strerror or error}); check the path") from error
    return open_picture(encoded, path, limits)


def _read_whole(path: Path, size: int, limits: Limits) -> bytes:
    """A picture file's content, if its head says that it may be that large."""
    with path.open("rb") as file:
        limits.check_head(path, size, file.read(HEAD_BYTES))
        file.seek(0)
        return file.read()


def read_piped_picture(stream: BinaryIO, path: Path, limits: Limits) -> Picture:
    """Read and decode a picture that comes through a pipe, which messages call `path`.

    Raises:
        UnreadableInput: see `read_picture`.
    """
    try:
        encoded = stream.read(limits.picture_bytes + 1)  # what comes may have no end
    except OSError as error:
        raise UnreadableInput(f"cannot read {str(path)!r} ({error.strerror or error}); pipe a picture in") from error
    limits.check_bytes(path, len(encoded))
    return open_picture(encoded, path, limits)


def open_picture(encoded: bytes, path: Path, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode a picture that messages call `path`.

    Raises:
        UnreadableInput: see `read_picture`.
    """
    if not encoded:
        raise UnreadableInput(f"{str(path)!r} is empty; use another file")
    limits.check_picture(path, encoded)
    if is_animated(encoded):
        logger.warning(f"{str(path)!r} holds several pictures; the first is taken")
    stored = decode_picture(encoded, path, limits)
    height, width = stored.pixels.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise UnreadableInput(
            f"{str(path)!r} is {width}x{height} pixels, too small to show a face; use another picture"
        )
    upright = _turn(to_bgr(stored.pixels), *UPRIGHT_TURNS[stored.orientation])
    return Picture(np.ascontiguousarray(upright), stored, encoded)


def write_picture(path: Path, picture: Picture, result: Image, marking: Marking = DEFAULT_MARKING) -> None:
    """Write a swapped picture with its marks, signed, through the finisher.

    Args:
        path: its extension chooses the format.
        picture: the original.
        result: an altered copy of `picture.bgr`.
        marking: which marks it gets beside those that every output has.

    Raises:
        BadArgument: if the extension is not one of `WRITABLE_EXTENSIONS`.
        UnwritableOutput: if the file cannot be written.
    """
    check_picture_extension(path)
    encoded = encode_result(path, picture, result, marking)
    with finished_file(path) as temporary:
        temporary.write_bytes(encoded)


def encode_result(path: Path, picture: Picture, result: Image, marking: Marking) -> bytes:
    """The file that `write_picture` writes."""
    from utils.provenance.manifest import sign_picture

    if marking.label:
        result = put_label(result, None).put_on(result)
    altered = replace(picture.stored, pixels=put_back(picture, result, marking.label))
    with stage("encode"):
        encoded = encode_picture(altered, path, marking.keep_gps)
    with stage("sign"):
        return sign_picture(encoded, picture.encoded, marking)


def to_bgr(pixels: Pixels) -> Image:
    """(H, W, 3) BGR uint8 of stored pixels of any supported depth and number of channels."""
    eight_bit = to_eight_bit(pixels)
    if eight_bit.ndim == 2:
        return cv2.cvtColor(eight_bit, cv2.COLOR_GRAY2BGR)
    return eight_bit[:, :, :3]


def to_deep_bgr(picture: Picture) -> NDArray[np.uint16]:
    """Upright (H, W, 3) BGR uint16 of a picture that is stored with 16 bits."""
    pixels = picture.stored.pixels
    colours = cv2.merge([pixels] * 3) if pixels.ndim == 2 else pixels[:, :, :3]
    upright = _turn(colours, *UPRIGHT_TURNS[picture.stored.orientation])
    return np.ascontiguousarray(upright.astype(np.uint16, copy=False))


def put_back(picture: Picture, result: Image, labelled: bool = False) -> Pixels:
    """The stored pixels with those replaced that differ between `picture.bgr` and `result`.

    Args:
        picture: the original.
        result: an altered copy of `picture.bgr`.
        labelled: whether it shows the label, which is opaque whatever was there.

    Returns:
        An array of the shape and depth of `picture.stored.pixels`; bit-identical to it wherever `result` equals `picture.bgr`. Alpha stays
        but for that of the label.
    """
    turns, mirrored = UPRIGHT_TURNS[picture.stored.orientation]
    changed = _turn_back((result != picture.bgr).any(axis=2), turns, mirrored)
    new = _turn_back(result, turns, mirrored)[changed]
    out = picture.stored.pixels.copy()
    if out.ndim == 2:
        new = cv2.cvtColor(new[None], cv2.COLOR_BGR2GRAY)[0] if len(new) else np.zeros(0, np.uint8)
        out[changed] = _deepen(new, out.dtype)
    else:
        colours = out[:, :, :3]
        colours[changed] = _deepen(new, out.dtype)
        if labelled and out.shape[2] == 4:
            label = np.zeros(result.shape[:2], bool)
            label[draw_label(*label.shape).place] = True
            out[_turn_back(label, turns, mirrored), 3] = np.iinfo(out.dtype).max
    return out


def _deepen(pixels: Image, dtype: DTypeLike) -> Pixels:
    return pixels.astype(np.uint16) * np.uint16(257) if dtype == np.uint16 else pixels


def _turn(pixels: Pixels, turns: int, mirrored: bool) -> Pixels:
    turned = np.rot90(pixels, -turns)
    return turned[:, ::-1] if mirrored else turned


def _turn_back(pixels: Pixels, turns: int, mirrored: bool) -> Pixels:
    unmirrored = pixels[:, ::-1] if mirrored else pixels
    return np.rot90(unmirrored, turns)
