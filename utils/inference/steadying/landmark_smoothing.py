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
from dataclasses import dataclass, replace
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
LEAST_EXPONENT = (
    -20.0
)  # of a weight, which counts nothing beyond: numbers that are all but zero are slow to compute with
NEIGHBOURHOOD = 0.1  # of the face's measure: landmarks that close share their weights
LARGEST_STEP = 1.0  # of the face's measure, between neighbouring frames; more is a jump

Value = TypeVar("Value", np.float64, np.complex128)


@dataclass(frozen=True, eq=False)
class _Placed:
    """A face as it came in, its points (L + 7, 3), and whether it goes on from the frame before."""

    face: Face
    cloud: Points
    goes_on: bool


class LandmarkSmoother:
    """Smooths one person's faces as they come in; holds 13 frames at most. A `FaceSmoother`.

    Landmarks, keypoints and box are smoothed together. A run ends where the person is missing and where the face jumps.

    Args:
        rigid: indices of the landmarks that bone carries.
    """

    def __init__(self, rigid: Sequence[int]) -> None:
        self._window = _CloudWindow(rigid)
        self._last: Face | None = None

    def push(self, face: Face | None) -> list[Face | None]:
        """See `Window`.

        Raises:
            ValueError: if a face has no dense landmarks.
        """
        last, self._last = self._last, face
        goes_on = last is not None and face is not None and not jumps(last, face)
        return self._window.push(None if face is None else _Placed(face, _cloud(face), goes_on))

    def finish(self) -> list[Face | None]:
        """See `Window`."""
        self._last = None
        return self._window.finish()


class _CloudWindow(Window[_Placed, Face]):
    def __init__(self, rigid: Sequence[int]) -> None:
        super().__init__(RADIUS_FRAMES)
        self._rigid = list(rigid)

    def _answer(self, values: Sequence[_Placed | None], place: int) -> Face | None:
        """Averaged with the pairs of frames around it that its run still holds."""
        own = values[place]
        if own is None:
            return None
        pairs: list[tuple[Points, Points]] = []
        first = own
        for radius in range(1, min(place, len(values) - 1 - place, RADIUS_FRAMES) + 1):
            before, after = values[place - radius], values[place + radius]
            if before is None or after is None or not (first.goes_on and after.goes_on):
                break
            pairs.append((before.cloud, after.cloud))
            first = before
        if not pairs:
            return own.face
        return _with_cloud(own.face, smooth_cloud(own.cloud, np.array(pairs), self._rigid, measure(own.face)))


def measure(face: Face) -> float:
    """Eye distance or eye-mouth distance in pixels, the larger: turning the head shortens only one of them."""
    right, left, _, mouth_right, mouth_left = face.keypoints
    down = (mouth_right + mouth_left) / 2 - (right + left) / 2
    return max(float(np.linalg.norm(left - right)), float(np.linalg.norm(down)), 1e-6)


def smooth_cloud(cloud: Points, pairs: Points, rigid: Sequence[int], size_px: float) -> Points:
    """Average the points of a frame with those of frames around it.

    Args:
        cloud: (N, 3) of the frame itself.
        pairs: (K, 2, N, 3): the same of the frames 1, 2, ... before and after it.
        rigid: indices of points that tell the pose.
        size_px: see `measure`.

    Returns:
        (N, 3).
    """
    noise_px = float(np.hypot(NOISE_SHARE * size_px, NOISE_PX))
    centre = cloud[rigid].mean(0)
    local, others = cloud - centre, pairs - centre
    # A pose is the complex factor and the shift that take this frame's points to another's; for this frame: 1 and 0.
    still = np.array([1, 0], np.complex128)
    fits = _fit_poses(_flat(local[rigid]), _flat(others[:, :, rigid]))  # (K, 2, 2)
    shapes = _take_back(others, fits).mean(1)  # (K, N, 3)
    squares = ((shapes - local)[..., :2] ** 2).sum(-1)
    deviation = _spread_to_neighbours(squares, local, NEIGHBOURHOOD * size_px)
    shape = _average(local, shapes, _weights(deviation, noise_px)[..., None])
    poses = fits.mean(1)
    moved = (np.abs(_move(_flat(local[rigid]), poses - still)) ** 2).mean(-1)
    pose = _average(still, poses, _weights(moved, noise_px)[:, None])
    flat = _move(_flat(shape), pose)
    return np.column_stack([flat.real, flat.imag, np.abs(pose[0]) * shape[:, 2]]) + centre


def _flat(points: Points) -> NDArray[np.complex128]:
    """(...,) x + iy of (..., 2 or more) points."""
    return points[..., 0] + 1j * points[..., 1]


def _fit_poses(start: NDArray[np.complex128], ends: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(..., 2) factor and shift of the similarities that take the points `start` (N,) to `ends` (..., N), by least squares."""
    centred = start - start.mean()
    factor = ends @ centred.conj() / max(np.vdot(centred, centred).real, 1e-9)
    return np.stack([factor, ends.mean(-1) - factor * start.mean()], -1)


def _move(points: NDArray[np.complex128], poses: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(..., N): the points (N,) after each of (..., 2) poses."""
    return points * poses[..., :1] + poses[..., 1:]


def _take_back(points: Points, poses: NDArray[np.complex128]) -> Points:
    """(..., N, 3): undo the poses (..., 2)."""
    factor, shift = poses[..., :1], poses[..., 1:]
    flat = (_flat(points) - shift) / factor
    return np.stack([flat.real, flat.imag, points[..., 2] / np.abs(factor)], -1)


def _spread_to_neighbours(values: Points, points: Points, sigma_px: float) -> Points:
    """(K, N): `values` (K, N) averaged over the points (N, 2 or more) nearby; single precision is plenty for weights."""
    x, y = (points[:, :2].T / sigma_px).astype(np.float32)
    fall, one = -(x**2 + y**2) / 2, np.ones_like(x)
    exponents = np.column_stack([x, y, fall, one]) @ np.stack([x, y, one, fall])  # minus half of the squared distance
    near = np.exp(np.clip(exponents, LEAST_EXPONENT, 0))
    return (values.astype(np.float32) @ near / near.sum(0)).astype(np.float64)


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
