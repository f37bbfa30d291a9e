"""Where a film was taken, as cameras, telephones and drones write it: in tags, or in subtitles that follow the flight."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACE_TAG = "location"
TELLING_NAMES = re.compile(r"location|latitude|longitude|altitude|gps|geo|xyz|place", re.IGNORECASE)
ISO_6709 = re.compile(r"[+-]\d{2,6}(\.\d*)?[+-]\d{3,7}(\.\d*)?")
# Some drones misspell it.
POSITIONS = re.compile(rb"\b(?:lat|lon|latitude|longt?itude|gps|home)\W{0,4}[+-]?\d+\.\d+", re.IGNORECASE)


def tells_place(name: str, text: str) -> bool:
    """Whether a tag says where a film was taken.

    >>> tells_place("com.apple.quicktime.location.name", "home"), tells_place("comment", "+48.8583+002.2945/")
    (True, True)
    >>> tells_place("title", "Paris")
    False
    """
    return bool(TELLING_NAMES.search(name) or ISO_6709.match(text))


def place_tag(tags: Mapping[str, str]) -> dict[str, str]:
    """The place under the name that is written in every container, whatever the phone called it; nothing if there is none.

    >>> place_tag({"com.apple.quicktime.location.ISO6709": "+48.8583+002.2945/", "title": "Paris"})
    {'location': '+48.8583+002.2945/'}
    """
    places = [text for text in tags.values() if ISO_6709.match(text)]
    return {PLACE_TAG: places[0]} if places else {}


def tells_positions(cue: bytes) -> bool:
    """Whether a subtitle, as it is stored, is a line of a flight log.

    >>> tells_positions(b"[latitude: 48.85] [longitude: 2.29]"), tells_positions(b"GPS (2.29, 48.85, 15)")
    (True, True)
    >>> tells_positions(b"The GPS is dead, captain.")
    False
    """
    return POSITIONS.search(cue) is not None
