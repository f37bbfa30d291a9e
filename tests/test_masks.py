"""GHOST's masks: the hull of 106 landmarks, eroded and blurred."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coordinate_reg.landmarks_106 import (
    COUNT,
    LEFT_BROW_106,
    LEFT_CONTOUR_106,
    LEFT_EYE_106,
    LIPS_106,
    NOSE_106,
    RIGHT_BROW_106,
    RIGHT_CONTOUR_106,
    RIGHT_EYE_106,
    landmarks_106_from_mesh,
)
from coordinate_reg.mesh_points import LANDMARK_COUNT as MESH_COUNT
from utils.inference.alignment import estimate_pose_alignment, transform_points
from utils.inference.image_processing import find_faces
from utils.inference.masks import (
    ALIKE,
    BROWS,
    CROP_PX,
    MUCH_NARROWER,
    NARROWER,
    UPPER_LIDS,
    WIDER,
    MaskParameters,
    choose_mask_parameters,
    circle_mask,
    face_mask,
    face_mask_static,
)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "masks.npz"
CHOICES = (MUCH_NARROWER, NARROWER, ALIKE, WIDER)


def drawn_face(half_width=70.0):
    """(106, 2): half an ellipse of a contour, two brows, two upper lids, and the rest at the nose."""
    points = np.full((COUNT, 2), (112.0, 140.0))
    turn = np.linspace(0, np.pi / 2, len(LEFT_CONTOUR_106))
    points[list(LEFT_CONTOUR_106)] = np.stack([112 - half_width * np.cos(turn), 100 + 98 * np.sin(turn)], axis=1)
    points[list(RIGHT_CONTOUR_106)] = np.stack([112 + half_width * np.cos(turn), 100 + 98 * np.sin(turn)], axis=1)
    across = np.array([-56.0, -46, -36, -26, -16, 16, 26, 36, 46, 56]) + 112
    points[list(BROWS)] = np.stack([across, np.full(10, 86.0)], axis=1)
    points[list(UPPER_LIDS)] = np.stack([across, np.full(10, 104.0)], axis=1)
    return points


# Every 16th pixel of row and column 112, and the mean; made by the code that equals the reference.
GOLDEN = {
    MUCH_NARROWER: (
        [0, 2, 27, 109, 207, 249, 255, 255, 255, 248, 203, 104, 25, 2],
        [0, 0, 0, 6, 93, 228, 255, 255, 255, 255, 252, 212, 79, 5],
        61.592,
    ),
    NARROWER: (
        [0, 0, 15, 129, 242, 255, 255, 255, 255, 255, 242, 131, 15, 0],
        [0, 0, 0, 0, 37, 211, 255, 255, 255, 255, 255, 249, 129, 6],
        63.861,
    ),
    ALIKE: (
        [0, 0, 2, 200, 255, 255, 255, 255, 255, 255, 255, 184, 1, 0],
        [0, 0, 0, 0, 34, 251, 255, 255, 255, 255, 255, 255, 195, 1],
        70.418,
    ),
    WIDER: (
        [0, 0, 13, 238, 255, 255, 255, 255, 255, 255, 255, 232, 10, 0],
        [0, 0, 0, 0, 19, 142, 245, 255, 255, 255, 255, 253, 203, 56],
        72.812,
    ),
}


@pytest.mark.parametrize("parameters", CHOICES, ids=["much narrower", "narrower", "alike", "wider"])
def test_golden_masks(parameters):
    row, column, mean = GOLDEN[parameters]
    mask = face_mask(drawn_face(), parameters)
    assert mask.shape == (CROP_PX, CROP_PX)
    assert mask.dtype == np.uint8
    np.testing.assert_allclose(mask[112, ::16], row, atol=2)
    np.testing.assert_allclose(mask[::16, 112], column, atol=2)
    assert mask.mean() == pytest.approx(mean, abs=0.2)


def test_masks_equal_the_original():
    if not REFERENCE.is_file():
        pytest.skip(f"no reference data at {REFERENCE}")
    reference = np.load(REFERENCE)
    names = ("landmarks", "landmarks_target", "mask_u8", "params", "mask_next_u8")
    for landmarks, target, wanted, chosen, wanted_next in zip(*(reference[name] for name in names), strict=True):
        parameters = choose_mask_parameters(landmarks, target)
        assert [parameters.erode_px, parameters.sigma_x, parameters.sigma_y] == chosen.tolist()
        for points, picture in ((landmarks, wanted), (target, wanted_next)):
            difference = cv2.absdiff(face_mask(points, parameters), picture)
            assert np.mean(difference > 2) <= 0.01
        mask, kept = face_mask_static(landmarks, target)
        assert kept == parameters
        np.testing.assert_allclose(mask, wanted / 255.0, atol=2.5 / 255)
        # The next frame, which would choose otherwise, keeps the choice.
        mask_next, kept_next = face_mask_static(target, landmarks, kept)
        assert kept_next is kept
        np.testing.assert_allclose(mask_next, wanted_next / 255.0, atol=2.5 / 255)


@pytest.mark.parametrize(
    ("narrower_px", "parameters"),
    [
        (2.01, MUCH_NARROWER),
        (2.0, NARROWER),  # a sum of six
        (1.01, NARROWER),
        (1.0, ALIKE),
        (0.0, ALIKE),
        (-1.0, ALIKE),
        (-1.01, WIDER),
    ],
)
def test_the_choice_depends_on_the_width(narrower_px, parameters):
    target = np.full((COUNT, 2), 112.0)
    swap = target.copy()
    swap[[1, 2, 13], 0] += narrower_px
    swap[[17, 18, 29], 0] -= narrower_px
    assert choose_mask_parameters(swap, target) == parameters


@pytest.mark.parametrize("side", [(1, 2, 13), (17, 18, 29)])
def test_one_narrower_side_is_enough(side):
    target = np.full((COUNT, 2), 112.0)
    swap = target.copy()
    swap[list(side), 0] += 3 if side[0] == 1 else -3
    assert choose_mask_parameters(swap, target) == MUCH_NARROWER


def test_kept_parameters_are_not_chosen_again():
    _, chosen = face_mask_static(drawn_face(60), drawn_face(70))
    assert chosen == MUCH_NARROWER
    mask, kept = face_mask_static(drawn_face(70), drawn_face(60), chosen)
    assert kept == MUCH_NARROWER
    assert mask.dtype == np.float32
    assert mask.max() == 1.0
    np.testing.assert_array_equal(mask * 255, face_mask(drawn_face(70), MUCH_NARROWER))


def test_brows_are_raised_and_the_input_is_not():
    points = drawn_face()
    before = points.copy()
    tops = [
        int(np.flatnonzero(face_mask(points, MaskParameters(5, 5, 5, factor)).any(axis=1))[0]) for factor in (0, 1, 2)
    ]
    assert tops[0] - tops[1] == tops[1] - tops[2] == 9  # half of the 18 pixels between brow and lid
    np.testing.assert_array_equal(points, before)


finite_or_not = st.one_of(
    st.floats(), st.floats(-500, 500), st.floats(0, 224), st.sampled_from([2.0**31, -(2.0**31), 1e300])
)


@given(arrays(np.float64, (COUNT, 2), elements=finite_or_not), st.sampled_from(CHOICES))
def test_any_landmarks_give_a_mask(points, parameters):
    mask = face_mask(points, parameters)
    assert mask.shape == (CROP_PX, CROP_PX)
    assert mask.any()
    weights, _ = face_mask_static(points, np.roll(points, 1, axis=0))
    assert 0 <= weights.min() <= weights.max() <= 1


@pytest.mark.parametrize("parameters", CHOICES)
@pytest.mark.parametrize(
    "points",
    [
        np.full((COUNT, 2), np.nan),
        np.where(np.arange(2 * COUNT).reshape(-1, 2) == 7, np.inf, 100.0),
        np.full((COUNT, 2), -300.0),
        np.full((COUNT, 2), 1e12),
        np.stack([np.full(COUNT, 3.0), np.linspace(0, 223, COUNT)], axis=1),
    ],
    ids=["nan", "one infinite", "outside", "far outside", "at the border"],
)
def test_nothing_to_draw_gives_the_circle(points, parameters):
    np.testing.assert_array_equal(face_mask(points, parameters), circle_mask())


def test_the_circle():
    mask = circle_mask()
    assert mask[112, 112] == 255
    assert mask[112, 112 + 90 - 12] == 255
    assert mask[112, 112 + 90 + 12] == 0
    assert abs(int(mask[112, 112 + 90]) - 128) < 12
    np.testing.assert_array_equal(mask[1:, 1:], mask[:0:-1, :0:-1])
    assert mask.mean() / 255 == pytest.approx(np.pi * 90**2 / 224**2, abs=0.01)


@pytest.mark.parametrize("shape", [(68, 2), (106, 3), (0, 2)])
def test_other_landmarks_are_refused(shape):
    with pytest.raises(ValueError, match="106"):
        face_mask(np.zeros(shape), ALIKE)
    with pytest.raises(ValueError, match="106"):
        choose_mask_parameters(np.zeros((106, 2)), np.zeros(shape))


def aligned_mesh(pack, photo):
    """(478, 3) in the pixels of GHOST's crop."""
    face = find_faces(photo, pack)[0][0]
    frame_to_crop, _ = estimate_pose_alignment(face.keypoints, CROP_PX)
    return transform_points(frame_to_crop, face.landmarks)


@pytest.fixture(scope="module", params=["collins", "hopper"])
def mesh(request, pack):
    return aligned_mesh(pack, request.getfixturevalue(request.param))


def test_every_landmark_has_a_place_on_the_mesh():
    groups = (
        *(LEFT_CONTOUR_106, RIGHT_CONTOUR_106[:-1], LEFT_EYE_106, RIGHT_EYE_106, (34, 38, 88, 92)),
        *(LEFT_BROW_106, RIGHT_BROW_106, NOSE_106, LIPS_106),
    )
    assert sorted(index for group in groups for index in group) == list(range(COUNT))
    numbered = np.arange(MESH_COUNT)[:, None] * np.ones(2) + 1
    assert (landmarks_106_from_mesh(numbered) >= 1).all()


def test_the_mesh_covers_brows_to_chin(mesh):
    points = landmarks_106_from_mesh(mesh)
    assert points.shape == (COUNT, 2)
    hull = cv2.convexHull(points.astype(np.float32))
    chin, brow_tops, mouth_and_nose = mesh[152, :2], mesh[[105, 334], :2], mesh[[0, 17, 61, 291, 4], :2]
    for inside in (chin, *brow_tops, *mouth_and_nose):
        assert cv2.pointPolygonTest(hull, inside.tolist(), True) > -0.01  # pixels; on the edge at the least
    assert points[0] == pytest.approx(chin)
    # Above the brows there is nothing; the mask raises them itself.
    assert hull[:, 0, 1].min() == pytest.approx(points[list(BROWS), 1].min(), abs=1.0)


def test_the_mesh_has_the_layout_of_2d106(mesh):
    """What the drawing shows of a frontal face."""
    points = landmarks_106_from_mesh(mesh)
    x, y = points[:, 0], points[:, 1]
    for left, right in ((1, 17), (13, 29), (2, 18), (35, 93), (39, 89), (43, 101), (50, 102), (52, 61), (78, 84)):
        assert x[left] < x[right]
        assert abs(y[left] - y[right]) < 12
    assert np.argmax(y) == 0  # chin
    for contour in (LEFT_CONTOUR_106, RIGHT_CONTOUR_106):
        assert (np.diff(y[list(contour)]) > 0).all()
        gaps = np.linalg.norm(np.diff(points[list(contour)], axis=0), axis=1)
        assert gaps.max() < 2 * gaps.min()  # evenly spaced, as 2d106's are
    assert (y[list(BROWS)] < y[list(UPPER_LIDS)]).all()
    assert (np.abs(x[list(BROWS)] - x[list(UPPER_LIDS)]) < 16).all()
    assert y[72] < y[73] < y[74] < y[86] < y[80] < y[71] < y[53] < y[0]
    assert (y[[41, 40, 42, 95, 94, 96]] < y[[36, 33, 37, 90, 87, 91]]).all()


@pytest.mark.parametrize("parameters", CHOICES, ids=["much narrower", "narrower", "alike", "wider"])
def test_the_mesh_gives_a_plausible_mask(mesh, parameters):
    mask = face_mask(landmarks_106_from_mesh(mesh), parameters)
    assert 0.25 < mask.mean() / 255 < 0.5
    for index in (468, 473, 4, 13, 14, 61, 291):  # irises, nose, mouth
        column, row = mesh[index, :2].round().astype(int)
        assert mask[row, column] > 200
    for corner in (mask[:8, :8], mask[:8, -8:], mask[-8:, :8], mask[-8:, -8:]):
        assert corner.max() < 10


def test_a_thinner_mesh_is_seen_as_narrower(mesh):
    thinner = mesh.copy()
    thinner[:, 0] = 112 + (thinner[:, 0] - 112) * 0.9
    swap, target = landmarks_106_from_mesh(thinner), landmarks_106_from_mesh(mesh)
    assert choose_mask_parameters(swap, target) == MUCH_NARROWER
    assert choose_mask_parameters(target, swap) == WIDER
    assert choose_mask_parameters(target, target) == ALIKE


def test_a_mesh_of_another_size_is_refused():
    with pytest.raises(ValueError, match="478"):
        landmarks_106_from_mesh(np.zeros((468, 3)))
