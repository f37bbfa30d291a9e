import cv2
import numpy as np
import pytest

from utils.inference.tracking.cuts import CutDetector


def scene(seed, size=(240, 135)):
    """A smooth random picture."""
    noise = np.random.default_rng(seed).uniform(0, 255, (9, 16, 3)).astype(np.float32)
    return cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def cuts_of(frames):
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.is_cut(frame)]


def noisy(picture, seed):
    noise = np.random.default_rng(seed).normal(0, 6, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def test_cuts_between_scenes_are_found_where_they_are():
    frames = [noisy(scene(index // 7), index) for index in range(35)]
    assert cuts_of(frames) == [7, 14, 21, 28]


@pytest.mark.parametrize("step_px", [1, 4, 12])
def test_a_moving_camera_is_no_cut(step_px):
    wide = scene(1, (240 + 30 * step_px, 135))
    assert cuts_of([wide[:, step_px * index : step_px * index + 240] for index in range(30)]) == []


def test_a_change_of_light_is_no_cut():
    picture = scene(2).astype(np.float32)
    assert cuts_of([(picture * gain).astype(np.uint8) for gain in [1.0] * 5 + [0.6] * 5 + [1.0] * 5]) == []


def test_a_still_picture_and_black_frames_are_no_cuts():
    assert cuts_of([scene(3)] * 5) == []
    assert cuts_of([np.zeros((90, 160, 3), np.uint8)] * 5) == []
