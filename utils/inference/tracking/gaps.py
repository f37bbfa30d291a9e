"""Short gaps in a track, filled from both sides: the detector lost a face that was still there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from utils.inference.boxes import box_iou
from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.records import Face
from utils.inference.tracking.tracks import LONGEST_GAP_FRAMES, TOUCHING_IOU


def fill_gaps(records: Iterable[FrameRecord]) -> Iterator[FrameRecord]:
    """The same records, a few frames later, with the faces of tracks that go on after up to `LONGEST_GAP_FRAMES` frames.

    The tracker only lets a track go on if the identity net knows the face again, so both sides of a gap are confirmed.
    """
    waiting: deque[FrameRecord] = deque()
    last_seen: dict[int, tuple[int, RecordedFace]] = {}
    for record in records:
        for found in record.faces:
            index, before = last_seen.get(found.track, (record.index, found))
            missing = record.index - index
            for place in range(len(waiting) - missing + 1, len(waiting)):
                share = (waiting[place].index - index) / missing
                face = _between(before.face, found.face, share)
                if _is_covered(face, waiting[place]):
                    continue
                between = replace(before, face=face, appearance=None)
                waiting[place] = replace(waiting[place], faces=(*waiting[place].faces, between))
            last_seen[found.track] = (record.index, found)
        waiting.append(record)
        if len(waiting) > LONGEST_GAP_FRAMES:
            yield waiting.popleft()
        last_seen = {track: seen for track, seen in last_seen.items() if record.index - seen[0] <= LONGEST_GAP_FRAMES}
    yield from waiting


def _is_covered(face: Face, record: FrameRecord) -> bool:
    """Whether somebody else is in that place: the face went missing because it is behind them."""
    others = [recorded.face.box for recorded in record.faces]
    return bool(others) and bool((box_iou(face.box, np.stack(others)) > TOUCHING_IOU).any())


def _between(before: Face, after: Face, share: float) -> Face:
    """Linear between two faces; `share` of the way, in [0, 1]."""
    landmarks = None
    if before.landmarks is not None and after.landmarks is not None:
        landmarks = before.landmarks + share * (after.landmarks - before.landmarks)
    return Face(
        before.box + share * (after.box - before.box),
        min(before.score, after.score),
        before.keypoints + share * (after.keypoints - before.keypoints),
        landmarks,
    )
