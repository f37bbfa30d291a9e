"""What a user asks for: who is put in and who is replaced, and the messages when that cannot be done."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from utils.errors import BadArgument, NoFaceFound
from utils.inference.core import Analysis, AnalysisSummary
from utils.inference.plan import SwapCount
from utils.inference.records import Identity
from utils.inference.tracking.people import Casting, believable, cast_everybody, cast_largest_first, cast_persons

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SwapReport:
    """What was done: frames in the target, frames with any face, faces swapped, and the best similarity to each person looked for."""

    frames: int
    frames_with_face: int
    swaps: int
    best_similarity: tuple[float, ...]


@dataclass(frozen=True)
class SwapRequest:
    """Who is put in, and who is replaced.

    Attributes:
        sources: who is put in.
        persons: who is replaced, one for each source; empty: the largest face of the first frame that has one, by the only source.
        everybody: every face is replaced, by the only source, or by one source for each person in the order of appearance.
        target: what messages call the target.
    """

    sources: Sequence[Identity]
    persons: Sequence[Identity]
    everybody: bool
    target: str

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            BadArgument: saying what to change.
        """
        sources, persons = len(self.sources), len(self.persons)
        if self.everybody and persons:
            raise BadArgument("--swap all replaces everybody; leave --target_faces_paths out, or say --swap first")
        if persons and persons != sources:
            raise BadArgument(
                f"{sources} sources for {persons} target persons; give one source for each person, in order"
            )
        if not (self.everybody or persons or sources == 1):
            raise BadArgument(
                f"{sources} sources without target persons; "
                "choose whom each replaces with --target_faces_paths, or say --swap all"
            )

    def cast(self, analysis: Analysis, det_thresh: float) -> Casting:
        """Decide who gets which source, once everybody has been seen; warn about those who were not.

        Raises:
            NoFaceFound: if nothing is to be swapped.
        """
        tracker = analysis.tracker
        companies, threshold = tracker.companies, tracker.similarity_th
        faces = tracker.tracks if analysis.summary.frames == 1 else believable(tracker.tracks, det_thresh)
        if self.everybody:
            casting = cast_everybody(faces, companies, len(self.sources), threshold)
        elif self.persons:
            looks = [person.embedding for person in self.persons]
            casting = cast_persons(tracker.tracks, companies, looks, threshold)
        else:
            casting = cast_largest_first(faces, tracker.tracks, companies, threshold)
        self._check(casting, analysis.summary, threshold, det_thresh)
        return casting

    def digest(self) -> str:
        """Of everything in the request that the result depends on; not of the target."""
        digest = hashlib.sha256(repr((len(self.sources), self.everybody)).encode())
        for identity in (*self.sources, *self.persons):
            digest.update(identity.embedding.tobytes())
            for view in identity.views:
                digest.update(view.image.tobytes())
        return digest.hexdigest()

    def _check(self, casting: Casting, summary: AnalysisSummary, similarity_th: float, det_thresh: float) -> None:
        if not summary.frames_with_face:
            count = summary.frames
            place = f"in {self.target!r}" if count == 1 else f"in any of the {count} frames of {self.target!r}"
            score = score_text(summary.best_score, det_thresh)
            raise NoFaceFound(f"no face found {place} ({score}); lower --det_thresh or use a clearer target")
        cast = set(casting.source_of_track.values())
        unseen = [
            f"{person.views[0].name!r} ({_similarity_text(best, similarity_th)})"
            for number, (person, best) in enumerate(zip(self.persons, casting.best_similarity, strict=False))
            if number not in cast
        ]
        if unseen and not cast:
            raise NoFaceFound(
                f"{self.target!r} never shows the person of {', '.join(unseen)}; lower --similarity_th or use another photo"
            )
        if unseen:
            logger.warning(f"{self.target!r} never shows the person of {', '.join(unseen)}")
        if casting.left_out:
            logger.warning(
                f"{self.target!r} shows more people than there are sources; {casting.left_out} of them keep their faces"
            )


def swap_report(analysis: Analysis, casting: Casting, count: SwapCount, target: str) -> SwapReport:
    """What was done, with a warning about faces that could not be swapped."""
    if count.left:
        smallest = f"less than {analysis.pack.fade_limits.min_face_px:g} px high (--min_face)"
        logger.warning(
            f"{count.left} of {count.shown + count.left} faces in {target!r} are left as they are: "
            f"{smallest}, turned too far, or mostly outside of the frame"
        )
    summary = analysis.summary
    return SwapReport(summary.frames, summary.frames_with_face, count.shown, casting.best_similarity)


def score_text(best_score: float, det_thresh: float) -> str:
    """Why no face was found, in brackets of a message."""
    if best_score < det_thresh:
        return f"best score {best_score:.2f} < {det_thresh:.2f}"
    return f"best score {best_score:.2f}, but the landmarks did not confirm a face"


def _similarity_text(best: float, similarity_th: float) -> str:
    if best < similarity_th:
        return f"best similarity {best:.2f} < {similarity_th:.2f}"
    return f"best similarity {best:.2f}, but another chosen person is as like that face or more"
