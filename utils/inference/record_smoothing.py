"""Smooths the keypoints of swapped faces in a stream of records, with GHOST's window: two frames either way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from utils.inference.frame_records import FrameRecord
from utils.inference.records import Points
from utils.inference.smoothing import KeypointSmoother


def smooth_records(records: Iterable[FrameRecord], source_count: int) -> Iterator[FrameRecord]:
    """The same records, two frames later, with smoothed keypoints of every face that gets one of `source_count` sources."""
    smoothers = [KeypointSmoother() for _ in range(source_count)]
    waiting: deque[FrameRecord] = deque()
    for record in records:
        waiting.append(record)
        keypoints_of_source = {face.source: face.face.keypoints for face in record.faces}
        answers = [smoother.push(keypoints_of_source.get(source)) for source, smoother in enumerate(smoothers)]
        for smoothed in zip(*answers, strict=True):
            yield _with_keypoints(waiting.popleft(), smoothed)
    for smoothed in zip(*(smoother.finish() for smoother in smoothers), strict=True):
        yield _with_keypoints(waiting.popleft(), smoothed)


def _with_keypoints(record: FrameRecord, keypoints_of_source: Sequence[Points | None]) -> FrameRecord:
    faces = []
    for recorded in record.faces:
        keypoints = None if recorded.source is None else keypoints_of_source[recorded.source]
        face = recorded.face if keypoints is None else replace(recorded.face, keypoints=keypoints)
        faces.append(replace(recorded, face=face))
    return replace(record, faces=tuple(faces))
