from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from models.mesh.detail import FEATURES, SKIN, match_detail


def texture_patch(strength, seed, size=256):
    noise = np.random.default_rng(seed).standard_normal((size, size, 1)).astype(np.float32)
    return np.clip(128 + np.float32(strength) * np.repeat(noise, 3, 2), 0, 255)


@pytest.mark.parametrize(("strength", "wanted"), [(12, 4), (4, 7), (1, 8)])
def test_detail_is_brought_to_the_targets(strength, wanted):
    """Too sharp, too soft, and so clean that only grain helps."""

    def fine(picture):
        grey = picture[..., 0]
        return (grey - cv2.GaussianBlur(grey, (0, 0), 0.8)).std()

    target = texture_patch(wanted, 1)
    zones = np.full(target.shape[:2], SKIN, np.uint8)
    matched = match_detail(texture_patch(strength, 2), target, zones, 1.0)
    assert fine(matched) == pytest.approx(fine(target), rel=0.35)


def test_grain_that_the_source_lacks_is_the_targets_own_and_only_where_both_show_skin_or_features():
    target = texture_patch(8, 1)
    zones = np.zeros(target.shape[:2], np.uint8)
    zones[:, :128] = SKIN
    clean = texture_patch(0.2, 2)
    change = match_detail(clean.copy(), target, zones, 1.0)[..., 0] - clean[..., 0]
    grey = target[..., 0]
    finest = grey - cv2.GaussianBlur(grey, (0, 0), 0.8)
    assert np.corrcoef(change[:, :120].ravel(), finest[:, :120].ravel())[0, 1] > 0.9
    assert change[:, 136:].std() < 0.1 * change[:, :120].std()


def test_a_target_out_of_focus_softens_the_features():
    """Even where its noise is as strong as the source's skin texture."""
    edges = np.zeros((256, 256, 3), np.float32)
    edges[:, ::16] = edges[:, 1::16] = 120
    soft = cv2.GaussianBlur(edges, (0, 0), 2.5)
    target = np.clip(60 + soft + texture_patch(4, 1) - 128, 0, 255)
    zones = np.full((256, 256), SKIN, np.uint8)
    zones[:, 128:] = FEATURES
    matched = match_detail(60 + edges + texture_patch(4, 2) - 128, target, zones, 1.0)
    steepest = [np.percentile(np.abs(np.diff(picture[..., 0].astype(float))), 97) for picture in (matched, 60 + edges)]
    assert steepest[0] < 0.7 * steepest[1]


def test_grain_sets_in_softly():
    """A target whose noise varies a little from frame to frame must not have grain in one and none in the next."""
    zones = np.full((128, 128), SKIN, np.uint8)
    clean = texture_patch(2.5, 2, 128)
    matched = [match_detail(clean.copy(), texture_patch(wanted, 1, 128), zones, 1.0) for wanted in np.arange(4, 9, 0.1)]
    assert matched[-1].std() > matched[0].std() + 1
    assert max(np.std(after - before) for before, after in pairwise(matched)) < 1.2
