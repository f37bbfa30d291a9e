"""Axis-aligned boxes: left, top, right, bottom, in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.inference.records import Face, Points

DUPLICATE_OVERLAP = 0.5  # of the smaller box: two nets, or two tiles, may see one face at different sizes


def intersections(box: Points, boxes: Points) -> Points:
    """(N,) areas shared by `box` (4,) and each of `boxes` (N, 4)."""
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    return np.prod(np.maximum(bottom_right - top_left, 0.0), axis=1)


def areas(boxes: Points) -> Points:
    """(N,) areas of (N, 4) boxes, at least a tiny positive number."""
    return np.maximum(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1), 1e-9)


def box_iou(box: Points, boxes: Points) -> Points:
    """(N,) intersection over union of `box` (4,) with each of `boxes` (N, 4).

    >>> box_iou(np.array([0., 0., 2., 2.]), np.array([[1., 0., 3., 2.]])).round(3)
    array([0.333])
    """
    shared = intersections(box, boxes)
    return shared / (areas(box[None]) + areas(boxes) - shared)


def is_duplicate(face: Face, others: Sequence[Face]) -> bool:
    """Whether `face` and one of `others` cover each other by more than half of the smaller one."""
    if not others:
        return False
    boxes = np.stack([other.box for other in others])
    smaller = np.minimum(areas(face.box[None]), areas(boxes))
    return bool((intersections(face.box, boxes) / smaller > DUPLICATE_OVERLAP).any())


def drop_duplicates(faces: Sequence[Face]) -> list[Face]:
    """Keep the best-scored of faces that are duplicates of each other; best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not is_duplicate(face, kept):
            kept.append(face)
    return kept
