"""The stages of a video in order, each from files of the workspace to files of the workspace: analyse, plan, render.

Segments have a fixed length and are rendered and encoded each by itself, so that every run makes the same ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from utils.errors import UnreadableInput
from utils.inference.core import AnalysisSummary, analyse_frames, model_inference
from utils.inference.frame_records import FrameRecord, read_records, write_record
from utils.inference.occlusion import learn_clear_faces
from utils.inference.people import Casting
from utils.inference.plan import mask_chooser, plan_records
from utils.inference.records import Identity, Image, ModelPack
from utils.inference.tracking import Tracker
from utils.inference.video_processing import VideoInfo, get_target, write_segment

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 0.9  # of those that the container announces, which may be an estimate
SEGMENT_FRAMES = 250  # rendered, encoded and closed together

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
    cast = casting.source_of_track
    clear_faces = learn_clear_faces(read_records(seen), cast, pack.surface) if pack.surface else {}
    swaps = 0
    with planned.open("w", encoding="utf-8") as file:
        for record in plan_records(read_records(seen), tracker.tracks, cast, choose_mask, clear_faces):
            write_record(file, record)
            swaps += len(record.swaps)
    return swaps


def render_video(
    video: VideoInfo, planned: Path, pack: ModelPack, sources: Sequence[Identity], batch_size: int
) -> Iterator[Image]:
    """The swapped frames, in order."""
    frames = _checked_frames(get_target(video), read_records(planned))
    return model_inference(frames, read_records(planned), pack, sources, batch_size)


def write_segments(frames: Iterable[Image], count: int, folder: Path, video: VideoInfo, codec: str) -> list[Path]:
    """Encode `count` frames in segments, each by itself; return their paths."""
    remaining = iter(frames)
    segments = [folder / f"segment_{first // SEGMENT_FRAMES:06d}.mp4" for first in range(0, count, SEGMENT_FRAMES)]
    for segment in segments:
        write_segment(islice(remaining, SEGMENT_FRAMES), segment, video, codec)
    return segments


def _checked_frames(frames: Iterable[tuple[int, Image]], records: Iterable[FrameRecord]) -> Iterator[Image]:
    """The images of a second decoding, provided that it gives the frames that were analysed."""
    for decoded, record in zip_longest(frames, records):
        if decoded is None or record is None or decoded[0] != record.pts:
            raise UnreadableInput("the target's frames changed between two readings; is the file still being written?")
        yield decoded[1]
