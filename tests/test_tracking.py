"""Tracks are held together by place and verified by looks; the looks are angles here, a face's score says which."""

import numpy as np
import pytest

from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.plan import give_sources
from utils.inference.records import Face
from utils.inference.tracking.people import believable, cast_everybody, cast_largest_first, cast_persons, group_tracks
from utils.inference.tracking.tracks import CHECK_EVERY_FRAMES, LONGEST_GAP_FRAMES, STEADY_SHARE, Tracker, worth_of

THRESHOLD = 0.5
IMAGE = np.zeros((4, 4, 3), np.uint8)
FRONTAL = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
PROFILE = np.array([(0.3, 0.4), (0.5, 0.4), (0.25, 0.6), (0.3, 0.8), (0.45, 0.8)])


def unit(angle):
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


class Looks:
    """An identity net that counts how often it is asked; it reads the angle of a face's looks from its score."""

    def __init__(self):
        self.asked = 0

    def embed(self, image, face):
        self.asked += 1
        return unit(face.score)


def face_at(x, looks, keypoints=FRONTAL, size=100.0):
    return Face(np.array([x, 0.0, x + size, size]), looks, keypoints * size + (x, 0))


def follow(frames, cuts=()):
    """The tracker, and the track numbers by frame."""
    tracker = Tracker(Looks(), THRESHOLD)
    numbers = [tracker.update(i, 40 * i, IMAGE, faces, i in cuts) for i, faces in enumerate(frames)]
    return tracker, numbers


def test_a_steady_face_is_one_track_and_is_checked_on_a_schedule():
    frames = [[face_at(x, 0.0)] for x in range(100)]
    tracker, numbers = follow(frames)
    assert numbers == [[0]] * 100
    assert 100 / CHECK_EVERY_FRAMES <= tracker.embedder.asked < 100 / CHECK_EVERY_FRAMES + 5


def test_a_stranger_who_takes_over_in_the_same_place_gets_a_track_of_his_own():
    """Without a jump: the schedule finds out, and the frames in between are nobody's."""
    frames = [[face_at(0, 0.0)]] * 20 + [[face_at(0, 2.0)]] * 20
    tracker, numbers = follow(frames)
    assert [track.disputed for track in tracker.tracks] == [True, False]
    late = tracker.tracks[1].first.frame - 20
    assert 0 <= late < CHECK_EVERY_FRAMES
    assert tracker.tracks[0].sure_until < 20
    assert numbers[-1] == [1]


def test_a_jump_is_looked_into_at_once():
    frames = [[face_at(0, 0.0)]] * 11 + [[face_at(40, 1.5)]] * 3
    tracker, numbers = follow(frames)
    assert numbers[10:12] == [[0], [1]]
    same, _ = follow([[face_at(0, 0.0)]] * 11 + [[face_at(40, 0.2)]] * 3)
    assert len(same.tracks) == 1
    assert not tracker.tracks[0].disputed or tracker.tracks[0].sure_until <= 10


def test_a_head_that_turns_away_stays_on_its_track():
    turned = float(np.arccos(THRESHOLD * STEADY_SHARE)) + 0.2
    frames = [[face_at(0, 0.0)]] * 20 + [[face_at(0, turned, PROFILE)]] * 20 + [[face_at(0, 0.0)]] * 20
    tracker, _ = follow(frames)
    assert len(tracker.tracks) == 1
    assert float(tracker.tracks[0].embedding @ unit(0)) > 0, "the bad looks hardly count"


def test_a_cut_ends_all_tracks():
    _, numbers = follow([[face_at(0, 0.0)]] * 6, cuts=[3])
    assert numbers == [[0]] * 3 + [[1]] * 3


@pytest.mark.parametrize(("missing", "tracks"), [(LONGEST_GAP_FRAMES, 1), (LONGEST_GAP_FRAMES + 1, 2)])
def test_a_short_gap_is_bridged_and_a_long_one_not(missing, tracks):
    tracker, _ = follow([[face_at(0, 0.0)]] * 3 + [[]] * missing + [[face_at(0, 0.1)]] * 3)
    assert len(tracker.tracks) == tracks


def test_a_gap_is_not_bridged_to_somebody_else():
    tracker, _ = follow([[face_at(0, 0.0)]] * 3 + [[]] * 2 + [[face_at(0, 1.3)]] * 3)
    assert len(tracker.tracks) == 2


def test_two_faces_that_cross_keep_their_tracks():
    frames = [[face_at(x, 0.0), face_at(300 - x, 1.5)] for x in range(0, 301, 10)]
    tracker, _ = follow(frames)
    persons = [unit(0.0), unit(1.5)]
    casting = cast_persons(tracker.tracks, tracker.companies, persons, THRESHOLD)
    for index, faces in enumerate(frames):
        _, numbers = follow(frames[: index + 1])
        given = [casting.source_of_track[number] for number in numbers[-1]]
        assert given == [0, 1], (index, [face.box[0] for face in faces])


def test_a_face_seen_from_the_side_or_from_afar_says_less():
    frontal = worth_of(face_at(0, 0.0))
    assert 0 < worth_of(face_at(0, 0.0, PROFILE)) < 0.2 * frontal
    assert 0 < worth_of(face_at(0, 0.0, size=20.0)) < 0.5 * frontal


def test_without_a_chosen_person_the_largest_face_of_the_first_frame_that_has_one_is_followed():
    frames = [[], [face_at(0, 0.0, size=50.0), face_at(200, 1.5, size=120.0)]] + [[face_at(0, 0.1)]] * 3
    frames += [[face_at(600, 1.6)]] * 3
    tracker, numbers = follow(frames, cuts=[2, 5])
    casting = cast_largest_first(tracker.tracks, tracker.tracks, tracker.companies, THRESHOLD)
    assert casting.source_of_track == {numbers[1][1]: 0, numbers[-1][0]: 0}
    assert cast_largest_first([], [], {}, THRESHOLD).source_of_track == {}


def test_who_is_beaten_by_a_better_match_in_one_frame_is_not_the_person_in_any_frame():
    like, liker = 0.9, 0.2
    frames = [[face_at(0, like)]] * 30 + [[face_at(0, like), face_at(300, liker)]] * 30
    tracker, _ = follow(frames)
    casting = cast_persons(tracker.tracks, tracker.companies, [unit(0.0)], THRESHOLD)
    assert casting.source_of_track == {1: 0}


def test_a_face_that_is_found_twice_in_one_frame_does_not_take_the_person_away():
    frames = [[face_at(0, 0.2)]] * 30 + [[face_at(0, 0.2), face_at(300, 0.1)]] + [[face_at(0, 0.2)]] * 30
    tracker, _ = follow(frames)
    casting = cast_persons(tracker.tracks, tracker.companies, [unit(0.0)], THRESHOLD)
    assert casting.source_of_track == {0: 0}


def test_a_person_is_recognised_by_what_it_looks_like_in_the_video():
    """The second shot is too unlike the photo, but like the first shot, which is beyond doubt."""
    first, second = 0.6, 1.15
    assert np.cos(second) < THRESHOLD < np.cos(second - first / 2)
    tracker, _ = follow([[face_at(0, first)]] * 30 + [[face_at(0, second)]] * 30, cuts=[30])
    casting = cast_persons(tracker.tracks, tracker.companies, [unit(0.0)], THRESHOLD)
    assert casting.source_of_track == {0: 0, 1: 0}
    assert cast_persons(tracker.tracks[1:], {}, [unit(0.0)], THRESHOLD).source_of_track == {}


def test_everybody_gets_the_only_source_or_the_sources_from_left_to_right():
    shots = [[face_at(300, 0.0), face_at(0, 1.5)]] * 3 + [[face_at(0, 0.1), face_at(300, 3.0)]] * 3
    tracker, numbers = follow(shots, cuts=[3])
    assert cast_everybody(tracker.tracks, tracker.companies, 1, THRESHOLD).source_of_track == dict.fromkeys(range(4), 0)
    casting = cast_everybody(tracker.tracks, tracker.companies, 2, THRESHOLD)
    right, left = numbers[0]
    assert casting.source_of_track == {left: 0, right: 1, numbers[3][0]: 1}
    assert casting.left_out == 1


def test_tracks_that_were_seen_together_are_never_one_person():
    tracker, _ = follow([[face_at(0, 0.0), face_at(300, 0.01)]] * 3 + [[face_at(0, 0.0)]] * 3, cuts=[3])
    groups = group_tracks(tracker.tracks, tracker.companies, THRESHOLD)
    assert sorted(len(group) for group in groups) == [1, 2]
    assert not any({0, 1} <= set(group) for group in groups)


def test_what_the_detector_was_never_sure_of_is_no_face():
    """The score is the angle of the looks here; what counts is the best of a track."""
    tracker, _ = follow([[face_at(0, 0.5), face_at(300, 0.9)]] * 2 + [[face_at(0, 0.7), face_at(300, 0.5)]] * 2)
    assert [track.best_score for track in tracker.tracks] == [0.7, 0.9]
    assert [track.number for track in believable(tracker.tracks, 0.55)] == [0, 1]
    assert [track.number for track in believable(tracker.tracks, 0.6)] == [1]
    assert [track.number for track in believable(tracker.tracks, 0.9)] == [0, 1], "all, where it was never sure"
    assert believable([], 0.4) == []


def test_what_nobody_verified_is_no_portrait():
    """A better look at somebody who took the place between two checks must not stand for the track."""
    frames = [[face_at(0, 0.0, size=55.0)]] * 18 + [[face_at(-12.5, 2.0, size=80.0)]] * 8
    tracker, _ = follow(frames)
    assert tracker.tracks[0].disputed
    assert tracker.tracks[0].best.face.score == 0.0


def test_the_largest_face_is_the_person_however_short_its_track_is():
    frames = [[face_at(0, 0.0, size=200.0), face_at(400, 0.4)]] * 3 + [[face_at(400, 0.4)]] * 60
    tracker, _ = follow(frames)
    casting = cast_largest_first(tracker.tracks, tracker.tracks, tracker.companies, THRESHOLD)
    assert casting.source_of_track == {0: 0}


def test_with_one_source_for_everybody_doubts_about_who_it_is_do_not_matter():
    frames = [[face_at(0, 0.0)]] * 18 + [[face_at(0, 2.0)]] * 8
    tracker, numbers = follow(frames)
    records = [
        FrameRecord(i, i, False, tuple(RecordedFace(face, n) for face, n in zip(faces, ns, strict=True)))
        for i, (faces, ns) in enumerate(zip(frames, numbers, strict=True))
    ]
    whoever = cast_everybody(tracker.tracks, tracker.companies, 1, THRESHOLD)
    one = cast_persons(tracker.tracks, tracker.companies, [unit(0.0)], THRESHOLD)
    swapped = [
        [bool(record.swaps) for record in give_sources(records, tracker.tracks, casting)] for casting in (whoever, one)
    ]
    assert all(swapped[0])
    sure = tracker.tracks[0].sure_until
    assert swapped[1] == [index <= sure for index in range(len(frames))]
