"""The records that travel through the pipeline.

Nothing here imports a model, a device or a file. Conventions: images are BGR uint8 (H, W, 3); points are (x, y) in pixels of the image
they belong to, pixel centres at whole numbers; `frame_to_crop` maps frame pixels to crop pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.float32]
Affine: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.float64]
Motion: TypeAlias = tuple[float, float]  # x, y in frame pixels from one frame to the next
Embedding: TypeAlias = NDArray[np.float32]
Texels: TypeAlias = NDArray[np.bool_]
"""Of a face laid flat, see `model_pack.Surface`: (64, 64)."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Attributes:
        box: (4,) float64: left, top, right, bottom.
        score: the detector's confidence in [0, 1].
        keypoints: (5, 2) float64: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
        landmarks: (L, 3) float64 dense landmarks, z in the same pixel unit and growing away from the camera; None if the pack has none.
    """

    box: Points
    score: float
    keypoints: Points
    landmarks: Points | None = None

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return float(max(right - left, 0.0) * max(bottom - top, 0.0))


@dataclass(frozen=True, eq=False)
class View:
    """One photo of a person, with the face in it; `name` is what messages call the photo."""

    image: Image
    face: Face
    name: str


@dataclass(frozen=True, eq=False)
class Identity:
    """Who somebody is: a vector for matching, and the pixels it came from, which some generators need.

    Attributes:
        embedding: (D,) float32, raw (not unit length); compared by cosine similarity.
        views: the photos of this person, at least one for a source.
    """

    embedding: Embedding
    views: tuple[View, ...]


@dataclass(frozen=True)
class MaskParameters:
    """How GHOST's mask is made from the hull of the landmarks; in a video, the choice of a person's first frame is kept.

    Attributes:
        erode_px: side of the square that the hull is eroded by; dilated by its opposite where negative.
        sigma_x, sigma_y: of the Gaussian blur, in pixels; twice sigma_y is also the width of the cleared border.
        brow_factor: how far the brows are raised, in halves of their distance from the upper lid.
    """

    erode_px: int
    sigma_x: int
    sigma_y: int
    brow_factor: float


@dataclass(frozen=True)
class Openings:
    """How far the right eye, the left eye and the mouth are open, or how much farther they are to be: height over width of each."""

    right: float = 0.0
    left: float = 0.0
    mouth: float = 0.0


@dataclass(frozen=True, eq=False)
class Appearance:
    """How a face looks, laid flat by a `model_pack.Surface` and compressed; see `utils.inference.occlusion.appearance`.

    Attributes:
        png: a small square picture.
        seen: a bit a texel: whether it shows the face.
        glasses: how clearly lines run where glasses have theirs, in percent of contrast; 0 if they are not looked for.
    """

    png: bytes
    seen: bytes
    glasses: float = 0.0


@dataclass(frozen=True, eq=False)
class Treatment:
    """How a face is swapped in one frame, as the plan decided.

    Attributes:
        mask_parameters: what `model_pack.Generator.choose_mask` said at the beginning of the track; None leaves it to the generator.
        openings: by how much farther eyes and mouth are drawn open than in the target; see `utils.inference.calibration`.
        strength: how much of the swap is to be seen, in [0, 1]; 0 leaves the frame as it is.
        motion: of the face at this frame, in pixels a frame; (0, 0) in a photo.
        occluded: which texels of the pack's surface something in front hides; None if none are.
        glasses: what `Appearance.glasses` usually is on the track; None if that is not known, and the frame itself must tell.
    """

    mask_parameters: MaskParameters | None = None
    openings: Openings = Openings()
    strength: float = 1.0
    motion: Motion = (0.0, 0.0)
    occluded: Texels | None = None
    glasses: float | None = None


UNTREATED = Treatment()


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face cut out of its frame for a generator.

    Attributes:
        crop: (S, S, 3) BGR uint8.
        frame_to_crop: (2, 3) float64.
        face: the face in frame pixels.
        treatment: what the plan decided for this frame.
        visible: (S, S) float32 in [0, 1], 0 where something in front hides the face; None if nothing does.
    """

    crop: Image
    frame_to_crop: Affine
    face: Face
    treatment: Treatment = UNTREATED
    visible: Mask | None = None


@dataclass(frozen=True, eq=False)
class GeneratedFace:
    """A generator's answer.

    Attributes:
        image: (S, S, 3) BGR uint8, in the pixels of the aligned crop.
        mask: (S, S) float32 in [0, 1]; 1 keeps `image`, 0 keeps the frame.
    """

    image: Image
    mask: Mask


@dataclass(frozen=True, eq=False)
class Composition:
    """A frame and what was generated for it, not yet put together.

    Attributes:
        frame: (H, W, 3) BGR uint8.
        aligned, generated: its faces, in the order in which they are laid over it.
    """

    frame: Image
    aligned: tuple[AlignedFace, ...]
    generated: tuple[GeneratedFace, ...]
