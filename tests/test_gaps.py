import numpy as np
import pytest

from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.records import Face
from utils.inference.tracking.gaps import fill_gaps
from utils.inference.tracking.tracks import LONGEST_GAP_FRAMES


def recorded(frame, track, x):
    keypoints = np.full((5, 2), float(x))
    return RecordedFace(Face(np.array([x, 0.0, x + 10, 10]), 0.9, keypoints, np.full((4, 3), 2.0 * x)), track, source=3)


def records(frames):
    """Frames as {track: x}."""
    return [
        FrameRecord(index, 40 * index, False, tuple(recorded(index, track, x) for track, x in faces.items()))
        for index, faces in enumerate(frames)
    ]


def places(filled):
    return [{face.track: float(face.face.box[0]) for face in record.faces} for record in filled]


def test_a_gap_is_filled_evenly_from_both_sides():
    filled = list(fill_gaps(records([{0: 0.0}, {}, {}, {}, {0: 8.0}, {0: 9.0}])))
    assert [record.index for record in filled] == list(range(6))
    assert places(filled) == [{0: x} for x in (0.0, 2.0, 4.0, 6.0, 8.0, 9.0)]
    between = filled[2].faces[0]
    assert between.source == 3
    np.testing.assert_allclose(between.face.keypoints, 4.0)
    np.testing.assert_allclose(between.face.landmarks, 8.0)


@pytest.mark.parametrize("missing", range(1, LONGEST_GAP_FRAMES + 1))
def test_every_gap_that_the_tracker_bridges_is_filled(missing):
    filled = places(fill_gaps(records([{0: 0.0}] + [{1: 50.0}] * missing + [{0: missing + 1.0}] + [{}] * 10)))
    assert filled[: missing + 2] == [
        {0: 0.0},
        *({1: 50.0, 0: float(place)} for place in range(1, missing + 1)),
        {0: missing + 1.0},
    ]
    assert filled[missing + 2 :] == [{}] * 10


def test_a_face_that_does_not_come_back_is_not_invented():
    frames = [{0: 0.0}] * 3 + [{}] * 3 + [{1: 0.0}] * 3
    assert places(fill_gaps(records(frames))) == frames


def test_a_face_that_is_lost_behind_another_is_not_drawn_over_it():
    frames = [{0: 0.0}, {1: 1.0}, {1: 30.0}, {0: 3.0}]
    assert places(fill_gaps(records(frames))) == [{0: 0.0}, {1: 1.0}, {1: 30.0, 0: 2.0}, {0: 3.0}]
