"""Dense landmarks of one person, averaged over neighbouring frames as far as the face keeps still or moves evenly.

The window reaches as far to the past as to the future, so that nothing is late. Frames count in pairs, one before and one after: the middle
of a pair lies where the frame between lies, if the motion is even, and otherwise the pair counts the less the farther it lies from there,
measured by the landmarker's noise. So averaging can move a landmark by little more than that noise: a blink, a glance or a quick lip stays.
The motion of the whole head and the change of its shape are averaged one after the other, each by its own pairs: a shaking head keeps its
motion and still gets steady features.

In the spirit of the bilateral filter (Tomasi and Manduchi, 1998) and of windows adapted by confidence intervals (Goldenshluger and
Nemirovski, 1997); the pairs make it exact for even motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Face, Points
from utils.inference.steadying.window import Window

RADIUS_FRAMES = 6
WINDOW_SIGMA_FRAMES = 3.5  # pairs farther away count less
NOISE_SHARE, NOISE_PX = (
    0.002,
    0.1,
)  # standard deviation of a landmark: of the face's measure, and of any (measured on still photos)
TOLERANCE = 1.4  # deviation of a pair, in those of noise alone, at which it counts half; from 1.8 on, lively heads lose real motion
PAIR_VARIANCE = 1.5  # of the distance between a frame and the middle of two others
NEIGHBOURHOOD = 0.1  # of the face's measure: landmarks that close share their weights
LARGEST_STEP = 1.0  # of the face's measure, between neighbouring frames; more is a jump

Value = TypeVar("Value", np.float64, np.complex128)


class LandmarkSmoother(Window[Face, Face]):
    """Smooths one person's faces as they come in; holds 13 frames at most. A `FaceSmoother`.

    Landmarks, keypoints and box are smoothed together. A run ends where the person is missing and where the face jumps.

    Args:
        rigid: indices of the landmarks that bone carries.
    """

    def __init__(self, rigid: Sequence[int]) -> None:
        super().__init__(RADIUS_FRAMES)
        self._rigid = list(rigid)

    def push(self, value: Face | None) -> list[Face | None]:
        """See `Window`.

        Raises:
            ValueError: if a face has no dense landmarks.
        """
        if value is not None and value.landmarks is None:
            raise ValueError("smoothing needs dense landmarks; use a pack whose landmarker gives them")
        return super().push(value)

    def _answer(self, values: Sequence[Face | None], place: int) -> Face | None:
        """Averaged with the pairs of frames around it that its run still holds."""
        face = values[place]
        if face is None:
            return None
        pairs: list[tuple[Points, Points]] = []
        first = last = face
        for radius in range(1, min(place, len(values) - 1 - place, RADIUS_FRAMES) + 1):
            before, after = values[place - radius], values[place + radius]
            if before is None or after is None or jumps(before, first) or jumps(last, after):
                break
            pairs.append((_cloud(before), _cloud(after)))
            first, last = before, after
        if not pairs:
            return face
        return _with_cloud(face, smooth_cloud(_cloud(face), pairs, self._rigid, measure(face)))


def measure(face: Face) -> float:
    """Eye distance or eye-mouth distance in pixels, the larger: turning the head shortens only one of them."""
    right, left, _, mouth_right, mouth_left = face.keypoints
    down = (mouth_right + mouth_left) / 2 - (right + left) / 2
    return max(float(np.linalg.norm(left - right)), float(np.linalg.norm(down)), 1e-6)


def smooth_cloud(cloud: Points, pairs: Sequence[tuple[Points, Points]], rigid: Sequence[int], size_px: float) -> Points:
    """Average the points of a frame with those of frames around it.

    Args:
        cloud: (N, 3) of the frame itself.
        pairs: the same of the frames 1, 2, ... before and after it.
        rigid: indices of points that tell the pose.
        size_px: see `measure`.

    Returns:
        (N, 3).
    """
    noise_px = float(np.hypot(NOISE_SHARE * size_px, NOISE_PX))
    centre = cloud[list(rigid)].mean(0)
    local = cloud - centre
    # A pose is the complex factor and the shift that take this frame's points to another's; for this frame: 1 and 0.
    still, poses, shapes = np.array([1, 0], np.complex128), [], []
    for pair in pairs:
        fits = [_fit_pose(local[list(rigid)], other[list(rigid)] - centre) for other in pair]
        poses.append(np.mean(fits, 0))
        shapes.append(np.mean([_take_back(other - centre, fit) for other, fit in zip(pair, fits, strict=True)], 0))
    neighbours = _neighbourhood(local, NEIGHBOURHOOD * size_px)
    deviation = np.array([neighbours @ ((shape - local)[:, :2] ** 2).sum(1) for shape in shapes])
    shape = _average(local, np.stack(shapes), _weights(deviation, noise_px)[..., None])
    moved = np.array([(np.abs(_move(local[list(rigid)], pose - still)) ** 2).mean() for pose in poses])
    pose = _average(still, np.stack(poses), _weights(moved, noise_px)[:, None])
    smoothed = np.empty_like(cloud)
    flat = _move(shape, pose)
    smoothed[:, 0], smoothed[:, 1], smoothed[:, 2] = flat.real, flat.imag, np.abs(pose[0]) * shape[:, 2]
    return smoothed + centre


def _fit_pose(points: Points, others: Points) -> NDArray[np.complex128]:
    """(2,) factor and shift of the similarity that takes `points` to `others`, (N, 2 or more), by least squares."""
    start, end = points[:, 0] + 1j * points[:, 1], others[:, 0] + 1j * others[:, 1]
    centred = start - start.mean()
    factor = np.vdot(centred, end) / max(np.vdot(centred, centred).real, 1e-9)
    return np.array([factor, end.mean() - factor * start.mean()])


def _move(points: Points, pose: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(N,) x + iy of points after a pose."""
    return (points[:, 0] + 1j * points[:, 1]) * pose[0] + pose[1]


def _take_back(points: Points, pose: NDArray[np.complex128]) -> Points:
    """(N, 3): undo a pose."""
    flat = (points[:, 0] + 1j * points[:, 1] - pose[1]) / pose[0]
    return np.column_stack([flat.real, flat.imag, points[:, 2] / np.abs(pose[0])])


def _neighbourhood(points: Points, sigma_px: float) -> NDArray[np.float64]:
    """(N, N): rows average over the points nearby."""
    flat = points[:, :2] / sigma_px
    squares = (flat**2).sum(1)
    near = np.exp(-np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0) / 2)
    return near / near.sum(1, keepdims=True)


def _weights(deviation: NDArray[np.float64], noise_px: float) -> NDArray[np.float64]:
    """What pairs count, from the square of their distance from the frame itself: (K,) or (K, N) squared pixels, nearest pair first.

    A pair counts no more than those nearer in time: there is no way back into the average for a motion that returns.
    """
    expected = 2 * PAIR_VARIANCE * noise_px**2
    agreement = np.minimum.accumulate(1 / (1 + (deviation / (TOLERANCE**2 * expected)) ** 2))
    distance = np.arange(1, len(deviation) + 1) / WINDOW_SIGMA_FRAMES
    return (np.exp(-(distance**2) / 2) * agreement.T).T


def _average(own: NDArray[Value], middles: NDArray[Value], weights: NDArray[np.float64]) -> NDArray[Value]:
    """Of a frame's own values (...) and the middles of pairs (K, ...); a pair counts for two."""
    return (own + 2 * (weights * middles).sum(0)) / (1 + 2 * weights.sum(0))


def jumps(before: Face, after: Face) -> bool:
    """Whether neighbouring frames show different faces or places."""
    step = np.linalg.norm(after.keypoints - before.keypoints, axis=1).mean()
    return bool(step > LARGEST_STEP * max(measure(before), measure(after)))


def _cloud(face: Face) -> Points:
    """(L + 7, 3): landmarks, keypoints, and the corners of the box."""
    if face.landmarks is None:
        raise ValueError("smoothing needs dense landmarks; use a pack whose landmarker gives them")
    flat = np.concatenate([face.keypoints, face.box.reshape(2, 2)])
    return np.concatenate([face.landmarks, np.column_stack([flat, np.zeros(len(flat))])])


def _with_cloud(face: Face, cloud: Points) -> Face:
    """`face` with the places of `_cloud`."""
    return replace(face, landmarks=cloud[:-7], keypoints=cloud[-7:-2, :2], box=cloud[-2:, :2].reshape(4))
