"""The measures of a swapped face: what they say of pictures whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from coordinate_reg.mesh_points import LEFT_EYE, OVAL, RIGHT_EYE
from utils.evaluate.colour_difference import ciede2000
from utils.evaluate.expression import (
    brow_height,
    compare_expressions,
    iris_place,
    landmarks_of,
    opening_difference,
    pitch_between,
)
from utils.evaluate.finish import FacePair, cut_pair, judge_finish
from utils.inference.alignment import estimate_similarity
from utils.inference.image_processing import find_faces

# Sharma, Wu and Dalal 2005, table 1: L, a, b of two colours, and their difference.
PUBLISHED = [
    (50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425),
    (50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000),
    (50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792),
    (50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195),
    (50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461),
    (50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492),
    (50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


@pytest.mark.parametrize("row", PUBLISHED)
def test_ciede2000_gives_the_published_differences_both_ways(row):
    first, second = np.array(row[:3]), np.array(row[3:6])
    assert ciede2000(first, second) == pytest.approx(row[6], abs=5e-5)
    assert ciede2000(second, first) == pytest.approx(row[6], abs=5e-5)


def test_ciede2000_of_pictures_goes_pixel_by_pixel():
    first, second = (np.array([row[place : place + 3] for row in PUBLISHED]) for place in (0, 3))
    np.testing.assert_allclose(ciede2000(first, second), [row[6] for row in PUBLISHED], atol=5e-5)
    assert not ciede2000(first, first).any()


@pytest.fixture(scope="module")
def face(pack, hopper):
    return max(find_faces(hopper, pack)[0], key=lambda face: face.area)


@pytest.fixture(scope="module")
def untouched(hopper, face):
    """A portrait that was swapped with itself, by a hard mask of the whole face."""
    points = landmarks_of(face)
    weight = np.zeros(hopper.shape[:2], np.float32)
    cv2.fillPoly(weight, [points[list(OVAL), :2].astype(np.int32)], 1.0)
    weight = cv2.erode(weight, np.ones((15, 15), np.uint8))
    return FacePair(hopper, hopper, weight, points, points)


def pasted(pair, face_picture):
    """The pair with another picture inside the mask."""
    inside = (pair.weight >= 0.5)[..., None]
    return FacePair(
        pair.target,
        np.where(inside, np.clip(np.rint(face_picture), 0, 255), pair.target).astype(np.uint8),
        pair.weight,
        pair.target_points,
        pair.result_points,
    )


def test_a_copy_of_the_target_is_perfect(untouched):
    finish = judge_finish(untouched)
    assert (finish.seam, finish.edge_colour, finish.sharpness, finish.grain) == (1, 0, 1, 1)


def test_a_face_pasted_with_scissors_shows_a_seam(untouched, collins, pack):
    source = landmarks_of(max(find_faces(collins, pack)[0], key=lambda face: face.area))
    height, width = untouched.target.shape[:2]
    to_target = estimate_similarity(source[:468, :2], untouched.target_points[:468, :2])
    face = cv2.warpAffine(collins, to_target, (width, height)).astype(np.float64)
    inside = untouched.weight >= 0.5
    matched = face - face[inside].mean(0) + untouched.target[inside].mean(0)  # even with the same mean colour
    assert judge_finish(pasted(untouched, matched)).seam > 1.4


def test_a_seam_is_found_inside_of_the_mask_where_generators_join(untouched):
    inner = cv2.erode(untouched.weight, np.ones((3, 3), np.uint8), iterations=round(0.08 * untouched.unit_px))
    joined = pasted(untouched, untouched.target + 20.0 * inner[..., None])
    assert judge_finish(joined).seam > 1.2


def test_shading_that_differs_smoothly_is_no_seam_but_a_difference_of_colour(untouched):
    inwards = np.clip(untouched.depth_px / (0.8 * untouched.unit_px), 0, 1)[..., None]
    finish = judge_finish(pasted(untouched, untouched.target * (1 - 0.4 * inwards)))
    assert finish.seam < 1.03
    assert finish.edge_colour > 2


def test_a_blurred_face_is_less_sharp_and_a_noisy_one_more_grainy(untouched):
    blurred = judge_finish(pasted(untouched, cv2.GaussianBlur(untouched.target, (0, 0), 2.0)))
    assert blurred.sharpness < 0.8
    assert blurred.grain < 0.8
    noise = np.random.default_rng(0).normal(0, 8, untouched.target.shape[:2])[..., None]
    noisy = judge_finish(pasted(untouched, untouched.target + noise))
    assert noisy.grain > 1.25
    assert noisy.sharpness == pytest.approx(1, abs=0.15)


def test_a_tinted_face_differs_in_colour_by_as_much(untouched):
    tinted = judge_finish(pasted(untouched, untouched.target + np.array([0, 0, 14.0])))
    assert 2 < tinted.edge_colour < 8


def test_nothing_pasted_cannot_be_judged(untouched):
    nothing = replace(untouched, weight=np.zeros_like(untouched.weight))
    assert cut_pair(nothing) is None
    assert np.isnan(judge_finish(nothing).seam)


def test_cutting_out_the_face_moves_landmarks_with_it(untouched):
    cut = cut_pair(untouched)
    assert cut.target.shape[0] < untouched.target.shape[0]
    x, y = np.rint(cut.target_points[4, :2]).astype(int)
    there_x, there_y = np.rint(untouched.target_points[4, :2]).astype(int)
    np.testing.assert_array_equal(cut.target[y, x], untouched.target[there_y, there_x])


def test_expression_tells_one_eye_from_the_other_and_brows_from_gaze(face):
    def moved(indices, way):
        points = landmarks_of(face).copy()
        points[list(indices), :2] += np.array(way)
        return compare_expressions(replace(face, landmarks=points), face)

    same = moved([], (0, 0))
    assert same == replace(same, **dict.fromkeys(vars(same), pytest.approx(0, abs=1e-6)))
    wink = moved([RIGHT_EYE.upper], (0, 5))
    assert wink.eye_right > 0.03
    assert wink.eye_left == wink.brow == 0
    frown = moved([*RIGHT_EYE.brow, *LEFT_EYE.brow], (0, 6))
    assert frown.brow > 0.03
    assert frown.eye_right == frown.gaze == 0
    glance = moved([RIGHT_EYE.iris, LEFT_EYE.iris], (4, 0))
    assert glance.gaze > 0.03
    assert glance.brow == glance.mouth == 0


def test_openings_brows_and_irises_do_not_depend_on_size_and_turn(face):
    points = landmarks_of(face)
    angle = np.radians(30)
    turned = points.copy()
    turned[:, :2] = 2.5 * points[:, :2] @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for figure in (lambda p: brow_height(p, LEFT_EYE), lambda p: iris_place(p, RIGHT_EYE), opening_difference):
        assert figure(turned) == pytest.approx(figure(points), abs=1e-9)


@pytest.mark.parametrize("degrees", [-8.0, 5.0])
def test_pitch_is_the_turn_about_the_horizontal_axis(face, degrees):
    points = landmarks_of(face)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    nodded = points @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]).T
    assert pitch_between(nodded, points) == pytest.approx(degrees, abs=1e-6)
