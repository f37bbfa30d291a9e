"""The five pose templates of GHOST's alignment, and its plain warp."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.inference.alignment import (
    POSE_TEMPLATES_112,
    estimate_pose_alignment,
    invert,
    transform_points,
    warp_antialiased,
    warp_bilinear,
)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "alignment.npz"
CROP_PX = 224
# keypoints, frame_to_crop for 224, template; of the original's function
GOLDEN = [
    (
        [(267.08, 322.84), (276.65, 324.73), (250.98, 404.46), (308.25, 443.14), (323.44, 436.07)],
        [(0.6001, -0.2497, 26.5135), (0.2497, 0.6001, -163.8541)],
        0,
    ),
    (
        [(435.13, 755.72), (501.87, 715.73), (477.42, 839.43), (550.64, 875.67), (600.72, 817.79)],
        [(0.3369, -0.3328, 197.5407), (0.3328, 0.3369, -303.7625)],
        1,
    ),
    (
        [(546.46, 415.81), (658.79, 296.61), (668.78, 423.21), (702.07, 550.88), (799.82, 425.90)],
        [(0.2409, -0.2734, 64.8421), (0.2734, 0.2409, -148.4197)],
        2,
    ),
    (
        [(919.01, 945.83), (1014.96, 874.88), (1077.38, 999.55), (996.85, 1143.67), (1098.74, 1075.04)],
        [(0.3109, -0.1300, -65.494), (0.1300, 0.3109, -309.2846)],
        3,
    ),
    (
        [(399.15, 384.35), (425.74, 372.72), (539.76, 424.52), (494.48, 575.23), (500.64, 558.35)],
        [(0.3476, -0.1572, 32.2996), (0.1572, 0.3476, -96.0026)],
        4,
    ),
]


@pytest.mark.parametrize(("keypoints", "frame_to_crop", "template"), GOLDEN, ids=lambda value: None)
def test_golden_alignments(keypoints, frame_to_crop, template):
    found, index = estimate_pose_alignment(np.array(keypoints), CROP_PX)
    assert index == template
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, :2], np.array(frame_to_crop)[:, :2], atol=1e-4)
    np.testing.assert_allclose(found[:, 2], np.array(frame_to_crop)[:, 2], atol=0.02)  # keypoints above are rounded


def test_alignment_equals_the_original():
    if not REFERENCE.is_file():
        pytest.skip(f"no reference data at {REFERENCE}")
    reference = np.load(REFERENCE)
    for keypoints, wanted, template in zip(
        reference["keypoints"], reference["frame_to_crop"], reference["template"], strict=True
    ):
        found, index = estimate_pose_alignment(keypoints, CROP_PX)
        assert index == template
        # The original calculated in float32.
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
        corners = np.array([[0.0, 0.0], [CROP_PX, 0.0], [0.0, CROP_PX], [CROP_PX, CROP_PX]])
        in_frame = transform_points(invert(wanted), corners)
        np.testing.assert_allclose(transform_points(found, in_frame), corners, atol=1e-3)  # a thousandth of a pixel


@pytest.mark.parametrize("template", range(5))
def test_a_template_is_its_own_alignment(template):
    frame_to_crop, index = estimate_pose_alignment(POSE_TEMPLATES_112[template], CROP_PX)
    assert index == template
    np.testing.assert_allclose(frame_to_crop, [[2, 0, 0], [0, 2, 0]], atol=1e-9)


@given(
    st.integers(0, 4),
    arrays(np.float64, (5, 2), elements=st.floats(-4, 4)),
    st.floats(0.02, 50),
    st.floats(-np.pi, np.pi),
    st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)),
)
def test_turning_the_frame_turns_the_alignment(template, noise, scale, angle, shift):
    keypoints = POSE_TEMPLATES_112[template] + noise
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    moved = transform_points(np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]]), keypoints)
    before, index = estimate_pose_alignment(keypoints, CROP_PX)
    after, moved_index = estimate_pose_alignment(moved, CROP_PX)
    aligned, moved_aligned = transform_points(before, keypoints), transform_points(after, moved)
    if moved_index == index:
        np.testing.assert_allclose(moved_aligned, aligned, atol=1e-4)
    else:  # rounding may decide between two templates that fit equally well
        distances = [
            np.linalg.norm(points - 2 * POSE_TEMPLATES_112[choice], axis=1).sum()
            for points, choice in ((aligned, index), (moved_aligned, moved_index))
        ]
        assert distances[0] == pytest.approx(distances[1], abs=1e-3)


@given(arrays(np.float64, (5, 2), elements=st.floats()))
def test_any_keypoints_are_aligned_or_refused(keypoints):
    with np.errstate(all="ignore"):
        try:
            frame_to_crop, index = estimate_pose_alignment(keypoints, CROP_PX)
        except ValueError:
            return
    assert np.isfinite(frame_to_crop).all()
    assert 0 <= index < 5
    assert np.linalg.det(frame_to_crop[:, :2]) > 0


@pytest.mark.parametrize(
    "keypoints",
    [
        np.full((5, 2), 7.0),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        np.zeros((4, 2)),
        np.array([[1e30, 0], [-1e30, 0], [0, 1e30], [0, 0], [0, 0]]),
    ],
    ids=["one place", "nan", "infinite", "four", "huge"],
)
def test_degenerate_keypoints_are_refused(keypoints):
    with pytest.raises(ValueError):
        estimate_pose_alignment(keypoints, CROP_PX)


def test_the_size_scales_the_templates():
    keypoints = np.array(GOLDEN[1][0])
    small, large = (estimate_pose_alignment(keypoints, size)[0] for size in (112, 448))
    np.testing.assert_allclose(small * 4, large)


def test_the_plain_warp_does_not_average():
    """A checkerboard of single pixels, shrunk: GHOST picks pixels, where area-averaging would give grey."""
    board = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frame = np.repeat(board[:, :, None], 3, axis=2)
    frame_to_crop = np.array([[0.25, 0.0, 0.0], [0.0, 0.25, 0.0]])
    assert warp_bilinear(frame, frame_to_crop, 96).std() == 0  # every fourth pixel is of one colour
    assert set(np.unique(warp_bilinear(frame, frame_to_crop, 96))) <= {0, 255}
    assert abs(int(warp_antialiased(frame, frame_to_crop, (96, 96))[48, 48, 0]) - 128) < 8


def test_the_plain_warp_is_opencvs():
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    frame_to_crop = np.array([[0.4, -0.1, 30.0], [0.1, 0.4, -10.0]])
    wanted = cv2.warpAffine(frame, frame_to_crop, (64, 64), borderValue=0.0)
    np.testing.assert_array_equal(warp_bilinear(frame, frame_to_crop, 64), wanted)
    assert warp_bilinear(frame, frame_to_crop, 64)[0, 0].max() == 0  # outside of the frame
