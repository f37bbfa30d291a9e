"""Steadies the swapped faces in a stream of records, a few frames ahead: geometry, motion, and how much of each swap is shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from utils.inference.fading import StrengthSmoother, fade_of
from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.motion import MotionMeter
from utils.inference.records import FaceSmoother, FadeLimits

Value = TypeVar("Value")
Seen_contra = TypeVar("Seen_contra", contravariant=True)
Answer = TypeVar("Answer")


class _Smoother(Protocol[Seen_contra, Answer]):
    def push(self, value: Seen_contra | None, /) -> list[Answer | None]: ...

    def finish(self) -> list[Answer | None]: ...


def smooth_records(records: Iterable[FrameRecord], smoothers: Sequence[FaceSmoother]) -> Iterator[FrameRecord]:
    """The same records, later by what the smoothers look ahead, with every face that gets source i smoothed by `smoothers[i]`."""
    return _smooth(
        records, smoothers, lambda recorded: recorded.face, lambda recorded, face: replace(recorded, face=face)
    )


def measure_motion(records: Iterable[FrameRecord], source_count: int) -> Iterator[FrameRecord]:
    """The same records, of smoothed faces, a frame later, with the motion of every face that gets one of `source_count` sources."""
    return _smooth(
        records,
        [MotionMeter() for _ in range(source_count)],
        lambda recorded: recorded.face,
        lambda recorded, motion: replace(recorded, motion=motion),
    )


def fade_records(
    records: Iterable[FrameRecord], source_count: int, frame_size: tuple[int, int], limits: FadeLimits
) -> Iterator[FrameRecord]:
    """The same records, a few frames later, with the strength of every face that gets one of `source_count` sources.

    Args:
        records: with smoothed faces.
        source_count: how many sources there are.
        frame_size: width and height in pixels.
        limits: of the pack's generator.
    """
    return _smooth(
        records,
        [StrengthSmoother() for _ in range(source_count)],
        lambda recorded: fade_of(recorded.face, frame_size, limits),
        lambda recorded, strength: replace(recorded, strength=strength),
    )


def _smooth(
    records: Iterable[FrameRecord],
    smoothers: Sequence[_Smoother[Value, Answer]],
    get: Callable[[RecordedFace], Value],
    put: Callable[[RecordedFace, Answer], RecordedFace],
) -> Iterator[FrameRecord]:
    waiting: deque[FrameRecord] = deque()

    def finished(values: Sequence[Answer | None]) -> FrameRecord:
        record = waiting.popleft()
        faces = []
        for recorded in record.faces:
            value = None if recorded.source is None else values[recorded.source]
            faces.append(recorded if value is None else put(recorded, value))
        return replace(record, faces=tuple(faces))

    for record in records:
        waiting.append(record)
        value_of_source = {source: get(recorded) for source, recorded in record.swaps}
        answers = [smoother.push(value_of_source.get(source)) for source, smoother in enumerate(smoothers)]
        for values in zip(*answers, strict=True):
            yield finished(values)
    for values in zip(*(smoother.finish() for smoother in smoothers), strict=True):
        yield finished(values)
