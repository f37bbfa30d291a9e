"""The embedded landmarker: MediaPipe's attention mesh, 468 points of the face and 5 of each iris, in three dimensions.

It also is the judge of what is a face: its face flag and the agreement of its box with the detector's turn candidates down.

Source: I. Grishchenko et al., Attention Mesh, arXiv 2006.10962; index lists from MediaPipe's
tensors_to_face_landmarks_with_attention graph (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.inference.alignment import invert, transform_points, warp_antialiased
from utils.inference.boxes import box_iou
from utils.inference.records import Affine, Face, Image, Points
from utils.onnx_session import open_session

MESH_POINTS = 468
IRIS_POINTS = 5
LANDMARKS = MESH_POINTS + 2 * IRIS_POINTS

# Which mesh points the refining heads give, in the order of their outputs. Left and right are the picture's.
# fmt: off
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)
LEFT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)
RIGHT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
)
# fmt: on
LEFT_EYE_RING = LEFT_EYE[:16]
RIGHT_EYE_RING = RIGHT_EYE[:16]
LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 33, 263
NOSE_TIP = (1, 4)
LEFT_MOUTH, RIGHT_MOUTH = 61, 291

INPUT_PX = 192
REGION_SCALE = 1.5  # side of the square given to the net / long side of the box of the face
MIN_FACE_FLAG = 0.5
MIN_BOX_IOU = 0.25  # of the mesh's box with the detector's: less means that the mesh slid to something else
REFINING_PASSES = 1  # the net is best on a region that was placed by its own points


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
    across = points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER]
    angle = float(np.arctan2(across[1], across[0]))
    cos, sin = np.cos(-angle), np.sin(-angle)
    upright = np.array([[cos, -sin], [sin, cos]])
    turned = points @ upright.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return region_to_input((low + high) / 2 @ upright, REGION_SCALE * float((high - low).max()), angle)


def keypoints_of_landmarks(landmarks: Points) -> Points:
    """The five points of `Face.keypoints` from (478, 3) landmarks."""
    points = landmarks[:, :2]
    return np.stack(
        [
            points[list(LEFT_EYE_RING)].mean(axis=0),
            points[list(RIGHT_EYE_RING)].mean(axis=0),
            points[list(NOSE_TIP)].mean(axis=0),
            points[LEFT_MOUTH],
            points[RIGHT_MOUTH],
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
        landmarks, flag = self._run(image, region_of_face(face))
        for _ in range(REFINING_PASSES):
            if not self._plausible(landmarks):
                return None
            landmarks, flag = self._run(image, region_of_landmarks(landmarks))
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
        tensor = crop[None, :, :, ::-1].astype(np.float32) / np.float32(255)
        answers = self._session.run(self._outputs, {"input": tensor})
        mesh, lips, left_eye, right_eye, left_iris, right_iris, flag = (
            answer.reshape(-1).astype(np.float64) for answer in answers
        )
        landmarks = np.zeros((LANDMARKS, 3))
        landmarks[:MESH_POINTS] = mesh.reshape(-1, 3)
        for indices, refined in ((LIPS, lips), (LEFT_EYE, left_eye), (RIGHT_EYE, right_eye)):
            landmarks[list(indices), :2] = refined.reshape(-1, 2)
        landmarks[MESH_POINTS : MESH_POINTS + IRIS_POINTS, :2] = left_iris.reshape(-1, 2)
        landmarks[MESH_POINTS + IRIS_POINTS :, :2] = right_iris.reshape(-1, 2)
        probability = 1.0 / (1.0 + float(np.exp(-np.clip(flag[0], -80.0, 80.0))))
        return transform_points(invert(frame_to_input), landmarks), probability
