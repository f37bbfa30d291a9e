"""Picture bytes to pixels and back, with their metadata.

OpenCV decodes and encodes; what it leaves out is added here: TIFF metadata, unpremultiplied TIFF alpha, clean EXIF, conforming XMP.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from utils.errors import UnreadableInput, UnwritableOutput
from utils.inference.records import Image
from utils.limits import DEFAULT_LIMITS, TIFF_SIGNATURES, Limits
from utils.provenance import marks
from utils.tiff_pixels import decode_tiff

logger = logging.getLogger(__name__)

Pixels: TypeAlias = NDArray[Any]  # uint8 or uint16; (H, W), (H, W, 3) or (H, W, 4)

JPEG_QUALITY = 95
WEBP_LOSSLESS = 101  # OpenCV: a quality above 100 means lossless
EXIF_ORIENTATION, EXIF_GPS, EXIF_DETAILS, EXIF_MAKER_NOTE = 0x0112, 0x8825, 0x8769, 0x927C
TIFF_XMP, TIFF_ICC, TIFF_ORIENTATION = 700, 34675, 274
# Of a colour profile: ICC.1:2022, 7.2. Its size, the colours that it describes, and what every profile has in this place.
ICC_SIZE, ICC_COLOURS, ICC_SIGNATURE, ICC_HEAD_BYTES = slice(4), slice(16, 20), slice(36, 40), 128
ISO_MEDIA_SIGNATURE = b"ftyp"  # AVIF
WEBP_LARGEST_PX = 16383
ORIENTATIONS = range(1, 9)
MOVING_FORMATS = {"GIF", "WEBP", "PNG", "TIFF", "AVIF"}


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """What a picture file holds.

    Attributes:
        pixels: as stored, before the orientation is applied; BGR or BGRA order.
        orientation: EXIF orientation, 1 to 8.
        icc: colour profile that describes `pixels`, or None.
        exif: EXIF block (without thumbnail and maker note, which would show the original face), or None.
    """

    pixels: Pixels
    orientation: int = 1
    icc: bytes | None = None
    exif: bytes | None = None


def decode_picture(encoded: bytes, path: Path, limits: Limits = DEFAULT_LIMITS) -> StoredPicture:
    """Decode the bytes of a picture file; `path` is for messages.

    Raises:
        UnreadableInput: if they are damaged, cut short, no picture or a larger one than `limits` has.
    """
    pixels, metadata = _decode(path, encoded, limits)
    exif, orientation = _clean_exif(metadata.get(cv2.IMAGE_METADATA_EXIF))
    icc = metadata.get(cv2.IMAGE_METADATA_ICCP)
    if encoded[:4] in TIFF_SIGNATURES or encoded[4:8] == ISO_MEDIA_SIGNATURE:
        icc, orientation = _profile_and_orientation(encoded)
    return StoredPicture(pixels, orientation, _fitting_profile(icc, pixels), exif)


def is_animated(encoded: bytes) -> bool:
    """Whether a file holds more than one picture: GIF, WebP, APNG, TIFF."""
    try:
        with PillowImage.open(io.BytesIO(encoded)) as picture:
            return picture.format in MOVING_FORMATS and bool(getattr(picture, "is_animated", False))
    except Exception:  # Pillow lets errors of many kinds through; OpenCV has the last word on whether it can be read
        return False


def to_eight_bit(pixels: Pixels) -> Image:
    """uint8 of uint8 or uint16 pixels, 65535 becoming 255."""
    # By way of no floating-point copy, which would be the largest thing in memory.
    return cv2.convertScaleAbs(pixels, alpha=1 / 257) if pixels.dtype == np.uint16 else pixels


def encode_picture(picture: StoredPicture, path: Path, keep_gps: bool = False) -> bytes:
    """Encode in the format of the extension of `path`, with the marks; PNG for an extension that is not one of JPEG, WebP or TIFF.

    Args:
        picture: see there.
        path: for messages, too.
        keep_gps: whether the EXIF block keeps the place.

    Raises:
        UnwritableOutput: if the encoder refuses.
    """
    extension, pixels = path.suffix.lower(), picture.pixels
    picture = replace(picture, exif=_exif_to_write(picture.exif, picture.orientation, keep_gps))
    if extension in (".tif", ".tiff"):
        return _encode_tiff(picture)
    if extension in (".jpg", ".jpeg"):
        opaque = pixels[:, :, :3] if pixels.ndim == 3 else pixels  # JPEG has no alpha
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        return marks.insert_xmp_into_jpeg(_imencode(path, ".jpg", to_eight_bit(opaque), picture, options))
    if extension == ".webp":
        if max(pixels.shape[:2]) > WEBP_LARGEST_PX:
            raise UnwritableOutput(f"{str(path)!r}: WebP holds {WEBP_LARGEST_PX} pixels a side at most; use .png")
        options = [cv2.IMWRITE_WEBP_QUALITY, WEBP_LOSSLESS]
        return _imencode(path, ".webp", to_eight_bit(pixels), picture, options, xmp=marks.XMP_PACKET)
    return marks.insert_xmp_into_png(_imencode(path, ".png", pixels, picture, []))


def _decode(path: Path, encoded: bytes, limits: Limits) -> tuple[Pixels, dict[int, bytes]]:
    """Pixels as stored, and the metadata blocks by OpenCV's kinds."""
    from_tiff = decode_tiff(encoded, path, limits) if encoded[:4] in TIFF_SIGNATURES else None
    if from_tiff is not None:
        return from_tiff, {}
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with _silent_opencv():
            pixels, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        pixels, kinds, blocks = None, (), ()
    if pixels is None:
        raise UnreadableInput(
            f"{str(path)!r} is not a picture that can be decoded, or is cut short; use a whole PNG, JPEG, WebP or TIFF file"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableInput(f"{str(path)!r} has {pixels.dtype} pixels; convert it to 8 or 16 bits a channel")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = cv2.merge([pixels[:, :, 0]] * 3 + [pixels[:, :, 1]])
    return pixels, {int(kind): np.asarray(block, np.uint8).tobytes() for kind, block in zip(kinds, blocks, strict=True)}


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV's own complaints would come before our one line."""
    previous = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(previous)


def _clean_exif(block: bytes | None) -> tuple[bytes | None, int]:
    """The EXIF block and the orientation; a block that cannot be read is left out.

    Without thumbnail and maker note: both show the face as it was, the latter also places and what else a camera knows.
    """
    if not block:
        return None, 1
    exif = PillowImage.Exif()
    try:
        exif.load(block)
        orientation = int(exif.get(EXIF_ORIENTATION, 1))
        exif.get_ifd(EXIF_DETAILS).pop(EXIF_MAKER_NOTE, None)
        cleaned = exif.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # Pillow lets errors of many kinds through on hostile blocks; the pixels are what matters
        return None, 1
    return cleaned, orientation if orientation in ORIENTATIONS else 1


def _exif_to_write(block: bytes | None, orientation: int, keep_gps: bool) -> bytes | None:
    """The block with this orientation, which the file that it came from may have stored elsewhere; None if there is nothing to say."""
    exif = PillowImage.Exif()
    if block:
        exif.load(block)
    shows_place = EXIF_GPS in exif and not keep_gps
    if exif.get(EXIF_ORIENTATION, 1) == orientation and not shows_place:
        return block
    exif[EXIF_ORIENTATION] = orientation
    if shows_place:
        del exif[EXIF_GPS]
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _profile_and_orientation(encoded: bytes) -> tuple[bytes | None, int]:
    """Colour profile and orientation of TIFF, whose metadata OpenCV does not give, and of AVIF, which turns pictures in its own way."""
    try:
        with PillowImage.open(io.BytesIO(encoded)) as picture:
            tags = picture.getexif()
            icc = tags.get(TIFF_ICC) or picture.info.get("icc_profile")
            orientation = int(tags.get(EXIF_ORIENTATION, 1))
    except Exception:  # as above
        return None, 1
    return (bytes(icc) if icc else None), orientation if orientation in ORIENTATIONS else 1


def _fitting_profile(icc: bytes | None, pixels: Pixels) -> bytes | None:
    """The colour profile, if it is one, and describes the decoded pixels; that of a CMYK file, which decodes to BGR, does not."""
    if icc is None or len(icc) < ICC_HEAD_BYTES or icc[ICC_SIGNATURE] != b"acsp":
        return None
    size = int.from_bytes(icc[ICC_SIZE], "big")
    if not ICC_HEAD_BYTES <= size <= len(icc) or icc[ICC_COLOURS] != (b"GRAY" if pixels.ndim == 2 else b"RGB "):
        return None
    return icc[:size]  # what stands behind it is padding


def _imencode(
    path: Path, extension: str, pixels: Pixels, picture: StoredPicture, options: Sequence[int], xmp: bytes | None = None
) -> bytes:
    """Encode with metadata; without a profile that the encoder refuses, for it is stricter than what wrote the target."""
    blocks = {cv2.IMAGE_METADATA_EXIF: picture.exif, cv2.IMAGE_METADATA_XMP: xmp}
    try:
        return _imencode_with(path, extension, pixels, {**blocks, cv2.IMAGE_METADATA_ICCP: picture.icc}, options)
    except UnwritableOutput:
        if picture.icc is None:
            raise
    encoded = _imencode_with(path, extension, pixels, blocks, options)
    logger.warning(
        f"{str(path)!r} cannot hold the colour profile of the target, which is left out; colours may look different"
    )
    return encoded


def _imencode_with(
    path: Path, extension: str, pixels: Pixels, blocks: Mapping[int, bytes | None], options: Sequence[int]
) -> bytes:
    present = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    try:
        with _silent_opencv():
            done, encoded = cv2.imencodeWithMetadata(
                extension, np.ascontiguousarray(pixels), list(present), list(present.values()), list(options)
            )
    except cv2.error as error:
        raise UnwritableOutput(f"cannot encode {str(path)!r} ({error.err}); use .png") from error
    if not done:
        raise UnwritableOutput(f"cannot encode {str(path)!r}; use .png")
    return np.asarray(encoded, np.uint8).tobytes()


def _encode_tiff(picture: StoredPicture) -> bytes:
    import tifffile

    pixels = picture.pixels
    rgb = pixels if pixels.ndim == 2 else np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2)
    tags = [
        (TIFF_XMP, 1, len(marks.XMP_PACKET), marks.XMP_PACKET, True),
        (TIFF_ORIENTATION, 3, 1, picture.orientation, True),
    ]
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        rgb,
        compression="zlib",
        photometric="minisblack" if rgb.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if rgb.ndim == 3 and rgb.shape[2] == 4 else None,
        iccprofile=picture.icc,
        extratags=tags,
        metadata=None,
    )
    return buffer.getvalue()
