from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from utils.inference.frame_records import FrameRecord, RecordedFace, read_records, write_record
from utils.inference.occlusion import marking as occlusion
from utils.inference.occlusion.appearance import FLAT_PX, flat_picture, make_appearance, pack_texels, unpack_texels
from utils.inference.occlusion.clear_face import learn_clear_face, measure_deviation
from utils.inference.occlusion.marking import FEWEST_SAMPLES, MOST_SAMPLES, learn_clear_faces, mark_occlusions
from utils.inference.plan import plan_records
from utils.inference.records import Face
from utils.inference.tracking.people import Casting

SKIN, DARK, BLUE, HAND = (90, 112, 155), (40, 38, 42), (190, 90, 40), (145, 172, 222)  # BGR
Y, X = np.mgrid[0:FLAT_PX, 0:FLAT_PX].astype(np.float32)
SEEN = np.hypot((X - 32) / 27, (Y - 32) / 31) < 1


class PlainSurface:
    """Skin everywhere, and landmarks that never slip far."""

    tolerance = np.ones((FLAT_PX, FLAT_PX), np.float32)
    tolerance[np.hypot(X - 20, Y - 24) < 6] = tolerance[np.hypot(X - 44, Y - 24) < 6] = 1.7
    tolerance[np.hypot(X - 32, Y - 46) < 8] = 1.7
    slack_texels = 1


def disc(x, y, radius):
    return np.hypot(X - x, Y - y) <= radius


def face(number, texels=None, colour=BLUE, skin=SKIN):
    """The flat picture of frame `number`: shaded skin, eyes and a mouth, sensor noise, and a coloured thing in front of `texels`."""
    shade = 1 + 0.12 * (X / 63 - 0.5) - 0.08 * np.hypot(X / 63 - 0.5, Y / 63 - 0.5)
    picture = np.array(skin, np.float32) * shade[..., None]
    for feature in (disc(20, 24, 4), disc(44, 24, 4), disc(32, 46, 5)):
        picture[feature] *= 0.55
    if texels is not None:
        picture[texels] = np.array(colour, np.float32) * (1 + 0.1 * np.sin(X + Y))[texels, None]
    noise = np.random.default_rng(number).normal(0, 1.5, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def record(number, picture, track=0, source=0, seen=SEEN):
    keypoints = np.array([(10.0, 10), (30, 10), (20, 20), (12, 30), (28, 30)])
    found = Face(np.array([0.0, 0, 40, 40]), 0.9, keypoints)
    appearance = None if picture is None else make_appearance(picture, seen)
    return FrameRecord(number, 40 * number, False, (RecordedFace(found, track, source, appearance=appearance),))


def marks(records):
    """What is marked in each frame; None where nothing is."""
    learned = learn_clear_faces(records, {0}, PlainSurface())
    marked = list(mark_occlusions(records, learned))
    assert [record.index for record in marked] == [record.index for record in records]
    assert all(record.faces[0].appearance is None for record in marked)
    return [record.faces[0].treatment.occluded for record in marked]


def marked_frames(records):
    return [number for number, texels in enumerate(marks(records)) if texels is not None]


@pytest.mark.parametrize("colour", [BLUE, DARK, HAND], ids=["blue", "dark", "a hand"])
def test_a_thing_that_crosses_the_face_is_marked_and_nothing_else(colour):
    places = {}
    for number in range(12, 30):
        x = 5 + 3 * (number - 12)
        places[number] = disc(x, 40, 10) | ((np.abs(X - x) < 6) & (Y > 40))
    found = marks([record(number, face(number, places.get(number), colour)) for number in range(45)])
    hidden = marked = clean = wrong = 0
    for number, texels in enumerate(found):
        truth = places.get(number, np.zeros_like(SEEN)) & SEEN
        answer = np.zeros_like(SEEN) if texels is None else texels & SEEN
        hidden, marked = hidden + truth.sum(), marked + (truth & answer).sum()
        clean, wrong = clean + (SEEN & ~truth).sum(), wrong + (answer & ~truth).sum()
    assert marked >= 0.9 * hidden
    assert wrong <= 0.01 * clean
    assert all(texels is None for number, texels in enumerate(found) if number not in places)


@pytest.mark.parametrize("skin", [(120, 145, 190), (50, 70, 105), (175, 195, 235)], ids=["medium", "dark", "light"])
def test_light_that_changes_leaves_every_skin_whole(skin):
    """Exposure, tint, and a lamp that goes round the head."""
    records = []
    for number in range(40):
        lamp = 1 + 0.25 * np.cos(number / 6) * (X / 63 - 0.5) + 0.2 * np.sin(number / 9)
        tint = np.array([1 + 0.06 * np.sin(number / 5), 1, 1 - 0.06 * np.sin(number / 5)])
        lit = np.clip(face(number, skin=skin) * lamp[..., None] * tint, 0, 255).astype(np.uint8)
        records.append(record(number, lit))
    assert marked_frames(records) == []


def test_a_mouth_that_opens_and_eyes_that_close_are_no_occluders():
    records = []
    for number in range(40):
        picture = face(number)
        if number % 9 > 4:
            picture[disc(32, 48, 3)] //= 2
        if number % 13 == 5:
            picture[disc(20, 24, 4) | disc(44, 24, 4)] = (110, 135, 178)
        records.append(record(number, picture))
    assert marked_frames(records) == []


def test_what_a_single_frame_shows_is_not_believed():
    records = [record(number, face(number, disc(32, 55, 10) if number == 20 else None)) for number in range(40)]
    assert marked_frames(records) == []


def test_a_microphone_that_is_there_most_of_the_time_does_not_become_the_face():
    """Two things show by turns; the one more like the rest of the face is the face."""
    held = disc(32, 60, 11)
    found = marks([record(number, face(number, held if number >= 14 else None, DARK)) for number in range(40)])
    assert found[:13] == [None] * 13
    for texels in found[16:]:
        assert (texels & held & SEEN).sum() > 0.85 * (held & SEEN).sum()


def test_a_beard_that_is_always_there_is_the_face():
    beard = (Y > 44) & ~disc(32, 46, 6)
    assert marked_frames([record(number, face(number, beard, DARK)) for number in range(40)]) == []


def test_a_frame_in_which_the_face_was_not_found_has_what_its_neighbours_have():
    held = disc(10, 40, 12)
    pictures = [face(number, held if 15 <= number < 25 else None) for number in range(40)]
    records = [record(number, None if number == 20 else picture) for number, picture in enumerate(pictures)]
    found = marks(records)
    assert (found[20] & held & SEEN).sum() > 0.85 * (held & SEEN).sum()


def test_a_face_that_changes_altogether_is_left_whole():
    """A lamp that fails is no occluder: in doubt the whole face is swapped."""
    records = [record(number, face(number, SEEN if number > 30 else None, DARK)) for number in range(40)]
    assert marked_frames(records) == []


def test_short_tracks_are_left_whole():
    records = [record(number, face(number, disc(10, 40, 12))) for number in range(FEWEST_SAMPLES - 1)]
    assert learn_clear_faces(records, {0}, PlainSurface()) == {}
    assert marked_frames(records) == []


def test_tracks_do_not_mix_and_only_chosen_ones_are_learned():
    records = [record(number, face(number), track=int(number >= 20)) for number in range(60)]
    assert set(learn_clear_faces(records, {0, 1}, PlainSurface())) == {0, 1}
    assert set(learn_clear_faces(records, {1}, PlainSurface())) == {1}


def test_a_long_track_is_learned_from_a_bounded_number_of_frames(monkeypatch):
    asked = []

    def counted(appearances, *rest):
        asked.append(list(appearances))
        return learn_clear_face(appearances, *rest)

    monkeypatch.setattr(occlusion, "learn_clear_face", counted)
    one = record(0, face(0)).faces[0]
    numbered = [make_appearance(np.full((FLAT_PX, FLAT_PX, 3), number % 251, np.uint8), SEEN) for number in range(1000)]
    records = (FrameRecord(n, n, False, (replace(one, appearance=look),)) for n, look in enumerate(numbered))
    learn_clear_faces(records, {0}, PlainSurface())
    (kept,) = asked
    assert MOST_SAMPLES <= len(kept) < 2 * MOST_SAMPLES
    places = np.diff([numbered.index(look) for look in kept])
    assert set(places.tolist()) == {int(places[0])}, "spread evenly"


def test_what_is_not_seen_is_not_judged():
    appearances = [make_appearance(face(number), SEEN) for number in range(12)]
    clear = learn_clear_face(appearances, PlainSurface.tolerance, 1)
    thing = disc(12, 40, 8)
    deviation, judged = measure_deviation(make_appearance(face(3, thing), SEEN & ~thing), clear, clear.expect())
    assert not judged[thing].any()
    assert (deviation[thing] == 0).all()
    deviation, judged = measure_deviation(make_appearance(face(3), np.zeros_like(SEEN)), clear, clear.expect())
    assert not judged.any()
    assert not deviation.any()


def test_appearances_survive_compression_and_files(tmp_path):
    occluded = disc(20, 20, 7)
    (recorded,) = record(3, face(3, disc(40, 40, 9))).faces
    before = FrameRecord(3, 120, True, (recorded.treated(occluded=occluded), replace(recorded, appearance=None)))
    path = tmp_path / "records.jsonl"
    with path.open("w", encoding="utf-8") as file:
        write_record(file, before)
    (after,) = read_records(path)
    assert after.faces[0].appearance == recorded.appearance or (
        after.faces[0].appearance.png == recorded.appearance.png
        and after.faces[0].appearance.seen == recorded.appearance.seen
    )
    np.testing.assert_array_equal(after.faces[0].treatment.occluded, occluded)
    assert after.faces[1].appearance is None
    assert after.faces[1].treatment.occluded is None
    np.testing.assert_array_equal(unpack_texels(pack_texels(SEEN)), SEEN)
    assert cv2.absdiff(flat_picture(recorded.appearance), face(3, disc(40, 40, 9))).mean() < 3


def test_a_plan_without_clear_faces_drops_appearances(pack):
    keypoints = np.array([(20, 25), (44, 25), (32, 38), (24, 50), (40, 50)], np.float64)
    seen = record(0, face(0))
    upright = replace(seen.faces[0].face, keypoints=keypoints, landmarks=np.zeros((478, 3)))
    seen = replace(seen, faces=(replace(seen.faces[0], face=upright),))
    (planned,) = plan_records([seen], [_Track()], Casting({0: 0}), pack, (64, 64), None)
    assert planned.faces[0].appearance is None
    assert planned.faces[0].treatment.occluded is None


class _Track:
    number, disputed, sure_until = 0, False, 0
