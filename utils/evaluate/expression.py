"""What a face does, from its 478 landmarks: openings, brows, gaze, turn. Pure functions; lengths are shares of the face's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coordinate_reg.mesh_points import CHEEKS, EYES, LIP_OPENING, MOUTH_LEFT, MOUTH_RIGHT, RIGID, EyeIndices
from models.mesh.shape import eye_opening
from utils.inference.records import Face, Points
from utils.inference.steadying.fading import yaw_of


@dataclass(frozen=True)
class Expression:
    """How far two faces differ; all are absolute.

    Attributes:
        mouth: opening over width.
        eye_right, eye_left: opening over width, the person's own right and left.
        brow: height of the brows over the eye distance, mean of both.
        gaze: place of the iris between the corners in eye widths, mean of both.
        yaw_deg, pitch_deg: turn of the head to the side, and nodding.
    """

    mouth: float
    eye_right: float
    eye_left: float
    brow: float
    gaze: float
    yaw_deg: float
    pitch_deg: float


def landmarks_of(face: Face) -> Points:
    """The dense landmarks.

    Raises:
        ValueError: if the pack gives none.
    """
    if face.landmarks is None:
        raise ValueError("the evaluation needs a pack with dense landmarks")
    return face.landmarks


def compare_expressions(result: Face, target: Face) -> Expression:
    """How far the expression and pose of `result` are from those of `target`."""
    now, before = landmarks_of(result), landmarks_of(target)
    right, left = (abs(eye_opening(now, eye) - eye_opening(before, eye)) for eye in EYES)
    return Expression(
        mouth=abs(mouth_opening(now) - mouth_opening(before)),
        eye_right=right,
        eye_left=left,
        brow=float(np.mean([abs(brow_height(now, eye) - brow_height(before, eye)) for eye in EYES])),
        gaze=float(np.mean([abs(iris_place(now, eye) - iris_place(before, eye)) for eye in EYES])),
        yaw_deg=abs(yaw_of(result, CHEEKS) - yaw_of(target, CHEEKS)),
        pitch_deg=abs(pitch_between(now, before)),
    )


def mouth_opening(landmarks: Points) -> float:
    """Distance of the lips over the width of the mouth."""
    upper, lower = landmarks[list(LIP_OPENING), :2]
    right, left = landmarks[[MOUTH_RIGHT, MOUTH_LEFT], :2]
    return float(np.linalg.norm(upper - lower)) / max(float(np.linalg.norm(right - left)), 1e-6)


def eye_distance(landmarks: Points) -> float:
    """From the middle of one eye's corners to that of the other's, in pixels."""
    right, left = (landmarks[[eye.outer, eye.inner], :2].mean(0) for eye in EYES)
    return max(float(np.linalg.norm(left - right)), 1e-6)


def brow_height(landmarks: Points, eye: EyeIndices) -> float:
    """Of the brow over the line through the eye's corners, over the eye distance."""
    outer, inner, brow = landmarks[eye.outer, :2], landmarks[eye.inner, :2], landmarks[list(eye.brow), :2].mean(0)
    (x, y), (way_x, way_y) = inner - outer, brow - outer
    return abs(float(x * way_y - y * way_x)) / max(math.hypot(x, y), 1e-6) / eye_distance(landmarks)


def iris_place(landmarks: Points, eye: EyeIndices) -> float:
    """Place of the iris' centre along the eye: 0 at the outer corner, 1 at the inner one."""
    across = landmarks[eye.inner, :2] - landmarks[eye.outer, :2]
    way = landmarks[eye.iris, :2] - landmarks[eye.outer, :2]
    return float(way @ across) / max(float(across @ across), 1e-9)


def pitch_between(first: Points, second: Points) -> float:
    """By how many degrees the head of `first` nods further than that of `second`, by the landmarks that bone carries.

    Source: Kabsch, A solution for the best rotation to relate two sets of vectors, 1976.
    """
    ours, theirs = (points[list(RIGID)] - points[list(RIGID)].mean(0) for points in (first, second))
    u, _, vt = np.linalg.svd(ours.T @ theirs)
    rotation = (u * np.array([1, 1, np.sign(np.linalg.det(u @ vt))])) @ vt  # takes `theirs` to `ours`
    return math.degrees(math.atan2(rotation[2, 1], rotation[2, 2]))


def opening_difference(landmarks: Points) -> float:
    """Opening of the right eye less that of the left."""
    right, left = (eye_opening(landmarks, eye) for eye in EYES)
    return right - left
