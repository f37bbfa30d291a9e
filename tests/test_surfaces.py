"""Faces laid flat, the edge found in the crop, and the swap behind what is in front."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import COLLINS_CLIP

from utils.evaluate.clips import analyse_clip, plan_clip
from utils.evaluate.occlusion import UNTOUCHED, render
from utils.inference.image_processing import crop_face, find_faces, get_final_image
from utils.inference.occlusion.appearance import FLAT_PX, KeypointSurface, flat_picture, unpack_texels
from utils.inference.occlusion.visibility import refine_visible
from utils.inference.records import AlignedFace, Face, GeneratedFace, Identity, Treatment, View
from utils.inference.request import SwapRequest
from utils.inference.video_processing import get_target, read_video


@pytest.fixture(scope="module", params=["mesh", "keypoints"])
def surface(request, pack):
    return pack.surface if request.param == "mesh" else KeypointSurface()


@pytest.fixture(scope="module")
def collins_face(collins, pack):
    return find_faces(collins, pack)[0][0]


def moved(image, face, angle_deg, scale):
    """Picture and face, turned and enlarged about the face."""
    centre = (face.box[:2] + face.box[2:]) / 2
    affine = cv2.getRotationMatrix2D(centre.tolist(), angle_deg, scale)
    points = face.landmarks[:, :2] @ affine[:, :2].T + affine[:, 2]
    landmarks = np.column_stack([points, face.landmarks[:, 2] * scale])
    keypoints = face.keypoints @ affine[:, :2].T + affine[:, 2]
    turned = cv2.warpAffine(image, affine, image.shape[1::-1], flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return turned, Face(np.array([*points.min(0), *points.max(0)]), 1.0, keypoints, landmarks)


@pytest.mark.parametrize("scale", [1.3, 0.8, 0.5])
def test_a_point_of_the_face_stays_in_its_place(surface, collins, collins_face, scale):
    """However the head is turned in the picture and however large it is."""
    first = surface.flatten(collins, collins_face)
    second = surface.flatten(*moved(collins, collins_face, 25, scale))
    seen = unpack_texels(first.seen) & unpack_texels(second.seen)
    assert seen.mean() > 0.3
    difference = cv2.absdiff(flat_picture(first), flat_picture(second))[seen]
    assert difference.mean() < 5
    assert surface.tolerance.shape == (FLAT_PX, FLAT_PX)
    assert surface.tolerance.min() >= 1


def test_what_is_found_in_the_flat_picture_is_found_again_in_the_crop(surface, pack, collins, collins_face):
    """A disc is painted onto the cheek; the texels that it changes are placed back onto it."""
    eye, mouth = collins_face.keypoints[1], collins_face.keypoints[4]
    centre, radius = (eye + mouth) / 2, 0.3 * np.linalg.norm(eye - mouth)
    painted = cv2.circle(collins.copy(), np.round(centre).astype(int).tolist(), round(radius), (200, 60, 20), -1)
    before, after = (surface.flatten(image, collins_face) for image in (collins, painted))
    changed = cv2.absdiff(flat_picture(before), flat_picture(after)).max(-1) > 40
    aligned = crop_face(painted, collins_face, pack)
    size = aligned.crop.shape[0]
    visible = surface.place(changed, collins_face, aligned.frame_to_crop, size)
    assert visible.shape == (size, size)
    assert visible.dtype == np.float32
    assert visible.min() >= 0
    assert visible.max() <= 1 + 1e-6
    disc = cv2.warpAffine(
        (np.any(painted != collins, -1)).astype(np.uint8), aligned.frame_to_crop, (size, size), flags=cv2.INTER_NEAREST
    )
    hidden = visible < 0.5
    assert (hidden & (disc > 0)).sum() > 0.85 * (hidden | (disc > 0)).sum()


def test_texels_outside_of_the_frame_are_not_seen(surface, collins, collins_face):
    left = round(float(collins_face.keypoints[2, 0]))  # half of the face is cut off at the nose
    cut = np.ascontiguousarray(collins[:, left:])
    points = collins_face.landmarks - (left, 0, 0)
    face = Face(collins_face.box, 1.0, collins_face.keypoints - (left, 0), points)
    whole, half = (unpack_texels(surface.flatten(*view).seen) for view in ((collins, collins_face), (cut, face)))
    assert 0.3 < half.sum() / whole.sum() < 0.7
    assert not half[:, : FLAT_PX // 4].any()


def test_the_mesh_needs_dense_landmarks(pack, collins, collins_face):
    bare = Face(collins_face.box, 1.0, collins_face.keypoints)
    with pytest.raises(ValueError, match="landmarks"):
        pack.surface.flatten(collins, bare)
    with pytest.raises(ValueError, match="landmarks"):
        pack.surface.place(np.ones((FLAT_PX, FLAT_PX), bool), bare, np.eye(2, 3), 64)


def two_colours(edge_x, size=256):
    picture = np.full((size, size, 3), (110, 140, 190), np.uint8)
    picture[:, edge_x:] = (60, 40, 30)
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def half_hidden(edge_x, size=256):
    return np.tile((np.arange(size) < edge_x).astype(np.float32), (size, 1))


@pytest.mark.parametrize("slip_px", [-4, 0, 4])
def test_the_edge_moves_to_where_the_colours_change(slip_px):
    visible = refine_visible(two_colours(128), half_hidden(128 + slip_px))
    assert visible.dtype == np.float32
    edge = (visible[20:-20] > 0.5).sum(1)
    assert np.abs(edge - 128).max() <= 2


def test_an_edge_between_equal_colours_stays_where_it_is():
    visible = refine_visible(two_colours(0), half_hidden(128))
    assert np.abs((visible[20:-20] > 0.5).sum(1) - 128).max() <= 3


def test_a_thin_thing_is_not_lost():
    coarse = np.ones((256, 256), np.float32)
    coarse[:, 126:130] = 0
    visible = refine_visible(two_colours(0), coarse)
    assert (visible[:, 127:129] < 0.5).mean() > 0.9


def test_nothing_in_front_leaves_all_visible():
    assert (refine_visible(two_colours(128), np.ones((256, 256), np.float32)) == 1).all()


@pytest.mark.parametrize("size", [50, 224, 333, 1024])
def test_crops_of_any_size_are_refined(size):
    visible = refine_visible(two_colours(size // 2, size), half_hidden(size // 2, size))
    assert visible.shape == (size, size)
    assert abs(float(visible.mean()) - 0.5) < 0.03


def test_what_hides_the_face_is_pasted_over_by_nothing():
    frame = np.full((64, 64, 3), 90, np.uint8)
    face = Face(np.zeros(4), 1.0, np.zeros((5, 2)))
    aligned = AlignedFace(frame, np.eye(2, 3), face, visible=half_hidden(32, 64))
    generated = GeneratedFace(np.full((64, 64, 3), 200, np.uint8), np.ones((64, 64), np.float32))
    result = get_final_image(frame, [aligned], [generated])
    assert (result[:, 33:] == 90).all()
    assert (result[:, :31] == 200).all()
    assert (get_final_image(frame, [replace(aligned, visible=None)], [generated]) == 200).all()


def test_a_pack_without_a_surface_looks_for_nothing(pack, collins, collins_face):
    hidden = Treatment(occluded=np.ones((FLAT_PX, FLAT_PX), bool))
    assert crop_face(collins, collins_face, pack).visible is None
    assert crop_face(collins, collins_face, replace(pack, surface=None), hidden).visible is None
    assert crop_face(collins, collins_face, pack, hidden).visible.min() == 0


def test_the_swap_beside_an_occluder_looks_as_without_it(pack, collins, collins_face, hopper):
    """Its colours get neither into the tone nor into the joint."""
    source = Identity(np.zeros(4, np.float32), (View(hopper, find_faces(hopper, pack)[0][0], "hopper"),))
    eye, mouth = collins_face.keypoints[0], collins_face.keypoints[3]
    centre, radius = 0.4 * eye + 0.6 * mouth, 0.45 * np.linalg.norm(eye - mouth)
    occluder = cv2.circle(
        np.zeros(collins.shape[:2], np.uint8), np.round(centre).astype(int).tolist(), round(radius), 1, -1
    )
    covered = np.where(occluder[..., None] > 0, np.uint8((230, 40, 10)), collins)

    def swapped(image, hidden):
        aligned = crop_face(image, collins_face, pack)
        if hidden:
            size = aligned.crop.shape[0]
            front = cv2.warpAffine(occluder.astype(np.float32), aligned.frame_to_crop, (size, size))
            aligned = replace(aligned, visible=1 - front)
        generated = pack.generator.generate([aligned], [source])
        return get_final_image(image, [aligned], generated).astype(int)

    clean, ignorant, aware = swapped(collins, False), swapped(covered, False), swapped(covered, True)
    left, top, right, bottom = collins_face.box.astype(int)
    beside = np.zeros(collins.shape[:2], bool)
    beside[top:bottom, left:right] = True
    beside &= cv2.dilate(occluder, np.ones((5, 5), np.uint8)) == 0
    error_aware, error_ignorant = (np.abs(picture - clean)[beside].mean() for picture in (aware, ignorant))
    assert error_aware < 4
    assert error_aware < 0.5 * error_ignorant
    core = cv2.erode(occluder, np.ones((5, 5), np.uint8)) > 0
    assert (aware[core] == covered[core]).all()


def test_a_drawn_hand_stays_in_front_through_the_example_clip(swapper, hopper):
    """Both passes: of the occluder's pixels 90 % are untouched, of the clean face's at most 3 % are left; clean frames have nothing."""
    source = swapper.identify(hopper, "hopper")
    colour, shadow = (70, 150, 60), (40, 90, 35)

    def frames():
        for number, (pts, image) in enumerate(get_target(read_video(COLLINS_CLIP), max_frames=36)):
            if 10 <= number < 26:
                x = 470 + 14 * (number - 10)
                mask = np.zeros(image.shape[:2], np.uint8)
                cv2.ellipse(mask, (x, 310), (36, 48), 0, 0, 360, 1, -1)
                cv2.rectangle(mask, (x - 16, 340), (x + 16, 720), 1, -1)
                drawn = image.copy()
                drawn[mask > 0] = colour
                drawn[(mask > 0) & (np.indices(mask.shape)[0] % 24 < 6)] = shadow
                yield pts, drawn, mask > 0
            else:
                yield pts, image, None

    request = SwapRequest([source], (), False, "the clip")
    seen = analyse_clip(((pts, image) for pts, image, _ in frames()), swapper)
    records = plan_clip(*seen, request, swapper, next(frames())[1].shape[1::-1])
    hidden = untouched = clean = left = 0
    for number, ((_, image, mask), record) in enumerate(zip(frames(), records, strict=True)):
        ((_, recorded),) = record.swaps
        if mask is None:
            assert recorded.treatment.occluded is None, number
        elif number % 3 == 0:
            rendered = render(image, recorded, swapper.pack, source)
            area = rendered.plain_weight > 0.5
            change = cv2.absdiff(rendered.result, image).max(-1)
            hidden, untouched = hidden + (area & mask).sum(), untouched + (area & mask & (change <= UNTOUCHED)).sum()
            clean, left = clean + (area & ~mask).sum(), left + (area & ~mask & (rendered.weight < 0.5)).sum()
    assert hidden > 0.05 * clean
    assert untouched >= 0.9 * hidden
    assert left <= 0.03 * clean
