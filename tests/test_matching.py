import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.inference.matching import FOLLOW_SLACK, PersonMatcher, cosine_similarities, match_faces
from utils.inference.records import Face

tables = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-1, 1))
)


def face_at(x, size=100.0):
    return Face(np.array([x, 0.0, x + size, size]), 0.9, np.zeros((5, 2)))


def unit(angle):
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


@given(tables, st.floats(-1, 1))
def test_one_face_a_person_and_one_person_a_face_above_the_threshold(similarities, threshold):
    matched = match_faces(similarities, np.full(similarities.shape, threshold))
    assert len(set(matched.values())) == len(matched)
    assert all(similarities[person, face] >= threshold for face, person in matched.items())
    unmatched_persons = set(range(similarities.shape[0])) - set(matched.values())
    unmatched_faces = set(range(similarities.shape[1])) - set(matched)
    assert not any(similarities[person, face] >= threshold for person in unmatched_persons for face in unmatched_faces)


def test_the_threshold_is_inclusive():
    assert match_faces(np.array([[0.5]]), np.array([[0.5]])) == {0: 0}
    assert match_faces(np.array([[0.5]]), np.array([[0.5001]])) == {}


@given(tables)
def test_similarities_are_finite_and_bounded(vectors):
    similarities = cosine_similarities(vectors, vectors)
    assert similarities.shape == (len(vectors), len(vectors))
    assert np.isfinite(similarities).all()
    assert np.abs(similarities).max() <= 1


def test_automatic_mode_takes_the_largest_face_of_the_first_frame_that_has_one():
    matcher = PersonMatcher([], 0.5)
    assert matcher.match([], []) == {}
    assert matcher.match([face_at(0, 50), face_at(200, 120)], [unit(0), unit(2)]) == {1: 0}
    assert matcher.match([face_at(0)], [unit(0)]) == {}, "a stranger alone in a shot is not swapped"
    assert matcher.match([face_at(600)], [unit(2.1)]) == {0: 0}
    assert matcher.seen == [2]


def test_a_face_that_turns_away_in_its_place_is_followed():
    threshold = 0.5
    matcher = PersonMatcher([unit(0)], threshold)
    turned, further = np.arccos(threshold) + 0.1, np.arccos(threshold - FOLLOW_SLACK) - 0.05
    assert matcher.match([face_at(0)], [unit(turned)]) == {}, "nothing to follow yet"
    assert matcher.match([face_at(0)], [unit(0.3)]) == {0: 0}
    assert matcher.match([face_at(10)], [unit(turned)]) == {0: 0}
    assert matcher.match([face_at(20)], [unit(further)]) == {0: 0}
    assert matcher.match([face_at(400)], [unit(further)]) == {}, "elsewhere it must look like the portrait"
    assert matcher.match([face_at(400)], [unit(further)]) == {}, "the thread is cut"


def test_after_a_cut_a_stranger_in_the_same_place_is_not_followed():
    """Less alike than one person, but more than the slack asks for: as one in seven pairs of strangers is."""
    threshold = 0.5
    stranger = np.arccos(threshold - FOLLOW_SLACK + 0.05)
    matcher = PersonMatcher([unit(0)], threshold)
    assert matcher.match([face_at(0)], [unit(-0.2)]) == {0: 0}
    assert matcher.match([face_at(0)], [unit(stranger)]) == {}


def test_a_good_match_is_not_given_away_for_two_poor_ones():
    similarities = np.array([[0.95, 0.30], [0.26, 0.10]])
    thresholds = np.array([[0.50, 0.25], [0.25, 0.50]])
    assert match_faces(similarities, thresholds) == {0: 0}
