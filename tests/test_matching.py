import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.inference.tracking.matching import cosine_similarities, match_faces

tables = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-1, 1))
)


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


def test_a_good_match_is_not_given_away_for_two_poor_ones():
    similarities = np.array([[0.95, 0.30], [0.26, 0.10]])
    thresholds = np.array([[0.50, 0.25], [0.25, 0.50]])
    assert match_faces(similarities, thresholds) == {0: 0}
