"""Landmarks of aligned crops for GHOST's mask: from 2d106 where it is there, else from the embedded mesh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coordinate_reg.image_infer import Handler
from coordinate_reg.landmarks_106 import landmarks_106_from_mesh
from utils.inference.alignment import POSE_TEMPLATES_112
from utils.inference.masks import CROP_PX
from utils.inference.model_pack import Landmarker
from utils.inference.records import Face, Image, Points

# Where an aligned face lies in its crop: the eyes, nose and mouth of the frontal template, and the box of a face around them.
FRONTAL_KEYPOINTS: Points = POSE_TEMPLATES_112[2] * (CROP_PX / 112)
ALIGNED_BOX: Points = np.array([0.15, 0.12, 0.85, 0.98]) * CROP_PX


class Landmarks106:
    """The 2d106 net."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def locate_crops(self, crops: Sequence[Image]) -> list[Points | None]:
        """See `CropLandmarker`; the net answers always, also where there is no face."""
        return list(self._handler.get_without_detection_without_transform_batch(crops))


class MeshLandmarks106:
    """The embedded mesh in the place of the 2d106 net."""

    def __init__(self, landmarker: Landmarker) -> None:
        self._landmarker = landmarker

    def locate_crops(self, crops: Sequence[Image]) -> list[Points | None]:
        """See `CropLandmarker`."""
        faces = [self._landmarker.locate(crop, Face(ALIGNED_BOX, 1.0, FRONTAL_KEYPOINTS)) for crop in crops]
        return [
            None if face is None or face.landmarks is None else landmarks_106_from_mesh(face.landmarks)
            for face in faces
        ]
