"""Analysis, plan and swap of a clip in memory, as the tool does them, so that no encoder is part of what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from models.packs import GhostOptions, load_builtin_pack, load_ghost_pack
from utils.errors import NoFaceFound
from utils.inference.core import Analysis, generate_faces
from utils.inference.face_swapper import FaceSwapper
from utils.inference.frame_records import FrameRecord
from utils.inference.image_processing import find_faces
from utils.inference.model_pack import ModelPack
from utils.inference.occlusion.marking import learn_clear_faces
from utils.inference.plan import FrameReader, openings_chooser, plan_records
from utils.inference.records import Composition, Face, Identity, Image, View
from utils.inference.request import SwapRequest
from utils.inference.tracking.tracks import Tracker

Frames = Callable[[], Iterator[Image]]


def load_swapper(pack: str) -> tuple[FaceSwapper, ModelPack]:
    """What swaps, with the pack `ghost` or `builtin`, and the embedded pack, by which every result is judged.

    Raises:
        ModelFileError: if files of the pack are missing or damaged.
    """
    judging = load_builtin_pack()
    return FaceSwapper(load_ghost_pack(GhostOptions()) if pack == "ghost" else judging), judging


def analyse_clip(frames: Iterable[tuple[int, Image]], swapper: FaceSwapper) -> tuple[Analysis, list[FrameRecord]]:
    """What is seen in `frames`, time stamp and (H, W, 3) BGR uint8."""
    analysis = Analysis(swapper.pack, Tracker(swapper.pack.embedder, swapper.similarity_th))
    return analysis, list(analysis.analyse(frames))


def plan_clip(
    analysis: Analysis,
    seen: Sequence[FrameRecord],
    request: SwapRequest,
    swapper: FaceSwapper,
    frame_size: tuple[int, int],
    frame_at: FrameReader | None = None,
) -> list[FrameRecord]:
    """What is to be done with the frames of `analyse_clip`, of `frame_size` (width, height).

    Without `frame_at`, what is decided once for a track by looking at a frame stays undecided; where and whether swaps are does not change.

    Raises:
        NoFaceFound: if none of the wanted persons is seen.
    """
    pack = swapper.pack
    cast = request.cast(analysis, pack.detector.det_thresh)
    clear_faces = learn_clear_faces(seen, cast.source_of_track, pack.surface) if pack.surface else None
    choose = None if frame_at is None else openings_chooser(pack, request.sources, frame_at, frame_size)
    return list(plan_records(seen, analysis.tracker.tracks, cast, pack, frame_size, choose, clear_faces))


def swap_clip(
    frames: Frames, swapper: FaceSwapper, source: Identity, persons: Sequence[Identity]
) -> tuple[list[FrameRecord], Iterator[Composition]]:
    """Both passes over frames: everybody of `persons` gets `source`, person by person. Records, and compositions as they are made."""
    request = SwapRequest([source] * len(persons), persons, False, "the clip")
    analysis, seen = analyse_clip(enumerate(frames()), swapper)
    height, width = next(iter(frames())).shape[:2]

    def frame_at(number: int) -> Image:
        return next(islice(frames(), number, None))

    records = plan_clip(analysis, seen, request, swapper, (width, height), frame_at)
    pairs = zip(frames(), records, strict=True)
    return records, generate_faces(pairs, swapper.pack, request.sources, swapper.batch_size, swapper.strength)


def persons_of(image: Image, swapper: FaceSwapper, name: str) -> list[Identity]:
    """Everybody in an image, from left to right.

    Raises:
        NoFaceFound: if there is nobody.
    """
    faces, _ = find_faces(image, swapper.pack)
    if not faces:
        raise NoFaceFound(f"no face in the first frame of {name!r}; choose another clip")
    ordered = sorted(faces, key=lambda face: float(face.box[0]))
    return [Identity(swapper.pack.embedder.embed(image, face), (View(image, face, name),)) for face in ordered]


def same_face(found: Sequence[Face], place: Face | None) -> Face | None:
    """That of the faces `found` in a picture which is where `place` is; None if there is none."""
    if place is None or not found:
        return None
    nearest = min(found, key=lambda face: float(np.linalg.norm(face.keypoints - place.keypoints)))
    distance = float(np.linalg.norm(nearest.keypoints - place.keypoints, axis=1).mean())
    return nearest if distance < (place.box[2] - place.box[0]) / 2 else None
