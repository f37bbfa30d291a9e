"""Results put back into stored samples: exact where nothing changed, right where something did."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.inference.blending import Patch
from utils.inference.video.colour_views import PQ, levels_of_view, view_of_levels
from utils.inference.video.planes import LAYOUTS, LUMA_WEIGHTS, add_difference, pad_planes, turn_planes

MATRICES = sorted(LUMA_WEIGHTS)


def planes_of(colour, layout, matrix, colour_range, size=(40, 60)):
    """Planes of one BGR colour by the formulas of H.273, 8.3, and as floats, not rounded."""
    blue, green, red = np.asarray(colour) / 255
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    luma = red_weight * red + blue_weight * blue + (1 - red_weight - blue_weight) * green
    chroma = [(blue - luma) / (2 * (1 - blue_weight)), (red - luma) / (2 * (1 - red_weight))]
    depth = 2 ** (layout.bits - 8)
    if colour_range == 2:
        peak = 2**layout.bits - 1
        values = [peak * luma, *(peak * value + 128 * depth for value in chroma)]
    else:
        values = [depth * (219 * luma + 16), *(depth * (224 * value + 128) for value in chroma)]
    height, width = size
    sizes = [(height, width)] + [(-(-height // layout.rows), -(-width // layout.columns))] * 2
    return [np.full(place, value) for place, value in zip(sizes, values, strict=True)]


def stored(planes, layout):
    return tuple(np.rint(plane).astype(layout.dtype) for plane in planes)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("colour_range", [0, 1, 2])
def test_a_changed_colour_becomes_the_one_that_h273_says(name, matrix, colour_range):
    layout, old, new = LAYOUTS[name], (60, 90, 130), (75, 110, 170)
    before, after = (np.full((40, 60, 3), colour, np.uint8) for colour in (old, new))
    planes = stored(planes_of(old, layout, matrix, colour_range), layout)
    changed = add_difference(planes, before, Patch(0, 0, after), layout, matrix, colour_range)
    for plane, wanted in zip(changed, planes_of(new, layout, matrix, colour_range), strict=True):
        assert plane.dtype == layout.dtype
        assert np.abs(plane - wanted).max() <= 1.01  # both rounded: half a step each


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 58), st.integers(0, 38), st.integers(1, 30), st.integers(1, 20))
def test_samples_whose_pixels_did_not_change_keep_their_value(name, left, top, width, height):
    layout, rng = LAYOUTS[name], np.random.default_rng(left * 40 + top)
    before = rng.integers(0, 256, (41, 61, 3), np.uint8)  # odd sizes, too
    planes = stored(
        [rng.uniform(0, 2**layout.bits - 1, p.shape) for p in planes_of((0, 0, 0), layout, 1, 1, (41, 61))], layout
    )
    after = before.copy()
    after[top : top + height, left : left + width] ^= 0x55
    patch = Patch(left, top, after[top : top + height, left : left + width])
    changed = add_difference(planes, before, patch, layout, 1, 1)
    touched = (before != after).any(2).astype(np.uint8)
    assert (changed[0] == planes[0])[touched == 0].all()
    near = cv2.dilate(touched, np.ones((3, 3), np.uint8))
    whole = np.pad(near, ((0, -41 % layout.rows), (0, -61 % layout.columns)))
    blocks = whole.reshape(whole.shape[0] // layout.rows, layout.rows, whole.shape[1] // layout.columns, layout.columns)
    for plane, old in zip(changed[1:], planes[1:], strict=True):
        assert (plane == old)[blocks.max((1, 3)) == 0].all()
    if touched.sum() > 20:  # a few samples may be at the end of their range already
        assert not np.array_equal(changed[0], planes[0])


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 50), st.integers(0, 30))
def test_a_patch_that_changes_nothing_leaves_every_sample(name, left, top):
    layout, image = LAYOUTS[name], np.random.default_rng(0).integers(0, 256, (41, 61, 3), np.uint8)
    planes = stored(planes_of((1, 2, 3), layout, 1, 1, (41, 61)), layout)
    changed = add_difference(planes, image, Patch(left, top, image[top:, left:]), layout, 1, 1)
    for plane, old in zip(changed, planes, strict=True):
        np.testing.assert_array_equal(plane, old)


def test_deep_levels_within_a_level_of_eight_bits_survive_a_change():
    layout = LAYOUTS["yuv420p10le"]
    before = np.full((8, 8, 3), 100, np.uint8)
    planes = stored(planes_of((100, 100, 100), layout, 1, 1, (8, 8)), layout)
    planes[0][:] += np.arange(8, dtype=np.uint16) % 3
    changed = add_difference(planes, before, Patch(0, 0, before + 10), layout, 1, 1)
    assert np.array_equal(changed[0] - planes[0], np.full((8, 8), round(10 * 219 * 4 / 255)))


def test_values_stay_within_their_bits():
    white = Patch(0, 0, np.full((40, 60, 3), 255, np.uint8))
    for name, layout in LAYOUTS.items():
        planes = stored([np.full(p.shape, 2**layout.bits - 1.0) for p in planes_of((0, 0, 0), layout, 1, 2)], layout)
        changed = add_difference(planes, np.zeros((40, 60, 3), np.uint8), white, layout, 1, 2)
        assert changed[0].max() == 2**layout.bits - 1, name


def test_pq_is_viewed_lighter_and_comes_back():
    view, back = view_of_levels(PQ), levels_of_view(PQ)
    assert view_of_levels(1) is None and levels_of_view(18) is None
    assert (np.diff(view.astype(int)) >= 0).all() and (np.diff(back) >= 0).all()
    assert view[0] == 0 and view[255] == 255
    skin = np.arange(60, 140)  # PQ levels from 3 to 200 nits
    assert np.abs(back[view[skin]] - skin).max() < 0.7
    assert 225 < view[round(0.5807 * 255)] < 240  # diffuse white, 203 nits, lies at 58 % of PQ


def test_planes_are_padded_and_turned():
    layout = LAYOUTS["yuv420p"]
    planes = tuple(
        np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns) for rows, columns in [(5, 7), (3, 4), (3, 4)]
    )
    padded = pad_planes(planes, 8, 6, layout)
    assert [plane.shape for plane in padded] == [(6, 8), (3, 4), (3, 4)]
    assert np.array_equal(padded[0][:5, :7], planes[0]) and (padded[0][5] == padded[0][4]).all()
    turned = turn_planes(planes, 90, mirrored=True)
    assert np.array_equal(turned[0], cv2.rotate(cv2.flip(planes[0], 1), cv2.ROTATE_90_CLOCKWISE))
