"""Real glasses on one photo in the public domain, drawn ones on another."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from coordinate_reg.mesh_points import CHEEKS, EYES
from models.mesh.canvas import Portrait, cut_out, estimate_frame_to_canvas
from models.mesh.generator import MeshGenerator
from models.mesh.glasses import USUALLY, find_glasses, measure_glasses
from models.mesh.glasses_pixels import draw_glasses, take_off
from models.mesh.topology import build_topology
from models.mesh.views import order_views
from tests.test_mesh_topology import TRIANGLES
from utils.inference.alignment import transform_points
from utils.inference.blending import paste_back
from utils.inference.image_processing import find_faces
from utils.inference.records import Identity, Treatment, View

SIZE = 256
RIM_COLOUR = (28, 24, 30)


def portrait_of(image, pack, size=SIZE):
    landmarks = find_faces(image, pack)[0][0].landmarks
    frame_to_canvas = estimate_frame_to_canvas(landmarks, size)
    return Portrait(cut_out(image, frame_to_canvas, size), transform_points(frame_to_canvas, landmarks))


@pytest.fixture(scope="module")
def bare(collins, pack):
    return portrait_of(collins, pack)


@pytest.fixture(scope="module")
def generator():
    return MeshGenerator(np.load(TRIANGLES))


def put_on(portrait, colour=RIM_COLOUR, thickness=3, dark=False):
    """The portrait with drawn glasses, and which pixels these cover."""
    points = portrait.points
    drawn = np.zeros(portrait.image.shape[:2], np.uint8)
    lenses = np.zeros_like(drawn)
    centres = []
    for eye, outwards in zip(EYES, (-1, 1), strict=True):
        x, y = points[[eye.outer, eye.inner], :2].mean(0) + np.array([3 * outwards, 6])
        centres.append((round(x), round(y)))
        axes = (28, 25)
        cv2.ellipse(drawn, centres[-1], axes, 0, 0, 360, 255, thickness, cv2.LINE_AA)
        cv2.ellipse(lenses, centres[-1], axes, 0, 0, 360, 255, -1)
        temple = (round(points[CHEEKS[outwards > 0], 0]), round(y) - 6)
        cv2.line(drawn, (centres[-1][0] + 28 * outwards, round(y) - 4), temple, 255, thickness, cv2.LINE_AA)
    (right, y), (left, _) = centres
    cv2.line(drawn, (right + 28, y - 4), (left - 28, y - 4), 255, thickness, cv2.LINE_AA)
    covered = np.maximum(drawn, lenses) if dark else drawn
    share = covered[..., None] / 255
    image = (portrait.image * (1 - share) + np.array(colour) * share).astype(np.uint8)
    return Portrait(image, points), covered > 127


def test_a_face_without_glasses_has_none(bare):
    assert find_glasses(bare) is None


def test_real_glasses_are_found(hopper, pack):
    for size in (256, 448):
        assert find_glasses(portrait_of(hopper, pack, size)).likelihood == 1


@pytest.mark.parametrize("thickness", [2, 3, 6])
@pytest.mark.parametrize("colour", [RIM_COLOUR, (60, 70, 110)], ids=["black", "brown"])
def test_drawn_glasses_are_found_and_drawn_whole(bare, colour, thickness):
    worn, covered = put_on(bare, colour, thickness)
    glasses = find_glasses(worn)
    assert glasses is not None
    mask = draw_glasses(worn, glasses) / glasses.likelihood
    assert (mask[covered] > 0.5).mean() > 0.9
    near = cv2.dilate(covered.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert mask[~near].mean() < 0.01


def test_of_dark_glasses_the_lenses_are_drawn_too(bare):
    worn, covered = put_on(bare, dark=True)
    assert (draw_glasses(worn, find_glasses(worn))[covered] > 0.5).mean() > 0.9


def test_rims_are_taken_off_and_the_rest_stays(bare):
    worn, covered = put_on(bare)
    cleaned = take_off(worn, find_glasses(worn)).astype(float)
    before, after = (np.abs(picture - bare.image).mean(-1) for picture in (worn.image.astype(float), cleaned))
    below_eyes = covered & (
        np.arange(SIZE)[:, None] > bare.points[EYES[0].inner, 1]
    )  # brows are kept, with what crosses them
    assert after[below_eyes].mean() < 0.15 * before[below_eyes].mean()
    near = cv2.dilate(covered.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    assert after[~near].mean() < 0.2


def test_what_a_track_usually_shows_decides_over_a_single_frame(bare):
    worn, _ = put_on(bare)
    none, sure = USUALLY
    assert find_glasses(worn, usual=none) is None
    assert find_glasses(bare, usual=sure).likelihood == 1
    assert measure_glasses(worn) > sure > none > measure_glasses(bare)


def test_the_targets_glasses_stay_in_front_and_the_sources_are_gone(generator, collins, hopper, pack):
    target, source = (View(image, find_faces(image, pack)[0][0], "") for image in (hopper, collins))
    aligned = generator.align(target.image, target.face)
    (generated,) = generator.generate([aligned], [Identity(np.zeros(4, np.float32), (source,))])
    result = paste_back(target.image, generated.image, generated.mask, aligned.frame_to_crop)
    kept = portrait_of(hopper, pack)
    mask = draw_glasses(kept, find_glasses(kept)) > 0.99
    frame_to_canvas = estimate_frame_to_canvas(target.face.landmarks, SIZE)
    change = np.abs(cut_out(result, frame_to_canvas, SIZE).astype(int) - kept.image).mean(-1)
    assert change[cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0].mean() < 2
    assert change[~mask].max() > 40

    without = replace(aligned, treatment=Treatment(glasses=0.0))
    (swapped,) = generator.generate([without], [Identity(np.zeros(4, np.float32), (source,))])
    assert swapped.mask.sum() > generated.mask.sum()


def test_of_two_photos_the_one_without_glasses_comes_first(collins, pack):
    face = find_faces(collins, pack)[0][0]
    frame_to_canvas = estimate_frame_to_canvas(face.landmarks, SIZE)
    points = transform_points(frame_to_canvas, face.landmarks)
    portrait = Portrait(cut_out(collins, frame_to_canvas, SIZE), points)
    worn, _ = put_on(portrait)
    views = [
        View(image, replace(face, landmarks=points), name)
        for image, name in ((worn.image, "worn"), (portrait.image, "bare"))
    ]
    assert order_views(views, build_topology(np.load(TRIANGLES)))[0].name == "bare"
