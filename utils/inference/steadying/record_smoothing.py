"""Steadies the swapped faces in a stream of records, track by track and a few frames ahead: geometry, motion, and how much is shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.model_pack import FaceSmoother, FadeLimits
from utils.inference.steadying.fading import StrengthSmoother, fade_of
from utils.inference.steadying.motion import MotionMeter

Value = TypeVar("Value")
Seen_contra = TypeVar("Seen_contra", contravariant=True)
Answer = TypeVar("Answer")


class _Smoother(Protocol[Seen_contra, Answer]):
    def push(self, value: Seen_contra, /) -> list[Answer | None]: ...

    def finish(self) -> list[Answer | None]: ...


def smooth_records(records: Iterable[FrameRecord], make_smoother: Callable[[], FaceSmoother]) -> Iterator[FrameRecord]:
    """The same records, later by what the smoothers look ahead, with every face that gets a source smoothed within its track."""
    return _smooth(
        records, make_smoother, lambda recorded: recorded.face, lambda recorded, face: replace(recorded, face=face)
    )


def measure_motion(records: Iterable[FrameRecord]) -> Iterator[FrameRecord]:
    """The same records, of smoothed faces, a frame later, with the motion of every face that gets a source."""
    return _smooth(
        records,
        MotionMeter,
        lambda recorded: recorded.face,
        lambda recorded, motion: recorded.treated(motion=motion),
    )


def fade_records(
    records: Iterable[FrameRecord], frame_size: tuple[int, int], limits: FadeLimits
) -> Iterator[FrameRecord]:
    """The same records, a few frames later, with the strength of every face that gets a source.

    Args:
        records: with smoothed faces.
        frame_size: width and height in pixels.
        limits: of the pack's generator.
    """
    return _smooth(
        records,
        StrengthSmoother,
        lambda recorded: fade_of(recorded.face, frame_size, limits),
        lambda recorded, strength: recorded.treated(strength=strength),
    )


def _smooth(
    records: Iterable[FrameRecord],
    make_smoother: Callable[[], _Smoother[Value, Answer]],
    get: Callable[[RecordedFace], Value],
    put: Callable[[RecordedFace, Answer], RecordedFace],
) -> Iterator[FrameRecord]:
    """Run one smoother along every track, from where it gets a source to where it is missing."""
    waiting: deque[FrameRecord] = deque()
    smoothers: dict[int, _Smoother[Value, Answer]] = {}
    due: dict[int, deque[int]] = {}  # track -> frames that its smoother has not answered yet
    answers: dict[tuple[int, int], Answer | None] = {}  # frame, track

    def take(track: int, ready: Iterable[Answer | None]) -> None:
        for answer in ready:
            answers[due[track].popleft(), track] = answer

    def finished(record: FrameRecord) -> FrameRecord:
        faces = []
        for recorded in record.faces:
            answer = None if recorded.source is None else answers.pop((record.index, recorded.track))
            faces.append(recorded if answer is None else put(recorded, answer))
        return replace(record, faces=tuple(faces))

    def is_ready(record: FrameRecord) -> bool:
        return all((record.index, recorded.track) in answers for _, recorded in record.swaps)

    for record in records:
        present = {recorded.track: get(recorded) for _, recorded in record.swaps}
        for track in [track for track in smoothers if track not in present]:
            take(track, smoothers.pop(track).finish())
            del due[track]
        for track, value in present.items():
            due.setdefault(track, deque()).append(record.index)
            take(track, smoothers.setdefault(track, make_smoother()).push(value))
        waiting.append(record)
        while waiting and is_ready(waiting[0]):
            yield finished(waiting.popleft())
    for track, smoother in smoothers.items():
        take(track, smoother.finish())
    while waiting:
        yield finished(waiting.popleft())
