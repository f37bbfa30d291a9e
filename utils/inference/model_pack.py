"""The protocols that models keep, and the pack that they come in.

Nothing here imports a model, a device or a file; the conventions are those of `utils.inference.records`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from utils.inference.records import (
    Affine,
    AlignedFace,
    Appearance,
    Embedding,
    Face,
    GeneratedFace,
    Identity,
    Image,
    Mask,
    MaskParameters,
    Openings,
    Points,
    Texels,
)


class Detector(Protocol):
    """Finds faces."""

    det_thresh: float
    """Score in [0, 1] from which on a candidate counts."""

    def detect(self, image: Image, thorough: bool = True) -> tuple[list[Face], float]:
        """Faces of `image`, best score first (an empty list when there is none), and the best score of any candidate, for messages.

        A search that is not `thorough` may miss faces that are small in the picture.
        """


class Landmarker(Protocol):
    """Places dense landmarks on a detected face."""

    def locate(self, image: Image, face: Face) -> Face | None:
        """`face` with dense landmarks (box and keypoints refined by them), or None when the model says that this is no face.

        A face that comes with dense landmarks is one of a neighbouring frame, and is followed from there.
        """


class Embedder(Protocol):
    """Turns a face into an identity vector."""

    def embed(self, image: Image, face: Face) -> Embedding:
        """(D,) float32 such that the cosine similarity of two vectors says how alike the persons are."""


class Generator(Protocol):
    """Makes the swapped face."""

    max_batch: int
    """How many faces it gains from seeing at once; 1 for a generator that works face by face."""

    keeps_masks: bool
    """Whether something about its masks, decided by `choose_mask`, must not change within a track."""

    def align(self, frame: Image, face: Face) -> AlignedFace:
        """Cut `face` out of `frame` in the pose, size and border that this generator expects."""

    def choose_mask(self, face: AlignedFace, identity: Identity) -> MaskParameters | None:
        """Decide from the first swapped face of a track what must not change within it; None if there is nothing to decide."""

    def generate(self, faces: Sequence[AlignedFace], identities: Sequence[Identity]) -> list[GeneratedFace]:
        """Give each of `faces` the identity at the same place in `identities`."""


class FaceSmoother(Protocol):
    """Steadies one person's faces in a stream of frames, looking a bounded number of frames ahead, so that nothing is late."""

    def push(self, face: Face | None) -> list[Face | None]:
        """Take in the next frame, None where the person is missing; returns what is ready: as many as came in, in order, late."""

    def finish(self) -> list[Face | None]:
        """What is left; afterwards a new track may begin."""


@dataclass(frozen=True)
class FadeLimits:
    """What a generator can do; see `utils.inference.steadying.fading`.

    Attributes:
        min_face_px: height of a face's box, in frame pixels, below which it is left as it is.
        yaw_deg: turn of the head up to which a swap is shown in full, and from which on it is not shown.
        cheeks: of the dense landmarks, those at the right and the left end of the face; None measures the turn by the five keypoints.
    """

    min_face_px: float
    yaw_deg: tuple[float, float] = (inf, inf)
    cheeks: tuple[int, int] | None = None


class Surface(Protocol):
    """Lays faces flat, so that the same point of a face has the same place in every frame."""

    tolerance: Mask
    """Of each texel, at least 1: how much more than plain skin it changes by itself."""

    slack_texels: int
    """How far from its place a point of the face may be found."""

    def flatten(self, frame: Image, face: Face) -> Appearance:
        """How `face` looks in `frame`."""

    def place(self, occluded: Texels, face: Face, frame_to_crop: Affine, size: int) -> Mask:
        """A map of texels seen in a crop: (size, size) float32 in [0, 1], 0 where `occluded`."""


@dataclass(frozen=True)
class ModelPack:
    """The loaded models of one pack.

    Attributes:
        name: `ghost` or `builtin`.
        version: of the weights, for provenance.
        detector, landmarker, embedder, generator: the models; a pack whose generator needs no dense landmarks has no landmarker.
        similarity_th: cosine similarity from which on two faces count as one person.
        make_smoother: a new smoother for one person's faces, of the kind that suits the generator; all of a pack look equally far ahead.
        fade_limits: what the generator can do.
        settings: what else its answers depend on, in words.
        surface: lays faces flat, so that occluders can be found; None if they are not looked for.
        measure_openings: reads off dense landmarks how far eyes and mouth are open; None if the generator does not draw them by landmarks.
    """

    name: str
    version: str
    detector: Detector
    landmarker: Landmarker | None
    embedder: Embedder
    generator: Generator
    similarity_th: float
    make_smoother: Callable[[], FaceSmoother]
    fade_limits: FadeLimits
    settings: str = ""
    surface: Surface | None = None
    measure_openings: Callable[[Points], Openings] | None = None
