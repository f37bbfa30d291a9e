"""The face mesh as a graph: everything that follows from its triangles alone.

The triangles come as an argument; nothing is read or computed when this module is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coordinate_reg.mesh_points import EYES, LEFT_EYE, LIPS, LIPS_INNER, MIDLINE, NOSE, OVAL, RIGHT_EYE, VERTEX_COUNT

Indices: TypeAlias = NDArray[np.intp]

OPENINGS = (*(eye.ring for eye in EYES), LIPS_INNER)  # the mesh has no triangles there
SPREAD_ROUNDS = 12  # of neighbour averaging, by which free vertices follow the moved ones


@dataclass(frozen=True, eq=False)
class MeshTopology:
    """What follows from the triangles, computed once.

    Attributes:
        triangles: (852, 3) vertices of each triangle; they leave the eyes and the mouth open.
        mirror: (468,) the vertex on the other half of the face.
        edges: (E, 2) directed edges, both ways.
        spread: (468, 468) float64: takes displacements to others in which free vertices follow the moved ones smoothly.
        closed: (898, 3) the triangles, and after them those that close the eyes and the mouth.
    """

    triangles: Indices
    closed: Indices
    mirror: Indices
    edges: Indices
    spread: NDArray[np.float64]


def build_topology(faces: NDArray[np.integer]) -> MeshTopology:
    """Derive the topology from the mesh's faces.

    Args:
        faces: (852, 3) vertex indices below 468, one triangle a row.

    Raises:
        ValueError: if the array has another shape or other indices.
    """
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= VERTEX_COUNT:
        raise ValueError(f"expected (T, 3) triangles of vertices 0..{VERTEX_COUNT - 1}, got shape {faces.shape}")
    triangles: Indices = np.ascontiguousarray(faces, np.intp)
    edges = directed_edges(triangles)
    moved = {*OVAL, *LIPS, *NOSE, *(i for eye in EYES for i in (*eye.lids, *eye.brow))}
    return MeshTopology(
        triangles=triangles,
        closed=np.concatenate([triangles, *(fill_ring(ring) for ring in OPENINGS)]),
        mirror=mirror_map(triangles),
        edges=edges,
        spread=spread_matrix(edges, moved),
    )


def directed_edges(triangles: Indices) -> Indices:
    """All edges of the triangles, each in both directions and once: (E, 2)."""
    sides = np.concatenate([triangles[:, [i, j]] for i in range(3) for j in range(3) if i != j])
    return np.unique(sides, axis=0)


def spread_matrix(edges: Indices, moved: set[int]) -> NDArray[np.float64]:
    """Repeated averaging over neighbours that leaves the `moved` vertices alone, as one matrix."""
    average = np.zeros((VERTEX_COUNT, VERTEX_COUNT))
    average[edges[:, 0], edges[:, 1]] = 1
    average /= np.maximum(average.sum(1, keepdims=True), 1)
    kept = sorted(moved)
    average[kept] = np.eye(VERTEX_COUNT)[kept]
    return np.linalg.matrix_power(average, SPREAD_ROUNDS)


def fill_ring(ring: Sequence[int]) -> Indices:
    """Triangles that close an opening: a strip between the upper and the lower half of its rim.

    >>> fill_ring([0, 1, 2, 3]).tolist()
    [[0, 1, 3], [1, 2, 3]]
    """
    half = len(ring) // 2
    upper = list(ring[: half + 1])
    lower = [ring[0], *ring[: half - 1 : -1]]
    strip: list[tuple[int, int, int]] = []
    for (up, up_next), (low, low_next) in zip(pairwise(upper), pairwise(lower), strict=True):
        if up == low:
            strip.append((up, up_next, low_next))
        elif up_next == low_next:
            strip.append((up, up_next, low))
        else:
            strip += [(up, low, low_next), (up, up_next, low_next)]
    return np.array(strip, np.intp)


def mirror_map(triangles: Indices) -> Indices:
    """The vertex on the other half of the face, found by walking the triangles outwards from known pairs; (468,)."""
    pair = _known_pairs()
    opposite: dict[frozenset[int], list[int]] = {}
    for a, b, c in triangles.tolist():
        for first, second, apex in ((a, b, c), (b, c, a), (c, a, b)):
            opposite.setdefault(frozenset((first, second)), []).append(apex)
    grown = True
    while grown:
        grown = False
        for side, apexes in opposite.items():
            if not all(vertex in pair for vertex in side):
                continue
            mirrored = opposite.get(frozenset(pair[vertex] for vertex in side))
            here = [vertex for vertex in apexes if vertex not in pair]
            if mirrored is None or len(here) != 1:
                continue
            there = [vertex for vertex in mirrored if vertex not in pair]
            if len(there) == 1:
                pair[here[0]], pair[there[0]] = there[0], here[0]
                grown = True
    return np.array([pair.get(vertex, vertex) for vertex in range(VERTEX_COUNT)], np.intp)


def _known_pairs() -> dict[int, int]:
    pair = {
        20: 250,
        250: 20,
        59: 289,
        289: 59,
        75: 305,
        305: 75,
    }  # around the nostrils, whose halves differ in triangles
    for right, left in zip(RIGHT_EYE.halo, LEFT_EYE.halo, strict=True):
        pair[right], pair[left] = left, right
    pair |= {vertex: vertex for vertex in MIDLINE}
    pair |= {vertex: OVAL[-place % len(OVAL)] for place, vertex in enumerate(OVAL)}
    return pair
