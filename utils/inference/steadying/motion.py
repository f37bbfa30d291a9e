"""How far a face moves from frame to frame: a camera blurs it along that way, by the share of the time that its shutter is open."""

from __future__ import annotations

from collections.abc import Sequence

from utils.inference.records import Face, Motion
from utils.inference.steadying.landmark_smoothing import jumps
from utils.inference.steadying.window import Window

STILL: Motion = (0.0, 0.0)


class MotionMeter(Window[Face, Motion]):
    """Measures the motion of one person's faces as they come in, one frame late.

    >>> import numpy as np
    >>> meter = MotionMeter()
    >>> faces = [Face(np.zeros(4), 1.0, np.array([[0, 0], [9, 0], [5, 5], [0, 9], [9, 9.0]]) + x) for x in (0, 1, 4)]
    >>> [motion for face in [*faces, None] for motion in meter.push(face)] + meter.finish()
    [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), None]
    """

    def __init__(self) -> None:
        super().__init__(1)

    def _answer(self, values: Sequence[Face | None], place: int) -> Motion | None:
        """Mean of the steps from the frame before and to the frame after, as far as the run holds them; in pixels a frame."""
        face = values[place]
        if face is None:
            return None
        before = values[place - 1] if place > 0 else None
        after = values[place + 1] if place + 1 < len(values) else None
        steps = [
            (second.keypoints - first.keypoints).mean(0)
            for first, second in ((before, face), (face, after))
            if first is not None and second is not None and not jumps(first, second)
        ]
        if not steps:
            return STILL
        x, y = (sum(float(step[axis]) for step in steps) / len(steps) for axis in (0, 1))
        return x, y
