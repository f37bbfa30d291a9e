"""Pixels of plain TIFF files, whose alpha OpenCV would premultiply.

No tag and no packed strip makes this take more memory than the picture needs.
"""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UnreadableInput
from utils.limits import Limits


def decode_tiff(encoded: bytes, path: Path, limits: Limits) -> NDArray[Any] | None:
    """Pixels in BGR order of the first picture, or None to leave it to OpenCV, which knows more compressions.

    Raises:
        UnreadableInput: if it is larger than `limits` has.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(encoded)) as tiff:
            page = tiff.pages[0]
            limits.check_size(path, page.imagewidth, page.imagelength)
            if not (_is_plain(page) and _unpacks_to_its_size(page, encoded)):
                return None
            pixels = page.asarray()
    except UnreadableInput:
        raise
    except Exception:  # a damaged file or a compression that tifffile leaves to another package
        return None
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2))


def _is_plain(page: Any) -> bool:
    import tifffile

    of_light = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK)
    return (
        of_light and 0 not in page.shape and page.dtype in (np.uint8, np.uint16) and page.shape[2:] in ((), (3,), (4,))
    )


def _unpacks_to_its_size(page: Any, encoded: bytes) -> bool:
    """Whether no strip or tile of a page unpacks to more than its share of the picture, to which tifffile sets no bound."""
    import tifffile

    if page.compression in (tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.PACKBITS):
        return True
    if page.compression not in (tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE):
        return False
    most_bytes = math.prod(page.chunks) * page.dtype.itemsize
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        unpacking = zlib.decompressobj()
        if len(unpacking.decompress(encoded[start : start + count], most_bytes + 1)) > most_bytes:
            return False
    return True
