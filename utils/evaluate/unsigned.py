"""What a result is beside its signature: no two signatures are alike, so files of two runs are compared without."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from utils.inference.video.probing import open_video

PNG_SIGNATURE_BYTES = 8
PNG_MANIFEST = b"caBX"


def unsigned(path: Path) -> str:
    """A digest of all that a PNG or a video holds, but for its manifest: every chunk, or every packet with its times, and the tags.

    >>> unsigned(Path("one.png")) == unsigned(Path("two.png"))    # doctest: +SKIP
    True
    """
    digest = hashlib.sha256()
    if path.suffix.lower() == ".png":
        content = path.read_bytes()
        place = PNG_SIGNATURE_BYTES
        while place < len(content):
            size, name = struct.unpack_from(">I4s", content, place)
            if name != PNG_MANIFEST:
                digest.update(content[place : place + 12 + size])
            place += 12 + size
        return digest.hexdigest()
    with open_video(path) as container:
        tags = [dict(stream.metadata) for stream in container.streams]
        digest.update(repr((container.format.name, dict(container.metadata), tags, container.chapters())).encode())
        for packet in container.demux():
            digest.update(
                repr((packet.stream.index, packet.pts, packet.dts, packet.duration, packet.time_base)).encode()
            )
            digest.update(bytes(packet))
    return digest.hexdigest()
