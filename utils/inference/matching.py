"""Who is who: from embeddings to at most one face a person and one person a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.inference.boxes import box_iou
from utils.inference.records import Embedding, Face, Points

# A face that turns away looks less like its person's portrait, but still like its own last look: where it covers the person's last place
# this well, and is as similar to the last look as a person must be, it may be less similar to the portrait by this much.
FOLLOW_IOU = 0.4
FOLLOW_SLACK = 0.25
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


@dataclass(frozen=True, eq=False)
class _Sighting:
    """Where a person was in the last frame, and what its embedding was there."""

    box: Points
    embedding: Embedding


class PersonMatcher:
    """Follows the chosen persons through the frames of one target.

    Without chosen persons it takes the largest face of the first frame that has one. A person that was in the last frame is followed
    there also when it turns away; see `FOLLOW_SLACK`.
    """

    def __init__(self, persons: Sequence[Embedding], similarity_th: float) -> None:
        self.persons = list(persons)
        self.similarity_th = similarity_th
        self.seen = [0] * len(self.persons)
        self.best_similarity = [-1.0] * len(self.persons)
        self._sightings: list[_Sighting | None] = [None] * len(self.persons)

    def match(self, faces: Sequence[Face], embeddings: Sequence[Embedding]) -> dict[int, int]:
        """Face -> person for one frame; call it for every frame in order, also for those without a face."""
        if not self.persons and faces:
            largest = max(range(len(faces)), key=lambda index: faces[index].area)
            self.persons, self.seen = [embeddings[largest]], [0]
            self.best_similarity, self._sightings = [-1.0], [None]
        similarities = cosine_similarities(self.persons, embeddings)
        thresholds = np.full(similarities.shape, self.similarity_th)
        for person, last in enumerate(self._sightings):
            if last is not None and faces:
                in_place = box_iou(last.box, np.stack([face.box for face in faces])) >= FOLLOW_IOU
                looks_the_same = cosine_similarities([last.embedding], embeddings)[0] >= self.similarity_th
                thresholds[person, in_place & looks_the_same] -= FOLLOW_SLACK
        assigned = match_faces(similarities, thresholds) if similarities.size else {}
        self._sightings = [None] * len(self.persons)
        for face, person in assigned.items():
            self._sightings[person] = _Sighting(faces[face].box, embeddings[face])
            self.seen[person] += 1
        for person in range(len(self.persons)):
            self.best_similarity[person] = max(
                self.best_similarity[person], float(similarities[person].max(initial=-1.0))
            )
        return assigned
