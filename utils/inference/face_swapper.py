"""FaceSwapper: the loaded models of one pack, and the two things to do with them: swap an image, swap a video."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from utils.errors import BadArgument, NoFaceFound, UnreadableInput
from utils.files import TEMPORARY_PREFIX, finished_file, refuse_to_overwrite
from utils.inference.core import AnalysisSummary, analyse_frames, model_inference
from utils.inference.frame_records import FrameRecord, read_records, write_record
from utils.inference.image_processing import find_faces
from utils.inference.matching import PersonMatcher
from utils.inference.records import Identity, Image, ModelPack, View
from utils.inference.video_options import VideoOptions
from utils.inference.video_parts import Timeline, repeated, show_at, shown
from utils.inference.video_processing import (
    StoredFrame,
    VideoInfo,
    check_video_extension,
    get_final_video,
    get_frames,
    get_target,
    read_target,
)
from utils.inference.video_rendering import encoding_for, render_beside, write_segments
from utils.marks import VIDEO_COMMENT

logger = logging.getLogger(__name__)

FEWEST_FRAMES = 0.9  # of those that the container announces, which may be an estimate
DEFAULT_OPTIONS = VideoOptions()

Item = TypeVar("Item")


class Progress(Protocol):
    """Wraps an iterable so that going through it is shown."""

    def __call__(self, items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
        """The same items; `description` says what is done with them, `total` how many there are, if known."""


def no_progress(items: Iterable[Item], description: str, total: int | None) -> Iterable[Item]:
    """The `Progress` that shows nothing."""
    return items


@dataclass(frozen=True)
class SwapReport:
    """What was done: frames in the target, frames with any face, faces swapped, and the best similarity to each person looked for."""

    frames: int
    frames_with_face: int
    swaps: int
    best_similarity: tuple[float, ...]


class FaceSwapper:
    """Swaps faces with the models of one pack. Holds no state between calls; use one for as many targets as you like.

    >>> swapper = FaceSwapper(load_builtin_pack())                                     # doctest: +SKIP
    >>> source = swapper.identify(cv2.imread("source.jpg"), "source.jpg")              # doctest: +SKIP
    >>> result, report = swapper.swap_image(cv2.imread("target.jpg"), [source])        # doctest: +SKIP
    """

    def __init__(
        self,
        pack: ModelPack,
        similarity_th: float | None = None,
        batch_size: int = 40,
        progress: Progress = no_progress,
    ) -> None:
        """Take over the loaded models.

        Args:
            pack: see `models.packs`.
            similarity_th: cosine similarity in [-1, 1] from which on a face is taken for a person; None for the pack's own.
            batch_size: the most faces that are generated at once.
            progress: shows long work.
        """
        self.pack = pack
        self.similarity_th = pack.similarity_th if similarity_th is None else similarity_th
        self.batch_size = batch_size
        self._progress = progress

    def identify(self, image: Image, name: str) -> Identity:
        """Who is in a photo: the largest face, with a warning if there are several.

        Args:
            image: (H, W, 3) BGR uint8.
            name: what messages call the photo.

        Raises:
            NoFaceFound: if there is none.
        """
        faces, best_score = find_faces(image, self.pack)
        if not faces:
            raise NoFaceFound(
                f"no face found in '{name}' ({self._score_text(best_score)}); lower --det_thresh or use a clearer photo"
            )
        if len(faces) > 1:
            logger.warning(f"'{name}' shows {len(faces)} faces; the largest is taken")
        face = max(faces, key=lambda face: face.area)
        return Identity(self.pack.embedder.embed(image, face), (View(image, face, name),))

    def swap_image(
        self, image: Image, sources: Sequence[Identity], persons: Sequence[Identity] = (), name: str = "target"
    ) -> tuple[Image, SwapReport]:
        """Swap faces in an image.

        Args:
            image: (H, W, 3) BGR uint8; not modified.
            sources: who is put in.
            persons: who is replaced, one for each source; empty: the largest face, by the only source.
            name: what messages call the image.

        Returns:
            The result, bit-identical to `image` outside of the swapped faces, and what was done.

        Raises:
            BadArgument: if the numbers of sources and persons do not fit.
            NoFaceFound: if there is no face, or none of the persons.
        """
        matcher, summary = self._matcher(sources, persons), AnalysisSummary()
        records = list(analyse_frames([(0, image)], self.pack, matcher, sources, summary, keep_masks=False))
        report = self._report(matcher, summary, persons, name)
        return next(model_inference([image], records, self.pack, sources, self.batch_size)), report

    def swap_video(
        self,
        target: Path,
        out: Path,
        sources: Sequence[Identity],
        persons: Sequence[Identity] = (),
        options: VideoOptions = DEFAULT_OPTIONS,
    ) -> SwapReport:
        """Swap faces in a video; frame times and sound stay as they are. See `swap_image` for the other arguments.

        Raises:
            BadArgument: if the options contradict each other or the target.
            UnreadableInput: if the target cannot be decoded.
            UnwritableOutput: if the result cannot be written; a file that was there before stays.
        """
        check_video_extension(out)
        refuse_to_overwrite(out, [target])
        matcher, summary = self._matcher(sources, persons), AnalysisSummary()
        video = read_target(target, options)
        encoding = encoding_for(video, out, options)
        with (
            finished_file(out) as unfinished,
            tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=unfinished.parent) as folder,
        ):
            workspace = Path(folder)
            records_path = workspace / "records.jsonl"
            pts = self._analyse(video, records_path, matcher, sources, summary)
            report = self._report(matcher, summary, persons, str(target))
            timeline = show_at(video, pts, options.out_fps)
            rendered = self._render(video, records_path, sources, timeline)
            frames = self._progress(rendered, "swap", len(timeline.times))
            segments = write_segments(frames, timeline, workspace, encoding)
            get_final_video(segments, timeline.times, timeline.video, unfinished, VIDEO_COMMENT)
        return report

    def _analyse(
        self,
        video: VideoInfo,
        records_path: Path,
        matcher: PersonMatcher,
        sources: Sequence[Identity],
        summary: AnalysisSummary,
    ) -> list[int]:
        """Write the record of every frame; return the time stamps."""
        pts = []
        frames = self._progress(get_target(video), "analyse", video.frame_count_estimate)
        with records_path.open("w", encoding="utf-8") as file:
            for record in analyse_frames(frames, self.pack, matcher, sources, summary):
                write_record(file, record)
                pts.append(record.pts)
        expected = video.frame_count_estimate or 0
        if len(pts) < FEWEST_FRAMES * expected:
            logger.warning(
                f"only {len(pts)} of about {expected} frames of {str(video.path)!r} could be decoded; is it cut short?"
            )
        return pts

    def _render(
        self, video: VideoInfo, records_path: Path, sources: Sequence[Identity], timeline: Timeline
    ) -> Iterator[tuple[StoredFrame, Image]]:
        """The frames to show, in order, each with its result."""
        frames = shown(_checked_frames(get_frames(video), read_records(records_path)), timeline.counts)
        records = shown(read_records(records_path), timeline.counts)
        rendered = render_beside(
            frames, lambda images: model_inference(images, records, self.pack, sources, self.batch_size)
        )
        return repeated(rendered, timeline.counts)

    def _matcher(self, sources: Sequence[Identity], persons: Sequence[Identity]) -> PersonMatcher:
        if persons and len(persons) != len(sources):
            raise BadArgument(
                f"{len(sources)} sources for {len(persons)} target persons; give one source for each person, in order"
            )
        if not persons and len(sources) != 1:
            raise BadArgument(
                f"{len(sources)} sources without target persons; choose whom each replaces with --target_faces_paths"
            )
        return PersonMatcher([person.embedding for person in persons], self.similarity_th)

    def _report(
        self, matcher: PersonMatcher, summary: AnalysisSummary, persons: Sequence[Identity], name: str
    ) -> SwapReport:
        """Say what was seen; refuse to go on when nothing is to be swapped."""
        if not summary.frames_with_face:
            place = f"in '{name}'" if summary.frames == 1 else f"in any of the {summary.frames} frames of '{name}'"
            raise NoFaceFound(
                f"no face found {place} ({self._score_text(summary.best_score)}); lower --det_thresh or use a clearer target"
            )
        unseen = [
            f"'{person.views[0].name}' ({self._similarity_text(best)})"
            for person, seen, best in zip(persons, matcher.seen, matcher.best_similarity, strict=False)
            if not seen
        ]
        if unseen and not any(matcher.seen):
            raise NoFaceFound(
                f"'{name}' never shows the person of {', '.join(unseen)}; lower --similarity_th or use another photo"
            )
        if unseen:
            logger.warning(f"'{name}' never shows the person of {', '.join(unseen)}")
        return SwapReport(summary.frames, summary.frames_with_face, summary.swaps, tuple(matcher.best_similarity))

    def _similarity_text(self, best: float) -> str:
        if best < self.similarity_th:
            return f"best similarity {best:.2f} < {self.similarity_th:.2f}"
        return f"best similarity {best:.2f}, but another chosen person is as like that face or more"

    def _score_text(self, best_score: float) -> str:
        threshold = self.pack.detector.det_thresh
        if best_score < threshold:
            return f"best score {best_score:.2f} < {threshold:.2f}"
        return f"best score {best_score:.2f}, but the landmarks did not confirm a face"


def _checked_frames(frames: Iterable[StoredFrame], records: Iterable[FrameRecord]) -> Iterator[StoredFrame]:
    """The frames of a second decoding, provided that it gives those that were analysed."""
    for decoded, record in zip_longest(frames, records):
        if decoded is None or record is None or decoded.pts != record.pts:
            raise UnreadableInput("the target's frames changed between two readings; is the file still being written?")
        yield decoded
