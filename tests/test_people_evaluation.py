"""The labels of the clips, the judge of who was swapped, and the figures on the shared clips."""

import re

import numpy as np
import pytest
from conftest import ROOT

from utils.errors import UnreadableInput
from utils.evaluate.people import choices_of, clips_of_folder, cut_out, main
from utils.evaluate.people_scores import Choice, count_leftovers, covered_face, score_cuts, score_people
from utils.evaluate.truth import EVERY_FRAMES, ClipTruth, LabelledFace, read_truth
from utils.inference.frame_records import FrameRecord, RecordedFace
from utils.inference.records import Face

TRUTH = ROOT / "tests" / "truth"
CLIPS = ROOT.parent / "shared" / "media" / "videos"
TRUTHS = sorted(TRUTH.glob("*.json"))
LEFT, RIGHT, CROWD = [10, 10, 50, 60], [100, 10, 140, 60], [200, 10, 240, 60]
LEAST_HEIGHT_PX = 24


def boxes(*sides):
    return np.array(sides, np.float64).reshape(-1, 4)


def labels(left="a", right="b", swappable=True):
    return (
        LabelledFace(left, boxes(LEFT)[0], swappable),
        LabelledFace(right, boxes(RIGHT)[0], swappable),
    )


def truth_of(faces, cuts=(), ignored=None):
    return ClipTruth("clip", 100, 300, 100, tuple(cuts), {"a": "", "b": "", "c": ""}, {}, faces, ignored or {})


def record(index, *swaps, cut=False):
    """A record whose faces have the given (box, source)."""
    faces = [
        RecordedFace(Face(np.array(box, np.float64), 0.9, np.zeros((5, 2))), number, source)
        for number, (box, source) in enumerate(swaps)
    ]
    return FrameRecord(index, index, cut, tuple(faces))


@pytest.mark.parametrize("path", TRUTHS, ids=lambda path: path.stem)
def test_labels_are_well_formed(path):
    truth = read_truth(path)
    assert all(0 < cut < truth.frames for cut in truth.cuts)
    assert list(truth.cuts) == sorted(set(truth.cuts))
    if not truth.persons:
        assert not truth.faces
        assert not truth.ignored
        return
    assert list(truth.faces) == list(range(0, truth.frames, EVERY_FRAMES))
    assert set(truth.ignored) <= set(truth.faces)
    for frame, faces in truth.faces.items():
        persons = [face.person for face in faces]
        assert len(set(persons)) == len(persons), f"a person twice in frame {frame}"
        assert set(persons) <= set(truth.persons)
        for box in [*(face.box for face in faces), *truth.ignored.get(frame, ())]:
            left, top, right, bottom = box
            assert 0 <= left < right <= truth.width, (frame, box)
            assert 0 <= top < bottom <= truth.height, (frame, box)
        assert all(face.box[3] - face.box[1] >= LEAST_HEIGHT_PX for face in faces if face.swappable)
    for person in truth.choosable:
        frame, face = truth.portrait_of(person)
        assert truth.face_of(person, frame) is face
    assert set(truth.portraits) <= set(truth.choosable)
    if not truth.ignored:
        first = {
            person: min(
                (frame, face.box[0]) for frame, faces in truth.faces.items() for face in faces if face.person == person
            )
            for person in truth.persons
        }
        assert list(truth.persons) == sorted(truth.persons, key=first.get)


def test_every_clip_of_the_issue_is_labelled():
    truths = {path.stem[:2]: read_truth(path) for path in TRUTHS}
    assert set(truths) == {"01", "03", "04", "05", "06", "07", "08", "10"}
    assert {name for name, truth in truths.items() if truth.persons} == {"03", "04", "06", "07", "10"}


def test_every_fact_of_a_right_swap_and_of_each_kind_of_wrong_one_is_counted():
    truth = truth_of({frame: labels() for frame in range(0, 40, 5)}, ignored={25: boxes(CROWD)})
    records = [
        record(0, (LEFT, 0), (RIGHT, None)),  # right
        record(1, (RIGHT, 0)),  # a wrong person between labels
        record(2, (CROWD, 0)),  # nobody near between labels: not judged
        record(5, (RIGHT, 0)),  # a wrong person
        record(10),  # missed
        record(15, (LEFT, 0), (RIGHT, 0)),  # right, and a wrong person besides
        record(20, (CROWD, 0)),  # nobody there
        record(25, (CROWD, 0), (LEFT, 0)),  # the crowd, and right
        record(30, (LEFT, 0)),
        record(35, (LEFT, 0)),
    ]
    score = score_people(records, truth, Choice(("a",)))
    assert (score.swappable, score.swapped) == (8, 5)
    assert (score.wrong, score.exchanged, score.between, score.crowd, score.nowhere) == (2, 0, 1, 1, 1)
    assert not score.good


def test_two_that_change_places_are_exchanged():
    truth = truth_of({0: labels(), 5: labels()})
    straight, crossed = [(LEFT, 0), (RIGHT, 1)], [(LEFT, 1), (RIGHT, 0)]
    score = score_people([record(0, *straight), record(5, *crossed)], truth, Choice(("a", "b")))
    assert (score.swappable, score.swapped, score.wrong, score.exchanged) == (4, 2, 1, 1)
    assert score_people([record(0, *straight), record(5, *straight)], truth, Choice(("a", "b"))).good
    third = truth_of({0: labels(right="c")})
    assert score_people([record(0, (RIGHT, 0))], third, Choice(("a", "b"))).exchanged == 0, "c was not chosen"


def test_when_everybody_gets_the_only_source_nobody_is_wrong_and_the_crowd_may_be_swapped():
    truth = truth_of({0: labels(), 5: labels()}, ignored={0: boxes(CROWD)})
    everybody = Choice((), everybody=True)
    first = record(0, (LEFT, 0), (RIGHT, 0), (CROWD, 0))
    score = score_people([first, record(5, (RIGHT, 0), (LEFT, 0))], truth, everybody)
    assert (score.swappable, score.swapped, score.wrong, score.crowd, score.good) == (4, 4, 0, 1, True)
    assert not score_people([first, record(5, (CROWD, 0))], truth, everybody).good


def test_everybody_alone_every_two_and_everybody_at_once_are_chosen():
    names = [choice.name for choice in choices_of(read_truth(TRUTH / "04_three_people_intel.json"))]
    assert names == ["a", "b", "c", "a b", "a c", "b c", "all", "all a b c"]
    crowded = [choice.name for choice in choices_of(read_truth(TRUTH / "10_stage_cuts_mic_hamilton.json"))]
    assert crowded == ["a", "b", "f", "a b", "a f", "b f", "all"]
    assert choices_of(read_truth(TRUTH / "05_hand_occl_small_intel_asl.json")) == []


def test_cuts_that_are_missed_and_invented_are_named():
    records = [record(frame, cut=frame in (4, 20)) for frame in range(30)]
    score = score_cuts(records, truth_of({}, cuts=(10, 20)))
    assert (score.missed, score.invented, score.good) == ((10,), (4,), False)
    assert score_cuts(records, truth_of({}, cuts=(4, 20))).good


def test_a_face_that_need_not_be_swapped_is_neither_missed_nor_wrong():
    truth = truth_of({0: labels(), 5: labels(swappable=False)})
    for last in (record(5), record(5, (LEFT, 0))):
        score = score_people([record(0, (LEFT, 0)), last], truth, Choice(("a",)))
        assert (score.swappable, score.swapped, score.good) == (1, 1, True)
    assert score_people([record(0, (LEFT, 0)), record(5, (RIGHT, 0))], truth, Choice(("a",))).wrong == 1


def test_a_swap_on_a_mere_part_of_its_face_is_no_swap_of_it():
    truth = truth_of({0: labels(), 5: labels()})
    score = score_people([record(0, (LEFT, 0)), record(5, ([12, 12, 24, 24], 0))], truth, Choice(("a",)))
    assert (score.swapped, score.wrong, score.nowhere) == (1, 0, 1)
    part_of_another = record(5, ([102, 12, 114, 24], 0))
    assert score_people([record(0, (LEFT, 0)), part_of_another], truth, Choice(("a",))).wrong == 1


def test_between_labels_a_face_is_on_its_way_but_never_across_a_cut():
    moved = LabelledFace("a", boxes(LEFT)[0] + 10, True)
    truth = truth_of({0: labels(), 5: (moved,), 10: labels()}, cuts=[8])
    (between,) = truth.faces_at(2)
    assert between.person == "a"
    np.testing.assert_allclose(between.box, boxes(LEFT)[0] + 4)
    np.testing.assert_allclose(truth.faces_at(7)[0].box, moved.box)
    assert [face.person for face in truth.faces_at(9)] == ["a", "b"]
    assert truth_of({0: labels()}, cuts=[3]).faces_at(4) == ()


def test_of_overlapping_faces_the_better_covered_one_counts():
    near = (LabelledFace("a", boxes([0, 0, 40, 40])[0], True), LabelledFace("b", boxes([20, 0, 60, 40])[0], True))
    assert covered_face(boxes([22, 0, 62, 40])[0], near).person == "b"
    assert covered_face(boxes([10, 10, 14, 14])[0], near).person == "a", "its centre lies inside"
    assert covered_face(boxes([80, 0, 90, 10])[0], near) is None


@pytest.mark.parametrize(("share", "leftovers"), [(0.0, 0), (0.1, 0), (0.2, 1), (0.4, 1), (1.0, 1)])
def test_geometry_of_the_shot_before_is_noticed_after_a_cut(share, leftovers):
    old, new = boxes([10, 10, 110, 110]), boxes([40, 20, 140, 120])
    faces = {
        0: (LabelledFace("a", old[0], True),),
        5: (LabelledFace("a", old[0], True),),
        10: (LabelledFace("b", new[0], True),),
        15: (LabelledFace("b", new[0], True),),
    }
    drawn = new[0] + share * (old[0] - new[0])
    records = [record(frame, (old[0] if frame < 10 else new[0], 0)) for frame in range(20)]
    records[11] = record(11, (drawn, 0))
    assert count_leftovers(records, truth_of(faces, cuts=[10])) == leftovers


def test_a_portrait_is_cut_out_with_a_margin_and_ends_at_the_border():
    image = np.arange(100 * 200, dtype=np.uint16).astype(np.uint8).reshape(100, 200, 1).repeat(3, axis=2)
    assert (cut_out(image, boxes([50, 40, 70, 60])[0]) == image[30:70, 40:80]).all()
    assert cut_out(image, boxes([0, 0, 200, 100])[0]).shape == image.shape


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"frames": 1, "width": 2, "height": 3, "cuts": [], "faces": 5}'])
def test_damaged_labels_are_named_in_one_line(tmp_path, text):
    path = tmp_path / "clip.json"
    path.write_text(text)
    with pytest.raises(UnreadableInput, match=re.escape(str(path))) as error:
        read_truth(path)
    assert "\n" not in str(error.value)


def test_missing_clips_are_named(tmp_path, capsys):
    with pytest.raises(UnreadableInput, match="no clip"):
        clips_of_folder(tmp_path, TRUTH)
    assert main([str(tmp_path), "--clips", "06"]) == UnreadableInput.exit_code
    assert "'06'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize(("clip", "choices"), [("06", 12), ("07", 5)])
def test_the_right_people_are_swapped_and_nobody_else(capsys, clip, choices):
    assert main([str(CLIPS), "--clips", clip]) == 0
    _, *rows, cuts = capsys.readouterr().out.splitlines()
    assert len(rows) == choices
    assert all(row.endswith("  good") for row in [*rows, cuts]), "\n".join([*rows, cuts])
