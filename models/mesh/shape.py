"""The shape of the result: the source's proportions in the target's pose, with the target's expression."""

from __future__ import annotations

import numpy as np

from coordinate_reg.mesh_points import (
    CHIN,
    EYES,
    LIP_OPENING,
    LIP_TOP,
    LIPS,
    LIPS_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_BASE,
    OVAL,
    RIGID,
    VERTEX_COUNT,
    EyeIndices,
)
from models.mesh.topology import MeshTopology
from utils.inference.records import Openings, Points

UNCHANGED = Openings()
EYE_SIZE_RANGE = (0.8, 1.25)
MOUTH_SIZE_RANGE = (0.85, 1.18)
BROW_RAISE_SHARE = 0.75  # of the brows' own height that is taken over: the rest is expression
OPENING_STRETCH_RANGE = (-0.35, 0.5)  # of an eye's height
MOUTH_PARTED = 0.02  # gap over width from which on lips count as parted
LIP_SIDES = np.array(([1] * 11 + [-1] * 9) * 4)  # 1 for the lower lip, -1 for the upper one, in the order of LIPS
BLINK_OPENING = (0.08, 0.16)  # height / width of the eyes: closed below, taken over in full above
RING_WEIGHTS = (1.0, 0.7, 0.35)  # lid line and the two rings around it
LID_REACH = 0.25  # of the eye's width: farther landmarks move no more than these


def blend_shape(target: Points, source: Points, topology: MeshTopology, added: Openings = UNCHANGED) -> Points:
    """Landmarks of the result.

    Args:
        target, source: (478, 3), on canvases of one size.
        topology: of the mesh.
        added: by how much farther eyes and mouth are opened than the target's.

    Returns:
        (478, 3) on the target's canvas.
    """
    rotation, offset = _pose(source, target)
    posed = source @ rotation.T + offset
    away = posed - target
    displacement = away.copy()
    for eye in EYES:
        displacement[[*eye.lids, eye.iris, *eye.rim]] = _move_eye(target, posed, eye)
        brow = [*eye.brow, *eye.brow_extra]
        displacement[brow] = away[list(eye.brow_anchor)].mean(0)
    for eye in EYES:
        brow = list(eye.brow)
        displacement[brow, 1] += (1 - BROW_RAISE_SHARE) * (displacement[eye.inner, 1] - displacement[brow, 1])
    displacement[list(LIPS)] = _move_mouth(target, posed)
    _open_eyes(displacement, target, added)
    _open_mouth(displacement, target, added.mouth)
    displacement[list(OVAL)] = _move_outline(target, posed)
    displacement[:VERTEX_COUNT] = topology.spread @ displacement[:VERTEX_COUNT]
    return target + displacement


def _pose(source: Points, target: Points) -> tuple[Points, Points]:
    """Least-squares similarity in space (Umeyama): (3, 3) scaled rotation and (3,) offset from `source` to `target`."""
    from_points, to_points = source[list(RIGID)], target[list(RIGID)]
    from_mean, to_mean = from_points.mean(0), to_points.mean(0)
    centred = from_points - from_mean
    u, stretch, vt = np.linalg.svd((to_points - to_mean).T @ centred)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * flip) @ vt * ((stretch * flip).sum() / (centred**2).sum())
    return rotation, to_mean - rotation @ from_mean


def _size_ratio(posed: Points, target: Points, first: int, second: int, bounds: tuple[float, float]) -> float:
    """Distance of two landmarks in the source over that in the target."""
    distance = max(float(np.linalg.norm(target[first] - target[second])), 1e-6)
    return float(np.clip(np.linalg.norm(posed[first] - posed[second]) / distance, *bounds))


def _move_eye(target: Points, posed: Points, eye: EyeIndices) -> Points:
    """Displacements that bring the target's eye, with its opening and gaze, to the source's place and size."""
    corners = [eye.outer, eye.inner]
    moved = [*eye.lids, eye.iris, *eye.rim]
    ratio = _size_ratio(posed, target, eye.outer, eye.inner, EYE_SIZE_RANGE)
    shift = (posed[corners] - target[corners]).mean(0)
    return shift + (ratio - 1) * (target[moved] - target[corners].mean(0))


def _move_mouth(target: Points, posed: Points) -> Points:
    """Displacements that bring the target's mouth, with its expression, to the source's place and size."""
    corners = [LIP_TOP, MOUTH_RIGHT, MOUTH_LEFT]
    shift = (posed[NOSE_BASE] - target[NOSE_BASE] + (posed[corners] - target[corners]).mean(0)) / 2
    ratio = _size_ratio(posed, target, MOUTH_RIGHT, MOUTH_LEFT, MOUTH_SIZE_RANGE)
    return shift + (ratio - 1) * (target[list(LIPS)] - target[list(LIPS_OUTER)].mean(0))


def eye_opening(points: Points, eye: EyeIndices) -> float:
    """Height over width of one eye."""
    width = max(float(np.linalg.norm(points[eye.inner, :2] - points[eye.outer, :2])), 1e-6)
    return float(np.linalg.norm(points[eye.upper, :2] - points[eye.lower, :2])) / width


def _move_outline(target: Points, posed: Points) -> Points:
    """Displacements that bring the outline to the source's; where the jaw hangs, it hangs as far as the target's."""
    away = posed[list(OVAL)] - target[list(OVAL)]
    upper, lower = LIP_OPENING
    dropped = (target[lower] - target[upper]) - (posed[lower] - posed[upper])
    corners, chin = target[[MOUTH_RIGHT, MOUTH_LEFT]].mean(0), target[CHIN]
    down = (chin - corners)[:2]
    below = (target[list(OVAL), :2] - corners[:2]) @ down / max(float(down @ down), 1e-6)
    return away + np.clip(below, 0, 1)[:, None] * dropped


def measure_openings(points: Points) -> Openings:
    """How far eyes and mouth are open in (478, 3) landmarks."""
    upper, lower = (points[index, :2] for index in LIP_OPENING)
    width = max(float(np.linalg.norm(points[MOUTH_LEFT, :2] - points[MOUTH_RIGHT, :2])), 1e-6)
    right, left = (eye_opening(points, eye) for eye in EYES)
    return Openings(right, left, float(np.linalg.norm(upper - lower)) / width)


def _open_eyes(displacement: Points, target: Points, added: Openings) -> None:
    """Open the eyes by so much more, in place; less on a blink, so that a closed eye stays closed."""
    closed, opened = BLINK_OPENING
    for eye, more in zip(EYES, (added.right, added.left), strict=True):
        opening = eye_opening(target, eye)
        awake = float(np.clip((opening - closed) / (opened - closed), 0, 1))
        stretch = awake * float(np.clip(more / max(opening, 1e-6), *OPENING_STRETCH_RANGE))
        corners = target[[eye.outer, eye.inner], :2]
        across = corners[0] - corners[1]
        width = max(float(np.linalg.norm(across)), 1e-6)
        upright = np.array([-across[1], across[0]]) / width
        for ring, weight in enumerate(RING_WEIGHTS):
            lids = list(eye.halo[16 * ring : 16 * ring + 16])
            height = (target[lids, :2] - corners.mean(0)) @ upright
            reach = np.clip(height, -LID_REACH * width, LID_REACH * width)
            displacement[lids, :2] += weight * stretch * reach[:, None] * upright


def _open_mouth(displacement: Points, target: Points, more: float) -> None:
    """Part the lips by `more`, in widths of the mouth, in place; closed lips stay closed."""
    corners = target[[MOUTH_RIGHT, MOUTH_LEFT], :2]
    along = corners[1] - corners[0]
    width = max(float(np.linalg.norm(along)), 1e-6)
    along /= width
    down = np.array([-along[1], along[0]])
    upper, lower = (target[index, :2] for index in LIP_OPENING)
    gap = float((lower - upper) @ down)
    step = max(more * width, -max(gap, 0.0))
    step *= float(np.clip(gap / width / MOUTH_PARTED, 0, 1))
    place = 2 * ((target[list(LIPS), :2] - corners.mean(0)) @ along) / width
    reach = np.clip(1 - place**2, 0, 1) * LIP_SIDES / 2
    displacement[list(LIPS), :2] += step * reach[:, None] * down
