"""Smoothing of dense landmarks: what keeps still gets steady, what moves is neither late nor flattened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coordinate_reg.attention_mesh import box_of_landmarks, keypoints_of_landmarks
from coordinate_reg.mesh_points import EYES, LIPS, RIGID
from models.mesh.shape import eye_opening
from utils.inference.image_processing import find_faces
from utils.inference.records import Face
from utils.inference.steadying.landmark_smoothing import RADIUS_FRAMES, LandmarkSmoother, measure


@pytest.fixture(scope="module")
def shape(collins, pack):
    """(478, 3), eyes about 54 px apart."""
    return find_faces(collins, pack)[0][0].landmarks


def face_of(landmarks):
    return Face(box_of_landmarks(landmarks), 1.0, keypoints_of_landmarks(landmarks), landmarks)


def stream(faces):
    smoother = LandmarkSmoother(RIGID)
    answers = []
    for number, face in enumerate(faces, start=1):
        answers += smoother.push(face)
        assert len(answers) == max(0, number - RADIUS_FRAMES)
    return answers + smoother.finish()


def smooth(track):
    """(T, 478, 3) -> the same, smoothed."""
    return np.stack([face.landmarks for face in stream([face_of(landmarks) for landmarks in track])])


def noise_like(track, seed=0, px=0.12):
    return px * np.random.default_rng(seed).standard_normal(track.shape)


def test_a_still_face_gets_steady(shape):
    still = np.repeat(shape[None], 60, 0)
    noisy = still + noise_like(still)
    smoothed = smooth(noisy)[RADIUS_FRAMES:-RADIUS_FRAMES]
    assert smoothed[..., :2].std(0).mean() < 0.4 * noisy[..., :2].std(0).mean()
    steps = [np.abs(np.diff(track[..., :2], axis=0)).mean() for track in (smoothed, noisy)]
    assert steps[0] < 0.15 * steps[1]


def test_keypoints_and_box_go_with_the_landmarks(shape):
    still = np.repeat(shape[None], 30, 0)
    for smoothed in stream([face_of(landmarks) for landmarks in still + noise_like(still)]):
        np.testing.assert_allclose(smoothed.keypoints, keypoints_of_landmarks(smoothed.landmarks), atol=0.15)
        np.testing.assert_allclose(smoothed.box, box_of_landmarks(smoothed.landmarks), atol=0.4)


def test_even_motion_is_neither_late_nor_early(shape):
    track = shape + np.arange(30)[:, None, None] * (4.0, -2.5, 0)
    np.testing.assert_allclose(smooth(track), track, atol=1e-6)


def test_a_clip_played_backwards_is_smoothed_alike(shape):
    angles = np.sin(np.arange(40) / 4)
    track = np.stack([turned(shape, 0.1 * angle) for angle in angles]) + 8 * angles[:, None, None]
    track += noise_like(track)
    np.testing.assert_allclose(smooth(track[::-1])[::-1], smooth(track), atol=1e-9)


def turned(shape, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    centre = shape.mean(0)
    return (shape - centre) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + centre


def test_a_blink_of_two_frames_stays_as_deep(shape):
    track = np.repeat(shape[None], 30, 0) + noise_like(np.zeros((30, *shape.shape)))
    for eye in EYES:
        track[14:16, list(eye.lids), 1] = track[14:16, [eye.outer, eye.inner], 1].mean(1, keepdims=True)
    smoothed = smooth(track)
    for frame in range(8, 22):
        for eye in EYES:
            assert eye_opening(smoothed[frame], eye) == pytest.approx(eye_opening(track[frame], eye), abs=0.03)


def test_quick_lips_stay_while_the_rest_gets_steady(shape):
    track = np.repeat(shape[None], 40, 0)
    opening = np.where(np.arange(40) % 4 < 2, 0.0, 3.0)  # three pixels, three times a second at 25 fps
    lower = [index for index in LIPS if shape[index, 1] > shape[list(LIPS), 1].mean()]
    track[:, lower, 1] += opening[:, None]
    noisy = track + noise_like(track)
    smoothed = smooth(noisy)[8:-8]
    assert np.abs(smoothed - noisy[8:-8])[:, lower, :2].mean() < 0.12
    forehead = [10, 151, 9, 67, 297]
    assert smoothed[:, forehead, :2].std(0).mean() < 0.5 * noisy[:, forehead, :2].std(0).mean()


def test_a_shaking_head_keeps_its_motion_and_gets_steady_features(shape):
    shake = 6 * np.random.default_rng(1).standard_normal((60, 1, 3)) * (1, 1, 0)
    track = shape + shake
    noisy = track + noise_like(track)
    smoothed = smooth(noisy)[8:-8]
    rigid = list(RIGID)
    motion = [x[:, rigid, :2].mean(1) for x in (smoothed, noisy[8:-8])]
    np.testing.assert_allclose(*motion, atol=0.15)
    features = [(x - x[:, rigid].mean(1, keepdims=True))[..., :2].std(0).mean() for x in (smoothed, noisy[8:-8])]
    assert features[0] < 0.5 * features[1]


def test_a_missing_face_and_a_jump_end_the_run(shape):
    here, there = face_of(shape), face_of(shape + 200.0)
    faces = [here] * 3 + [None] + [there] * 8 + [here] * 4
    for before, after in zip(faces, stream(faces), strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_allclose(after.landmarks, before.landmarks, atol=1e-9)


def test_a_smoother_may_be_used_again(shape):
    smoother = LandmarkSmoother(RIGID)
    track = shape + noise_like(np.zeros((9, *shape.shape)))
    runs = []
    for _ in range(2):
        answers = [smoothed for landmarks in track for smoothed in smoother.push(face_of(landmarks))]
        runs.append(np.stack([face.landmarks for face in answers + smoother.finish()]))
    np.testing.assert_array_equal(*runs)
    assert smoother.finish() == []


def test_dense_landmarks_are_needed(shape):
    with pytest.raises(ValueError, match="dense landmarks"):
        LandmarkSmoother(RIGID).push(replace(face_of(shape), landmarks=None))


def test_the_measure_does_not_shrink_when_the_head_turns(shape):
    narrow = shape * (0.4, 1, 1)
    assert measure(face_of(narrow)) > 0.8 * measure(face_of(shape))
