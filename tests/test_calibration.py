"""Expression checked on the result: what the landmarker reads off a swap is what it reads off the target."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from models.mesh.shape import measure_openings
from utils.inference.calibration import match_openings
from utils.inference.frame_records import FrameRecord, RecordedFace, read_records, write_record
from utils.inference.image_processing import crop_face, find_faces, get_final_image
from utils.inference.plan import LOOK_AHEAD, keep_choices, openings_chooser
from utils.inference.records import Openings, Treatment


@pytest.fixture(scope="module")
def source(swapper, hopper):
    return swapper.identify(hopper, "hopper")


def openings_of(image, pack):
    return np.array(astuple(measure_openings(find_faces(image, pack)[0][0].landmarks)))


def test_a_swap_drawn_with_what_was_measured_looks_more_as_far_open_as_the_target(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    differences = []
    for openings in (Openings(), match_openings(collins, face, Treatment(), pack, source)):
        aligned = crop_face(collins, face, pack, Treatment(openings=openings))
        result = get_final_image(collins, [aligned], pack.generator.generate([aligned], [source]))
        differences.append(np.abs(openings_of(result, pack) - openings_of(collins, pack)))
    drawn_blindly, corrected = differences
    assert drawn_blindly.sum() > 0.1
    assert corrected.sum() < 0.7 * drawn_blindly.sum()


def test_where_the_face_is_not_found_again_a_few_later_frames_are_asked_and_then_none(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    blank = np.zeros_like(collins)
    assert match_openings(blank, face, Treatment(), pack, source) is None
    assert choose_on(blank, face, pack, source, 40)[0] == [0, 10, 20]


def test_frames_before_the_first_that_is_fit_are_drawn_as_it_is_told(collins, pack):
    face = find_faces(collins, pack)[0][0]
    told = Openings(0.1, 0.1, 0.1)
    records = [FrameRecord(index, index, False, (RecordedFace(face, 0, 0),)) for index in range(3 * LOOK_AHEAD)]

    def drawn(fit):
        chosen = keep_choices(records, lambda record, _: Treatment(openings=told) if record.index == fit else None)
        return [record.faces[0].treatment.openings == told for record in chosen]

    assert drawn(LOOK_AHEAD) == [True] * len(records)
    late = 2 * LOOK_AHEAD
    assert drawn(late) == [index >= late - LOOK_AHEAD for index in range(len(records))]


def test_a_face_outside_of_the_picture_tells_nothing(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    away = replace(face, box=face.box + 5000, keypoints=face.keypoints + 5000)
    assert match_openings(collins, away, Treatment(), pack, source) is None


def choose_on(frame, face, pack, source, count, **treatment):
    """Numbers of the frames that are asked for when `face` is in `count` equal ones, and the last answer."""
    asked = []

    def frame_at(pts):
        asked.append(pts)
        return frame

    choose = openings_chooser(pack, [source], frame_at, frame.shape[1::-1])
    recorded = RecordedFace(face, 0, 0, Treatment(**treatment))
    answers = [choose(FrameRecord(index, index, False, (recorded,)), recorded) for index in range(count)]
    return asked, answers[-1]


def test_faces_that_are_small_cut_asleep_or_behind_something_are_not_asked(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    assert choose_on(collins, face, pack, source, 1)[0] == [0]
    tiny = replace(face, box=face.box[[0, 1, 0, 1]] + (0, 0, 50, 60))
    cut = replace(face, box=face.box - (400, 0, 0, 0))
    asleep = replace(face, landmarks=face.landmarks * (1, 0.01, 1))
    for unfit in (tiny, cut, asleep):
        assert choose_on(collins, unfit, pack, source, 1) == ([], None)
    assert choose_on(collins, face, pack, source, 1, occluded=np.ones((4, 4), bool)) == ([], None)


def test_a_face_that_is_fading_in_is_measured_at_full_strength(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    assert match_openings(collins, face, Treatment(strength=0.1), pack, source) == match_openings(
        collins, face, Treatment(), pack, source
    )


def test_a_pack_that_is_not_drawn_by_landmarks_decides_nothing(pack, source):
    assert openings_chooser(replace(pack, measure_openings=None), [source], lambda pts: None, (9, 9)) is None


def test_openings_are_kept_in_the_file_of_records(collins, pack, tmp_path):
    recorded = RecordedFace(find_faces(collins, pack)[0][0], 0, 0, Treatment(openings=Openings(0.01, -0.02, 0.03)))
    with (tmp_path / "records").open("w") as file:
        write_record(file, FrameRecord(0, 0, False, (recorded,)))
    (record,) = read_records(tmp_path / "records")
    assert record.faces[0].treatment.openings == Openings(0.01, -0.02, 0.03)
