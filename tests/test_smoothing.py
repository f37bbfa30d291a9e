"""Smoothing of keypoints: the whole track at once, and frame by frame with two frames of delay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.inference.records import Face
from utils.inference.steadying.smoothing import (
    LARGEST_STEP_PX,
    RADIUS_FRAMES,
    FaceKeypointSmoother,
    KeypointSmoother,
    smooth_keypoints,
)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "smoothing.npz"


def track_of(values):
    """A track whose keypoints all have x = value and y = 0; None is a missing face."""
    track = np.zeros((len(values), 5, 2))
    for frame, value in enumerate(values):
        track[frame, :, 0] = np.nan if value is None else value
        if value is None:
            track[frame] = np.nan
    return track


def stream(track, missing=None):
    smoother = KeypointSmoother()
    answers = []
    for frame, keypoints in enumerate(track):
        absent = not np.isfinite(keypoints).all()
        answers += smoother.push(missing if absent and missing is None else keypoints)
        assert len(answers) == max(0, frame + 1 - RADIUS_FRAMES)
    answers += smoother.finish()
    return np.array([np.full((5, 2), np.nan) if answer is None else answer for answer in answers]).reshape(-1, 5, 2)


def test_smoothing_equals_the_original():
    if not REFERENCE.is_file():
        pytest.skip(f"no reference data at {REFERENCE}")
    reference = np.load(REFERENCE)
    for track, wanted in zip(reference["tracks"], reference["smoothed"], strict=True):
        # The original averaged in float32.
        np.testing.assert_allclose(smooth_keypoints(track), wanted, atol=1e-4, equal_nan=True)
        np.testing.assert_allclose(stream(track), wanted, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    ("values", "smoothed"),
    [
        ([0, 1, 4, 1, 0], [0, 5 / 3, 6 / 5, 5 / 3, 0]),
        ([0, 3, 3, 0, None, 9, 9, 6], [0, 2, 2, 0, None, 9, 8, 6]),
        ([0, 1, 2, 50, 51, 54], [0, 1, 2, 50, 155 / 3, 54]),  # a jump ends the run like a missing face
        ([0, 3, 9, 9], [0, 3, 9, 9]),
        ([7], [7]),
        ([None, 7, None], [None, 7, None]),
        ([0, 5, 7], [0, 4, 7]),  # five pixels are no jump yet
        ([], []),
    ],
)
def test_golden_tracks(values, smoothed):
    np.testing.assert_allclose(smooth_keypoints(track_of(values)), track_of(smoothed), equal_nan=True)


@pytest.mark.parametrize("keypoint", range(5))
def test_only_the_left_eye_and_the_nose_are_watched(keypoint):
    track = track_of([0, 1, 0])
    track[1:, keypoint, 1] += LARGEST_STEP_PX + 1
    averaged = smooth_keypoints(track)[1, 0, 0] == pytest.approx(1 / 3)
    assert averaged == (keypoint not in (0, 2))


def test_a_jump_is_measured_along_the_diagonal():
    track = track_of([0, 1, 0])
    track[1:, :, 1] += 4.9
    assert smooth_keypoints(track)[1, 0, 0] == pytest.approx(1)  # sqrt(1 + 4.9^2) px


def test_steady_motion_is_neither_late_nor_early():
    track = track_of(np.arange(20) * 3.0)
    np.testing.assert_allclose(smooth_keypoints(track), track, atol=1e-12)


def test_the_input_stays_as_it_is():
    track = track_of([0, 1, None, 3])
    before = track.copy()
    smooth_keypoints(track)
    np.testing.assert_array_equal(track, before)


steps = st.one_of(st.floats(-4, 4), st.floats(-7, 7), st.just(60.0))


@given(
    st.lists(st.tuples(steps, steps, st.booleans(), st.integers(0, 9)), max_size=40),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_streaming_equals_the_whole_track(moves, seed, as_nan):
    """Random walks with gaps and jumps; bit by bit."""
    noise = np.random.default_rng(seed).normal(size=(len(moves), 5, 2))
    places = np.cumsum([(x, y) for x, y, _, _ in moves], axis=0).reshape(-1, 1, 2)
    track = places + noise + 100.0
    for frame, (_, _, gap, luck) in enumerate(moves):
        if gap and luck == 0:
            track[frame] = np.nan
        elif gap and luck == 1:
            track[frame, luck, 0] = np.nan  # an incomplete face is no face
    whole = smooth_keypoints(track)
    np.testing.assert_array_equal(stream(track, missing=np.full((5, 2), np.nan) if as_nan else None), whole)
    assert (np.isfinite(whole).all(axis=(1, 2)) == np.isfinite(track).all(axis=(1, 2))).all()


def test_a_smoother_may_be_used_again():
    smoother = KeypointSmoother()
    first = [smoother.push(keypoints) for keypoints in track_of([0, 1, 0])], smoother.finish()
    second = [smoother.push(keypoints) for keypoints in track_of([0, 1, 0])], smoother.finish()
    np.testing.assert_equal(first, second)
    assert smoother.finish() == []


def test_faces_get_their_smoothed_keypoints_and_stay_otherwise():
    track = track_of([0, 3, 3, 0, None, 9, 9, 6])
    faces = [
        None if np.isnan(keypoints).any() else Face(np.arange(4.0) + number, 0.9, keypoints)
        for number, keypoints in enumerate(track)
    ]
    smoother = FaceKeypointSmoother()
    smoothed = [answer for face in faces for answer in smoother.push(face)] + smoother.finish()
    for before, after, keypoints in zip(faces, smoothed, smooth_keypoints(track), strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(after.keypoints, keypoints)
            np.testing.assert_array_equal(after.box, before.box)
