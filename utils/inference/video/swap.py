"""The stages of a video in order, each from files of the workspace to files of the workspace: analyse, plan, render.

Segments have a fixed length and are rendered and encoded each by itself, so that every run makes the same ones.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from pathlib import Path
from typing import Any

from utils.errors import UnreadableInput
from utils.files import shown
from utils.inference.core import Analysis, lay_flat
from utils.inference.frame_records import FrameRecord, read_records, write_record
from utils.inference.model_pack import ModelPack
from utils.inference.occlusion.marking import learn_clear_faces
from utils.inference.overlap import ahead, depth_within
from utils.inference.plan import SwapCount, mask_chooser, openings_chooser, plan_records
from utils.inference.records import Identity, Image
from utils.inference.stopwatch import stage
from utils.inference.tracking.checkpoint import analysis_from_json, analysis_to_json
from utils.inference.tracking.people import Casting
from utils.inference.tracking.search import STRETCH_FRAMES
from utils.inference.tracking.tracks import FaceTrack, Tracker
from utils.inference.video.frame_files import FrameFiles
from utils.inference.video.parts import Timeline
from utils.inference.video.rendering import Generate, render_beside, write_rendered
from utils.inference.video.seen import SeenWriter, read_checkpoint
from utils.inference.video.workspace import Workspace, is_published
from utils.inference.video_processing import Encoding, StoredFrame, VideoInfo, get_frames, get_target
from utils.memory import give_memory_back
from utils.progress import Progress, no_progress
from utils.provenance.marking import Marking

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 0.9  # of those that the container announces, which may be an estimate
SEGMENT_FRAMES = 250  # rendered, encoded and closed together; also from one checkpoint of the analysis to the next


def analyse_video(
    video: VideoInfo, pack: ModelPack, similarity_th: float, workspace: Workspace, progress: Progress
) -> tuple[Analysis, list[int]]:
    """Write the record of every frame, from the last checkpoint on if there is one; return what was seen, and the time stamps."""
    analysis, pts = _restore(pack, similarity_th, workspace)
    depth = depth_within(video.frame_bytes, STRETCH_FRAMES)
    frames = ahead(get_target(video, pts[-1] if pts else None), depth)
    remaining = None if video.frame_count_estimate is None else max(0, video.frame_count_estimate - len(pts))
    with SeenWriter(workspace) as writer:
        watched = progress(islice(frames, bool(pts), None), "analyse", remaining)
        for image, record, state in ahead(_with_states(analysis, watched, video.frame_bytes), depth):
            writer.write(lay_flat(image, record, pack.surface))
            pts.append(record.pts)
            if state is not None:
                writer.save(state)
        writer.save(analysis_to_json(analysis))
    expected = video.frame_count_estimate or 0
    if len(pts) < FEWEST_FRAMES * expected:
        logger.warning(
            f"only {len(pts)} of about {expected} frames of {str(video.path)!r} could be decoded; is it cut short?"
        )
    return analysis, pts


def _with_states(
    analysis: Analysis, frames: Iterable[tuple[int, Image]], frame_bytes: int
) -> Iterator[tuple[Image, FrameRecord, dict[str, Any] | None]]:
    """What the analysis follows, and at the end of every segment its state at that moment, since it runs ahead of its records."""
    for image, record in analysis.follow(frames, frame_bytes):
        ends = (record.index + 1) % SEGMENT_FRAMES == 0
        yield image, record, analysis_to_json(analysis) if ends else None


def _restore(pack: ModelPack, similarity_th: float, workspace: Workspace) -> tuple[Analysis, list[int]]:
    """The analysis at its last checkpoint, or a new one; and the time stamps of the frames that it has seen."""
    saved = read_checkpoint(workspace)
    if saved is None:
        if workspace.checkpoint.exists():
            logger.warning(
                f"what is kept in {shown(workspace.folder)!r} is damaged and not used; all is begun from the start"
            )
        workspace.clear()
        return Analysis(pack, Tracker(pack.embedder, similarity_th)), []
    os.truncate(workspace.seen, saved.size)
    pts, last = [], None
    for last in read_records(workspace.seen):
        pts.append(last.pts)
    assert last is not None, "a checkpoint follows a record"
    return analysis_from_json(saved.state, last, pack, similarity_th), pts


@stage("plan")
def plan_video(
    video: VideoInfo,
    pack: ModelPack,
    tracks: Sequence[FaceTrack],
    casting: Casting,
    sources: Sequence[Identity],
    workspace: Workspace,
) -> SwapCount:
    """Turn the records of the analysis into those of the plan; return how many faces are swapped."""

    def frame_at(pts: int) -> Image:
        return next(image for _, image in get_target(video, pts, max_frames=1))

    size = (video.width, video.height)
    choose = mask_chooser(pack, sources, frame_at) or openings_chooser(pack, sources, frame_at, size)
    clear_faces = (
        learn_clear_faces(read_records(workspace.seen), casting.source_of_track, pack.surface) if pack.surface else None
    )
    count = SwapCount()
    with workspace.planned.open("w", encoding="utf-8") as file:
        seen = read_records(workspace.seen)
        for record in plan_records(seen, tracks, casting, pack, size, choose, clear_faces):
            write_record(file, record)
            count.add(record)
    return count


@dataclass(frozen=True, eq=False)
class Rendering:
    """All that segments are rendered from, beside models and sources; it can be sent to another process that shares the file system.

    Attributes:
        video: the target.
        pts: time stamps of its frames.
        timeline: which of them are shown, and when.
        encoding, files: see `write_rendered`.
        workspace: with the plan; takes the segments.
    """

    video: VideoInfo
    pts: Sequence[int]
    timeline: Timeline
    encoding: Encoding | None
    files: FrameFiles
    workspace: Workspace

    @property
    def starts(self) -> range:
        """Place in the result of the first frame of every segment."""
        return range(0, len(self.timeline.sources), SEGMENT_FRAMES)

    @property
    def segments(self) -> list[Path]:
        """The files of all segments, in order."""
        return [self.workspace.segment(number) for number in range(len(self.starts))]

    def missing(self) -> list[int]:
        """Numbers of the segments that are not there yet, or not as they were written."""
        return [number for number, segment in enumerate(self.segments) if not is_published(segment)]


Elsewhere = Callable[[Rendering, Sequence[int]], None]
"""Renders segments of these numbers in other processes, as many as it can."""


def render_segments(
    rendering: Rendering,
    numbers: Sequence[int],
    generate: Generate,
    marking: Marking,
    progress: Progress = no_progress,
) -> None:
    """Swap and write segments.

    Args:
        rendering: see there.
        numbers: of the segments, rising; each run of neighbours is decoded in one go.
        generate: `generate_faces` of pack and sources.
        marking: of the result.
        progress: shows the work.
    """
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        _render_run(rendering, [number for _, number in run], generate, marking, progress)


def _render_run(
    rendering: Rendering, numbers: Sequence[int], generate: Generate, marking: Marking, progress: Progress
) -> None:
    """`render_segments` for neighbours."""
    video, pts, sources = rendering.video, rendering.pts, rendering.timeline.sources
    shown = [sources[start : start + SEGMENT_FRAMES] for start in (rendering.starts[number] for number in numbers)]
    first, last = shown[0][0], shown[-1][-1]
    depth = depth_within(2 * video.frame_bytes)  # as it was decoded, too
    decoded = ahead(
        get_frames(video, pts[first] if first else None, None if last == len(pts) - 1 else last + 1 - first), depth
    )
    records = islice(read_records(rendering.workspace.planned), first, last + 1)
    frames = _Numbered(iter(progress(_checked_frames(decoded, records), "swap", last + 1 - first)), first)
    for number, wanted in zip(numbers, shown, strict=True):
        # Batches end with their segment, so that a segment is the same whether those before it were rendered now or found.
        counts = Counter(wanted)
        rendered = render_beside((frames.at(index) for index in counts), generate, marking.label, depth)
        repeated = (frame for frame, count in zip(rendered, counts.values(), strict=True) for _ in range(count))
        segment, start = rendering.workspace.segment(number), rendering.starts[number]
        write_rendered(repeated, segment, start, rendering.timeline.video, rendering.encoding, rendering.files, marking)
        give_memory_back()  # of many threads' pools, whose holes would add up over a long video


class _Numbered:
    """Items by rising numbers; the last one can be had again, for a frame that is repeated across the border of two segments."""

    def __init__(self, items: Iterator[tuple[StoredFrame, FrameRecord]], first: int) -> None:
        self._items = items
        self._next = first
        self._last: tuple[StoredFrame, FrameRecord] | None = None

    def at(self, number: int) -> tuple[StoredFrame, FrameRecord]:
        """The item of this number; those before it are passed over."""
        while self._last is None or self._next <= number:
            self._last = next(self._items)
            self._next += 1
        return self._last


def _checked_frames(
    decoded: Iterable[StoredFrame], records: Iterable[FrameRecord]
) -> Iterator[tuple[StoredFrame, FrameRecord]]:
    """The frames of a second decoding with their records, provided that they are those that were analysed."""
    for frame, record in zip_longest(decoded, records):
        if frame is None or record is None or frame.pts != record.pts:
            raise UnreadableInput("the target's frames changed between two readings; is the file still being written?")
        yield frame, record
