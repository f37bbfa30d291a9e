"""Smooths the swapped faces in a stream of records with the pack's own smoothers, which look a few frames ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from utils.inference.frame_records import FrameRecord
from utils.inference.records import Face, FaceSmoother


def smooth_records(records: Iterable[FrameRecord], smoothers: Sequence[FaceSmoother]) -> Iterator[FrameRecord]:
    """The same records, later by what the smoothers look ahead, with every face that gets source i smoothed by `smoothers[i]`."""
    waiting: deque[FrameRecord] = deque()
    for record in records:
        waiting.append(record)
        face_of_source = {face.source: face.face for face in record.faces}
        answers = [smoother.push(face_of_source.get(source)) for source, smoother in enumerate(smoothers)]
        for smoothed in zip(*answers, strict=True):
            yield _with_faces(waiting.popleft(), smoothed)
    for smoothed in zip(*(smoother.finish() for smoother in smoothers), strict=True):
        yield _with_faces(waiting.popleft(), smoothed)


def _with_faces(record: FrameRecord, face_of_source: Sequence[Face | None]) -> FrameRecord:
    faces = []
    for recorded in record.faces:
        smoothed = None if recorded.source is None else face_of_source[recorded.source]
        faces.append(recorded if smoothed is None else replace(recorded, face=smoothed))
    return replace(record, faces=tuple(faces))
