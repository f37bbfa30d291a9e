from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.mesh.detail import FEATURES, SKIN, match_detail
from models.mesh.generator import MeshGenerator
from models.mesh.texture import prepare_texture
from models.mesh.topology import build_topology
from models.mesh.views import TURNED_APART_DEG, order_views, share_views
from tests.test_mesh_topology import TRIANGLES
from utils.inference.blending import paste_back
from utils.inference.image_processing import find_faces
from utils.inference.records import Face, Identity, View


def make_identity(*views):
    return Identity(np.zeros(4, np.float32), tuple(views))


@pytest.fixture(scope="module")
def generator():
    return MeshGenerator(np.load(TRIANGLES))


@pytest.fixture(scope="module")
def collins_view(collins, pack):
    return View(collins, find_faces(collins, pack)[0][0], "collins")


@pytest.fixture(scope="module")
def hopper_view(hopper, pack):
    return View(hopper, find_faces(hopper, pack)[0][0], "hopper")


def enlarged(view, factor):
    image = cv2.resize(view.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    points = view.face.landmarks * factor
    points[:, :2] += (factor - 1) / 2
    return View(image, Face(view.face.box * factor, 1.0, view.face.keypoints * factor, points), view.name)


def swap(generator, view, identity, seed=0):
    aligned = generator.align(view.image, view.face, seed)
    (generated,) = generator.generate([aligned], [identity])
    return paste_back(view.image, generated.image, generated.mask, aligned.frame_to_crop), aligned, generated


def region_of(view):
    """Box of the mesh, as slices."""
    left, top = view.face.landmarks[:468, :2].min(0).astype(int)
    right, bottom = view.face.landmarks[:468, :2].max(0).astype(int)
    return slice(top, bottom), slice(left, right)


def test_the_answer_keeps_the_contract(generator, collins_view, hopper_view):
    assert generator.max_batch == 1
    result, aligned, generated = swap(generator, collins_view, make_identity(hopper_view))
    size = aligned.crop.shape[0]
    assert aligned.crop.shape == generated.image.shape == (size, size, 3)
    assert aligned.crop.dtype == generated.image.dtype == np.uint8
    assert generated.mask.shape == (size, size)
    assert generated.mask.dtype == np.float32
    assert generated.mask.min() >= 0
    assert generated.mask.max() == 1
    border = np.concatenate([generated.mask[[0, -1]].ravel(), generated.mask[:, [0, -1]].ravel()])
    assert (border == 0).all()
    assert result.shape == collins_view.image.shape


def test_the_face_changes_and_the_rest_does_not(generator, collins_view, hopper_view):
    result, _, _ = swap(generator, collins_view, make_identity(hopper_view))
    change = np.abs(result.astype(int) - collins_view.image).max(-1)
    rows, columns = region_of(collins_view)
    assert change[rows, columns].mean() > 8
    height, width = rows.stop - rows.start, columns.stop - columns.start
    change[
        rows.start - height // 8 : rows.stop + height // 8, columns.start - width // 8 : columns.stop + width // 8
    ] = 0
    assert change.max() == 0


def test_the_swap_is_nearer_the_source(generator, collins_view, hopper_view, pack):
    """The identity network takes the result for the source, in both directions."""
    for target, source in ((collins_view, hopper_view), (hopper_view, collins_view)):
        result, _, _ = swap(generator, target, make_identity(source))
        found = pack.landmarker.locate(result, target.face)
        vectors = [pack.embedder.embed(v.image, v.face) for v in (View(result, found, ""), source, target)]
        swapped, wanted, before = (vector / np.linalg.norm(vector) for vector in vectors)
        assert swapped @ wanted > swapped @ before


def test_the_expression_stays_the_targets(generator, collins_view, hopper_view, pack):
    def opening(points, upper, lower, first, second):
        flat = points[:, :2]
        return np.linalg.norm(flat[upper] - flat[lower]) / np.linalg.norm(flat[first] - flat[second])

    result, _, _ = swap(generator, collins_view, make_identity(hopper_view))
    found = pack.landmarker.locate(result, collins_view.face)
    for indices, tolerance in (((13, 14, 61, 291), 0.04), ((159, 145, 33, 133), 0.1), ((386, 374, 263, 362), 0.1)):
        assert opening(found.landmarks, *indices) == pytest.approx(
            opening(collins_view.face.landmarks, *indices), abs=tolerance
        )


def test_a_face_put_onto_itself_stays_the_same(generator, collins_view):
    result, _, _ = swap(generator, collins_view, make_identity(collins_view))
    rows, columns = region_of(collins_view)
    difference = np.abs(result.astype(int) - collins_view.image)[rows, columns]
    assert difference.mean() < 4
    assert np.percentile(difference, 99) < 30


def test_the_same_seed_gives_the_same_picture(collins_view, hopper_view):
    pictures = [
        swap(MeshGenerator(np.load(TRIANGLES)), collins_view, make_identity(hopper_view), seed)[0] for seed in (7, 7)
    ]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize(("factor", "size"), [(0.3, 256), (4.0, 576), (7.0, 1024)])
def test_small_and_large_faces_look_alike(generator, collins_view, hopper_view, factor, size):
    """The canvas follows the face's size, and what it shows does not depend on it."""
    view = enlarged(collins_view, factor)
    result, aligned, _ = swap(generator, view, make_identity(hopper_view))
    assert aligned.crop.shape[0] == size
    reference, _, _ = swap(generator, collins_view, make_identity(hopper_view))
    back = cv2.resize(result, reference.shape[1::-1], interpolation=cv2.INTER_AREA)
    rows, columns = region_of(collins_view)
    soft = [cv2.GaussianBlur(picture, (0, 0), 3)[rows, columns].astype(float) for picture in (back, reference)]
    assert np.abs(soft[0] - soft[1]).mean() < 5


def test_a_face_at_the_border_of_the_frame_is_swapped(generator, collins_view, hopper_view):
    rows, columns = region_of(collins_view)
    first = np.array([columns.start + 20, rows.start + 20])
    image = np.ascontiguousarray(collins_view.image[first[1] :, first[0] :])
    face = collins_view.face
    points = face.landmarks - [*first, 0]
    cut = View(image, Face(face.box - np.tile(first, 2), 1.0, face.keypoints - first, points), "cut")
    result, _, _ = swap(generator, cut, make_identity(hopper_view))
    assert (result != image).any()


def test_each_face_gets_the_identity_at_its_place(generator, collins_view, hopper_view):
    identities = [make_identity(hopper_view), make_identity(collins_view)]
    aligned = generator.align(collins_view.image, collins_view.face, 0)
    together = generator.generate([aligned, aligned], identities)
    for generated, identity in zip(together, identities, strict=True):
        (alone,) = generator.generate([aligned], [identity])
        np.testing.assert_array_equal(generated.image, alone.image)
    with pytest.raises(ValueError, match="argument"):
        generator.generate([aligned], identities)


def test_the_source_side_is_computed_once_and_let_go(collins_view, hopper_view, monkeypatch):
    calls = []

    def counted(view, topology):
        calls.append(view.name)
        return prepare_texture(view, topology)

    monkeypatch.setattr("models.mesh.generator.prepare_texture", counted)
    generator = MeshGenerator(np.load(TRIANGLES))
    aligned = generator.align(collins_view.image, collins_view.face, 0)
    identity = make_identity(hopper_view)
    for _ in range(3):
        generator.generate([aligned], [identity])
    assert calls == ["hopper"]
    texture = weakref.ref(generator._textures[identity][0])
    del identity
    gc.collect()
    assert texture() is None
    assert len(generator._textures) == 0


def turned(view, degrees, name="turned"):
    """The photo with landmarks as if the head were turned."""
    angle = np.radians(degrees)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    face = view.face
    return View(view.image, Face(face.box, 1.0, face.keypoints, face.landmarks @ about.T), name)


def test_the_most_frontal_largest_and_sharpest_photo_comes_first(collins_view):
    topology = build_topology(np.load(TRIANGLES))
    aside, small = turned(collins_view, 35), enlarged(collins_view, 0.2)
    soft = replace(collins_view, image=cv2.GaussianBlur(collins_view.image, (0, 0), 4))
    assert order_views((aside, collins_view), topology)[0] is collins_view
    for worse in (small, soft):
        assert order_views((worse, collins_view), topology) == [collins_view], "and what is turned alike is not taken"
    assert order_views((aside, soft, collins_view), topology) == [collins_view, aside]


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=5, unique=True), st.floats(-80, 80))
def test_a_target_is_drawn_from_the_photos_turned_like_it_without_a_jump(places, turn):
    turns = [TURNED_APART_DEG * place for place in places]
    shares = dict(share_views(turn, turns))
    assert sum(shares.values()) == pytest.approx(1)
    nearest = sorted(abs(turn - other) for other in turns)
    assert all(abs(turn - turns[index]) <= nearest[min(1, len(turns) - 1)] + 1e-9 for index in shares)
    near = dict(share_views(turn + 0.01, turns))
    assert all(abs(shares.get(index, 0) - near.get(index, 0)) < 0.01 for index in range(len(turns)))


def test_a_second_photo_gives_skin_only_to_targets_that_are_turned_like_it(generator, collins_view, hopper_view):
    green = replace(turned(hopper_view, 40), image=hopper_view.image // 4 + np.array([0, 190, 0], np.uint8))
    alone, both = make_identity(hopper_view), Identity(np.zeros(4, np.float32), (green, hopper_view))
    for target, same in ((collins_view, True), (turned(collins_view, 40), False)):
        aligned = generator.align(target.image, target.face, 0)
        pictures = [generator.generate([aligned], [identity])[0].image for identity in (alone, both)]
        assert np.array_equal(*pictures) == same


def test_a_face_without_dense_landmarks_is_refused(generator, collins_view):
    bare = Face(collins_view.face.box, 1.0, collins_view.face.keypoints)
    with pytest.raises(ValueError, match="landmarks"):
        generator.align(collins_view.image, bare, 0)
    with pytest.raises(ValueError, match="'bare'"):
        prepare_texture(View(collins_view.image, bare, "bare"), build_topology(np.load(TRIANGLES)))


def texture_patch(strength, seed, size=256):
    noise = np.random.default_rng(seed).standard_normal((size, size, 1)).astype(np.float32)
    return np.clip(128 + strength * np.repeat(noise, 3, 2), 0, 255)


@pytest.mark.parametrize(("strength", "wanted"), [(12, 4), (4, 7), (1, 8)])
def test_detail_is_brought_to_the_targets(strength, wanted):
    """Too sharp, too soft, and so clean that only grain helps."""

    def fine(picture):
        grey = picture[..., 0].astype(np.float32)
        return (grey - cv2.GaussianBlur(grey, (0, 0), 0.8)).std()

    target = texture_patch(wanted, 1).astype(np.uint8)
    zones = np.full(target.shape[:2], SKIN, np.uint8)
    matched = match_detail(texture_patch(strength, 2), target, zones, 1.0, 0)
    assert fine(matched) == pytest.approx(fine(target), rel=0.35)


def test_grain_lives_with_the_seed():
    target = texture_patch(8, 1).astype(np.uint8)
    zones = np.full(target.shape[:2], SKIN, np.uint8)
    first, again, other = (match_detail(texture_patch(0.2, 2), target, zones, 1.0, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 1


def test_a_target_out_of_focus_softens_the_features():
    """Even where its noise is as strong as the source's skin texture."""
    edges = np.zeros((256, 256, 3), np.float32)
    edges[:, ::16] = edges[:, 1::16] = 120
    soft = cv2.GaussianBlur(edges, (0, 0), 2.5)
    target = np.clip(60 + soft + texture_patch(4, 1) - 128, 0, 255).astype(np.uint8)
    zones = np.full((256, 256), SKIN, np.uint8)
    zones[:, 128:] = FEATURES
    matched = match_detail(60 + edges + texture_patch(4, 2) - 128, target, zones, 1.0, 0)
    steepest = [np.percentile(np.abs(np.diff(picture[..., 0].astype(float))), 97) for picture in (matched, 60 + edges)]
    assert steepest[0] < 0.7 * steepest[1]


def test_grain_sets_in_softly():
    """A target whose noise varies a little from frame to frame must not have grain in one and none in the next."""
    zones = np.full((128, 128), SKIN, np.uint8)
    clean = texture_patch(2.5, 2, 128)
    matched = [
        match_detail(clean.copy(), texture_patch(wanted, 1, 128).astype(np.uint8), zones, 1.0, 0)
        for wanted in np.arange(4, 9, 0.1)
    ]
    assert matched[-1].std() > matched[0].std() + 1
    assert max(np.std(after - before) for before, after in pairwise(matched)) < 1.2
