"""Expression checked on the result: what the landmarker reads off a swap is what it reads off the target."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from models.mesh.shape import measure_openings
from utils.inference.calibration import match_openings
from utils.inference.frame_records import FrameRecord, RecordedFace, read_records, write_record
from utils.inference.image_processing import crop_face, find_faces, get_final_image
from utils.inference.plan import chooser, keep_choices
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


def test_where_the_face_is_not_found_again_nothing_is_decided_and_the_next_frame_is_asked(collins, pack, source):
    face = find_faces(collins, pack)[0][0]
    blank = np.zeros_like(collins)
    assert match_openings(blank, face, Treatment(), pack, source) is None
    asked = []

    def frame_at(pts):
        asked.append(pts)
        return collins if pts else blank

    choose = chooser(pack, [source], frame_at)
    records = [FrameRecord(index, index, False, (RecordedFace(face, 0, 0),)) for index in range(3)]
    assert choose(records[0], records[0].faces[0]) is None
    assert choose(records[1], records[1].faces[0]).openings != Openings()
    assert asked == [0, 1]


def test_a_track_on_which_nothing_can_be_decided_is_given_up_after_a_few_frames(collins, pack, source):
    recorded = RecordedFace(find_faces(collins, pack)[0][0], 0, 0)
    records = [FrameRecord(index, index, False, (recorded,)) for index in range(9)]
    asked = []

    def choose(record, _):
        asked.append(record.index)

    planned = list(keep_choices(records, choose))
    assert asked == [0, 1, 2]
    assert all(record.faces[0].treatment.openings == Openings() for record in planned)


def test_a_pack_that_is_not_drawn_by_landmarks_decides_nothing(pack, source):
    assert chooser(replace(pack, measure_openings=None), [source], lambda pts: None) is None


def test_openings_are_kept_in_the_file_of_records(collins, pack, tmp_path):
    recorded = RecordedFace(find_faces(collins, pack)[0][0], 0, 0, Treatment(openings=Openings(0.01, -0.02, 0.03)))
    with (tmp_path / "records").open("w") as file:
        write_record(file, FrameRecord(0, 0, False, (recorded,)))
    (record,) = read_records(tmp_path / "records")
    assert record.faces[0].treatment.openings == Openings(0.01, -0.02, 0.03)
