"""The embedded landmarker: MediaPipe's attention mesh, 468 points of the face and 5 of each iris, in three dimensions.

It also is the judge of what is a face: its face flag and the agreement of its box with the detector's turn candidates down.

Source: I. Grishchenko et al., Attention Mesh, arXiv 2006.10962; index lists from MediaPipe's
tensors_to_face_landmarks_with_attention graph (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from coordinate_reg.mesh_points import (
    LANDMARK_COUNT,
    LEFT_EYE,
    LIPS,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_EYE,
    VERTEX_COUNT,
)
from utils.inference.alignment import invert, transform_points, warp_antialiased
from utils.inference.boxes import box_iou
from utils.inference.records import Affine, Face, Image, Points
from utils.onnx_session import open_session

IRIS_POINTS = 5
NOSE_FRONT = (1, 4)

INPUT_PX = 192
REGION_SCALE = 1.5  # side of the square given to the net / long side of the box of the face
MIN_FACE_FLAG = 0.5
MIN_BOX_IOU = 0.25  # of the mesh's box with the detector's: less means that the mesh slid to something else
REFINING_PASSES = 1  # the net is best on a region that was placed by its own points
SETTLED_PX = 4.0  # of the input: a face that moved less since the frame before was placed well enough by its old points


def region_to_input(centre: Points, side_px: float, angle_rad: float) -> Affine:
    """Similarity that turns a square of a picture, rotated by `angle_rad`, into the net's input."""
    scale = INPUT_PX / side_px
    cos, sin = np.cos(-angle_rad) * scale, np.sin(-angle_rad) * scale
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([linear, (INPUT_PX / 2 - linear @ centre)[:, None]])


def region_of_face(face: Face) -> Affine:
    """Where the net looks for the face that a detector found."""
    left, top, right, bottom = face.box
    across = face.keypoints[1] - face.keypoints[0]
    angle = float(np.arctan2(across[1], across[0]))
    return region_to_input((face.box[:2] + face.box[2:]) / 2, REGION_SCALE * max(right - left, bottom - top), angle)


def region_of_landmarks(landmarks: Points) -> Affine:
    """Where the net looks again, once it has placed its points."""
    points = landmarks[:, :2]
    across = points[LEFT_EYE.outer] - points[RIGHT_EYE.outer]
    angle = float(np.arctan2(across[1], across[0]))
    cos, sin = np.cos(-angle), np.sin(-angle)
    upright = np.array([[cos, -sin], [sin, cos]])
    turned = points @ upright.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return region_to_input((low + high) / 2 @ upright, REGION_SCALE * float((high - low).max()), angle)


def input_shift(frame_to_input: Affine, other: Affine) -> float:
    """How far the corners of one region lie from those of the other at most, in pixels of the input."""
    corners = np.array([[0, 0], [INPUT_PX, 0], [INPUT_PX, INPUT_PX], [0, INPUT_PX]], np.float64)
    shifted = transform_points(frame_to_input, transform_points(invert(other), corners))
    return float(np.linalg.norm(shifted - corners, axis=1).max())


def keypoints_of_landmarks(landmarks: Points) -> Points:
    """The five points of `Face.keypoints` from (478, 3) landmarks."""
    points = landmarks[:, :2]
    return np.stack(
        [
            points[list(RIGHT_EYE.ring)].mean(axis=0),
            points[list(LEFT_EYE.ring)].mean(axis=0),
            points[list(NOSE_FRONT)].mean(axis=0),
            points[MOUTH_RIGHT],
            points[MOUTH_LEFT],
        ]
    )


def box_of_landmarks(landmarks: Points) -> Points:
    """(4,) left, top, right, bottom."""
    return np.concatenate([landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)])


class AttentionMesh:
    """Landmarker of the embedded pack: 478 points."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self._outputs = ["mesh", "lips", "left_eye", "right_eye", "left_iris", "right_iris", "face_flag"]

    def locate(self, image: Image, face: Face) -> Face | None:
        """See `Landmarker`."""
        region = region_of_face(face) if face.landmarks is None else region_of_landmarks(face.landmarks)
        landmarks, flag = self._run(image, region)
        for _ in range(REFINING_PASSES):
            if not self._plausible(landmarks):
                return None
            better = region_of_landmarks(landmarks)
            if face.landmarks is not None and input_shift(region, better) < SETTLED_PX:
                break
            landmarks, flag = self._run(image, better)
        if flag < MIN_FACE_FLAG or not self._plausible(landmarks):
            return None
        box = box_of_landmarks(landmarks)
        if box_iou(box, face.box[None])[0] < MIN_BOX_IOU:
            return None
        return Face(box, face.score, keypoints_of_landmarks(landmarks), landmarks)

    @staticmethod
    def _plausible(landmarks: Points) -> bool:
        """Whether the points are finite and spread out at all; a net's answer on garbage may be anything."""
        return bool(np.isfinite(landmarks).all() and np.ptp(landmarks[:, :2], axis=0).min() > 1.0)

    def _run(self, image: Image, frame_to_input: Affine) -> tuple[Points, float]:
        """Landmarks (478, 3) in pixels of `image`, and the face flag in [0, 1]."""
        crop = warp_antialiased(image, frame_to_input, (INPUT_PX, INPUT_PX), cv2.BORDER_CONSTANT)
        tensor = np.divide(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)[None], np.float32(255), dtype=np.float32)
        answers = self._session.run(self._outputs, {"input": tensor})
        mesh, lips, left_eye, right_eye, left_iris, right_iris, flag = (
            answer.reshape(-1).astype(np.float64) for answer in answers
        )
        landmarks = np.zeros((LANDMARK_COUNT, 3))
        landmarks[:VERTEX_COUNT] = mesh.reshape(-1, 3)
        # The net calls the eyes and irises by their side of the picture.
        for indices, refined in ((LIPS, lips), (RIGHT_EYE.halo, left_eye), (LEFT_EYE.halo, right_eye)):
            landmarks[list(indices), :2] = refined.reshape(-1, 2)
        landmarks[RIGHT_EYE.iris : RIGHT_EYE.iris + IRIS_POINTS, :2] = left_iris.reshape(-1, 2)
        landmarks[LEFT_EYE.iris :, :2] = right_iris.reshape(-1, 2)
        probability = 1.0 / (1.0 + float(np.exp(-np.clip(flag[0], -80.0, 80.0))))
        return transform_points(invert(frame_to_input), landmarks), probability
