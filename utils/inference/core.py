"""The two passes over the frames of a target. An image is a target of one frame.

analyse_frames: detect -> landmarks -> embed -> match -> smooth      one record a frame; looks at frames in order
model_inference: crop -> generate in batches -> blend                a pure function of a frame and its record
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from utils.inference.boxes import box_iou
from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.image_processing import crop_face, find_faces, get_final_image
from utils.inference.matching import PersonMatcher
from utils.inference.record_smoothing import fade_records, measure_motion, smooth_records
from utils.inference.records import AlignedFace, Face, Identity, Image, MaskParameters, ModelPack

SAME_RUN_IOU = 0.3  # of a person's boxes in neighbouring frames
THOROUGH_EVERY_FRAMES = 8  # in between, a frame is searched for small faces only when one is missing


@dataclass
class AnalysisSummary:
    """What the analysis saw, for messages.

    Frames, frames with a face, faces to be swapped, those of them that are left as they are because the generator cannot do them, and the
    best detection score of frames without a face.
    """

    frames: int = 0
    frames_with_face: int = 0
    swaps: int = 0
    left: int = 0
    best_score: float = 0.0


@dataclass
class _PendingFrame:
    """A frame that waits until a batch of faces is full."""

    image: Image
    aligned: list[AlignedFace] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)


def analyse_frames(
    frames: Iterable[tuple[int, Image]],
    pack: ModelPack,
    matcher: PersonMatcher,
    sources: Sequence[Identity],
    summary: AnalysisSummary,
    keep_masks: bool = True,
) -> Iterator[FrameRecord]:
    """Find out what is in each frame and who gets swapped, a few frames ahead of what is yielded.

    Args:
        frames: (presentation time stamp, BGR uint8 image) in order.
        pack: the loaded models.
        matcher: who is looked for; person i gets source i.
        sources: the identities.
        summary: counted up on the way.
        keep_masks: whether mask parameters are decided here, once for a run of frames; a picture's generator decides by itself.
    """
    keeper = _MaskKeeper(pack, sources) if keep_masks else None
    smoothers = [pack.make_smoother() for _ in sources]
    numbered = iter(frames)
    first = next(numbered, None)
    if first is None:
        return
    height, width = first[1].shape[:2]
    records = smooth_records(_analyse(chain([first], numbered), pack, matcher, keeper, summary), smoothers)
    records = measure_motion(records, len(sources))
    for record in fade_records(records, len(sources), (width, height), pack.fade_limits):
        summary.left += sum(recorded.strength == 0 for _, recorded in record.swaps)
        yield record


def _analyse(
    frames: Iterable[tuple[int, Image]],
    pack: ModelPack,
    matcher: PersonMatcher,
    keeper: _MaskKeeper | None,
    summary: AnalysisSummary,
) -> Iterator[FrameRecord]:
    faces: list[Face] = []
    for index, (pts, image) in enumerate(frames):
        faces, best_score = _find_again(image, pack, faces, thorough=index % THOROUGH_EVERY_FRAMES == 0)
        embeddings = [pack.embedder.embed(image, face) for face in faces]
        person_of_face = matcher.match(faces, embeddings)
        summary.frames += 1
        summary.frames_with_face += bool(faces)
        summary.swaps += len(person_of_face)
        if not faces:
            summary.best_score = max(summary.best_score, best_score)
        face_of_person = {person: faces[face] for face, person in person_of_face.items()}
        masks = keeper.masks(index, image, face_of_person) if keeper else {}
        sourced = [(face, person_of_face.get(number)) for number, face in enumerate(faces)]
        recorded = [RecordedFace(face, source, masks.get(source)) for face, source in sourced]
        yield FrameRecord(index, pts, tuple(recorded))


class _MaskKeeper:
    """Asks the generator for the mask parameters of a person at the beginning of a run of frames, and keeps them to its end.

    A run ends when the person is missing or elsewhere: a gap or a cut.
    """

    def __init__(self, pack: ModelPack, sources: Sequence[Identity]) -> None:
        self._pack = pack
        self._sources = sources
        self._last: dict[int, tuple[Face, MaskParameters | None]] = {}

    def masks(
        self, index: int, image: Image, face_of_person: dict[int, Face]
    ) -> dict[int | None, MaskParameters | None]:
        """Person -> parameters, for the persons in this frame."""
        present: dict[int, tuple[Face, MaskParameters | None]] = {}
        for person, face in face_of_person.items():
            before = self._last.get(person)
            if before is not None and box_iou(face.box, before[0].box[None])[0] >= SAME_RUN_IOU:
                present[person] = (face, before[1])
            else:
                aligned = crop_face(image, face, self._pack, index)
                present[person] = (face, self._pack.generator.choose_mask(aligned, self._sources[person]))
        self._last = present
        return {person: parameters for person, (_, parameters) in present.items()}


def _find_again(image: Image, pack: ModelPack, known: list[Face], thorough: bool) -> tuple[list[Face], float]:
    """Find the faces of a frame whose predecessor had the faces `known`, thoroughly only when asked or when one is missing."""
    faces, best_score = find_faces(image, pack, known, thorough)
    if thorough or len(faces) >= max(len(known), 1):
        return faces, best_score
    return find_faces(image, pack, faces, thorough=True)


def model_inference(
    frames: Iterable[Image],
    records: Iterable[FrameRecord],
    pack: ModelPack,
    sources: Sequence[Identity],
    batch_size: int,
) -> Iterator[Image]:
    """Render frames from their records, in order.

    Faces are batched across frames. Frames wait only until `batch_size` faces (or the generator's own most useful number) are together,
    so memory does not grow with the length of the target. A frame without a swap passes through untouched.

    Args:
        frames: BGR uint8 images.
        records: the record of each.
        pack: the loaded models.
        sources: the identities that the records' source numbers mean.
        batch_size: the most faces that the generator gets at once.
    """
    most_faces = max(1, min(batch_size, pack.generator.max_batch))
    pending: list[_PendingFrame] = []
    for image, record in zip(frames, records, strict=True):
        frame = _PendingFrame(image)
        # In the order of the persons: where two masks overlap, the same person lies on top in every frame.
        for source, recorded in sorted(record.swaps, key=lambda swap: swap[0]):
            if recorded.strength == 0:
                continue
            frame.aligned.append(_crop(image, recorded, pack, record.index))
            frame.identities.append(sources[source])
        pending.append(frame)
        waiting_faces = sum(len(waiting.aligned) for waiting in pending)
        if waiting_faces == 0 or waiting_faces >= most_faces or len(pending) > most_faces:
            yield from _render(pending, pack, most_faces)
            pending = []
    yield from _render(pending, pack, most_faces)


def _crop(image: Image, recorded: RecordedFace, pack: ModelPack, seed: int) -> AlignedFace:
    return crop_face(image, recorded.face, pack, seed, recorded.mask_parameters, recorded.strength, recorded.motion)


def _render(pending: Sequence[_PendingFrame], pack: ModelPack, most_faces: int) -> Iterator[Image]:
    """Generate the faces of waiting frames in batches and finish the frames."""
    aligned = [face for frame in pending for face in frame.aligned]
    identities = [identity for frame in pending for identity in frame.identities]
    generated = []
    for first in range(0, len(aligned), most_faces):
        last = first + most_faces
        generated += pack.generator.generate(aligned[first:last], identities[first:last])
    place = 0
    for frame in pending:
        count = len(frame.aligned)
        yield get_final_image(frame.image, frame.aligned, generated[place : place + count])
        place += count
