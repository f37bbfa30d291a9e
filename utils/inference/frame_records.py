"""What the analysis pass knows of each frame, streamed to a file of JSON lines and back.

Rendering is a pure function of a frame and its record, so everything that depends on other frames must be in here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from utils.inference.occlusion.appearance import pack_texels, unpack_texels
from utils.inference.records import UNTREATED, Appearance, Face, MaskParameters, Openings, Treatment

RECORD_FORMAT = 2  # counts up whenever a line of the file means something else


@dataclass(frozen=True, eq=False)
class RecordedFace:
    """A face of a frame, and what is done with it.

    The analysis knows the first two and the appearance; the plan fills in the rest.

    Attributes:
        face: as found, in the plan smoothed.
        track: number of its track.
        source: index of the source that it gets; None leaves it alone.
        treatment: how it is swapped.
        appearance: what the plan finds occluders by; only in the records of the analysis.
    """

    face: Face
    track: int
    source: int | None = None
    treatment: Treatment = UNTREATED
    appearance: Appearance | None = None

    def treated(self, **changes: Any) -> RecordedFace:
        """The same with other fields of its treatment."""
        return replace(self, treatment=replace(self.treatment, **changes))


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """One frame: its number, its presentation time stamp in the video's time base, whether it begins a new shot, and its faces."""

    index: int
    pts: int
    cut: bool
    faces: tuple[RecordedFace, ...]

    @property
    def swaps(self) -> list[tuple[int, RecordedFace]]:
        """The faces that are swapped, each with the index of its source: those that have one and are not left as they are."""
        return [(face.source, face) for face in self.faces if face.source is not None and face.treatment.strength > 0]


def write_record(file: TextIO, record: FrameRecord) -> None:
    """Append one line."""
    faces = [_recorded_to_json(recorded) for recorded in record.faces]
    fields = {"index": record.index, "pts": record.pts, "cut": record.cut, "faces": faces}
    file.write(json.dumps(fields) + "\n")


def read_records(path: Path) -> Iterator[FrameRecord]:
    """Stream the records of a file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            fields = json.loads(line)
            faces = tuple(_recorded_from_json(face) for face in fields["faces"])
            yield FrameRecord(fields["index"], fields["pts"], fields["cut"], faces)


def face_to_json(face: Face) -> dict[str, Any]:
    """What JSON can hold, exactly."""
    return {
        "score": face.score,
        "box": face.box.tolist(),
        "keypoints": face.keypoints.tolist(),
        "landmarks": None if face.landmarks is None else pack_array(face.landmarks),
    }


def face_from_json(fields: dict[str, Any]) -> Face:
    """The face of `face_to_json`."""
    packed = fields["landmarks"]
    landmarks = None if packed is None else unpack_array(packed).reshape(-1, 3)
    return Face(np.array(fields["box"]), fields["score"], np.array(fields["keypoints"]), landmarks)


def pack_array(values: NDArray[np.float64]) -> str:
    """Base64 of little-endian float64: exact, so that a picture and a video are rendered from the same numbers."""
    return _text(values.astype("<f8").tobytes())


def unpack_array(text: str) -> NDArray[np.float64]:
    """The values of `pack_array`, flat."""
    return np.frombuffer(_bytes(text), "<f8").astype(np.float64)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _recorded_to_json(recorded: RecordedFace) -> dict[str, Any]:
    look, treatment = recorded.appearance, recorded.treatment
    return {
        "track": recorded.track,
        "source": recorded.source,
        "strength": treatment.strength,
        "motion": treatment.motion,
        "mask": None if treatment.mask_parameters is None else asdict(treatment.mask_parameters),
        "openings": astuple(treatment.openings),
        **face_to_json(recorded.face),
        "appearance": None
        if look is None
        else {"png": _text(look.png), "seen": _text(look.seen), "glasses": look.glasses},
        "glasses": treatment.glasses,
        "occluded": None if treatment.occluded is None else _text(pack_texels(treatment.occluded)),
    }


def _recorded_from_json(fields: dict[str, Any]) -> RecordedFace:
    mask_parameters = None if fields["mask"] is None else MaskParameters(**fields["mask"])
    look, texels = fields["appearance"], fields["occluded"]
    occluded = None if texels is None else unpack_texels(_bytes(texels))
    openings, motion = Openings(*fields["openings"]), tuple(fields["motion"])
    treatment = Treatment(mask_parameters, openings, fields["strength"], motion, occluded, fields["glasses"])
    appearance = None if look is None else Appearance(_bytes(look["png"]), _bytes(look["seen"]), look["glasses"])
    return RecordedFace(face_from_json(fields), fields["track"], fields["source"], treatment, appearance)
