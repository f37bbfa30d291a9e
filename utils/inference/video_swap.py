"""The stages of a video in order, each from files of the workspace to files of the workspace: analyse, plan, render."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from utils.errors import UnreadableInput
from utils.inference.core import AnalysisSummary, analyse_frames, generate_faces
from utils.inference.frame_records import FrameRecord, read_records, write_record
from utils.inference.people import Casting
from utils.inference.plan import mask_chooser, plan_records
from utils.inference.records import Identity, Image, ModelPack
from utils.inference.tracking import Tracker
from utils.inference.video_parts import Timeline, repeated, shown
from utils.inference.video_processing import StoredFrame, VideoInfo, get_frames, get_target
from utils.inference.video_rendering import RenderedFrame, render_beside

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 0.9  # of those that the container announces, which may be an estimate

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable so that going through it is shown."""

    def __call__(self, items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
        """The same items; `description` says what is done with them, `total` how many there are, if known."""


def no_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """The `Progress` that shows nothing."""
    return items


def analyse_video(
    video: VideoInfo, pack: ModelPack, tracker: Tracker, summary: AnalysisSummary, path: Path, progress: Progress
) -> list[int]:
    """Write the record of every frame to `path`; return the time stamps."""
    pts = []
    frames = progress(get_target(video), "analyse", video.frame_count_estimate)
    with path.open("w", encoding="utf-8") as file:
        for record in analyse_frames(frames, pack, tracker, summary):
            write_record(file, record)
            pts.append(record.pts)
    expected = video.frame_count_estimate or 0
    if len(pts) < FEWEST_FRAMES * expected:
        logger.warning(
            f"only {len(pts)} of about {expected} frames of {str(video.path)!r} could be decoded; is it cut short?"
        )
    return pts


def plan_video(
    video: VideoInfo,
    pack: ModelPack,
    tracker: Tracker,
    casting: Casting,
    sources: Sequence[Identity],
    seen: Path,
    planned: Path,
) -> int:
    """Turn the analysis at `seen` into the records at `planned`; return how many faces are swapped."""

    def frame_at(pts: int) -> Image:
        return next(image for _, image in get_target(video, pts, max_frames=1))

    choose_mask = mask_chooser(pack, sources, frame_at)
    swaps = 0
    with planned.open("w", encoding="utf-8") as file:
        for record in plan_records(read_records(seen), tracker.tracks, casting.source_of_track, choose_mask):
            write_record(file, record)
            swaps += len(record.swaps)
    return swaps


def render_video(
    video: VideoInfo,
    planned: Path,
    pack: ModelPack,
    sources: Sequence[Identity],
    batch_size: int,
    strength: float,
    timeline: Timeline,
) -> Iterator[RenderedFrame]:
    """The frames to show, in order."""
    frames = shown(_checked_frames(get_frames(video), read_records(planned)), timeline.counts)
    records = shown(read_records(planned), timeline.counts)
    rendered = render_beside(
        frames, lambda images: generate_faces(images, records, pack, sources, batch_size, strength)
    )
    return repeated(rendered, timeline.counts)


def _checked_frames(frames: Iterable[StoredFrame], records: Iterable[FrameRecord]) -> Iterator[StoredFrame]:
    """The frames of a second decoding, provided that it gives those that were analysed."""
    for decoded, record in zip_longest(frames, records):
        if decoded is None or record is None or decoded.pts != record.pts:
            raise UnreadableInput("the target's frames changed between two readings; is the file still being written?")
        yield decoded
