"""Several photos of one source: which of them are worth taking, and which a target is drawn from.

The best photo gives proportions and eyes, so that nobody changes from frame to frame; the skin comes from the photo that is turned most
like the target, and between two photos it is mixed over a few degrees, so that nothing switches.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence

import cv2
import numpy as np

from coordinate_reg.mesh_points import FACING, VERTEX_COUNT
from models.mesh.canvas import Portrait, choose_size, cut_out, estimate_frame_to_canvas
from models.mesh.glasses import find_glasses
from models.mesh.texture import SMALLEST_PX, vertex_normals
from models.mesh.topology import MeshTopology
from utils.inference.alignment import transform_points
from utils.inference.records import Points, View

JUDGED_PX = 256  # side of the canvas on which sharpness is compared
SHARPNESS_POWER = 0.25  # texture of the skin varies; what is out of focus has a fraction of it
TURNED_APART_DEG = 12.0  # photos that are turned more alike than this say the same: the better one is taken
FRONTAL_POWER = 3  # a turned photo tells proportions badly: at 25 degrees it counts a quarter less
LEAST_CLEAR = (
    0.6  # of the clearest photo: a turned one that is worse than this is no better than the frontal one's other half
)
GLASSES_SHARE = 0.5  # what a photo with glasses is worth of the same without: what they hide is only guessed
MIXED_DEG = 4.0  # to both sides of the middle between two photos


def order_views(views: Sequence[View], topology: MeshTopology) -> list[View]:
    """The photos worth taking, the best first: frontal, large, sharp and without glasses; then clear ones that are turned otherwise.

    Raises:
        ValueError: if a view has no dense landmarks.
    """
    if len(views) == 1:
        return list(views)
    clearness = [_clearness(view) for view in views]
    turns = [turn_of(_landmarks(view), topology) for view in views]
    worth = [
        clear * math.cos(math.radians(turn)) ** FRONTAL_POWER for clear, turn in zip(clearness, turns, strict=True)
    ]
    kept: list[int] = []
    for index in sorted(range(len(views)), key=lambda index: -worth[index]):
        clear = clearness[index] >= LEAST_CLEAR * max(clearness)
        if clear and all(abs(turns[index] - turns[other]) >= TURNED_APART_DEG for other in kept):
            kept.append(index)
    return [views[index] for index in kept]


def turn_of(points: Points, topology: MeshTopology) -> float:
    """How far a face, (478, 3) landmarks, is turned to the side, in degrees; 0 is frontal."""
    x, _, z = vertex_normals(points[:VERTEX_COUNT], topology)[list(FACING)].mean(0)
    return math.degrees(math.atan2(x, -z))


def share_views(turn_deg: float, view_turns_deg: Sequence[float]) -> list[tuple[int, float]]:
    """Which photos a target is drawn from, and how much each counts: one of them, or two.

    >>> share_views(0, [0, 30]), share_views(15, [0, 30]), share_views(40, [0, 30])
    ([(0, 1.0)], [(0, 0.5), (1, 0.5)], [(1, 1.0)])
    """
    order = sorted(range(len(view_turns_deg)), key=view_turns_deg.__getitem__)
    turns = [view_turns_deg[index] for index in order]
    place = min(max(bisect(turns, turn_deg), 1), len(turns) - 1)
    if len(turns) == 1:
        return [(order[0], 1.0)]
    middle = (turns[place - 1] + turns[place]) / 2
    share = min(max((turn_deg - middle) / (2 * MIXED_DEG) + 0.5, 0.0), 1.0)
    pair = [(order[place - 1], 1 - share), (order[place], share)]
    return [(index, part) for index, part in pair if part > 0]


def _clearness(view: View) -> float:
    """How well a photo shows the skin: large, sharp and without glasses."""
    landmarks = _landmarks(view)
    fine = choose_size(landmarks, 1, SMALLEST_PX) / SMALLEST_PX
    frame_to_canvas = estimate_frame_to_canvas(landmarks, JUDGED_PX)
    canvas = cut_out(view.image, frame_to_canvas, JUDGED_PX)
    middle = slice(JUDGED_PX // 4, 3 * JUDGED_PX // 4)
    sharp = cv2.Laplacian(cv2.cvtColor(canvas[middle, middle], cv2.COLOR_BGR2GRAY), cv2.CV_32F).std()
    glasses = find_glasses(Portrait(canvas, transform_points(frame_to_canvas, landmarks)))
    bare = 1.0 if glasses is None else 1 - (1 - GLASSES_SHARE) * glasses.likelihood
    return float(bare * np.sqrt(fine) * sharp**SHARPNESS_POWER)


def _landmarks(view: View) -> Points:
    if view.face.landmarks is None:
        raise ValueError(f"the mesh generator needs dense landmarks; {view.name!r} has none")
    return view.face.landmarks
