"""Faces followed from frame to frame, as long as they are the same person's.

A track is held together by place, and verified by the identity net: on a schedule, and at once after a jump, an overlap with another
face or a gap. What looks like somebody else begins a new track. Cuts end all tracks. Who is on which track is decided when all of the
video has been seen; see `people`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from utils.inference.answers import embed_face
from utils.inference.boxes import box_iou
from utils.inference.model_pack import Embedder
from utils.inference.records import Embedding, Face, Image, Points
from utils.inference.stopwatch import stage
from utils.inference.tracking.matching import cosine_similarities, match_faces

LONGEST_GAP_FRAMES = 5  # that a face may be missing within one track
LARGEST_STEP, STEP_PER_GAP_FRAME = 0.5, 0.15  # of a face between two frames, in face sizes
LARGEST_SCALE_STEP = 1.5  # ratio of face sizes between two frames
JUMP = 0.25  # in face sizes: a larger step is looked into
TOUCHING_IOU = 0.05  # of two faces that might be exchanged
CHECK_EVERY_FRAMES = 5
FIRST_CHECKS = 3  # frames of a new track that are all checked
# Share of the threshold for portraits that a face's likeness to its own track must reach. What nothing happened to may turn, frown or blur.
STEADY_SHARE, DISTURBED_SHARE = 0.4, 0.7
SPLIT_WORTH = 0.5  # of a look from which on it can end a track by itself
FULL_WORTH_PX = 64.0  # side of a face from which on its size is no reason to trust it less
TURNED_AWAY = 0.45  # offset of the nose from the middle of the eyes, over their distance: a half profile

Look = Callable[[], Embedding]


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face, without dense landmarks, in a frame known by number and time stamp; `worth` in (0, 1]: how well it shows the person."""

    frame: int
    pts: int
    face: Face
    worth: float


@dataclass(eq=False)
class FaceTrack:
    """One person's face in one shot. The only record that changes, and only while the track is being followed.

    Attributes:
        number: counts tracks from 0 within a video.
        first: where it began.
        last: where it was seen last.
        best: where the person is seen best, of the verified frames.
        sure_until: number of the last frame in which the identity was verified.
        best_score: the detector's best of the verified frames.
        embedding_sum: (D,) of the unit embeddings, each times the worth of its look.
        disputed: whether the track ended because somebody else was found in its place; frames after `sure_until` are nobody's then.
        faces: number of frames with the face.
        checks: how many of these were embedded.
    """

    number: int
    first: Sighting
    last: Sighting
    best: Sighting
    sure_until: int
    best_score: float
    embedding_sum: NDArray[np.float64]
    disputed: bool = False
    faces: int = 1
    checks: int = 1

    @property
    def embedding(self) -> Embedding:
        """(D,) float32 mean of the track's unit embeddings, the better looks counting more."""
        return self.embedding_sum.astype(np.float32)

    def confirm(self, embedding: Embedding, sighting: Sighting) -> None:
        """Take in a look at the face that was found to be the same person's."""
        self.embedding_sum = self.embedding_sum + sighting.worth * _unit(embedding)
        self.checks += 1
        self.sure_until = sighting.frame
        self.best_score = max(self.best_score, sighting.face.score)
        if sighting.worth > self.best.worth:
            self.best = sighting


def worth_of(face: Face) -> float:
    """How well a face shows who it is, in (0, 1]: large and turned to the camera."""
    right, left, nose = face.keypoints[:3]
    across = left - right
    distance = max(float(np.linalg.norm(across)), 1e-6)
    turned = abs(float((nose - (right + left) / 2) @ across)) / distance**2
    return max(0.05, 1 - turned / TURNED_AWAY) * min(1.0, _side(face) / FULL_WORTH_PX)


@dataclass
class Tracker:
    """Follows all faces of a video; call `update` for every frame in order, also for those without a face.

    Attributes:
        embedder: the pack's identity net.
        similarity_th: cosine similarity from which on two faces are one person.
        tracks: all of them, by number.
        companies: sets of tracks that were in a frame together -> number of such frames.
        alive: the tracks that may go on.
    """

    embedder: Embedder
    similarity_th: float
    tracks: list[FaceTrack] = field(default_factory=list)
    companies: Counter[frozenset[int]] = field(default_factory=Counter)
    alive: list[FaceTrack] = field(default_factory=list)

    def update(self, frame: int, pts: int, image: Image, faces: Sequence[Face], cut: bool) -> list[int]:
        """The track of each of `faces`, which were found in `image`, (H, W, 3) BGR uint8."""
        if cut:
            self.alive = []
        self.alive = [track for track in self.alive if frame - track.last.frame <= LONGEST_GAP_FRAMES + 1]
        continued = self._continue(frame, faces)
        touching = _touching(faces)
        numbers = []
        for place, face in enumerate(faces):
            sighting = Sighting(frame, pts, replace(face, landmarks=None), worth_of(face))
            look = stage("embed")(partial(embed_face, self.embedder, image, face))
            track = continued.get(place)
            if track is not None and not self._verify(track, sighting, look, touching[place]):
                track.disputed = True
                self.alive.remove(track)
                track = None
            if track is None:
                track = self._begin(sighting, look)
            numbers.append(track.number)
        if numbers:
            self.companies[frozenset(numbers)] += 1
        return numbers

    def _continue(self, frame: int, faces: Sequence[Face]) -> dict[int, FaceTrack]:
        """Which track each face goes on, by place alone."""
        if not self.alive or not faces:
            return {}
        steps = np.array([[_step(track.last.face, face) for face in faces] for track in self.alive])
        gaps = np.array([frame - track.last.frame - 1 for track in self.alive])
        limits = np.broadcast_to(LARGEST_STEP + STEP_PER_GAP_FRAME * gaps[:, None], steps.shape)
        return {face: self.alive[track] for face, track in match_faces(-steps, -limits).items()}

    def _verify(self, track: FaceTrack, sighting: Sighting, look: Look, touching: bool) -> bool:
        """Go on with `track`, unless the face is somebody else's."""
        last, frame = track.last, sighting.frame
        disturbed = touching or frame - last.frame > 1 or _step(last.face, sighting.face) > JUMP
        if disturbed or track.checks < FIRST_CHECKS or frame - track.sure_until >= CHECK_EVERY_FRAMES:
            embedding = look()
            similarity = cosine_similarities([track.embedding], [embedding])[0, 0]
            if similarity < self.similarity_th * (DISTURBED_SHARE if disturbed else STEADY_SHARE):
                if disturbed or sighting.worth >= SPLIT_WORTH:
                    return False
            else:
                track.confirm(embedding, sighting)
        track.last = sighting
        track.faces += 1
        return True

    def _begin(self, sighting: Sighting, look: Look) -> FaceTrack:
        embedding_sum = sighting.worth * _unit(look())
        number, score = len(self.tracks), sighting.face.score
        track = FaceTrack(number, sighting, sighting, sighting, sighting.frame, score, embedding_sum)
        self.tracks.append(track)
        self.alive.append(track)
        return track


def _unit(embedding: Embedding) -> NDArray[np.float64]:
    return embedding.astype(np.float64) / max(float(np.linalg.norm(embedding)), 1e-12)


def _side(face: Face) -> float:
    return float(np.sqrt(max(face.area, 1e-6)))


def _centre(face: Face) -> Points:
    return (face.box[:2] + face.box[2:]) / 2


def _step(before: Face, after: Face) -> float:
    """How far a face moved, in face sizes; infinite if its size changed too much."""
    sides = _side(before), _side(after)
    if max(sides) > LARGEST_SCALE_STEP * min(sides):
        return float("inf")
    return float(np.linalg.norm(_centre(after) - _centre(before))) / float(np.mean(sides))


def _touching(faces: Sequence[Face]) -> list[bool]:
    """Whether each face overlaps another one."""
    if len(faces) < 2:
        return [False] * len(faces)
    boxes = np.stack([face.box for face in faces])
    return [bool((np.delete(box_iou(box, boxes), place) > TOUCHING_IOU).any()) for place, box in enumerate(boxes)]
