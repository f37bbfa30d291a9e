"""FaceSwapper: the loaded models of one pack, and the two things to do with them: swap an image, swap a video."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.errors import NoFaceFound
from utils.files import finished_file, refuse_to_overwrite, writing
from utils.inference.core import Analysis, model_inference
from utils.inference.image_processing import find_faces
from utils.inference.matching import cosine_similarities
from utils.inference.plan import plan_records
from utils.inference.records import Identity, Image, ModelPack, View
from utils.inference.request import SwapReport, SwapRequest, score_text, swap_report
from utils.inference.tracking import Tracker
from utils.inference.video_processing import check_video_extension, get_final_video, read_video, segment_codec
from utils.inference.video_swap import Progress, analyse_video, no_progress, plan_video, render_video
from utils.inference.workspace import open_workspace
from utils.marks import VIDEO_COMMENT
from utils.version import __version__

logger = logging.getLogger(__name__)


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
            score = score_text(best_score, self.pack.detector.det_thresh)
            raise NoFaceFound(f"no face found in '{name}' ({score}); lower --det_thresh or use a clearer photo")
        if len(faces) > 1:
            logger.warning(f"'{name}' shows {len(faces)} faces; the largest is taken")
        face = max(faces, key=lambda face: face.area)
        return Identity(self.pack.embedder.embed(image, face), (View(image, face, name),))

    def combine(self, photos: Sequence[Identity]) -> Identity:
        """One identity from several photos of a person, with a warning where they do not look like one.

        Args:
            photos: from `identify`, at least one.
        """
        similarities = cosine_similarities([photos[0].embedding], [photo.embedding for photo in photos])[0]
        for photo, similarity in zip(photos, similarities, strict=True):
            if similarity < self.similarity_th:
                names = f"'{photos[0].views[0].name}' and '{photo.views[0].name}'"
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
        seen = list(analysis.analyse([(0, image)]))
        casting = request.cast(analysis, self.pack.detector.det_thresh)
        records = plan_records(seen, analysis.tracker.tracks, casting.source_of_track, None)
        (record,) = records
        result = next(model_inference([(image, record)], self.pack, sources, self.batch_size))
        return result, swap_report(analysis, casting, len(record.swaps))

    def swap_video(
        self,
        target: Path,
        out: Path,
        sources: Sequence[Identity],
        persons: Sequence[Identity] = (),
        everybody: bool = False,
        resume: bool = False,
    ) -> SwapReport:
        """Swap faces in a video; frame times and sound stay as they are. See `swap_image` for the other arguments.

        Args:
            target: the video.
            out: the result; its extension chooses the container.
            resume: go on with what an interrupted call with the same arguments left beside `out`.

        Raises:
            UnreadableInput: if the target cannot be decoded.
            UnwritableOutput: if the result cannot be written; a file that was there before stays.
        """
        check_video_extension(out)
        refuse_to_overwrite(out, [target])
        request = SwapRequest(sources, persons, everybody, str(target))
        video = read_video(target)
        fingerprint = self._fingerprint(request, video.path, out)
        with writing(out) as place, open_workspace(place, fingerprint, resume) as workspace:
            analysis, pts = analyse_video(video, self.pack, self.similarity_th, workspace, self._progress)
            casting = request.cast(analysis, self.pack.detector.det_thresh)
            swaps = plan_video(video, self.pack, analysis.tracker.tracks, casting, sources, workspace)
            segments = render_video(
                video, pts, self.pack, sources, self.batch_size, segment_codec(out), workspace, self._progress
            )
            with finished_file(out) as unfinished:
                get_final_video(segments, pts, video, unfinished, VIDEO_COMMENT)
        return swap_report(analysis, casting, swaps)

    def _fingerprint(self, request: SwapRequest, target: Path, out: Path) -> str:
        """Text that differs whenever the result of a video could."""
        status = target.stat()
        settings = (self.pack.name, self.pack.version, self.pack.settings, self.similarity_th, self.batch_size)
        file = (str(target.absolute()), status.st_size, status.st_mtime_ns)
        return repr((__version__, settings, file, out.suffix.lower(), request.digest()))
