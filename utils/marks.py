"""The marks that say, to machines, that a picture or a video was altered by a model.

Source: IPTC NewsCodes, digital source type; ISO 16684-1 (XMP) for how a packet is stored in PNG and JPEG.
"""

from __future__ import annotations

import struct
import zlib

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
VIDEO_COMMENT = f"Altered by AI (face swap). DigitalSourceType: {DIGITAL_SOURCE_TYPE}"

XMP_PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

PNG_SIGNATURE_AND_HEADER_BYTES = 8 + 25  # the signature, then IHDR: length, name, 13 bytes, checksum
JPEG_START_OF_IMAGE_BYTES = 2
JPEG_XMP_NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"


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
