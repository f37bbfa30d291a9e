"""The stages of a video in order, each from files of the workspace to files of the workspace: analyse, plan, render.

Segments have a fixed length and are rendered and encoded each by itself, so that every run makes the same ones.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol, TextIO, TypeVar

from utils.errors import UnreadableInput
from utils.inference.checkpoint import analysis_from_json, analysis_to_json
from utils.inference.core import Analysis, model_inference
from utils.inference.frame_records import FrameRecord, read_records, write_record
from utils.inference.occlusion import learn_clear_faces
from utils.inference.people import Casting
from utils.inference.plan import mask_chooser, plan_records
from utils.inference.records import Identity, Image, ModelPack
from utils.inference.tracking import FaceTrack, Tracker
from utils.inference.video_processing import VideoInfo, get_target, write_segment
from utils.inference.workspace import Workspace, replace_durably

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 0.9  # of those that the container announces, which may be an estimate
SEGMENT_FRAMES = 250  # rendered, encoded and closed together; also from one checkpoint of the analysis to the next

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable so that going through it is shown."""

    def __call__(self, items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
        """The same items; `description` says what is done with them, `total` how many there are, if known."""


def no_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """The `Progress` that shows nothing."""
    return items


def analyse_video(
    video: VideoInfo, pack: ModelPack, similarity_th: float, workspace: Workspace, progress: Progress
) -> tuple[Analysis, list[int]]:
    """Write the record of every frame, from the last checkpoint on if there is one; return what was seen, and the time stamps."""
    analysis, pts = _restore(pack, similarity_th, workspace)
    frames = get_target(video, pts[-1] if pts else None)
    remaining = None if video.frame_count_estimate is None else max(0, video.frame_count_estimate - len(pts))
    with workspace.seen.open("a", encoding="utf-8") as file:
        for record in analysis.analyse(progress(islice(frames, bool(pts), None), "analyse", remaining)):
            write_record(file, record)
            pts.append(record.pts)
            if len(pts) % SEGMENT_FRAMES == 0:
                _save(analysis, file, workspace)
        _save(analysis, file, workspace)
    expected = video.frame_count_estimate or 0
    if len(pts) < FEWEST_FRAMES * expected:
        logger.warning(
            f"only {len(pts)} of about {expected} frames of {str(video.path)!r} could be decoded; is it cut short?"
        )
    return analysis, pts


def _save(analysis: Analysis, file: TextIO, workspace: Workspace) -> None:
    """Make sure that the analysis can go on from here."""
    file.flush()
    os.fsync(file.fileno())
    state = {"bytes": os.fstat(file.fileno()).st_size, **analysis_to_json(analysis)}
    replace_durably(workspace.checkpoint, json.dumps(state))


def _restore(pack: ModelPack, similarity_th: float, workspace: Workspace) -> tuple[Analysis, list[int]]:
    """The analysis at its last checkpoint, or a new one; and the time stamps of the frames that it has seen."""
    if not workspace.checkpoint.exists():
        workspace.seen.unlink(missing_ok=True)
        return Analysis(pack, Tracker(pack.embedder, similarity_th)), []
    state = json.loads(workspace.checkpoint.read_text(encoding="utf-8"))
    os.truncate(workspace.seen, state["bytes"])
    pts, last = [], None
    for last in read_records(workspace.seen):
        pts.append(last.pts)
    assert last is not None, "a checkpoint follows a record"
    return analysis_from_json(state, last, pack, similarity_th), pts


def plan_video(
    video: VideoInfo,
    pack: ModelPack,
    tracks: Sequence[FaceTrack],
    casting: Casting,
    sources: Sequence[Identity],
    workspace: Workspace,
) -> int:
    """Turn the records of the analysis into those of the plan; return how many faces are swapped."""

    def frame_at(pts: int) -> Image:
        return next(image for _, image in get_target(video, pts, max_frames=1))

    choose_mask = mask_chooser(pack, sources, frame_at)
    cast = casting.source_of_track
    clear_faces = learn_clear_faces(read_records(workspace.seen), cast, pack.surface) if pack.surface else {}
    swaps = 0
    with workspace.planned.open("w", encoding="utf-8") as file:
        for record in plan_records(read_records(workspace.seen), tracks, cast, choose_mask, clear_faces):
            write_record(file, record)
            swaps += len(record.swaps)
    return swaps


def render_video(
    video: VideoInfo,
    pts: Sequence[int],
    pack: ModelPack,
    sources: Sequence[Identity],
    batch_size: int,
    codec: str,
    workspace: Workspace,
    progress: Progress,
) -> list[Path]:
    """Swap and encode the segments that are not there yet; return the paths of all.

    Args:
        video: the target.
        pts: time stamps of its frames.
        pack, sources, batch_size: see `model_inference`.
        codec: see `write_segment`.
        workspace: with the plan; takes the segments.
        progress: shows the work.
    """
    count = (len(pts) + SEGMENT_FRAMES - 1) // SEGMENT_FRAMES
    segments = [workspace.segment(number) for number in range(count)]
    done = next((number for number, segment in enumerate(segments) if not segment.exists()), count)
    first = done * SEGMENT_FRAMES
    if first >= len(pts):
        return segments
    decoded = get_target(video, pts[first] if first else None)
    records = islice(read_records(workspace.planned), first, None)
    frames = iter(progress(_checked_frames(decoded, records), "swap", len(pts) - first))
    for segment in segments[done:]:
        # Batches end with their segment, so that a segment is the same whether those before it were rendered now or found.
        swapped = model_inference(islice(frames, SEGMENT_FRAMES), pack, sources, batch_size)
        partial = segment.with_name(f"{segment.name}.partial")
        write_segment(swapped, partial, video, codec)
        partial.replace(segment)
    return segments


def _checked_frames(
    decoded: Iterable[tuple[int, Image]], records: Iterable[FrameRecord]
) -> Iterator[tuple[Image, FrameRecord]]:
    """The images of a second decoding with their records, provided that it gives the frames that were analysed."""
    for frame, record in zip_longest(decoded, records):
        if frame is None or record is None or frame[0] != record.pts:
            raise UnreadableInput("the target's frames changed between two readings; is the file still being written?")
        yield frame[1], record
