"""From what was seen to what is done: the records of the analysis become those that frames are rendered from.

A chain of steps over the stream of records, each looking a few frames ahead; none sees a frame, but for what is decided once for a track.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from utils.inference.calibration import is_fit, match_openings
from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.image_processing import crop_face
from utils.inference.model_pack import ModelPack
from utils.inference.occlusion.clear_face import ClearFace
from utils.inference.occlusion.marking import mark_occlusions
from utils.inference.records import Identity, Image, Treatment
from utils.inference.steadying.record_smoothing import fade_records, measure_motion, smooth_records
from utils.inference.tracking.gaps import fill_gaps
from utils.inference.tracking.people import Casting
from utils.inference.tracking.tracks import FaceTrack

MOST_TRIES, FRAMES_BETWEEN_TRIES = 3, 10  # of a track, before it is given up
LOOK_AHEAD = (
    40  # frames within which a track that begins unfit may still be decided upon before its first frame is drawn
)

FrameReader = Callable[[int], Image]
"""The upright frame, (H, W, 3) BGR uint8, with a time stamp."""
Choose = Callable[[FrameRecord, RecordedFace], Treatment | None]
"""What is decided in one frame for all that follow of its track; None if that frame is not fit for it, and the next is to be asked."""


@dataclass
class SwapCount:
    """How many faces of a plan are swapped, and how many are left as they are although they have a source."""

    shown: int = 0
    left: int = 0

    def add(self, record: FrameRecord) -> None:
        """Count one frame."""
        self.shown += len(record.swaps)
        self.left += sum(face.source is not None for face in record.faces) - len(record.swaps)


def plan_records(
    records: Iterable[FrameRecord],
    tracks: Sequence[FaceTrack],
    casting: Casting,
    pack: ModelPack,
    frame_size: tuple[int, int],
    choose: Choose | None,
    clear_faces: Mapping[int, ClearFace] | None = None,
) -> Iterator[FrameRecord]:
    """Decide what becomes of every face.

    Args:
        records: of the analysis, in order.
        tracks: by number.
        casting: who gets which source.
        pack: the loaded models, of which the smoother and the limits count here.
        frame_size: width and height in pixels.
        choose: decides what must not change within a track; None leaves all to the generator.
        clear_faces: by track, what occluders are found by; see `learn_clear_faces`. None takes every face to be whole.
    """
    cast = fill_gaps(give_sources(records, tracks, casting))
    moving = measure_motion(smooth_records(cast, pack.make_smoother))
    faded = fade_records(moving, frame_size, pack.fade_limits)
    planned = mark_occlusions(faded, clear_faces or {})
    return planned if choose is None else keep_choices(planned, choose)


def give_sources(
    records: Iterable[FrameRecord], tracks: Sequence[FaceTrack], casting: Casting
) -> Iterator[FrameRecord]:
    """Give every face the source of its track; where somebody else was found on it later, only as long as it was sure."""
    for record in records:
        faces = []
        for recorded in record.faces:
            track = tracks[recorded.track]
            sure = casting.whoever or not track.disputed or record.index <= track.sure_until
            faces.append(replace(recorded, source=casting.source_of_track.get(track.number) if sure else None))
        yield replace(record, faces=tuple(faces))


def keep_choices(records: Iterable[FrameRecord], choose: Choose) -> Iterator[FrameRecord]:
    """Give every frame of a track what was decided in one of its first.

    Those that lie more than LOOK_AHEAD frames before it stay as they are.
    """
    chosen: dict[int, Treatment] = {}
    waiting: deque[FrameRecord] = deque()

    def decided() -> FrameRecord:
        record = waiting.popleft()
        return replace(record, faces=tuple(_kept(recorded, chosen.get(recorded.track)) for recorded in record.faces))

    for record in records:
        for _, recorded in record.swaps:
            if recorded.track not in chosen and (choice := choose(record, recorded)) is not None:
                chosen[recorded.track] = choice
        waiting.append(record)
        if len(waiting) > LOOK_AHEAD:
            yield decided()
    while waiting:
        yield decided()


def _kept(recorded: RecordedFace, choice: Treatment | None) -> RecordedFace:
    if choice is None:
        return recorded
    return recorded.treated(mask_parameters=choice.mask_parameters, openings=choice.openings)


def mask_chooser(pack: ModelPack, sources: Sequence[Identity], frame_at: FrameReader) -> Choose | None:
    """How the masks of a video are chosen; None for a generator that decides each mask from its own frame."""
    if not pack.generator.keeps_masks:
        return None

    def choose(record: FrameRecord, recorded: RecordedFace) -> Treatment:
        assert recorded.source is not None
        aligned = crop_face(frame_at(record.pts), recorded.face, pack)
        return Treatment(pack.generator.choose_mask(aligned, sources[recorded.source]))

    return choose


def openings_chooser(
    pack: ModelPack, sources: Sequence[Identity], frame_at: FrameReader, frame_size: tuple[int, int]
) -> Choose | None:
    """How it is decided by how much farther eyes and mouth are drawn open; None if the pack does not draw them by landmarks.

    Args:
        pack: the loaded models.
        sources: the identities that the records' source numbers mean.
        frame_at: reads the few frames that are looked at.
        frame_size: width and height in pixels.
    """
    if pack.measure_openings is None:
        return None
    tries: dict[int, list[int]] = defaultdict(list)

    def choose(record: FrameRecord, recorded: RecordedFace) -> Treatment | None:
        assert recorded.source is not None
        tried = tries[recorded.track]
        too_soon = bool(tried) and record.index < tried[-1] + FRAMES_BETWEEN_TRIES
        if len(tried) == MOST_TRIES or too_soon or not is_fit(recorded.face, recorded.treatment, frame_size, pack):
            return None
        tried.append(record.index)
        frame, identity = frame_at(record.pts), sources[recorded.source]
        openings = match_openings(frame, recorded.face, recorded.treatment, pack, identity)
        return None if openings is None else Treatment(openings=openings)

    return choose
