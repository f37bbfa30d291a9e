"""What models answer, held to what can be: a damaged net, or a picture made to mislead it, must not lead the pipeline astray.

Faces that cannot be are left out; an identity that is no number is an error, for everybody would be taken for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from utils.errors import ModelFileError
from utils.inference.model_pack import Embedder
from utils.inference.records import Embedding, Face, Image

MOST_FACES = 1000  # of one picture; comparing each with each takes a second then
FARTHEST = 2.0  # of a face's points from the middle of its picture, in the picture's longer sides
SMALLEST_PX = 1.0  # side of a box
SMALLEST_SPREAD = 0.01  # of the middle half of keypoints or landmarks, over the longer side of the box
QUARTILES = (25, 75)


def possible_faces(faces: Sequence[Face], image: Image) -> list[Face]:
    """Those faces that can be in `image`, (H, W, 3): finite, of some extent, and not far outside; the first of too many."""
    height, width = image.shape[:2]
    return list(islice((face for face in faces if _is_possible(face, width, height)), MOST_FACES))


def embed_face(embedder: Embedder, image: Image, face: Face) -> Embedding:
    """(D,) float32: who a face in `image` is.

    Raises:
        ModelFileError: if the net gives no direction.
    """
    embedding = embedder.embed(image, face)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(embedding))
    if not (np.isfinite(length) and length > 0):
        raise ModelFileError(
            "the identity net gives no usable number for a face; its file may be damaged, look with --list_weights"
        )
    return embedding


def _is_possible(face: Face, width: int, height: int) -> bool:
    left, top, right, bottom = face.box
    points = [face.box.reshape(2, 2), face.keypoints]
    if face.landmarks is not None:
        points.append(face.landmarks[:, :2])
        depth = np.abs(face.landmarks[:, 2]).max()
        if not depth <= FARTHEST * max(width, height):  # nor is one that is no number
            return False
    together = np.concatenate(points)
    if not (np.isfinite(face.score) and np.isfinite(together).all()):
        return False
    side = max(right - left, bottom - top)
    near = np.abs(together - (width / 2, height / 2)).max() <= FARTHEST * max(width, height)
    spread = min(float(np.ptp(np.percentile(marks, QUARTILES, axis=0), axis=0).max()) for marks in points[1:])
    return bool(near and min(right - left, bottom - top) >= SMALLEST_PX and spread >= SMALLEST_SPREAD * side)
