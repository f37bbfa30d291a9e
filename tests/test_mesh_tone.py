"""Light and colour: the source's own light goes, the target's comes, and what is hair stays hair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from coordinate_reg.mesh_points import CHEEKS_AND_NOSE, EYES, LIPS_OUTER, OVAL, VERTEX_COUNT
from models.mesh.albedo import estimate_light, even_light
from models.mesh.canvas import CELLS, Area, Portrait, cut_out, estimate_frame_to_canvas, resize_points
from models.mesh.colour import from_tones, to_tones
from models.mesh.masks import ANALYSIS_PX, Analysis
from models.mesh.raster import fill_polygon, fill_polygons
from models.mesh.tone import apply_tone, estimate_tone
from models.mesh.topology import build_topology
from tests.test_mesh_topology import TRIANGLES
from utils.inference.alignment import transform_points
from utils.inference.image_processing import find_faces

SIZE = 512


@pytest.fixture(scope="module")
def topology():
    return build_topology(np.load(TRIANGLES))


@pytest.fixture(scope="module")
def photo(collins, pack):
    landmarks = find_faces(collins, pack)[0][0].landmarks
    frame_to_canvas = estimate_frame_to_canvas(landmarks, SIZE)
    return Portrait(cut_out(collins, frame_to_canvas, SIZE), transform_points(frame_to_canvas, landmarks))


def relit(image, light):
    """`image` with `light` (H, W), a logarithm, added to its lightness."""
    tones = to_tones(image)
    tones[..., 0] += light
    return np.round(from_tones(tones)).astype(np.uint8)


def lightness(image):
    return to_tones(image)[..., 0]


def test_tones_lead_back_to_the_colours():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.abs(from_tones(to_tones(image)) - image).max() < 0.1


def test_a_factor_of_light_is_the_same_step_on_any_skin():
    pale, dark = np.full((1, 1, 3), (160, 180, 220), np.uint8), np.full((1, 1, 3), (45, 60, 90), np.uint8)
    steps = [to_tones(0.5 * skin) - to_tones(skin.astype(np.float32)) for skin in (pale, dark)]
    assert np.abs(steps[0] - steps[1]).max() < 0.1
    assert np.abs(steps[0][..., 1:]).max() < 0.05


@pytest.mark.parametrize("hardness_px", [12, 60], ids=["hard", "soft"])
def test_light_from_one_side_is_taken_off(photo, topology, hardness_px):
    middle = photo.points[list(EYES[0].ring + EYES[1].ring), 0].mean()
    light = 0.3 * np.tanh((np.arange(SIZE) - middle) / hardness_px).astype(np.float32) - 0.3  # nothing is overexposed
    lit = Portrait(relit(photo.image, np.broadcast_to(light, (SIZE, SIZE))), photo.points)
    skin = fill_polygon(photo.points, CHEEKS_AND_NOSE, SIZE) > 0.5
    before = (lightness(lit.image) - lightness(photo.image))[skin]
    after = (lightness(even_light(lit, topology).image) - lightness(even_light(photo, topology).image))[skin]
    assert after.std() < 0.3 * before.std()


def test_a_mole_stays(photo, topology):
    x, y = photo.points[50, :2]  # on a cheek
    rows, columns = np.mgrid[:SIZE, :SIZE]
    mole = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2)).astype(np.float32)
    marked = Portrait(relit(photo.image, -0.5 * mole), photo.points)
    plain, spotted = (lightness(even_light(portrait, topology).image) for portrait in (photo, marked))
    assert (plain - spotted)[round(y), round(x)] > 0.4


def test_a_face_with_equal_halves_is_lit_evenly(topology):
    tones = np.random.default_rng(0).normal(size=(VERTEX_COUNT, 3))
    equal = tones + tones[topology.mirror]
    weight = np.random.default_rng(1).uniform(size=VERTEX_COUNT)
    assert np.abs(estimate_light(equal, weight, topology)).max() < 1e-12
    assert not estimate_light(tones, np.zeros(VERTEX_COUNT), topology).any()


@pytest.mark.parametrize("target_skin", [(160, 180, 220), (50, 65, 95)], ids=["pale", "dark"])
@pytest.mark.parametrize("source_skin", [(160, 180, 220), (50, 65, 95)], ids=["pale", "dark"])
def test_brows_stand_out_from_any_skin_as_from_the_sources(photo, source_skin, target_skin):
    """Neither faded to grey on pale skin nor black on dark skin; and black hair takes on little tint."""
    points = resize_points(photo.points, ANALYSIS_PX / SIZE)
    brows = fill_polygons(points, [eye.brow for eye in EYES], ANALYSIS_PX)
    face, lips = (fill_polygon(points, ring, ANALYSIS_PX) for ring in (OVAL, LIPS_OUTER))
    grain = 1 + 0.03 * np.random.default_rng(0).standard_normal((ANALYSIS_PX, ANALYSIS_PX, 1), np.float32)
    target = np.round(grain * np.array(target_skin)).astype(np.uint8)
    hair = np.float32(0.4 * np.mean(source_skin))
    warped = to_tones(np.where(brows[..., None] > 0, hair, grain * np.array(source_skin, np.float32)))
    ones, nothing = np.ones_like(face), np.zeros_like(face)
    features = np.maximum(brows, lips)
    seen = Analysis(
        *(target, warped, to_tones(target), warped, points, points, Area(0, 0, CELLS, CELLS)),
        *(face, face, features, nothing, ones, ones, 1 - brows),
    )
    result = apply_tone(warped, estimate_tone(seen, face))
    skin = face * (1 - cv2.dilate(features, np.ones((9, 9)))) > 0.5
    contrast, wanted = (tones[brows > 0].mean(0) - tones[skin].mean(0) for tones in (result, warped))
    assert contrast[0] == pytest.approx(wanted[0], abs=0.25)
    assert np.abs(result[skin].mean(0) - to_tones(target)[skin].mean(0)).max() < 0.03
    blue, green, red = from_tones(result)[brows > 0].mean(0)
    assert red > 0.91 * green > 0.8 * blue
