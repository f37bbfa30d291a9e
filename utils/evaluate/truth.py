"""Labels of clips, made by looking: who is where on every fifth frame, and which frames begin a new shot.

tests/truth/README.md says how they were made and what `swappable` means. They hold facts about the clips, no pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UnreadableInput
from utils.inference.records import Points

EVERY_FRAMES = 5  # from one labelled frame to the next


@dataclass(frozen=True, eq=False)
class LabelledFace:
    """One face of a labelled frame: who it is, its box (4,) in pixels, and whether a swap is to be expected."""

    person: str
    box: Points
    swappable: bool


@dataclass(frozen=True, eq=False)
class ClipTruth:
    """The labels of one clip.

    Attributes:
        name: of the clip's file, without its ending.
        frames, width, height: of the clip.
        cuts: the first frame of every shot but the first.
        persons: person -> what it looks like; empty if only the cuts are labelled.
        portraits: person -> the frame that shows it best, where it is not the one with its largest face.
        faces: labelled frame -> its faces.
        ignored: labelled frame -> (N, 4) boxes of faces in a crowd that nobody could tell.
    """

    name: str
    frames: int
    width: int
    height: int
    cuts: tuple[int, ...]
    persons: dict[str, str]
    portraits: dict[str, int]
    faces: dict[int, tuple[LabelledFace, ...]]
    ignored: dict[int, Points]

    @property
    def choosable(self) -> list[str]:
        """The persons with a face that can be swapped."""
        return [
            person
            for person in self.persons
            if any(face.person == person and face.swappable for faces in self.faces.values() for face in faces)
        ]

    def face_of(self, person: str, frame: int) -> LabelledFace | None:
        """The labelled face of a person in a frame, if there is one."""
        return next((face for face in self.faces.get(frame, ()) if face.person == person), None)

    def portrait_of(self, person: str) -> tuple[int, LabelledFace]:
        """The frame that shows a person best, and the face in it: the one that was chosen, or the largest that can be swapped.

        Raises:
            ValueError: if the person has no such face.
        """
        chosen = self.portraits.get(person)
        shown = [
            (frame, face)
            for frame in (self.faces if chosen is None else [chosen])
            if (face := self.face_of(person, frame)) is not None and face.swappable
        ]
        if not shown:
            raise ValueError(f"{self.name} has no face of {person!r} that can be swapped")
        return max(shown, key=lambda pair: float(np.prod(pair[1].box[2:] - pair[1].box[:2])))

    def faces_at(self, frame: int) -> tuple[LabelledFace, ...]:
        """The faces of any frame: as labelled, or on the way from the labels before it to those after it.

        At the ends of a shot the nearest label of the shot stands for the frame; a shot without labels has no faces.
        """
        shot = [labelled for labelled in self.faces if self.shot_of(labelled) == self.shot_of(frame)]
        if not shot:
            return ()
        before = max((labelled for labelled in shot if labelled <= frame), default=shot[0])
        after = min((labelled for labelled in shot if labelled >= frame), default=shot[-1])
        share = (frame - before) / (after - before) if after > before else 0.0
        pairs = [(face, self.face_of(face.person, after)) for face in self.faces[before]]
        return tuple(
            LabelledFace(face.person, face.box + share * (later.box - face.box), face.swappable and later.swappable)
            for face, later in pairs
            if later is not None
        )

    def shot_of(self, frame: int) -> int:
        """The number of the shot that a frame belongs to, from 0."""
        return sum(cut <= frame for cut in self.cuts)


def read_truth(path: Path) -> ClipTruth:
    """Read the labels of one clip.

    Raises:
        UnreadableInput: if the file is not there, or is not what it should be.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return ClipTruth(
            path.stem,
            fields["frames"],
            fields["width"],
            fields["height"],
            tuple(fields["cuts"]),
            fields.get("persons", {}),
            fields.get("portrait", {}),
            {
                int(frame): tuple(
                    LabelledFace(face["person"], np.array(face["box"], np.float64), face["swappable"]) for face in faces
                )
                for frame, faces in fields.get("faces", {}).items()
            },
            {
                int(frame): np.array(boxes, np.float64).reshape(-1, 4)
                for frame, boxes in fields.get("ignore", {}).items()
            },
        )
    except OSError as error:
        raise UnreadableInput(f"cannot read the labels {str(path)!r} ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableInput(
            f"{str(path)!r} holds no labels of a clip ({type(error).__name__}: {error}); see tests/truth/README.md"
        ) from error
