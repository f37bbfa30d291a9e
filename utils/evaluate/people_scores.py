"""Judges who was swapped in a clip: its records against its labels. Pure; knows no model and no pixel.

A recorded face covers a labelled one when they share enough, or when its centre lies inside; of several the one that it shares most with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.evaluate.truth import ClipTruth, LabelledFace
from utils.inference.boxes import box_iou
from utils.inference.frame_records import FrameRecord
from utils.inference.records import Face, Points

SHOWN_STRENGTH = 0.5  # from which on a face counts as swapped; a wrong one counts from any strength on
COVER_IOU = 0.3  # from which on a recorded face is a labelled one
WANTED_SHARE = 0.95  # of a chosen person's swappable faces
AFTER_CUT_FRAMES = 3  # in which geometry of the shot before would show
LEFTOVER_SHARE = 0.15  # of the way from the true box back to one before the cut; two old frames averaged with three new ones make 0.4
LEAST_SHIFT = 0.1  # between the boxes of two shots, in sides of a box, for leftovers to show at all


@dataclass(frozen=True)
class Choice:
    """Who is to be replaced.

    Attributes:
        persons: person i gets source i; empty: everybody gets the only source.
        everybody: the persons are not shown by photos: everybody is asked for, and they are all in the order of their appearance.
    """

    persons: tuple[str, ...]
    everybody: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        return " ".join(["all"] * self.everybody + list(self.persons))

    def gets(self, person: str, source: int) -> bool:
        """Whether a source is meant for a person."""
        return not self.persons or self.persons[source] == person


@dataclass(frozen=True)
class PeopleScore:
    """One way of choosing, in one clip.

    Attributes:
        clip: its name.
        choice: who was to be replaced.
        swappable: labelled faces of these persons that should be swapped.
        swapped: how many of them got their own person's source.
        wrong: labelled frames in which a face got a source that is not its own.
        exchanged: those of them in which the face belongs to another chosen person.
        between: unlabelled frames like those in `wrong`, by the labels before and after them.
        crowd: labelled frames in which a face of the crowd got a source.
        nowhere: labelled frames with a swap where no face is labelled, or on a mere part of its face, such as an ear.
        leftover: swaps just after a cut that keep to the geometry of the shot before, or to no face at all.
    """

    clip: str
    choice: Choice
    swappable: int
    swapped: int
    wrong: int
    exchanged: int
    between: int
    crowd: int
    nowhere: int
    leftover: int

    @property
    def share(self) -> float:
        """Of the swappable faces, those swapped."""
        return self.swapped / self.swappable

    @property
    def good(self) -> bool:
        """Whether nearly all was swapped that should be, and nothing else; a crowd belongs to everybody."""
        touched = self.wrong or self.between or self.nowhere or self.leftover or (self.choice.persons and self.crowd)
        return self.share >= WANTED_SHARE and not touched


@dataclass(frozen=True)
class CutScore:
    """The cuts of one clip: first frames of shots, as labelled, not found, and found where there are none."""

    clip: str
    labelled: tuple[int, ...]
    missed: tuple[int, ...]
    invented: tuple[int, ...]

    @property
    def good(self) -> bool:
        """Whether exactly the labelled ones were found."""
        return not self.missed and not self.invented


def score_cuts(records: Sequence[FrameRecord], truth: ClipTruth) -> CutScore:
    """Compare the cuts of the records with the labelled ones."""
    found = {record.index for record in records if record.cut}
    missed = tuple(cut for cut in truth.cuts if cut not in found)
    return CutScore(truth.name, truth.cuts, missed, tuple(sorted(found.difference(truth.cuts))))


def covered_face(box: Points, faces: Sequence[LabelledFace]) -> LabelledFace | None:
    """The labelled face that a recorded box (4,) covers, or None."""
    covered = [
        (share, place)
        for place, share in enumerate(_shares(box, [face.box for face in faces]))
        if share >= COVER_IOU or _inside(box, faces[place].box)
    ]
    return faces[max(covered)[1]] if covered else None


def score_people(records: Sequence[FrameRecord], truth: ClipTruth, choice: Choice) -> PeopleScore:
    """Judge the planned records of a clip."""
    chosen = choice.persons or tuple(truth.persons)
    swapped = 0
    wrong: set[int] = set()
    exchanged: set[int] = set()
    between: set[int] = set()
    crowd: set[int] = set()
    nowhere: set[int] = set()
    for record in records:
        labelled = record.index in truth.faces
        faces = truth.faces_at(record.index)
        right: set[str] = set()
        for source, recorded in record.swaps:
            face = covered_face(recorded.face.box, faces)
            if face is None:
                if labelled:
                    (crowd if _in_crowd(recorded.face.box, truth, record.index) else nowhere).add(record.index)
            elif not choice.gets(face.person, source):
                (wrong if labelled else between).add(record.index)
                if labelled and face.person in chosen:
                    exchanged.add(record.index)
            elif labelled and box_iou(recorded.face.box, face.box[None])[0] < COVER_IOU:
                nowhere.add(record.index)
            elif labelled and face.swappable and recorded.treatment.strength >= SHOWN_STRENGTH:
                right.add(face.person)
        swapped += len(right)
    swappable = sum(face.swappable and face.person in chosen for labelled in truth.faces.values() for face in labelled)
    return PeopleScore(
        truth.name,
        choice,
        swappable,
        swapped,
        len(wrong),
        len(exchanged),
        len(between),
        len(crowd),
        len(nowhere),
        count_leftovers(records, truth),
    )


def count_leftovers(records: Sequence[FrameRecord], truth: ClipTruth) -> int:
    """Swaps in the first frames after a cut whose box is not the labelled one, or is drawn towards one of the shot before.

    A shot whose first label comes later than that is not judged.
    """
    count = 0
    for cut in truth.cuts:
        if not any(cut <= labelled <= cut + AFTER_CUT_FRAMES for labelled in truth.faces):
            continue
        before = [face.box for face in truth.faces.get(max((f for f in truth.faces if f < cut), default=-1), ())]
        for record in records[cut : cut + AFTER_CUT_FRAMES]:
            now = [face.box for face in truth.faces_at(record.index)]
            for _, recorded in record.swaps:
                extent = _extent(recorded.face)
                share, place = max(zip(_shares(extent, now), range(len(now)), strict=True), default=(0.0, 0))
                count += share < COVER_IOU or any(_drawn(extent, now[place], old) for old in before)
    return count


def _in_crowd(box: Points, truth: ClipTruth, frame: int) -> bool:
    """Whether a recorded box (4,) covers one of the crowd's."""
    ignored = list(truth.ignored.get(frame, ()))
    return max(_shares(box, ignored), default=0.0) >= COVER_IOU or any(_inside(box, other) for other in ignored)


def _extent(face: Face) -> Points:
    """(4,) box of the landmarks, which a generator draws by; of the detector where there are none."""
    if face.landmarks is None:
        return face.box
    flat = face.landmarks[:, :2]
    return np.concatenate([flat.min(axis=0), flat.max(axis=0)])


def _drawn(box: Points, true: Points, old: Points) -> bool:
    """Whether `box` lies `LEFTOVER_SHARE` or more of the way from `true` to `old`; all (4,)."""
    way = old - true
    side = float(np.sqrt(np.prod(true[2:] - true[:2])))
    if box_iou(box, old[None])[0] < COVER_IOU or np.abs(way).max() < LEAST_SHIFT * side:
        return False
    return float((box - true) @ way / (way @ way)) >= LEFTOVER_SHARE


def _shares(box: Points, boxes: Sequence[Points]) -> list[float]:
    return [float(share) for share in box_iou(box, np.stack(boxes))] if len(boxes) else []


def _inside(box: Points, outer: Points) -> bool:
    """Whether the centre of `box` lies in `outer`."""
    centre = (box[:2] + box[2:]) / 2
    return bool((centre >= outer[:2]).all() and (centre <= outer[2:]).all())
