"""Faces are searched for now and then and followed in between; most models here see squares at known places."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from utils.inference.image_processing import find_faces, follow_faces
from utils.inference.model_pack import FadeLimits, ModelPack
from utils.inference.records import Face
from utils.inference.steadying.smoothing import FaceKeypointSmoother
from utils.inference.tracking.search import (
    STRETCH_FRAMES,
    THOROUGH_EVERY_STRETCHES,
    find_in_stretch,
    searched_stretches,
)

SMALL, LARGE = 20.0, 100.0
SHARP_STEP = 30.0  # px between two frames, more than the landmarker can follow


def square(x, size=LARGE, score=0.9):
    box = np.array([x, 0.0, x + size, size])
    keypoints, landmarks = (np.linspace(box[:2], box[2:], count) for count in (5, 478))
    return Face(box, score, keypoints, np.pad(landmarks, ((0, 0), (0, 1))))


@dataclass
class Scene:
    """Detector and landmarker of a made-up clip; a frame is its number, as an image of one column."""

    truth: list[list[Face]]
    det_thresh = 0.5
    searches: list[tuple[int, bool]] = field(default_factory=list)
    located: int = 0

    def detect(self, image, thorough=True):
        number = int(image[0, 0, 0])
        self.searches.append((number, thorough))
        faces = [face for face in self.truth[number] if thorough or face.box[3] > SMALL]
        return [replace(face, landmarks=None) for face in faces], max((face.score for face in faces), default=0.1)

    def locate(self, image, face):
        self.located += 1
        near = [one for one in self.truth[int(image[0, 0, 0])] if abs(one.box[0] - face.box[0]) < SHARP_STEP]
        return replace(near[0], score=face.score) if near else None

    def find_faces(self, known=(), begins=(), thorough=False, landmarker=True):
        """The faces in every frame of a stretch."""
        pack = ModelPack(
            "fake", "1", self, self if landmarker else None, None, None, 0.5, FaceKeypointSmoother, FadeLimits(1)
        )
        images = [np.full((500, 1, 3), number, np.uint8) for number in range(len(self.truth))]
        first = STRETCH_FRAMES * (THOROUGH_EVERY_STRETCHES - 1 if thorough else 0)
        stretch = next(searched_stretches(enumerate(images), pack, first))
        found = find_in_stretch(stretch, [n in begins for n in range(len(images))], pack, known)
        return [here.faces for here in found]

    def find(self, *arguments, **options):
        """Where they are: x."""
        return [sorted(float(face.box[0]) for face in faces) for faces in self.find_faces(*arguments, **options)]


def test_known_faces_are_followed_and_searched_for_once_a_stretch():
    scene = Scene([[square(10.0 * n)] for n in range(STRETCH_FRAMES)])
    assert scene.find([square(0)]) == [[10.0 * n] for n in range(STRETCH_FRAMES)]
    assert scene.searches == [(STRETCH_FRAMES - 1, False)]
    assert scene.located == STRETCH_FRAMES


@pytest.mark.parametrize("came", range(STRETCH_FRAMES))
def test_whoever_comes_in_is_there_from_the_first_frame_on(came):
    scene = Scene([[square(0)] + [square(300 + 10.0 * n)] * (n >= came) for n in range(STRETCH_FRAMES)])
    assert scene.find([square(0)]) == [[0.0] + [300 + 10.0 * n] * (n >= came) for n in range(STRETCH_FRAMES)]


def test_nobody_is_followed_back_across_a_cut():
    scene = Scene([[square(0)]] * 2 + [[]] + [[square(0)]] * 2)
    assert scene.find([square(0)], begins=[2]) == [[0.0], [0.0], [], [0.0], [0.0]]
    scene = Scene([[square(0)]] + [[square(5), square(300)]] * 4)
    assert scene.find(begins=[1]) == [[]] + [[5.0, 300.0]] * 4
    assert (1, True) in scene.searches, "a cut is searched thoroughly"


def test_a_face_that_is_lost_is_searched_for_at_once_thoroughly_if_need_be():
    places = [0, 0, 50, 60, 60]
    scene = Scene([[square(x, SMALL)] for x in places])
    assert scene.find([square(0, SMALL)]) == [[float(x)] for x in places]
    assert [search for search in scene.searches if search[0] == 2] == [(2, False), (2, True)]


def test_a_small_face_is_found_when_the_stretch_ends_with_a_thorough_search():
    truth = [[square(0), square(300, SMALL)]] * STRETCH_FRAMES
    assert Scene(truth).find([square(0)]) == [[0.0]] * STRETCH_FRAMES
    assert Scene(truth).find([square(0)], thorough=True) == [[0.0, 300.0]] * STRETCH_FRAMES


def test_the_detector_makes_a_followed_face_surer_and_never_less_sure():
    for seen, wanted in ((0.95, 0.95), (0.6, 0.8)):
        ((face,),) = Scene([[square(0, score=seen)]]).find_faces([square(0, score=0.8)])
        assert face.score == wanted


def test_two_that_are_followed_to_the_same_face_are_one():
    scene = Scene([[square(10)], [square(10), square(300)], [square(10), square(300)]])
    assert scene.find([square(0), square(20)])[0] == [10.0]
    assert 0 in [number for number, _ in scene.searches], "the other one is searched for"


def test_without_a_landmarker_every_frame_is_searched_once():
    scene = Scene([[square(0)], [], [square(0)]])
    assert scene.find(landmarker=False) == [[0.0], [], [0.0]]
    assert [number for number, _ in scene.searches] == [0, 1, 2]


@pytest.mark.parametrize(("shift_px", "looks"), [(0, 1), (2, 1), (25, 2), (40, 2)])
def test_a_face_is_placed_as_well_by_following_as_by_searching(pack, collins, monkeypatch, shift_px, looks):
    """And the landmarker looks once at a face that hardly moved, twice at one that did."""
    known = find_faces(collins, pack)[0]
    moved = np.roll(collins, shift_px, axis=1)
    calls = []
    run = pack.landmarker._run
    monkeypatch.setattr(pack.landmarker, "_run", lambda *given: calls.append(given) or run(*given))
    (followed,) = follow_faces(moved, pack, known[:1])
    assert len(calls) == looks
    found = find_faces(moved, pack)[0][0]
    distance = np.linalg.norm((followed.landmarks - found.landmarks)[:, :2], axis=1).mean()
    assert distance < 0.01 * (found.box[3] - found.box[1])
