"""The two passes over the frames of a target. An image is a target of one frame.

Analysis: detect -> landmarks -> track, embed             one record a frame; looks at frames in order
model_inference: crop -> generate in batches -> blend     a pure function of a frame and its record

What lies between, `plan`, decides who gets which face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.image_processing import crop_face, get_final_image
from utils.inference.model_pack import ModelPack, Surface
from utils.inference.overlap import ahead, depth_within
from utils.inference.records import AlignedFace, Composition, Face, Identity, Image
from utils.inference.stopwatch import stage
from utils.inference.tracking.cuts import CutDetector
from utils.inference.tracking.search import STRETCH_FRAMES, Stretch, find_in_stretch, searched_stretches
from utils.inference.tracking.tracks import Tracker

MOST_PENDING_BYTES = 1 << 30  # of pictures that wait until a batch is full; of frames of 4K there are forty


@dataclass
class AnalysisSummary:
    """What the analysis saw, for messages: frames, frames with a face, best detection score of frames without one."""

    frames: int = 0
    frames_with_face: int = 0
    best_score: float = 0.0


@dataclass
class Analysis:
    """The first pass over the frames of a target, and all that it has to remember from frame to frame.

    Attributes:
        pack: the loaded models.
        tracker: who has been seen.
        cuts: where shots begin.
        summary: counts.
        faces: of the last frame.
    """

    pack: ModelPack
    tracker: Tracker
    cuts: CutDetector = field(default_factory=CutDetector)
    summary: AnalysisSummary = field(default_factory=AnalysisSummary)
    faces: Sequence[Face] = ()

    def analyse(self, frames: Iterable[tuple[int, Image]], frame_bytes: int = 0) -> Iterator[FrameRecord]:
        """Find out what is in the next frames.

        Args:
            frames: (presentation time stamp, BGR uint8 image) in order.
            frame_bytes: size of an image; of the largest, fewer are held at once.
        """
        return (lay_flat(image, record, self.pack.surface) for image, record in self.follow(frames, frame_bytes))

    def follow(self, frames: Iterable[tuple[int, Image]], frame_bytes: int = 0) -> Iterator[tuple[Image, FrameRecord]]:
        """`analyse` without appearances, beside the images, which `lay_flat` needs to add them.

        Frames are taken in by whole stretches: the state can be saved where the number of records is a multiple of `STRETCH_FRAMES`.
        """
        depth = depth_within(STRETCH_FRAMES * frame_bytes, most=1)
        for stretch in ahead(searched_stretches(frames, self.pack, self.summary.frames), depth):
            yield from self._follow_stretch(stretch)
            del stretch  # before the next one is put together

    def _follow_stretch(self, stretch: Stretch) -> Iterator[tuple[Image, FrameRecord]]:
        first = self.summary.frames
        cuts = [self.cuts.is_cut(image) for image in stretch.images]
        begins = [cut or first + place == 0 for place, cut in enumerate(cuts)]
        found = find_in_stretch(stretch, begins, self.pack, self.faces)
        for pts, image, cut, here in zip(stretch.pts, stretch.images, cuts, found, strict=True):
            index, self.faces = self.summary.frames, here.faces
            numbers = self.tracker.update(index, pts, image, self.faces, cut)
            self.summary.frames += 1
            self.summary.frames_with_face += bool(self.faces)
            if not self.faces:
                self.summary.best_score = max(self.summary.best_score, here.best_score)
            yield image, FrameRecord(index, pts, cut, tuple(map(RecordedFace, self.faces, numbers)))


@stage("lay flat")
def lay_flat(image: Image, record: FrameRecord, surface: Surface | None) -> FrameRecord:
    """The record with the appearances of its faces, if the pack has a surface."""
    if surface is None:
        return record
    faces = [replace(recorded, appearance=surface.flatten(image, recorded.face)) for recorded in record.faces]
    return replace(record, faces=tuple(faces))


@dataclass
class _PendingFrame:
    """A frame that waits until a batch of faces is full."""

    image: Image
    aligned: list[AlignedFace] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)


def model_inference(
    frames: Iterable[tuple[Image, FrameRecord]],
    pack: ModelPack,
    sources: Sequence[Identity],
    batch_size: int,
    strength: float = 1.0,
) -> Iterator[Image]:
    """Render frames from their records, in order: what `generate_faces` gives, put together."""
    for composition in generate_faces(frames, pack, sources, batch_size, strength):
        yield get_final_image(composition.frame, composition.aligned, composition.generated)


def generate_faces(
    frames: Iterable[tuple[Image, FrameRecord]],
    pack: ModelPack,
    sources: Sequence[Identity],
    batch_size: int,
    strength: float = 1.0,
) -> Iterator[Composition]:
    """Generate the faces of frames as their records say, in order.

    Faces are batched across frames. Frames wait only until `batch_size` faces (or the generator's own most useful number) are together,
    or `MOST_PENDING_BYTES` of pictures, so memory does not grow with the length of the target. A frame without a swap passes through
    untouched.

    Args:
        frames: BGR uint8 images, each with its record.
        pack: the loaded models.
        sources: the identities that the records' source numbers mean.
        batch_size: the most faces that the generator gets at once.
        strength: in [0, 1], how much of the swap is shown.
    """
    most_faces = max(1, min(batch_size, pack.generator.max_batch))
    pending: list[_PendingFrame] = []
    for image, record in frames:
        frame = _PendingFrame(image)
        # In the order of sources and tracks: where two masks overlap, the same person lies on top in every frame.
        for source, recorded in sorted(record.swaps, key=lambda swap: (swap[0], swap[1].track)):
            treatment = replace(recorded.treatment, strength=strength * recorded.treatment.strength)
            frame.aligned.append(crop_face(image, recorded.face, pack, treatment))
            frame.identities.append(sources[source])
        pending.append(frame)
        waiting_faces = sum(len(waiting.aligned) for waiting in pending)
        full = waiting_faces >= most_faces or len(pending) > most_faces
        if waiting_faces == 0 or full or len(pending) * image.nbytes >= MOST_PENDING_BYTES:
            yield from _generate(pending, pack, most_faces)
            pending = []
    yield from _generate(pending, pack, most_faces)


def _generate(pending: Sequence[_PendingFrame], pack: ModelPack, most_faces: int) -> Iterator[Composition]:
    """Generate the faces of waiting frames in batches."""
    aligned = [face for frame in pending for face in frame.aligned]
    identities = [identity for frame in pending for identity in frame.identities]
    generated = []
    for first in range(0, len(aligned), most_faces):
        last = first + most_faces
        with stage("generate"):
            generated += pack.generator.generate(aligned[first:last], identities[first:last])
    place = 0
    for frame in pending:
        count = len(frame.aligned)
        faces = tuple(generated[place : place + count])
        yield Composition(frame.image, tuple(frame.aligned), faces)
        place += count
