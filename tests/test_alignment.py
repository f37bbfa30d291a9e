import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.inference.alignment import estimate_similarity, invert, scale_of, transform_points, warp_antialiased
from utils.inference.shrinking import shrink

angles = st.floats(-np.pi, np.pi)
scales = st.floats(0.01, 100)
shifts = st.floats(-1e4, 1e4)


def similarity(scale, angle, x, y):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


@given(scales, angles, shifts, shifts, st.integers(0, 2**31))
def test_a_similarity_is_found_again(scale, angle, x, y, seed):
    points = np.random.default_rng(seed).normal(size=(5, 2)) * 50
    wanted = similarity(scale, angle, x, y)
    found = estimate_similarity(points, transform_points(wanted, points))
    np.testing.assert_allclose(found, wanted, atol=1e-6 * max(scale, abs(x), abs(y), 1))


@given(scales, angles, shifts, shifts)
def test_invert_goes_back(scale, angle, x, y):
    there = similarity(scale, angle, x, y)
    points = np.array([[0.0, 0.0], [3.0, 4.0], [-2.0, 9.0]])
    back = transform_points(invert(there), transform_points(there, points))
    np.testing.assert_allclose(back, points, atol=1e-6 * max(1, abs(x), abs(y)) / min(scale, 1))
    assert scale_of(there) * scale_of(invert(there)) == pytest.approx(1)


def test_a_mirrored_set_gets_a_rotation_not_a_reflection():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.2]])
    found = estimate_similarity(square, square * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_points_without_a_shape_are_refused(points):
    with pytest.raises(ValueError, match="finite points"):
        estimate_similarity(points, np.arange(10.0).reshape(5, 2))


def test_a_singular_transform_is_refused():
    with pytest.raises(ValueError, match="singular"):
        invert(np.zeros((2, 3)))


def test_points_and_pixels_agree_when_shrinking():
    """A dot lands where its coordinates say, also through the area-averaged path."""
    frame = np.zeros((900, 1200, 3), np.uint8)
    cv2.circle(frame, (700, 400), 40, (255, 255, 255), -1)
    frame_to_crop = similarity(0.11, 0.3, 20, -40)
    crop = warp_antialiased(frame, frame_to_crop, (128, 96))[:, :, 0].astype(float)
    rows, columns = np.mgrid[0:96, 0:128]
    centre = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(centre, transform_points(frame_to_crop, np.array([[700.0, 400.0]]))[0], atol=0.1)


def test_a_crop_outside_of_the_frame_is_border():
    frame = np.full((20, 20, 3), 200, np.uint8)
    far = similarity(1.0, 0.0, 500, 500)
    assert warp_antialiased(frame, far, (8, 8)).max() == 0
    assert warp_antialiased(frame, far, (8, 8), cv2.BORDER_REPLICATE).min() == 200


@pytest.mark.parametrize("size", [(100, 60), (99, 61), (33, 27), (400, 240)])
def test_shrinking_by_halves_gives_what_one_average_gives(size):
    noise = np.random.default_rng(1).integers(0, 256, (240, 400, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    direct = cv2.resize(smooth, size, interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrink(smooth, size).astype(int) - direct).max() <= 2


@pytest.mark.parametrize("scale", [0.7, 0.5, 0.29, 0.13, 0.06])
def test_a_point_stays_in_its_place_however_much_the_crop_shrinks_the_frame(scale):
    """A round spot, whose centre is told to a tenth of a pixel of the crop."""
    spot, size = np.array([701.0, 433.0]), 64
    y, x = np.mgrid[0:901, 0:1201]
    frame = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) * (scale / 4) ** 2)).astype(np.uint8)
    turn = scale * np.array([[0.96, 0.28], [-0.28, 0.96]])
    frame_to_crop = np.hstack([turn, (np.array([30.0, 34.0]) - turn @ spot)[:, None]])
    crop = warp_antialiased(np.repeat(frame[..., None], 3, 2), frame_to_crop, (size, size))[..., 0].astype(float)
    y, x = np.mgrid[0:size, 0:size]
    centre = np.array([(x * crop).sum(), (y * crop).sum()]) / crop.sum()
    assert np.abs(centre - (30, 34)).max() < 0.1


@pytest.mark.parametrize("shape", [(1080, 1920), (3, 4000), (1, 1)])
@pytest.mark.parametrize("shift", [-5000.0, 0.0, 5000.0])
def test_a_crop_that_shrinks_what_lies_beside_a_frame_or_in_a_sliver_has_its_size(shape, shift):
    frame = np.full((*shape, 3), 90, np.uint8)
    frame_to_crop = np.array([[0.05, 0, shift], [0, 0.05, 0]])
    assert warp_antialiased(frame, frame_to_crop, (64, 48)).shape == (48, 64, 3)
