"""Kinds of media files, told by their first bytes: names lie."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 32
UNKNOWN = "application/octet-stream"
SIDECAR = "application/c2pa"
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"GIF8": "image/gif",
    b"\x1aE\xdf\xa3": "video/x-matroska",
}
RIFF_KINDS = {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"mif1": "image/heif",
    b"qt  ": "video/quicktime",
}


def mime_of(head: bytes) -> str:
    """MIME type of a file that begins with these bytes, `HEAD_BYTES` of them at least.

    >>> mime_of(b"RIFF....WEBPVP8L"), mime_of(b"....ftypisom"), mime_of(b"hello")
    ('image/webp', 'video/mp4', 'application/octet-stream')
    """
    for signature, mime in SIGNATURES.items():
        if head.startswith(signature):
            return mime
    if head[:4] == b"RIFF":
        return RIFF_KINDS.get(head[8:12], UNKNOWN)
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "video/mp4")
    return SIDECAR if head[4:8] == b"jumb" else UNKNOWN


def mime_of_stream(media: BinaryIO) -> str:
    """The same of an open file, which is at its beginning afterwards."""
    media.seek(0)
    mime = mime_of(media.read(HEAD_BYTES))
    media.seek(0)
    return mime


def mime_of_file(path: Path) -> str:
    """The same of a file by its name.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return mime_of_stream(file)


def sidecars_of(path: Path) -> tuple[Path, Path]:
    """Where the manifest of a file lies that cannot hold it: as it is written here, and as other tools name it.

    >>> [one.name for one in sidecars_of(Path("clip.mkv"))]
    ['clip.mkv.c2pa', 'clip.c2pa']
    """
    return path.with_name(f"{path.name}.c2pa"), path.with_suffix(".c2pa")
