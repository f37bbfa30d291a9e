"""GHOST's generator behind the `Generator` protocol: AEI-Net, super resolution if wanted, and the landmark mask.

Source: Groshev et al., GHOST, IEEE Access 10, 2022, doi 10.1109/ACCESS.2022.3196668.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from models.enhancement import face_enhancement
from utils.devices import Placement
from utils.inference.alignment import estimate_pose_alignment, warp_bilinear
from utils.inference.batching import BatchLimit
from utils.inference.faceshifter_run import faceshifter_batch, resize_frames
from utils.inference.masks import CROP_PX, circle_mask, face_mask_static
from utils.inference.records import AlignedFace, Face, GeneratedFace, Identity, Image, Mask, MaskParameters, Points

if TYPE_CHECKING:
    from models.ghost_networks import Generator, Network


class CropLandmarker(Protocol):
    """Finds the 106 landmarks on aligned crops."""

    def locate_crops(self, crops: Sequence[Image]) -> list[Points | None]:
        """N times (224, 224, 3) BGR uint8 -> N times (106, 2) in pixels of the crop, None where no face is seen."""


class GhostGenerator:
    """Generator of the ghost pack.

    Args:
        network: AEI-Net, from `models.ghost_networks`.
        landmarker: for the mask.
        placement: where the network runs and in which precision.
        batch_size: the most faces at once.
        crop_px: side of the aligned crop.
        sr_net: super resolution, from `models.ghost_networks`, or None.
    """

    keeps_masks = True

    def __init__(
        self,
        network: Generator,
        landmarker: CropLandmarker,
        placement: Placement,
        batch_size: int,
        crop_px: int = CROP_PX,
        sr_net: Network | None = None,
    ) -> None:
        self.max_batch = batch_size
        self._placement = placement
        self._network = network
        self._sr_net = sr_net
        self._landmarker = landmarker
        self._limit, self._sr_limit = BatchLimit(batch_size), BatchLimit(min(batch_size, 8))
        self._crop_px = crop_px

    def align(self, frame: Image, face: Face) -> AlignedFace:
        """See `Generator`."""
        frame_to_crop, _ = estimate_pose_alignment(face.keypoints, self._crop_px)
        return AlignedFace(warp_bilinear(frame, frame_to_crop, self._crop_px), frame_to_crop, face)

    def choose_mask(self, face: AlignedFace, identity: Identity) -> MaskParameters | None:
        """See `Generator`; None where no landmarks are found."""
        swapped = self._swap([face], [identity])
        ours, theirs = self._landmarker.locate_crops([_at_mask_size(swapped[0]), _at_mask_size(face.crop)])
        return None if ours is None or theirs is None else face_mask_static(ours, theirs)[1]

    def generate(self, faces: Sequence[AlignedFace], identities: Sequence[Identity]) -> list[GeneratedFace]:
        """See `Generator`."""
        swapped = self._swap(faces, identities)
        ours = self._landmarker.locate_crops([_at_mask_size(image) for image in swapped])
        undecided = [index for index, face in enumerate(faces) if face.treatment.mask_parameters is None]
        found = self._landmarker.locate_crops([_at_mask_size(faces[index].crop) for index in undecided])
        theirs = dict(zip(undecided, found, strict=True))
        return [
            GeneratedFace(image, self._mask(face, landmarks, theirs.get(index)))
            for index, (image, face, landmarks) in enumerate(zip(swapped, faces, ours, strict=True))
        ]

    def _swap(self, faces: Sequence[AlignedFace], identities: Sequence[Identity]) -> list[Image]:
        """Swapped crops, of the size of the crops."""
        device, dtype = self._placement.device, self._placement.dtype
        crops = [face.crop for face in faces]
        embeddings = [identity.embedding for identity in identities]
        swapped = faceshifter_batch(crops, embeddings, self._network, device, dtype, self._limit)
        if self._sr_net is not None:
            swapped = face_enhancement(swapped, self._sr_net, device, dtype, self._sr_limit)
        return resize_frames(swapped, self._crop_px)

    def _mask(self, face: AlignedFace, ours: Points | None, theirs: Points | None) -> Mask:
        """(crop_px, crop_px) float32; the circle where landmarks are missing."""
        if ours is None or (face.treatment.mask_parameters is None and theirs is None):
            mask = circle_mask().astype(np.float32) / np.float32(255)
        else:
            mask, _ = face_mask_static(ours, ours if theirs is None else theirs, face.treatment.mask_parameters)
        return mask if self._crop_px == CROP_PX else cv2.resize(mask, (self._crop_px, self._crop_px))


def _at_mask_size(crop: Image) -> Image:
    return crop if crop.shape[0] == CROP_PX else resize_frames([crop], CROP_PX)[0]
