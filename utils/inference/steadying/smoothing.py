"""Keypoints of one person, averaged over neighbouring frames so that the face does not tremble.

A window reaches as far to the past as to the future, so that a moving face is not late: up to two frames, fewer at the ends of a run. A run
ends where the face is missing and where it jumps, as it does at a cut. Source: GHOST, smoothing of its keypoint tracks.

`smooth_keypoints` sees the whole track; `KeypointSmoother` sees it frame by frame and answers the same, two frames later.
`FaceKeypointSmoother` does so for faces, and leaves all but their keypoints as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from utils.inference.records import Face, Points
from utils.inference.steadying.window import Window

RADIUS_FRAMES = 2
LARGEST_STEP_PX = 5.0  # between neighbouring frames, in frame pixels; more is a jump
WATCHED_KEYPOINTS = (0, 2)  # image-left eye and nose tip


def smooth_keypoints(track: Points) -> Points:
    """Smooth a whole track.

    Args:
        track: (T, 5, 2) in frame pixels; a frame with any value that is not finite has no face.

    Returns:
        (T, 5, 2) float64; NaN where there is no face.

    >>> track = np.arange(4.0)[:, None, None] ** 2 * np.ones((5, 2)) / 4
    >>> smooth_keypoints(track)[:, 0, 0].round(3)
    array([0.   , 0.417, 1.167, 2.25 ])
    """
    track = np.array(track, np.float64)
    missing = ~np.isfinite(track).all(axis=(1, 2))
    track[missing] = np.nan
    goes_on = [_goes_on(before, after) for before, after in pairwise(track)]
    smoothed = track.copy()
    for frame in np.flatnonzero(~missing):
        radius = 0
        while (
            radius < RADIUS_FRAMES
            and radius < frame < len(track) - 1 - radius
            and goes_on[frame - radius - 1]
            and goes_on[frame + radius]
        ):
            radius += 1
        smoothed[frame] = track[frame - radius : frame + radius + 1].mean(axis=0)
    return smoothed


class KeypointSmoother(Window[Points, Points]):
    """Smooths one person's track as it comes in; holds five frames at most.

    >>> smoother = KeypointSmoother()
    >>> [smoother.push(np.full((5, 2), float(x))) for x in (0, 3)]
    [[], []]
    >>> [keypoints is not None and float(keypoints[0, 0]) for keypoints in smoother.push(None) + smoother.finish()]
    [0.0, 3.0, False]
    """

    def __init__(self) -> None:
        super().__init__(RADIUS_FRAMES)

    def push(self, value: Points | None) -> list[Points | None]:
        """See `Window`; keypoints are (5, 2) in frame pixels, the answers float64."""
        return super().push(_NO_FACE if value is None else np.asarray(value, np.float64))

    def _answer(self, values: Sequence[Points | None], place: int) -> Points | None:
        frames = [_NO_FACE if value is None else value for value in values]
        if not np.isfinite(frames[place]).all():
            return None
        first = last = place
        while first > 0 and last < len(frames) - 1:  # the window never holds more than RADIUS_FRAMES to the right
            if not (_goes_on(frames[first - 1], frames[first]) and _goes_on(frames[last], frames[last + 1])):
                break
            first, last = first - 1, last + 1
        return np.stack(frames[first : last + 1]).mean(axis=0)


class FaceKeypointSmoother:
    """A `FaceSmoother`: smooths the keypoints of one person's faces."""

    def __init__(self) -> None:
        self._keypoints = KeypointSmoother()
        self._faces: deque[Face | None] = deque()

    def push(self, face: Face | None) -> list[Face | None]:
        """See `KeypointSmoother`."""
        self._faces.append(face)
        return self._with_keypoints(self._keypoints.push(None if face is None else face.keypoints))

    def finish(self) -> list[Face | None]:
        """See `KeypointSmoother`."""
        return self._with_keypoints(self._keypoints.finish())

    def _with_keypoints(self, smoothed: list[Points | None]) -> list[Face | None]:
        faces = [self._faces.popleft() for _ in smoothed]
        return [
            None if face is None or keypoints is None else replace(face, keypoints=keypoints)
            for face, keypoints in zip(faces, smoothed, strict=True)
        ]


_NO_FACE: NDArray[np.float64] = np.full((5, 2), np.nan)


def _goes_on(before: Points, after: Points) -> bool:
    """Whether a face is in both of two neighbouring frames and does not jump in between."""
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return False
    steps = (after - before)[list(WATCHED_KEYPOINTS)]
    return bool((np.hypot(steps[:, 0], steps[:, 1]) <= LARGEST_STEP_PX).all())
