"""Picture files in and out, without losing what the swap does not touch.

A picture is swapped as upright 8-bit BGR. When it is written, only the pixels that changed are put back into the pixels as they were
stored: 16-bit depth, alpha, grey, colour profile and orientation stay. Every written picture carries the marks of `utils.marks`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from utils import marks
from utils.errors import BadArgument, UnreadableInput, UnwritableOutput
from utils.files import finished_file
from utils.inference.records import Image

Pixels = NDArray[Any]  # uint8 or uint16; (H, W), (H, W, 3) or (H, W, 4)

WRITABLE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
JPEG_QUALITY = 95
WEBP_LOSSLESS = 101  # OpenCV: a quality above 100 means lossless
EXIF_ORIENTATION, EXIF_GPS = 0x0112, 0x8825
TIFF_XMP, TIFF_ICC, TIFF_ORIENTATION = 700, 34675, 274
TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
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
    """A decoded picture file.

    Attributes:
        bgr: upright (H, W, 3) BGR uint8: what the pipeline works on.
        stored: the pixels as the file stores them, before the orientation is applied.
        orientation: EXIF orientation, 1 to 8.
        icc: colour profile that describes `stored`, or None.
        exif: EXIF block (without its thumbnail, which would show the original face, and without GPS), or None.
    """

    bgr: Image
    stored: Pixels
    orientation: int
    icc: bytes | None
    exif: bytes | None


def check_picture_extension(path: Path) -> None:
    """Refuse an output name whose format cannot be written or cannot carry the marks.

    Raises:
        BadArgument: with the formats that can.
    """
    if path.suffix.lower() not in WRITABLE_EXTENSIONS:
        raise BadArgument(f"cannot write a picture named '{path.name}'; use one of {', '.join(WRITABLE_EXTENSIONS)}")


def read_picture(path: Path) -> Picture:
    """Read and decode a picture.

    Raises:
        UnreadableInput: if the file is missing, empty, damaged, cut short or not a picture.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"cannot read '{path}' ({error.strerror or error}); check the path") from error
    if not encoded:
        raise UnreadableInput(f"'{path}' is empty; use another file")
    stored, metadata = _decode(path, encoded)
    if min(stored.shape[:2]) < MIN_SIDE_PX:
        raise UnreadableInput(
            f"'{path}' is {stored.shape[1]}x{stored.shape[0]} pixels, too small to show a face; use another picture"
        )
    exif, orientation = _clean_exif(metadata.get(cv2.IMAGE_METADATA_EXIF))
    icc = metadata.get(cv2.IMAGE_METADATA_ICCP)
    if encoded[:4] in TIFF_SIGNATURES:
        icc, orientation = _tiff_profile_and_orientation(encoded)
    bgr = np.ascontiguousarray(_turn(to_bgr(stored), *UPRIGHT_TURNS[orientation]))
    return Picture(bgr, stored, orientation, icc if _profile_fits(icc, stored) else None, exif)


def write_picture(path: Path, picture: Picture, result: Image) -> None:
    """Write `result`, an altered copy of `picture.bgr`, in the format that the name asks for, with marks, through the finisher.

    Raises:
        BadArgument: if the extension is not one of `WRITABLE_EXTENSIONS`.
        UnwritableOutput: if the file cannot be written.
    """
    check_picture_extension(path)
    changed = put_back(picture, result)
    encoded = _encode(path, changed, picture)
    with finished_file(path) as temporary:
        temporary.write_bytes(encoded)


def to_bgr(pixels: Pixels) -> Image:
    """(H, W, 3) BGR uint8 of stored pixels of any supported depth and number of channels."""
    eight_bit = to_eight_bit(pixels)
    if eight_bit.ndim == 2:
        return cv2.cvtColor(eight_bit, cv2.COLOR_GRAY2BGR)
    return eight_bit[:, :, :3]


def to_eight_bit(pixels: Pixels) -> Image:
    """uint8 of uint8 or uint16 pixels, 65535 becoming 255."""
    return np.round(pixels / 257.0).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def put_back(picture: Picture, result: Image) -> Pixels:
    """The stored pixels with those replaced that differ between `picture.bgr` and `result`.

    Returns:
        An array of the shape and depth of `picture.stored`; bit-identical to it wherever `result` equals `picture.bgr`. Alpha stays.
    """
    turns, mirrored = UPRIGHT_TURNS[picture.orientation]
    changed = _turn_back((result != picture.bgr).any(axis=2), turns, mirrored)
    new = _turn_back(result, turns, mirrored)[changed]
    out = picture.stored.copy()
    if out.ndim == 2:
        new = cv2.cvtColor(new[None], cv2.COLOR_BGR2GRAY)[0] if len(new) else np.zeros(0, np.uint8)
        out[changed] = _deepen(new, out.dtype)
    else:
        colours = out[:, :, :3]
        colours[changed] = _deepen(new, out.dtype)
    return out


def _deepen(pixels: Image, dtype: np.dtype[Any]) -> Pixels:
    return pixels.astype(np.uint16) * np.uint16(257) if dtype == np.uint16 else pixels


def _turn(pixels: Pixels, turns: int, mirrored: bool) -> Pixels:
    turned = np.rot90(pixels, -turns)
    return turned[:, ::-1] if mirrored else turned


def _turn_back(pixels: Pixels, turns: int, mirrored: bool) -> Pixels:
    unmirrored = pixels[:, ::-1] if mirrored else pixels
    return np.rot90(unmirrored, turns)


def _decode(path: Path, encoded: bytes) -> tuple[Pixels, dict[int, bytes]]:
    """Pixels as stored, and the metadata blocks by OpenCV's kinds."""
    from_tiff = _decode_tiff(encoded) if encoded[:4] in TIFF_SIGNATURES else None
    if from_tiff is not None:
        return from_tiff, {}
    previous = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # its complaints would come before our one line
    try:
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        pixels, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error:
        pixels, kinds, blocks = None, (), ()
    finally:
        cv2.utils.logging.setLogLevel(previous)
    if pixels is None:
        raise UnreadableInput(
            f"'{path}' is not a picture that can be decoded, or is cut short; use a whole PNG, JPEG, WebP or TIFF file"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableInput(f"'{path}' has {pixels.dtype} pixels; convert it to 8 or 16 bits a channel")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = cv2.merge([pixels[:, :, 0]] * 3 + [pixels[:, :, 1]])
    return pixels, {int(kind): np.asarray(block, np.uint8).tobytes() for kind, block in zip(kinds, blocks, strict=True)}


def _decode_tiff(encoded: bytes) -> Pixels | None:
    """Pixels in BGR order of a plain TIFF, or None to leave it to OpenCV, which knows more compressions but premultiplies alpha."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(encoded)) as tiff:
            page = tiff.pages[0]
            if page.photometric not in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK):
                return None
            pixels = page.asarray()
    except Exception:  # a damaged file or a compression that tifffile leaves to another package
        return None
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2:] not in ((), (3,), (4,)):
        return None
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2))


def _clean_exif(block: bytes | None) -> tuple[bytes | None, int]:
    """The EXIF block without thumbnail and GPS, and the orientation; a block that cannot be read is left out."""
    if not block:
        return None, 1
    exif = PillowImage.Exif()
    try:
        exif.load(block)
        orientation = int(exif.get(EXIF_ORIENTATION, 1))
        if EXIF_GPS in exif:
            del exif[EXIF_GPS]
        cleaned = exif.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # Pillow lets errors of many kinds through on hostile blocks; the pixels are what matters
        return None, 1
    return cleaned, orientation if orientation in UPRIGHT_TURNS else 1


def _tiff_profile_and_orientation(encoded: bytes) -> tuple[bytes | None, int]:
    """OpenCV gives the metadata of TIFF files neither on reading nor on writing."""
    try:
        with PillowImage.open(io.BytesIO(encoded)) as tiff:
            tags = tiff.getexif()
            icc = tags.get(TIFF_ICC)
            orientation = int(tags.get(TIFF_ORIENTATION, 1))
    except Exception:  # as above
        return None, 1
    return (bytes(icc) if icc else None), orientation if orientation in UPRIGHT_TURNS else 1


def _profile_fits(icc: bytes | None, pixels: Pixels) -> bool:
    """Whether a colour profile describes the decoded pixels; that of a CMYK file, which decodes to BGR, does not."""
    if icc is None or len(icc) < 20:
        return False
    return icc[16:20] == (b"GRAY" if pixels.ndim == 2 else b"RGB ")


def _encode(path: Path, pixels: Pixels, picture: Picture) -> bytes:
    extension = path.suffix.lower()
    if extension in (".tif", ".tiff"):
        return _encode_tiff(pixels, picture)
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
        options = [cv2.IMWRITE_WEBP_QUALITY, WEBP_LOSSLESS]
        return _imencode(path, ".webp", to_eight_bit(pixels), picture, options, xmp=marks.XMP_PACKET)
    return marks.insert_xmp_into_png(_imencode(path, ".png", pixels, picture, []))


def _imencode(
    path: Path, extension: str, pixels: Pixels, picture: Picture, options: Sequence[int], xmp: bytes | None = None
) -> bytes:
    blocks = [
        (cv2.IMAGE_METADATA_EXIF, picture.exif),
        (cv2.IMAGE_METADATA_XMP, xmp),
        (cv2.IMAGE_METADATA_ICCP, picture.icc),
    ]
    present = [(kind, np.frombuffer(block, np.uint8)) for kind, block in blocks if block]
    try:
        done, encoded = cv2.imencodeWithMetadata(
            extension,
            np.ascontiguousarray(pixels),
            [kind for kind, _ in present],
            [block for _, block in present],
            list(options),
        )
    except cv2.error as error:
        raise UnwritableOutput(f"cannot encode '{path}' ({error.err}); use another format") from error
    if not done:
        raise UnwritableOutput(f"cannot encode '{path}'; use another format")
    return np.asarray(encoded, np.uint8).tobytes()


def _encode_tiff(pixels: Pixels, picture: Picture) -> bytes:
    import tifffile

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
