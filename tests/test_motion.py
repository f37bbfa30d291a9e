"""Motion of a face, and the blur that goes with it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from models.mesh.motion import blur_along, match_motion
from utils.inference.frame_records import FrameRecord, RecordedFace, read_records, write_record
from utils.inference.image_processing import find_faces
from utils.inference.records import Face, Treatment
from utils.inference.steadying.motion import MotionMeter
from utils.inference.steadying.record_smoothing import measure_motion

DIAGONAL = np.array([0.6, 0.8])


@pytest.fixture(scope="module")
def cheeks_to_brows(collins, pack):
    """The face of a photo, enlarged to about 230 px: (H, W, 3) float32."""
    face = find_faces(collins, pack)[0][0]
    left, top, right, bottom = face.box.astype(int)
    cut = collins[top:bottom, left:right].astype(np.float32)
    return cv2.resize(cut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).clip(0, 255)


def eight_bit(picture):
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def face_at(x, y=0.0):
    keypoints = np.array([[0, 0], [50, 0], [25, 25], [5, 50], [45, 50.0]]) + np.array([x, y])
    return Face(np.concatenate([keypoints.min(0), keypoints.max(0)]), 1.0, keypoints)


def meter(faces):
    watched = MotionMeter()
    return [motion for face in faces for motion in watched.push(face)] + watched.finish()


def test_motion_is_central_inside_a_run_and_one_sided_at_its_ends():
    faces = [face_at(0), face_at(4, 2), face_at(12, 2), None, face_at(300), face_at(900), face_at(901)]
    assert meter(faces) == [(4, 2), (6, 1), (8, 0), None, (0, 0), (1, 0), (1, 0)]  # 600 px are a jump
    assert meter([face_at(7)]) == [(0, 0)]
    assert meter([]) == []


def test_records_get_the_motion_of_swapped_faces_and_keep_it_in_the_file(tmp_path):
    records = [
        FrameRecord(i, i, False, (RecordedFace(face_at(3 * i), 0, 0), RecordedFace(face_at(0), 1))) for i in range(5)
    ]
    measured = list(measure_motion(records))
    assert [[recorded.treatment.motion for recorded in record.faces] for record in measured] == [[(3, 0), (0, 0)]] * 5
    with (tmp_path / "records").open("w") as file:
        for record in measured:
            write_record(file, record)
    assert [record.faces[0].treatment.motion for record in read_records(tmp_path / "records")] == [(3, 0)] * 5


@pytest.mark.parametrize("length", [3.0, 10.5, 41.0])
def test_blur_spreads_a_point_along_the_way(length):
    point = np.zeros((101, 101), np.float32)
    point[50, 50] = 1
    spread = blur_along(point, DIAGONAL, length)
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    y, x = np.mgrid[-50:51, -50:51]
    along, across = x * DIAGONAL[0] + y * DIAGONAL[1], x * DIAGONAL[1] - y * DIAGONAL[0]
    assert (spread * along).sum() == pytest.approx(0, abs=0.01)
    assert np.sqrt(12 * (spread * along**2).sum()) == pytest.approx(length, rel=0.15)
    assert np.sqrt((spread * across**2).sum()) < 0.7


@pytest.mark.parametrize("share", [0.08, 0.15])
def test_a_crisp_face_gets_the_blur_of_a_moving_target(cheeks_to_brows, share):
    way = share * cheeks_to_brows.shape[1] * DIAGONAL
    blurred = blur_along(cheeks_to_brows, DIAGONAL, float(np.hypot(*way)))
    region = np.ones(blurred.shape[:2], bool)
    matched = match_motion(
        cheeks_to_brows.copy(), eight_bit(blurred), region, 2 * way
    )  # shutter open for half of the frame
    inner = (slice(30, -30), slice(30, -30))
    before, after = (np.abs(picture - blurred)[inner].mean() for picture in (cheeks_to_brows, matched))
    assert after < 0.5 * before


def test_a_short_shutter_and_a_still_face_leave_it_crisp(cheeks_to_brows):
    region = np.ones(cheeks_to_brows.shape[:2], bool)
    target = eight_bit(cheeks_to_brows)
    for motion in (0.15 * cheeks_to_brows.shape[1] * DIAGONAL, 0.5 * DIAGONAL, 0 * DIAGONAL):
        matched = match_motion(cheeks_to_brows.copy(), target, region, motion)
        np.testing.assert_allclose(matched, cheeks_to_brows, atol=1)


def test_a_swapped_moving_face_is_hardly_crisper_than_the_target(collins, pack, hopper, swapper):
    source = swapper.identify(hopper, "hopper")
    face = find_faces(collins, pack)[0][0]
    width = face.box[2] - face.box[0]
    moving = eight_bit(blur_along(collins.astype(np.float32), np.array([1.0, 0.0]), 0.15 * width))
    aligned = pack.generator.align(moving, face)

    def contrast(picture):
        grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 2)
        size = grey.shape[0]
        middle = grey[size // 4 : -size // 4, size // 4 : -size // 4]
        return np.square(np.diff(middle, axis=1)).mean() / np.square(np.diff(middle, axis=0)).mean()

    (still,), (blurred,) = (
        pack.generator.generate([replace(aligned, treatment=Treatment(motion=motion))], [source])
        for motion in ((0, 0), (0.3 * width, 0))
    )
    excess = [contrast(generated.image) / contrast(aligned.crop) for generated in (still, blurred)]
    assert excess[1] < 1 + 0.6 * (excess[0] - 1)
