"""Which belongs to which: from similarities to at most one of either side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Embedding

ALLOWED_WORTH = 1e-6  # of a pair that just reaches its threshold: more than none


def cosine_similarities(persons: Sequence[Embedding], faces: Sequence[Embedding]) -> NDArray[np.float64]:
    """(P, F) cosine similarities, in [-1, 1].

    >>> cosine_similarities([np.array([2., 0.])], [np.array([3., 0.]), np.array([0., 1.])])
    array([[1., 0.]])
    """
    if not len(persons) or not len(faces):
        return np.zeros((len(persons), len(faces)))
    rows, columns = (np.asarray(vectors, np.float64) for vectors in (persons, faces))
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    columns = columns / np.maximum(np.linalg.norm(columns, axis=1, keepdims=True), 1e-12)
    return np.clip(rows @ columns.T, -1.0, 1.0)


def match_faces(similarities: NDArray[np.float64], thresholds: NDArray[np.float64]) -> dict[int, int]:
    """Assign persons to faces so that the similarities exceed their thresholds by the greatest sum.

    Args:
        similarities: (P, F).
        thresholds: (P, F); a pair below its threshold is never assigned; one that reaches it is rather assigned than left.

    Returns:
        face -> person.

    >>> match_faces(np.array([[0.9, 0.8], [0.7, 0.1]]), np.full((2, 2), 0.5))
    {1: 0, 0: 1}
    """
    allowed = similarities >= thresholds
    if len(similarities) == 1:  # the common case needs no solver, whose import takes longer than swapping a photo
        best = int(np.where(allowed[0], similarities[0], -np.inf).argmax())
        return {best: 0} if allowed[0, best] else {}
    from scipy.optimize import linear_sum_assignment

    worth = np.where(allowed, similarities - thresholds + ALLOWED_WORTH, 0.0)
    persons, faces = linear_sum_assignment(worth, maximize=True)
    return {int(face): int(person) for person, face in zip(persons, faces, strict=True) if allowed[person, face]}
