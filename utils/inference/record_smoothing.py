"""Smooths the keypoints of swapped faces in a stream of records, track by track."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from utils.inference.frame_records import FrameRecord
from utils.inference.records import Points
from utils.inference.smoothing import RADIUS_FRAMES, KeypointSmoother


@dataclass
class _Run:
    """A track in consecutive frames: `answered` of them have their smoothed keypoints."""

    first_frame: int
    smoother: KeypointSmoother = field(default_factory=KeypointSmoother)
    answered: int = 0


def smooth_records(records: Iterable[FrameRecord]) -> Iterator[FrameRecord]:
    """The same records, two frames later, with smoothed keypoints of every face that gets a source."""
    waiting: deque[FrameRecord] = deque()
    smoothed: dict[tuple[int, int], Points | None] = {}  # frame, track
    runs: dict[int, _Run] = {}

    def answer(track: int, run: _Run, keypoints: list[Points | None]) -> None:
        for points in keypoints:
            smoothed[run.first_frame + run.answered, track] = points
            run.answered += 1

    for record in records:
        present = {face.track: face.face.keypoints for face in record.faces if face.source is not None}
        for track in [track for track in runs if track not in present]:
            run = runs.pop(track)
            answer(track, run, run.smoother.finish())
        for track, keypoints in present.items():
            run = runs.setdefault(track, _Run(record.index))
            answer(track, run, run.smoother.push(keypoints))
        waiting.append(record)
        if len(waiting) > RADIUS_FRAMES:
            yield _with_keypoints(waiting.popleft(), smoothed)
    for track, run in runs.items():
        answer(track, run, run.smoother.finish())
    for record in waiting:
        yield _with_keypoints(record, smoothed)


def _with_keypoints(record: FrameRecord, smoothed: dict[tuple[int, int], Points | None]) -> FrameRecord:
    faces = []
    for recorded in record.faces:
        keypoints = smoothed.pop((record.index, recorded.track), None)
        face = recorded.face if keypoints is None else replace(recorded.face, keypoints=keypoints)
        faces.append(replace(recorded, face=face))
    return replace(record, faces=tuple(faces))
