"""How much of a swap is shown: limits of turn, size and frame border, and what a strength does to a frame."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from coordinate_reg.attention_mesh import box_of_landmarks, keypoints_of_landmarks
from coordinate_reg.mesh_points import CHEEKS
from utils.inference.core import model_inference
from utils.inference.face_swapper import FaceSwapper
from utils.inference.frame_records import FrameRecord, RecordedFace, read_records, write_record
from utils.inference.image_processing import find_faces
from utils.inference.model_pack import FadeLimits
from utils.inference.records import Face, Treatment
from utils.inference.steadying.fading import fade_of, visible_share, yaw_of
from utils.inference.steadying.record_smoothing import fade_records

LIMITS = FadeLimits(16, (40.0, 53.0), CHEEKS)
ROOMY = (10_000, 10_000)


@pytest.fixture(scope="module")
def face(collins, pack):
    return find_faces(collins, pack)[0][0]


def turned(face, degrees):
    """The mesh turned about the vertical, in the middle of a large frame."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    centre = face.landmarks.mean(0)
    points = (face.landmarks - centre) @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) + (5000, 5000, 0)
    return Face(box_of_landmarks(points), 1.0, keypoints_of_landmarks(points), points)


def of_height(face, height):
    scale = height / (face.box[3] - face.box[1])
    return Face(face.box * scale, 1.0, face.keypoints * scale, face.landmarks * scale)


def test_a_frontal_face_of_ordinary_size_is_shown_in_full(face, collins):
    assert fade_of(face, collins.shape[1::-1], LIMITS) == 1


@pytest.mark.parametrize("cheeks", [CHEEKS, None])
def test_the_turn_is_told_by_dense_landmarks_and_by_five_keypoints(face, cheeks):
    start = yaw_of(turned(face, 0), cheeks)
    for degrees in (-40, -20, 20, 40):
        assert yaw_of(turned(face, degrees), cheeks) - start == pytest.approx(degrees, abs=1 if cheeks else 10)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_profile_fades_evenly_and_is_left_alone_beyond_the_limit(face, side):
    start = yaw_of(turned(face, 0), CHEEKS)
    strengths = [fade_of(turned(face, side * degrees - start), ROOMY, LIMITS) for degrees in np.arange(30, 60, 0.5)]
    assert strengths[0] == 1
    assert strengths[-1] == 0
    steps = -np.diff(strengths)
    assert steps.min() >= 0
    assert steps.max() < 0.1  # half a degree never shows as a step


def test_without_a_limit_a_profile_is_swapped(face):
    assert fade_of(turned(face, 60), ROOMY, FadeLimits(16)) == 1


@pytest.mark.parametrize(("height", "strength"), [(15, 0), (16, 0), (18, 0.5), (20, 1), (200, 1)])
def test_small_faces_fade(face, height, strength):
    assert fade_of(of_height(face, height), ROOMY, LIMITS) == pytest.approx(strength, abs=0.01)


def test_a_face_that_leaves_the_frame_fades(face):
    left, _, right, _ = face.box
    strengths = []
    for share in np.arange(1, 0, -0.05):
        width = round(left + share * (right - left))
        assert visible_share(face, (width, 10_000)) == pytest.approx(share, abs=0.01)
        strengths.append(fade_of(face, (width, 10_000), LIMITS))
    assert strengths[0] == 1
    assert strengths[-1] == 0
    assert (np.diff(strengths) <= 0).all()


def test_a_strength_mixes_the_swap_with_the_frame(collins, face, swapper, hopper):
    source = swapper.identify(hopper, "hopper")

    def render(strength):
        record = FrameRecord(0, 0, False, (RecordedFace(face, 0, 0, Treatment(strength=strength)),))
        return next(model_inference([(collins, record)], swapper.pack, [source], 1)).astype(np.float64)

    none, half, full = (render(strength) for strength in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none, collins)
    np.testing.assert_allclose(half, (none + full) / 2, atol=1)
    assert np.abs(full - none).max() > 20


def test_strengths_are_set_for_swapped_faces_and_survive_the_file(face, tmp_path):
    small = of_height(face, 18)
    record = FrameRecord(3, 40, False, (RecordedFace(small, 0, 0), RecordedFace(small, 1, None)))
    (faded,) = fade_records([record], ROOMY, LIMITS)
    with (tmp_path / "records").open("w") as file:
        write_record(file, faded)
    (read,) = read_records(tmp_path / "records")
    assert [recorded.treatment.strength for recorded in read.faces] == [
        recorded.treatment.strength for recorded in faded.faces
    ]
    assert 0 < read.faces[0].treatment.strength < 1
    assert read.faces[1].treatment.strength == 1


def test_a_face_below_min_face_is_left_with_a_warning(collins, swapper, hopper, caplog):
    source = swapper.identify(hopper, "hopper")
    choosy = type(swapper)(swapper.pack, min_face_px=1000)
    result, report = choosy.swap_image(collins, [source], name="collins.png")
    np.testing.assert_array_equal(result, collins)
    assert report.swaps == 0
    assert "1 of 1 faces in 'collins.png' are left as they are: less than 1000 px high (--min_face)" in caplog.text
    tiny = cv2.resize(collins, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    wide = type(swapper)(replace(swapper.pack), min_face_px=10)
    assert (wide.swap_image(tiny, [source])[0] != tiny).any()


def test_a_misplaced_landmark_does_not_flash_and_a_gap_ends_the_run(face):
    frontal, profile = of_height(face, 100), turned(face, 70)
    faces = [frontal] * 10 + [profile] + [frontal] * 10 + [None] + [profile] * 5
    records = [
        FrameRecord(index, index, False, () if shown is None else (RecordedFace(shown, 0, 0),))
        for index, shown in enumerate(faces)
    ]
    faded = list(fade_records(records, ROOMY, LIMITS))
    assert [record.index for record in faded] == list(range(len(faces)))
    strengths = [recorded.treatment.strength for record in faded for recorded in record.faces]
    assert min(strengths[:21]) > 0.8
    assert np.abs(np.diff(strengths[:21])).max() < 0.03
    assert strengths[20] == 1
    assert strengths[21:] == [0] * 5


def test_a_source_that_is_turned_farther_than_the_generator_swaps_is_told(pack, hopper, caplog):
    FaceSwapper(pack).identify(hopper, "hopper.jpg")
    assert not caplog.records
    strict = replace(pack, fade_limits=replace(pack.fade_limits, yaw_deg=(0.0, 53.0)))
    FaceSwapper(strict).identify(hopper, "hopper.jpg")
    assert "'hopper.jpg' shows a head turned by" in caplog.text
