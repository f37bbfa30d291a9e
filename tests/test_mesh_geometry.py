from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinate_reg.mesh_points import (
    CHIN,
    EYES,
    LANDMARK_COUNT,
    LIP_OPENING,
    LIPS,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_BASE,
    NOSE_RIDGE,
    OVAL,
    VERTEX_COUNT,
)
from models.mesh.canvas import (
    CELLS,
    choose_area,
    choose_size,
    cut_out,
    estimate_frame_to_canvas,
    resize_points,
)
from models.mesh.raster import draw_triangle_ids, interpolate, triangle_affines
from models.mesh.shape import blend_shape, eye_opening, measure_openings
from models.mesh.texture import measure_visibility, retreat_from_contour, weigh_own_half
from models.mesh.topology import build_topology
from tests.test_mesh_topology import TRIANGLES
from utils.inference.alignment import estimate_similarity, scale_of, transform_points
from utils.inference.image_processing import find_faces
from utils.inference.records import Openings

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.05, 20)


@pytest.fixture(scope="module")
def topology():
    return build_topology(np.load(TRIANGLES))


@pytest.fixture(scope="module")
def face_points(collins, pack):
    return find_faces(collins, pack)[0][0].landmarks


def similarity(scale, angle, x=0.0, y=0.0):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def turned(points, degrees):
    """The landmarks as seen after the head has turned about the vertical axis."""
    angle = np.radians(degrees)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    centre = points.mean(0)
    return (points - centre) @ about.T + centre


@given(scales, angles, st.floats(-500, 500))
def test_the_canvas_does_not_depend_on_place_size_and_tilt(face_points, scale, angle, shift):
    moved = transform_points(similarity(scale, angle, shift, -shift), face_points)
    here = transform_points(estimate_frame_to_canvas(face_points, 256), face_points)
    there = transform_points(estimate_frame_to_canvas(moved, 256), moved)
    np.testing.assert_allclose(there, here, atol=1e-6)


@given(scales)
def test_the_canvas_is_as_fine_as_the_frame(face_points, scale):
    points = face_points * scale
    size = choose_size(points, 256, 1024)
    assert size % CELLS == 0
    assert 256 <= size <= 1024
    if 256 < size < 1024:
        assert 1 <= scale_of(estimate_frame_to_canvas(points, size)) <= 1.25


@given(st.sampled_from([64, 128, 256, 512]), st.integers(0, 2**31))
def test_resized_points_stay_on_their_pixels(size, seed):
    """A dot in a resized picture lies where the resized landmark says."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((128, 128), np.float32)
    x, y = rng.integers(20, 108, 2)
    picture[y - 8 : y + 9, x - 8 : x + 9] = 1
    resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if size < 128 else cv2.INTER_LINEAR)
    rows, columns = np.mgrid[0:size, 0:size]
    found = np.array([(resized * columns).sum(), (resized * rows).sum()]) / resized.sum()
    wanted = resize_points(np.array([[x, y, 0.0]]), size / 128)[0, :2]
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_cutting_out_continues_the_edge(face_points, collins):
    frame_to_canvas = estimate_frame_to_canvas(face_points, 256)
    frame_to_canvas[:, 2] += 4000
    canvas = cut_out(collins, frame_to_canvas, 256)
    assert canvas.shape == (256, 256, 3)
    assert (canvas == canvas[0, 0]).all()


def test_a_mirrored_face_fits_itself(face_points, topology):
    flipped = face_points[topology.mirror, :2] * [-1, 1]
    flipped = transform_points(estimate_similarity(flipped, face_points[:VERTEX_COUNT, :2]), flipped)
    eye_distance = np.linalg.norm(face_points[33] - face_points[263])
    assert np.linalg.norm(flipped - face_points[:VERTEX_COUNT, :2], axis=1).max() < 0.06 * eye_distance


def test_the_area_holds_the_mesh(face_points):
    points = transform_points(estimate_frame_to_canvas(face_points, 320), face_points)
    picture = np.arange(320 * 320).reshape(320, 320).astype(np.float32)
    area = choose_area(points, 320)
    (x, y), view = area.origin(320), area.of(picture)
    assert view[0, 0] == y * 320 + x
    inside = points[:VERTEX_COUNT, :2] - (x, y)
    assert (inside > 0).all()
    assert (inside < (view.shape[1], view.shape[0])).all()


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.integers(0, 2**31))
def test_affine_functions_are_carried_exactly(factors, seed):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(4, 60, 5), np.linspace(4, 60, 5)), -1).reshape(-1, 2)
    points = np.column_stack([grid + rng.uniform(-3, 3, grid.shape), np.zeros(25)])
    corner = np.array([i * 5 + j for i in range(4) for j in range(4)])[:, None]
    triangles = np.concatenate([corner + np.array([0, 1, 5]), corner + np.array([1, 6, 5])])
    affine = np.array(factors).reshape(2, 3)
    values = points[:, :2] @ affine[:, :2].T + affine[:, 2]
    ids = draw_triangle_ids(points, triangles, 64)
    planes = interpolate(ids[8:56, 8:56], triangle_affines(points, triangles, values), (8, 8))
    y, x = np.mgrid[8:56, 8:56]
    for plane, (of_x, of_y, constant) in zip(planes, affine, strict=True):
        np.testing.assert_allclose(plane, of_x * x + of_y * y + constant, atol=1e-3)


def test_near_triangles_hide_far_ones():
    square = np.array([[0, 0], [40, 0], [0, 40]], float)
    points = np.concatenate([np.column_stack([square, np.full(3, z)]) for z in (5.0, -5.0)])
    assert draw_triangle_ids(points, np.array([[0, 1, 2], [3, 4, 5]]), 48)[5, 5] == 2
    assert draw_triangle_ids(points * [1, 1, -1], np.array([[0, 1, 2], [3, 4, 5]]), 48)[5, 5] == 1


def test_neighbours_leave_no_gap_and_cover_little_more_than_themselves(face_points, topology):
    for size in (64, 160, 300):
        points = transform_points(estimate_frame_to_canvas(face_points, size), face_points)
        outline = np.zeros((size, size), np.uint8)
        cv2.fillPoly(outline, [np.round(points[list(OVAL), :2] * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
        covered = (draw_triangle_ids(points, topology.closed, size) > 0).astype(np.uint8)
        assert not (cv2.erode(outline, np.ones((3, 3))) > covered).any()
        assert not (covered > cv2.dilate(outline, np.ones((3, 3)))).any()


@given(st.lists(st.floats(-20, 60), min_size=6, max_size=6))
def test_a_triangle_covers_the_pixels_whose_middle_it_holds(coordinates):
    corners = np.array(coordinates).reshape(3, 2)
    ids = draw_triangle_ids(np.column_stack([corners, np.zeros(3)]), np.array([[0, 1, 2]]), 40)
    y, x = np.mgrid[0:40, 0:40]
    sides = zip(corners, np.roll(corners, -1, 0), strict=True)
    beside = np.array([(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in sides])
    assert (ids[(beside > 1e-6).all(0) | (beside < -1e-6).all(0)] == 1).all()
    rows, columns = np.nonzero(ids)
    if len(rows):  # and none that is more than half a pixel away
        assert (np.array([columns.min(), rows.min()]) >= corners.min(0) - 0.5).all()
        assert (np.array([columns.max(), rows.max()]) <= corners.max(0) + 0.5).all()


def test_triangles_that_are_to_lie_behind_are_hidden():
    square = np.array([[0, 0], [40, 0], [0, 40]], float)
    points = np.concatenate([np.column_stack([square, np.full(3, z)]) for z in (5.0, -5.0)])
    assert draw_triangle_ids(points, np.array([[0, 1, 2], [3, 4, 5]]), 48, behind=1)[5, 5] == 1


def test_a_triangle_seen_edge_on_stays_bounded():
    points = np.array([[0.0, 5, 0], [30.0, 5, 0], [15.0, 5.001, 0]])
    table = triangle_affines(points, np.array([[0, 1, 2]]), np.array([[0.0], [100.0], [50.0]]))
    (plane,) = interpolate(draw_triangle_ids(points, np.array([[0, 1, 2]]), 32), table)
    assert np.isfinite(plane).all()
    assert np.abs(plane).max() < 200


def test_a_face_blended_with_itself_keeps_its_shape(face_points, topology):
    np.testing.assert_allclose(blend_shape(face_points, face_points, topology), face_points, atol=1e-6)


@given(st.floats(-25, 25), st.floats(0.9, 1.1))
def test_the_outline_is_the_sources_in_the_targets_pose(face_points, topology, degrees, width):
    """A jaw that is wider or narrower stays so, whichever way the source is turned."""
    jaw = [132, 58, 172, 361, 288, 397]
    shaped = face_points.copy()
    shaped[jaw, 0] = face_points[CHIN, 0] + width * (face_points[jaw, 0] - face_points[CHIN, 0])
    blended = blend_shape(face_points, turned(shaped, degrees), topology)
    assert blended.shape == (LANDMARK_COUNT, 3)
    np.testing.assert_allclose(blended[jaw], shaped[jaw], atol=0.03 * np.ptp(face_points[:, 0]))


@given(st.floats(0, 0.25))
def test_the_jaw_hangs_as_far_as_the_targets(face_points, topology, drop):
    talking = face_points.copy()
    step = drop * (face_points[CHIN] - face_points[NOSE_BASE])
    talking[[CHIN, LIP_OPENING[1]]] += step
    blended = blend_shape(talking, face_points, topology)
    np.testing.assert_allclose(blended[CHIN], talking[CHIN], atol=0.03 * np.ptp(face_points[:, 1]))


def close_eyes(points, share):
    closed = points.copy()
    for eye in EYES:
        ring = list(eye.ring)
        level = points[[eye.outer, eye.inner], 1].mean()
        closed[ring, 1] = level + (points[ring, 1] - level) * share
    return closed


def test_a_blink_stays_a_blink(face_points, topology):
    blinking = close_eyes(face_points, 0.15)
    blended = blend_shape(blinking, face_points, topology)
    for eye in EYES:
        assert eye_opening(blended, eye) <= eye_opening(blinking, eye) + 0.01


@given(st.floats(0.5, 1.2))
def test_eyes_open_as_the_targets_whatever_the_sources_do(face_points, topology, share):
    """But for the width of the source's eyes, which is taken over with their height."""
    blended = blend_shape(face_points, close_eyes(face_points, share), topology)
    for eye in EYES:
        assert eye_opening(blended, eye) == pytest.approx(eye_opening(face_points, eye), rel=0.02)


@given(st.floats(-0.06, 0.1), st.floats(-0.06, 0.1), st.floats(-0.05, 0.1))
def test_eyes_and_mouth_are_opened_by_what_is_added(face_points, topology, right, left, mouth):
    talking = face_points.copy()
    lower = [vertex for place, vertex in enumerate(LIPS) if place % 20 in range(1, 10)]
    talking[lower, 1] += 0.15 * np.linalg.norm(talking[MOUTH_LEFT] - talking[MOUTH_RIGHT])
    before = measure_openings(blend_shape(talking, talking, topology))
    after = measure_openings(blend_shape(talking, talking, topology, Openings(right, left, mouth)))
    assert after.right - before.right == pytest.approx(right, abs=0.015)
    assert after.left - before.left == pytest.approx(left, abs=0.015)
    assert after.mouth - before.mouth == pytest.approx(mouth, abs=0.015)


def test_closed_eyes_and_lips_are_not_opened_by_what_is_added(face_points, topology):
    asleep = close_eyes(face_points, 0.15)
    asleep[LIP_OPENING[1]] = asleep[LIP_OPENING[0]]
    opened = measure_openings(blend_shape(asleep, asleep, topology, Openings(0.1, 0.1, 0.1)))
    closed = measure_openings(asleep)
    assert opened.right == pytest.approx(closed.right, abs=0.01)
    assert opened.left == pytest.approx(closed.left, abs=0.01)
    assert opened.mouth == pytest.approx(closed.mouth, abs=0.01)


def test_visibility_falls_on_the_side_that_is_turned_away(face_points, topology):
    def seen(degrees):
        points = turned(face_points, degrees)
        points = transform_points(estimate_frame_to_canvas(points, 512), points)
        return measure_visibility(points, topology, 512)

    left_cheek, right_cheek = 280, 50
    assert seen(0)[[left_cheek, right_cheek]].min() > 0.5
    away, toward = seen(40), seen(-40)
    assert away[left_cheek] < 0.2 or away[right_cheek] < 0.2
    assert (away[left_cheek] < away[right_cheek]) != (toward[left_cheek] < toward[right_cheek])
    hidden = left_cheek if away[left_cheek] < away[right_cheek] else right_cheek
    weight = weigh_own_half(away, topology)
    assert weight[hidden] < 0.3
    assert weight[topology.mirror[hidden]] == 1
    assert weigh_own_half(np.ones(VERTEX_COUNT), topology).min() == 1


def test_a_turned_nose_is_sampled_inside_of_its_contour_and_a_frontal_one_where_it_is(face_points, topology):
    def retreat(degrees):
        points = turned(face_points, degrees)
        points = transform_points(estimate_frame_to_canvas(points, 512), points)
        return retreat_from_contour(points, measure_visibility(points, topology, 512), topology) - points

    assert not retreat(0).any()
    right, left = retreat(45)[list(NOSE_RIDGE), 0], retreat(-45)[list(NOSE_RIDGE), 0]
    assert abs(right.sum()) > 4
    assert right.sum() * left.sum() < 0, "towards the flank that is seen"
