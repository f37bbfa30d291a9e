"""The embedded identity net: dlib's ResNet-29, 128 floats, on a 150 px chip aligned by five points.

Source: D. King, dlib 19, get_face_chip_details and face_recognition_resnet_model_v1 (CC0).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from coordinate_reg.mesh_points import LEFT_EYE, NOSE_BASE, RIGHT_EYE
from utils.inference.alignment import estimate_similarity, warp_antialiased
from utils.inference.records import Embedding, Face, Image
from utils.onnx_session import open_session

CHIP_PX = 150
CHIP_PADDING = 0.25
# dlib's mean positions, in a unit square, of the right outer, right inner, left outer and left inner eye corner (left and right of the
# picture) and the base of the nose.
CHIP_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
MESH_OF_CHIP_POINTS = (LEFT_EYE.outer, LEFT_EYE.inner, RIGHT_EYE.outer, RIGHT_EYE.inner, NOSE_BASE)


class DlibEmbedder:
    """Embedder of the embedded pack."""

    def __init__(self, path: Path, mean_path: Path) -> None:
        """Load the net, and the mean vector (128,) of many faces.

        dlib compares vectors by distance; all of them point the same way, so that their cosine is useless until the mean is taken away.
        """
        self._session = open_session(path)
        self._mean = np.load(mean_path).astype(np.float32).reshape(-1)

    def embed(self, image: Image, face: Face) -> Embedding:
        """(128,) float32, mean taken away; needs the dense landmarks. See `Embedder`."""
        if face.landmarks is None:
            raise ValueError("the dlib embedder aligns by the dense landmarks, and this face has none")
        targets = (CHIP_POINTS + CHIP_PADDING) / (2 * CHIP_PADDING + 1) * CHIP_PX
        frame_to_chip = estimate_similarity(face.landmarks[list(MESH_OF_CHIP_POINTS), :2], targets)
        chip = warp_antialiased(image, frame_to_chip, (CHIP_PX, CHIP_PX), cv2.BORDER_REPLICATE)
        tensor = np.ascontiguousarray(chip[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32)
        return self._session.run(["embedding"], {"input": tensor})[0].reshape(-1).astype(np.float32) - self._mean
