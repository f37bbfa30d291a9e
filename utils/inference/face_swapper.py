"""FaceSwapper: the loaded models of one pack, and the two things to do with them: swap an image, swap a video."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.errors import NoFaceFound
from utils.files import finished_pair, refuse_to_overwrite, writing
from utils.inference.answers import embed_face
from utils.inference.core import Analysis, generate_faces, model_inference
from utils.inference.frame_records import RECORD_FORMAT, FrameRecord
from utils.inference.image_processing import find_faces
from utils.inference.model_pack import ModelPack
from utils.inference.overlap import one_after_another
from utils.inference.plan import SwapCount, openings_chooser, plan_records
from utils.inference.records import Composition, Identity, Image, View
from utils.inference.request import SwapReport, SwapRequest, score_text, swap_report
from utils.inference.steadying.fading import yaw_of
from utils.inference.tracking.matching import cosine_similarities
from utils.inference.tracking.tracks import Tracker
from utils.inference.video.frame_files import (
    begin_publishing,
    check_output,
    check_places,
    check_room,
    check_room_in,
    frame_files,
    publish_frames,
)
from utils.inference.video.options import VideoOptions
from utils.inference.video.parts import show_at
from utils.inference.video.pictures import (
    FileState,
    check_unchanged,
    file_states,
    only_file,
    result_numbers,
    target_files,
)
from utils.inference.video.rendering import encoding_for
from utils.inference.video.signing import check_sidecar, mark_video, sidecar_of
from utils.inference.video.swap import Elsewhere, Rendering, analyse_video, plan_video, render_segments
from utils.inference.video.workspace import open_workspace
from utils.inference.video_processing import get_final_video, read_target
from utils.progress import Progress, no_progress
from utils.provenance.marking import DEFAULT_MARKING, Marking
from utils.version import __version__

logger = logging.getLogger(__name__)

DEFAULT_OPTIONS = VideoOptions()


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
        min_face_px: float | None = None,
        strength: float = 1.0,
        progress: Progress = no_progress,
        marking: Marking = DEFAULT_MARKING,
    ) -> None:
        """Take over the loaded models.

        Args:
            pack: see `models.packs`.
            similarity_th: cosine similarity in [-1, 1] from which on a face is taken for a person; None for the pack's own.
            batch_size: the most faces that are generated at once.
            min_face_px: height of a face's box below which it is left as it is; None for the pack's own.
            strength: in [0, 1], how much of a swap is shown: 0 gives the original.
            progress: shows long work.
            marking: how outputs are marked, beside what every output carries.
        """
        if min_face_px is not None:
            pack = replace(pack, fade_limits=replace(pack.fade_limits, min_face_px=min_face_px))
        self.pack = pack
        self.similarity_th = pack.similarity_th if similarity_th is None else similarity_th
        self.batch_size = batch_size
        self._progress = progress
        self.strength = strength
        self.marking = replace(marking, pack=f"{pack.name} {pack.version}")

    def identify(self, image: Image, name: str) -> Identity:
        """Who is in a photo: the largest face, with a warning if there are several, or if it is turned too far to show much.

        Args:
            image: (H, W, 3) BGR uint8.
            name: what messages call the photo.

        Raises:
            NoFaceFound: if there is none.
        """
        faces, best_score = find_faces(image, self.pack)
        if not faces:
            score = score_text(best_score, self.pack.detector.det_thresh)
            raise NoFaceFound(f"no face found in {name!r} ({score}); lower --det_thresh or use a clearer photo")
        if len(faces) > 1:
            logger.warning(f"{name!r} shows {len(faces)} faces; the largest is taken")
        face = max(faces, key=lambda face: face.area)
        limits = self.pack.fade_limits
        turn_deg = abs(yaw_of(face, limits.cheeks))
        if turn_deg > limits.yaw_deg[0]:
            logger.warning(
                f"{name!r} shows a head turned by {turn_deg:.0f} degrees; a more frontal photo gives a better result"
            )
        return Identity(embed_face(self.pack.embedder, image, face), (View(image, face, name),))

    def combine(self, photos: Sequence[Identity]) -> Identity:
        """One identity from several photos of a person, with a warning where they do not look like one.

        Args:
            photos: from `identify`, at least one.
        """
        similarities = cosine_similarities([photos[0].embedding], [photo.embedding for photo in photos])[0]
        for photo, similarity in zip(photos, similarities, strict=True):
            if similarity < self.similarity_th:
                names = f"{photos[0].views[0].name!r} and {photo.views[0].name!r}"
                logger.warning(f"{names} hardly show one person (similarity {similarity:.2f}); they are combined")
        embedding = np.stack([photo.embedding for photo in photos]).mean(axis=0)
        return Identity(embedding.astype(np.float32), tuple(view for photo in photos for view in photo.views))

    def swap_image(
        self,
        image: Image,
        sources: Sequence[Identity],
        persons: Sequence[Identity] = (),
        name: str = "target",
        everybody: bool = False,
    ) -> tuple[Image, SwapReport]:
        """Swap faces in an image.

        Args:
            image: (H, W, 3) BGR uint8; not modified.
            sources: who is put in.
            persons: who is replaced, one for each source; empty: the largest face, by the only source.
            name: what messages call the image.
            everybody: every face is replaced, by the only source, or by the sources in turn from left to right.

        Returns:
            The result, bit-identical to `image` outside of the swapped faces, and what was done.

        Raises:
            BadArgument: if the numbers of sources and persons do not fit.
            NoFaceFound: if there is no face, or none of the persons.
        """
        request = SwapRequest(sources, persons, everybody, name)
        analysis = Analysis(self.pack, Tracker(self.pack.embedder, self.similarity_th))
        count = SwapCount()
        with one_after_another():  # of a single picture no stage has anything to do ahead
            seen = list(analysis.analyse([(0, image)]))
            casting = request.cast(analysis, self.pack.detector.det_thresh)
            tracks, size = analysis.tracker.tracks, (image.shape[1], image.shape[0])
            choose = openings_chooser(self.pack, sources, lambda _: image, size)
            (record,) = plan_records(seen, tracks, casting, self.pack, size, choose)
            count.add(record)
            result = next(model_inference([(image, record)], self.pack, sources, self.batch_size, self.strength))
        return result, swap_report(analysis, casting, count, name)

    def swap_video(
        self,
        target: Path,
        out: Path,
        sources: Sequence[Identity],
        persons: Sequence[Identity] = (),
        everybody: bool = False,
        resume: bool = False,
        options: VideoOptions = DEFAULT_OPTIONS,
        elsewhere: Elsewhere | None = None,
    ) -> SwapReport:
        """Swap faces in a video; frame times and sound stay as they are. See `swap_image` for the other arguments.

        Args:
            target: the video.
            out: the result; its extension chooses the container, and a pattern like `%05d.png` numbered pictures.
            resume: go on with what an interrupted call with the same arguments left beside `out`.
            options: what of the video is swapped, and how it is written.
            elsewhere: renders segments in other processes, by `render_segments`; what it leaves is rendered here.

        Raises:
            BadArgument: if the options contradict each other or the target.
            UnreadableInput: if the target cannot be decoded.
            UnwritableOutput: if the result cannot be written; a file that was there before stays.
        """
        check_output(out)
        check_sidecar(out)
        refuse_to_overwrite(out, [target])
        files = frame_files(out, options)
        request = SwapRequest(sources, persons, everybody, str(target))
        video = read_target(target, options)
        check_places(out, files, target_files(video))
        if not resume:
            check_room(files)
        encoding = None if files.sequence else encoding_for(video, out, options)
        read = file_states(video)
        fingerprint = self._fingerprint(request, read, out, options)
        with writing(out) as place, open_workspace(place, fingerprint, resume) as workspace:
            check_room_in(files, workspace.folder)
            analysis, pts = analyse_video(video, self.pack, self.similarity_th, workspace, self._progress)
            check_unchanged(video, read)
            casting = request.cast(analysis, self.pack.detector.det_thresh)
            count = plan_video(video, self.pack, analysis.tracker.tracks, casting, sources, workspace)
            timeline = show_at(video, pts, options.out_fps)
            files = replace(files, numbers=result_numbers(timeline.video, pts, len(timeline.times)))
            rendering = Rendering(video, pts, timeline, encoding, files, workspace)
            if elsewhere is not None:
                elsewhere(rendering, rendering.missing())
            self.render_segments(rendering, rendering.missing(), sources)
            segments = rendering.segments
            check_unchanged(video, read)
            begin_publishing(files, workspace.folder)
            if encoding is not None:
                with finished_pair(out, sidecar_of(out)) as (unfinished, beside):
                    joined = workspace.joined(unfinished.suffix) if beside is None else unfinished
                    get_final_video(segments, timeline.times, timeline.video, joined, self.marking.keep_gps)
                    mark_video(joined, unfinished, beside, only_file(video), self.marking)
            publish_frames([segment.with_suffix("") for segment in segments], files)
        return swap_report(analysis, casting, count, str(target))

    def render_segments(self, rendering: Rendering, numbers: Sequence[int], sources: Sequence[Identity]) -> None:
        """Render segments of a video whose frames are planned; `swap_video` does, and other processes may for it.

        Args:
            rendering: that `swap_video` gives to `elsewhere`.
            numbers: of the segments, rising.
            sources: those of `swap_video`.
        """

        def generate(frames: Iterator[tuple[Image, FrameRecord]]) -> Iterator[Composition]:
            return generate_faces(frames, self.pack, sources, self.batch_size, self.strength)

        render_segments(rendering, numbers, generate, self.marking, self._progress)

    def _fingerprint(self, request: SwapRequest, target: Sequence[FileState], out: Path, options: VideoOptions) -> str:
        """Text that differs whenever the result of a video could."""
        pack = (self.pack.name, self.pack.version, self.pack.settings, self.pack.fade_limits)
        settings = (*pack, self.similarity_th, self.batch_size, self.strength, options)
        marks = (self.marking.label, self.marking.keep_gps)
        return repr((__version__, RECORD_FORMAT, settings, marks, target, out.suffix.lower(), request.digest()))
