from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coordinate_reg.mesh_points import EYES, LIPS, LIPS_INNER, MIDLINE, OVAL, VERTEX_COUNT
from models.mesh.topology import OPENINGS, MeshTopology, build_topology, fill_ring

TRIANGLES = Path(__file__).resolve().parents[1] / "weights" / "builtin" / "face_mesh_triangles.npy"


@pytest.fixture(scope="module")
def topology() -> MeshTopology:
    return build_topology(np.load(TRIANGLES))


def border_edges(triangles):
    """Edges that belong to one triangle only."""
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    return {tuple(edge) for edge in edges[count == 1].tolist()}


def ring_edges(ring):
    return {tuple(sorted(pair)) for pair in zip(ring, [*ring[1:], ring[0]], strict=True)}


def test_the_mirror_map_is_an_involution_that_keeps_the_triangles(topology):
    mirror = topology.mirror
    assert (mirror[mirror] == np.arange(VERTEX_COUNT)).all()
    here = {frozenset(triangle) for triangle in topology.triangles.tolist()}
    there = {frozenset(triangle) for triangle in mirror[topology.triangles].tolist()}
    assert len(here & there) >= 0.98 * len(here)  # a few diagonals of the published mesh run the other way


def test_only_the_midline_is_its_own_mirror_image(topology):
    assert np.flatnonzero(topology.mirror == np.arange(VERTEX_COUNT)).tolist() == sorted(MIDLINE)


def test_the_mirror_swaps_eyes_and_keeps_the_outline(topology):
    right, left = EYES
    assert topology.mirror[list(right.ring)].tolist() == list(left.ring)
    assert topology.mirror[list(right.brow)].tolist() == list(left.brow)
    for ring in (OVAL, LIPS, LIPS_INNER):
        assert {int(i) for i in topology.mirror[list(ring)]} == set(ring)


def test_the_openings_are_the_mesh_borders(topology):
    open_edges = border_edges(topology.triangles)
    expected = ring_edges(OVAL) | ring_edges(LIPS_INNER)
    for eye in EYES:
        expected |= ring_edges(eye.ring)
    assert open_edges == expected


def test_hole_triangles_close_the_openings(topology):
    np.testing.assert_array_equal(topology.closed[: len(topology.triangles)], topology.triangles)
    assert border_edges(topology.closed) == ring_edges(OVAL)
    for ring in OPENINGS:
        hole = fill_ring(ring)
        assert border_edges(hole) == ring_edges(ring)
        assert len(hole) == len(ring) - 2


@pytest.mark.parametrize("count", [4, 6, 16, 20])
def test_fill_ring_triangulates_a_polygon(count):
    angles = np.arange(count) * 2 * np.pi / count
    corners = np.column_stack([np.cos(angles), np.sin(angles)])
    a, b, c = (corners[fill_ring(range(count))[:, corner]] for corner in range(3))
    areas = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert areas.sum() == pytest.approx(count / 2 * np.sin(2 * np.pi / count))


def test_spreading_keeps_what_was_moved_and_is_an_average(topology):
    spread = topology.spread
    np.testing.assert_allclose(spread.sum(1), 1)
    assert (spread >= 0).all()
    np.testing.assert_array_equal(spread[list(OVAL)], np.eye(VERTEX_COUNT)[list(OVAL)])


@pytest.mark.parametrize("faces", [np.zeros((4, 2), int), np.full((4, 3), VERTEX_COUNT), np.full((4, 3), -1)])
def test_other_arrays_are_refused(faces):
    with pytest.raises(ValueError, match="triangles"):
        build_topology(faces)
