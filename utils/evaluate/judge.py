"""The judge of swaps: what can be measured of a result against the photos that it was made from.

Faces are found and told apart by the embedded pack, whichever pack made the swap. A second identity net, which no pack contains, may
confirm whose face it is; see `second_net`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from utils.evaluate.clips import analyse_clip, plan_clip
from utils.evaluate.expression import compare_expressions, landmarks_of, opening_difference
from utils.evaluate.finish import FacePair, judge_finish
from utils.inference.core import generate_faces
from utils.inference.face_swapper import FaceSwapper
from utils.inference.image_processing import MATTE_FULL, find_faces, get_final_image, get_layers
from utils.inference.model_pack import Embedder, ModelPack
from utils.inference.records import Embedding, Face, Identity, Image, Mask
from utils.inference.request import SwapRequest

SHIFTS_PX = (
    (0, 0),
    (2, 0),
    (-2, 0),
    (0, 2),
    (0, -2),
)  # of the measurements of which a difference of openings is the median


@dataclass(frozen=True)
class Score:
    """The figures of one swap; see `expression` and `finish` for theirs.

    Attributes:
        to_source, to_target: L2 between raw embeddings of the judge's identity net.
        to_other: the same to the nearest other photo of the source's person.
        nearer_source: whether the result is nearer the source than the target.
        retrieved: whether the nearest photo of the gallery shows the source's person.
        second_nearer: `nearer_source` by the second net; None without one.
        eye_symmetry: opening of the right eye less that of the left, median over SHIFTS_PX; |result - target|.
    """

    to_source: float
    to_target: float
    to_other: float
    nearer_source: bool
    retrieved: bool
    second_nearer: bool | None
    mouth: float
    eye_right: float
    eye_left: float
    brow: float
    gaze: float
    yaw_deg: float
    pitch_deg: float
    eye_symmetry: float
    seam: float
    edge_colour: float
    sharpness: float
    grain: float


# A swap that destroys the face is the worst there is.
NO_FACE = Score(np.inf, 0.0, np.inf, False, False, False, *[np.inf] * 12)


@dataclass(frozen=True, eq=False)
class Seen:
    """A face of a picture as the judge sees it; `asymmetry` is the difference of its eye openings, `second` of the second net."""

    image: Image
    face: Face
    embedding: Embedding
    second: Embedding | None
    asymmetry: float


@dataclass(frozen=True, eq=False)
class Swap:
    """A photo after a swap, and the weight of what was pasted, (H, W) float32 in [0, 1]."""

    result: Image
    weight: Mask


def swap_photo(swapper: FaceSwapper, image: Image, source: Identity, target: Identity) -> Swap:
    """Swap the face of `target` in its photo, as `FaceSwapper.swap_image` does, and keep the mask."""
    request = SwapRequest([source], [target], False, target.views[0].name)
    analysis, seen = analyse_clip([(0, image)], swapper)
    records = plan_clip(analysis, seen, request, swapper, (image.shape[1], image.shape[0]), lambda _: image)
    frames = zip([image], records, strict=True)
    (swap,) = generate_faces(frames, swapper.pack, [source], swapper.batch_size, swapper.strength)
    _, matte = get_layers(swap.frame, swap.aligned, swap.generated)
    return Swap(get_final_image(swap.frame, swap.aligned, swap.generated), (matte / MATTE_FULL).astype(np.float32))


class Judge:
    """Sees faces, and scores swaps."""

    def __init__(self, pack: ModelPack, second: Embedder | None = None) -> None:
        """Take over the embedded pack, and a second identity net if there is one."""
        self._pack = pack
        self._second = second

    def see(self, image: Image, near: Face | None = None) -> Seen | None:
        """The face nearest to `near`, or the largest; None if there is none."""
        face = self._find(image, near)
        if face is None:
            return None
        return Seen(
            image,
            face,
            self._pack.embedder.embed(image, face),
            None if self._second is None else self._second.embed(image, face),
            self._asymmetry(image, face),
        )

    def score(self, swap: Swap, source: Seen, target: Seen, person: str, gallery: Sequence[tuple[str, Seen]]) -> Score:
        """Judge one swap.

        Args:
            swap: of `target`'s photo.
            source, target: the photos it was made from.
            person: who the source is, in the gallery.
            gallery: persons and photos, without the source's.
        """
        seen = self.see(swap.result, target.face)
        if seen is None:
            return NO_FACE
        distances = np.array([np.linalg.norm(seen.embedding - other.embedding) for _, other in gallery])
        own = [distance for distance, (name, _) in zip(distances, gallery, strict=True) if name == person]
        to_source, to_target = (float(np.linalg.norm(seen.embedding - photo.embedding)) for photo in (source, target))
        finish = judge_finish(
            FacePair(target.image, swap.result, swap.weight, landmarks_of(target.face), landmarks_of(seen.face))
        )
        return Score(
            to_source=to_source,
            to_target=to_target,
            to_other=float(min(own)),
            nearer_source=to_source < to_target,
            retrieved=gallery[int(distances.argmin())][0] == person,
            second_nearer=_nearer(seen.second, source.second, target.second),
            eye_symmetry=abs(seen.asymmetry - target.asymmetry),
            **asdict(compare_expressions(seen.face, target.face)),
            **asdict(finish),
        )

    def _find(self, image: Image, near: Face | None) -> Face | None:
        faces, _ = find_faces(image, self._pack)
        if near is None:
            return max(faces, key=lambda face: face.area, default=None)
        return min(faces, key=lambda face: float(np.linalg.norm(face.keypoints - near.keypoints)), default=None)

    def _asymmetry(self, image: Image, face: Face) -> float:
        differences = []
        for shift in SHIFTS_PX:
            shifted = cv2.warpAffine(
                image,
                np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float),
                image.shape[1::-1],
                borderMode=cv2.BORDER_REPLICATE,
            )
            found = self._find(shifted, face)
            if found is not None:
                differences.append(opening_difference(landmarks_of(found)))
        return float(np.median(differences)) if differences else np.nan


def _nearer(result: Embedding | None, source: Embedding | None, target: Embedding | None) -> bool | None:
    """Whether a result is nearer the source than the target by cosine; None if a vector is missing."""
    if result is None or source is None or target is None:
        return None
    to_source, to_target = (float(result @ other / np.linalg.norm(other)) for other in (source, target))
    return to_source > to_target
