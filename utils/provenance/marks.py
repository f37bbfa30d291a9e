"""The marks that say, to machines, that a picture or a video was altered by a model: an XMP packet, and tags of a container.

Sources: IPTC NewsCodes, digital source type; ISO 16684-1 (XMP) for the packet, ISO 16684-3 for where PNG, JPEG and MP4 hold it.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from utils.provenance.scanning import places
from utils.version import TOOL_NAME, __version__

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE_TYPE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
# Those of the vocabulary that say that a model made the picture, or a part of it. What an algorithm made without a model is not among them.
MADE_BY_MODELS = frozenset({"compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia", "compositeSynthetic"})
VIDEO_TAGS = {
    "comment": f"Altered by AI (face swap). DigitalSourceType: {DIGITAL_SOURCE_TYPE}",
    "DIGITALSOURCETYPE": DIGITAL_SOURCE_TYPE,  # of these two, MP4 and MOV hold only the comment
}

XMP_PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmp:CreatorTool="{TOOL_NAME} {__version__}"
    Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

PNG_SIGNATURE_AND_HEADER_BYTES = 8 + 25  # the signature, then IHDR: length, name, 13 bytes, checksum
JPEG_START_OF_IMAGE_BYTES = 2
JPEG_XMP_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"
MP4_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# An attribute or an element, under whatever prefix; the value may be the short name.
XMP_PROPERTY, XMP_PROPERTY_BYTES = b":DigitalSourceType", 1024  # with its value, at most
XMP_VALUE = re.compile(
    rb"(?:\s{0,99}=\s{0,99}[\"']|\s{0,99}>\s{0,99}|\s{1,99}rdf:resource\s{0,99}=\s{0,99}[\"'])"
    rb"(?:https?://cv\.iptc\.org/newscodes/digitalsourcetype/)?(\w{1,99})\b"
)


def insert_xmp_into_png(png: bytes, packet: bytes = XMP_PACKET) -> bytes:
    """Add an XMP packet to an encoded PNG, as the iTXt chunk right after the header."""
    body = b"iTXt" + b"XML:com.adobe.xmp\0" + b"\0\0\0\0" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:PNG_SIGNATURE_AND_HEADER_BYTES] + chunk + png[PNG_SIGNATURE_AND_HEADER_BYTES:]


def insert_xmp_into_jpeg(jpeg: bytes, packet: bytes = XMP_PACKET) -> bytes:
    """Add an XMP packet to an encoded JPEG, as an APP1 segment behind the JFIF segment, if there is one.

    Raises:
        ValueError: if the packet does not fit a segment (65,502 bytes).
    """
    body = JPEG_XMP_NAMESPACE + packet
    if len(body) > 0xFFFF - 2:
        raise ValueError("an XMP packet of more than 65,502 bytes does not fit a JPEG segment")
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    place = JPEG_START_OF_IMAGE_BYTES
    if jpeg[place : place + 2] == b"\xff\xe0":
        place += 2 + struct.unpack(">H", jpeg[place + 2 : place + 4])[0]
    return jpeg[:place] + segment + jpeg[place:]


def append_xmp_to_mp4(path: Path, packet: bytes = XMP_PACKET) -> None:
    """Add an XMP packet to an MP4 or MOV file, as a box at its end, so that no other box moves.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("ab") as file:
        file.write(struct.pack(">I", 24 + len(packet)) + b"uuid" + MP4_XMP_UUID + packet)


def xmp_source_types(path: Path) -> set[str]:
    """Short names of the digital source types in all XMP packets of a file, of whatever format: packets are stored as plain text.

    Source: ISO 16684-3, scanning for packets in files of unknown format.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        found = places(XMP_PROPERTY, file, XMP_PROPERTY_BYTES)
        values = (XMP_VALUE.match(part, place + len(XMP_PROPERTY)) for part, place in found)
        return {value[1].decode() for value in values if value}
