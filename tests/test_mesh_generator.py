from __future__ import annotations

import gc
import tracemalloc
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinate_reg.mesh_points import LIPS_INNER
from models.mesh.generator import MeshGenerator
from models.mesh.texture import prepare_texture
from models.mesh.topology import build_topology
from models.mesh.views import TURNED_APART_DEG, order_views, share_views
from tests.test_mesh_topology import TRIANGLES
from utils.inference.blending import paste_back
from utils.inference.image_processing import find_faces, get_final_image
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


def swap(generator, view, identity):
    aligned = generator.align(view.image, view.face)
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


def test_the_same_faces_give_the_same_picture_again(collins_view, hopper_view):
    pictures = [swap(MeshGenerator(np.load(TRIANGLES)), collins_view, make_identity(hopper_view))[0] for _ in range(2)]
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


def test_the_work_does_not_grow_with_the_frame(generator, collins_view, hopper_view):
    """Not a byte more for the same face in a frame that is five times as large, but for the result itself."""
    identity = make_identity(hopper_view)
    swap(generator, collins_view, identity)  # prepares the source
    peaks = []
    for spare in (0, 1000):
        image = cv2.copyMakeBorder(collins_view.image, 0, spare, 0, spare, cv2.BORDER_REPLICATE)
        view = replace(collins_view, image=image)
        tracemalloc.start()
        aligned = generator.align(view.image, view.face)
        generated = generator.generate([aligned], [identity])
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        get_final_image(view.image, [aligned], generated)
        peaks.append((peak, tracemalloc.get_traced_memory()[1] - kept - image.nbytes))
        tracemalloc.stop()
    np.testing.assert_allclose(peaks[1], peaks[0], atol=100_000)


def test_a_closed_mouth_does_not_show_the_sources_teeth(generator, collins_view, hopper_view):
    """What is inside of the source's mouth is not looked at, whatever the target's does."""
    source = enlarged(collins_view, 4.0)  # else interpolation would mix teeth and lips
    mouth = np.zeros(source.image.shape[:2], np.uint8)
    cv2.fillPoly(mouth, [np.round(source.face.landmarks[list(LIPS_INNER), :2]).astype(np.int32)], 1)
    painted = source.image.copy()
    painted[cv2.erode(mouth, np.ones((13, 13))) > 0] = (0, 255, 0)
    pictures = [
        swap(generator, hopper_view, make_identity(view))[0].astype(int)
        for view in (source, replace(source, image=painted))
    ]
    assert (painted != source.image).any()
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_each_face_gets_the_identity_at_its_place(generator, collins_view, hopper_view):
    identities = [make_identity(hopper_view), make_identity(collins_view)]
    aligned = generator.align(collins_view.image, collins_view.face)
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
    aligned = generator.align(collins_view.image, collins_view.face)
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
    blurred = replace(aside, image=cv2.GaussianBlur(aside.image, (0, 0), 60))
    assert order_views((blurred, collins_view), topology) == [collins_view], "turned, but it shows too little"


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
    green = replace(turned(collins_view, 40), image=collins_view.image // 4 + np.array([0, 190, 0], np.uint8))
    alone, both = make_identity(collins_view), Identity(np.zeros(4, np.float32), (green, collins_view))
    for target, same in ((hopper_view, True), (turned(hopper_view, 40), False)):
        aligned = generator.align(target.image, target.face)
        pictures = [generator.generate([aligned], [identity])[0].image for identity in (alone, both)]
        assert np.array_equal(*pictures) == same


def test_a_face_without_dense_landmarks_is_refused(generator, collins_view):
    bare = Face(collins_view.face.box, 1.0, collins_view.face.keypoints)
    with pytest.raises(ValueError, match="landmarks"):
        generator.align(collins_view.image, bare)
    with pytest.raises(ValueError, match="'bare'"):
        prepare_texture(View(collins_view.image, bare, "bare"), build_topology(np.load(TRIANGLES)))
