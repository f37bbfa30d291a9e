from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.inference.blending import blend_bands, paste_back
from utils.inference.image_processing import get_final_image, get_layers
from utils.inference.records import AlignedFace, GeneratedFace, Treatment

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "composition.npz"
SIZE = 96


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc(size=SIZE, radius=0.35):
    mask = np.zeros((size, size), np.float32)
    cv2.circle(mask, (size // 2, size // 2), int(radius * size), 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), size / 30)


def similarity(scale, angle, x, y):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


transforms = st.builds(
    similarity, st.floats(0.2, 5), st.floats(-np.pi, np.pi), st.floats(-300, 300), st.floats(-300, 300)
)


@given(transforms, st.integers(0, 2**31))
def test_the_frame_is_untouched_outside_of_the_warped_mask(frame_to_crop, seed):
    frame, face = noise(seed, 120, 160), noise(seed + 1, SIZE, SIZE)
    before = frame.copy()
    result = paste_back(frame, face, disc(), frame_to_crop)
    np.testing.assert_array_equal(frame, before)
    y, x = np.mgrid[0:120, 0:160]
    crop = np.stack([x, y], -1) @ frame_to_crop[:, :2].T + frame_to_crop[:, 2]
    far = np.linalg.norm(crop - SIZE / 2, axis=-1) > 0.5 * SIZE + 2 * np.sqrt(abs(np.linalg.det(frame_to_crop[:, :2])))
    np.testing.assert_array_equal(result[far], frame[far])


@given(transforms)
def test_an_empty_mask_gives_the_frame(frame_to_crop):
    frame = noise(0, 120, 160)
    result = paste_back(frame, noise(1, SIZE, SIZE), np.zeros((SIZE, SIZE), np.float32), frame_to_crop)
    np.testing.assert_array_equal(result, frame)
    assert result is not frame


def test_a_face_like_its_frame_changes_nothing_where_they_agree():
    frame = np.full((120, 160, 3), (10, 120, 250), np.uint8)
    face = np.full((SIZE, SIZE, 3), (10, 120, 250), np.uint8)
    np.testing.assert_array_equal(paste_back(frame, face, disc(), similarity(1.3, 0.4, 5, -20)), frame)


def test_a_full_mask_replaces_the_frame():
    frame, face = noise(0, 120, 160), noise(1, SIZE, SIZE)
    result = paste_back(frame, face, np.ones((SIZE, SIZE), np.float32), similarity(1, 0, -30, -10))
    np.testing.assert_array_equal(result[10 : 10 + SIZE, 30 : 30 + SIZE], face)
    outside = np.ones((120, 160), bool)
    outside[9 : 11 + SIZE, 29 : 31 + SIZE] = False
    np.testing.assert_array_equal(result[outside], frame[outside])


def test_a_much_finer_crop_is_averaged():
    """Stripes of one crop pixel turn to grey; picking single pixels would turn them to stripes of any width."""
    face = np.zeros((512, 512, 3), np.uint8)
    face[:, ::2] = 255
    frame = np.zeros((128, 128, 3), np.uint8)
    result = paste_back(frame, face, np.ones((512, 512), np.float32), similarity(4.1, 0, 0, 0))
    inner = result[10:110, 10:110].astype(float)
    assert inner.std() < 16
    assert inner.mean() == pytest.approx(127.5, abs=3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3, 2.5, 6.0])
def test_a_crop_goes_back_to_where_it_came_from(scale):
    frame = cv2.GaussianBlur(noise(3, 200, 240), (0, 0), 6)
    frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX)
    frame_to_crop = similarity(scale, 0.3, -20 * scale, -90 * scale)
    crop = cv2.warpAffine(frame, frame_to_crop, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    result = paste_back(frame, crop, disc(300, 0.45), frame_to_crop)
    assert np.abs(result.astype(int) - frame).max() <= 12
    assert np.abs(result.astype(int) - frame).mean() < 0.6


def test_wrong_input_is_refused():
    frame, face, mask = noise(0, 120, 160), noise(1, SIZE, SIZE), disc()
    with pytest.raises(ValueError, match="differ in size"):
        paste_back(frame, face, mask[:-1], similarity(1, 0, 0, 0))
    with pytest.raises(ValueError, match="singular"):
        paste_back(frame, face, mask, np.zeros((2, 3)))


def test_it_agrees_with_ghost():
    if not REFERENCE.exists():
        pytest.skip(f"no reference data at {REFERENCE}")
    data = np.load(REFERENCE)
    result = data["frame"]
    for face, mask, frame_to_crop in zip(data["faces"], data["mask_u8"], data["frame_to_crop"], strict=True):
        result = paste_back(result, cv2.resize(face, (224, 224)), mask.astype(np.float32) / 255, frame_to_crop)
    assert np.abs(result.astype(int) - data["result"]).max() <= 1


def test_bands_keep_what_the_mask_does_not_reach():
    face, background = noise(0, 128, 128).astype(np.float32), noise(1, 128, 128).astype(np.float32)
    change = face - background
    assert not blend_bands(change, np.zeros((128, 128), np.float32), 3).any()
    np.testing.assert_allclose(blend_bands(change, np.ones((128, 128), np.float32), 3), change, atol=1e-3)


def test_bands_agree_with_two_pyramids():
    """The textbook form: both pictures in their Laplacian pyramids, mixed level by level."""
    face, background, mask = noise(0, 96, 112).astype(np.float32), noise(1, 96, 112).astype(np.float32), None
    mask = cv2.resize(disc(), (112, 96))
    pyramids = [[picture] for picture in (face, background, mask)]
    for pyramid in pyramids:
        for _ in range(3):
            pyramid.append(cv2.pyrDown(pyramid[-1]))
    mixed = pyramids[0][3] * pyramids[2][3][..., None] + pyramids[1][3] * (1 - pyramids[2][3][..., None])
    for level in (2, 1, 0):
        size = pyramids[0][level].shape[1::-1]
        fine = [p[level] - cv2.pyrUp(p[level + 1], dstsize=size) for p in pyramids[:2]]
        weight = pyramids[2][level][..., None]
        mixed = cv2.pyrUp(mixed, dstsize=size) + fine[0] * weight + fine[1] * (1 - weight)
    np.testing.assert_allclose(background + blend_bands(face - background, mask, 3), mixed, atol=1e-2)


def test_bands_do_not_change_their_arguments():
    change, mask = noise(0, 64, 64).astype(np.float32), disc(64)
    copies = [array.copy() for array in (change, mask)]
    blend_bands(change, mask, 2)
    for array, copy in zip((change, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_coarse_structure_crosses_a_wider_border_than_fine():
    """A step in brightness is spread over more pixels than the mask's own edge."""
    bright, dark = np.full((128, 128, 3), 200, np.float32), np.full((128, 128, 3), 50, np.float32)
    mask = np.zeros((128, 128), np.float32)
    mask[:, 64:] = 1
    row = (dark + blend_bands(bright - dark, mask, 4))[64, :, 0]
    assert np.count_nonzero((row > 60) & (row < 190)) > 12
    assert row[4] == pytest.approx(50, abs=1)
    assert row[-4] == pytest.approx(200, abs=1)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_strength_mixes_the_result_with_the_frame(strength):
    frame, face = noise(0, 200, 200), noise(1, SIZE, SIZE)
    place = similarity(1.1, 0.2, 10, -5)
    whole, result = (paste_back(frame, face, disc(), place, value) for value in (1.0, strength))
    mixed = frame + (whole.astype(float) - frame) * strength
    assert np.abs(result - mixed).max() <= 1
    if strength == 0:
        np.testing.assert_array_equal(result, frame)


def test_the_layers_laid_over_the_frame_give_the_final_image():
    frame = noise(0, 220, 260)
    places = [similarity(1.1, 0.2, 10, -5), similarity(0.9, -0.3, -40, 20), similarity(1, 0, 900, 900)]
    generated = [GeneratedFace(noise(number, SIZE, SIZE), disc()) for number in range(1, 4)]
    for strength in (1.0, 0.6):
        aligned = [
            AlignedFace(noise(9, SIZE, SIZE), place, None, treatment=Treatment(strength=strength)) for place in places
        ]
        faces, matte = get_layers(frame, aligned, generated)
        assert (faces.shape, faces.dtype, matte.shape, matte.dtype) == (
            frame.shape,
            np.uint8,
            frame.shape[:2],
            np.uint16,
        )
        weight = matte[..., None] / 65535
        laid = frame * (1 - weight) + faces * weight
        assert np.abs(laid - get_final_image(frame, aligned, generated)).max() <= 1.6  # three roundings
        assert matte.max() == round(65535 * strength) or strength != 1
        assert not faces[matte == 0].any()


def test_a_frame_without_a_face_has_empty_layers():
    faces, matte = get_layers(noise(0, 40, 50), [], [])
    assert not faces.any() and not matte.any()
