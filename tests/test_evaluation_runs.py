"""The evaluation from its command line on two people in the public domain, and its judge on another pack."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.conftest import COLLINS, COLLINS_CLIP, HOPPER
from utils.evaluate import clip_quality
from utils.evaluate.clip_quality import mean_colours, measure_clip
from utils.evaluate.judge import NO_FACE, Judge, Swap, swap_photo
from utils.evaluate.photos import main
from utils.evaluate.second_net import INPUT_PX, open_second_net, upright_square
from utils.evaluate.sheets import CELL_PX
from utils.inference.alignment import estimate_similarity, transform_points
from utils.inference.face_swapper import FaceSwapper
from utils.inference.records import AlignedFace, GeneratedFace
from utils.inference.steadying.smoothing import FaceKeypointSmoother


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Hopper and Collins, frontal and otherwise, with labels."""
    folder = tmp_path_factory.mktemp("people")
    kinds = {
        "hopper_1": "frontal",
        "hopper_2": "left",
        "collins_1": "frontal",
        "collins_2": "right",
        "collins_3": "mouth",
    }
    labels = []
    for name, kind in kinds.items():
        person = name.partition("_")[0]
        image = cv2.imread(str(HOPPER if person == "hopper" else COLLINS))
        cv2.imwrite(str(folder / f"{name}.png"), image if kind == "frontal" else image[:, ::-1])
        labels.append({"file": f"people/{name}.png", "identity": person, "kind": kind, "group": person})
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def report(photos, tmp_path_factory):
    """Their evaluation."""
    out = tmp_path_factory.mktemp("report")
    assert main([str(photos), "--out", str(out), "--labels", str(photos / "labels.json"), "--limit", "3"]) == 0
    return out, photos.name


def test_a_report_has_figures_pictures_and_a_page_that_stands_alone(report):
    out, name = report
    rows = list(csv.DictReader((out / f"{name}.csv").open()))
    assert [(row["source"], row["target"]) for row in rows[:2]] == [
        ("collins_1.png", "hopper_1.png"),
        ("collins_1.png", "hopper_2.png"),
    ]
    assert [row["group"] for row in rows] == ["hopper", "hopper", "collins"]
    assert all(row["retrieved"] == "True" and row["second_nearer"] == "" for row in rows)
    assert all(float(row["to_source"]) < float(row["to_target"]) for row in rows)
    assert all(0.5 < float(row[figure]) < 2 for row in rows for figure in ("seam", "sharpness", "grain"))
    page = (out / "report.html").read_text()
    assert "http" not in page
    assert "<script" not in page
    assert page.count("data:image/jpeg;base64,") == len(rows)
    assert "No second identity net was given" in page
    assert {path.stem for path in (out / "results" / name).iterdir()} == {
        f"{row['source'][:-4]}__{row['target'][:-4]}" for row in rows
    }
    assert cv2.imread(str(out / f"{name}_1.png")).shape[1] == 6 * CELL_PX


def test_two_reports_side_by_side_show_what_changed(report, tmp_path, capsys):
    first, name = report
    second = tmp_path / "second"
    shutil.copytree(first, second)
    table = second / f"{name}.csv"
    header, *lines = table.read_text().splitlines()
    place = header.split(",").index("mouth")
    worse = [
        ",".join("0.5" if number == place else cell for number, cell in enumerate(line.split(","))) for line in lines
    ]
    table.write_text("\n".join([header, *worse]) + "\n")
    changed = next((second / "results" / name).iterdir())
    cv2.imwrite(str(changed), cv2.GaussianBlur(cv2.imread(str(changed)), (0, 0), 3))
    assert main(["--compare", str(first), str(second), "--out", str(tmp_path / "both")]) == 0
    (mouth,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("mouth")]
    assert mouth[2] == "0.5000"
    assert mouth[-2:] == ["0", "3"]
    page = (tmp_path / "both" / "compare.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert changed.stem in page


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give folders of photos, or --compare"),
        (["--compare", "nowhere", "nowhere"], 3, "is no folder made by --out"),
        (["{photos}", "--second_net", "missing.onnx"], 3, "utils.build_pack --second_net missing.onnx"),
        (["{photos}", "--labels", "missing.json"], 3, "the labels 'missing.json' are not there"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_with_a_remedy(photos, tmp_path, capsys, arguments, code, said):
    given = [argument.replace("{photos}", str(photos)) for argument in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == code
    assert said in capsys.readouterr().err


class PastingGenerator:
    """A generator with crops of its own: it pastes the source's face, with a round mask."""

    max_batch, keeps_masks = 1, False

    def align(self, frame, face):
        places = np.array([[70.0, 90], [154, 90], [112, 130], [80, 170], [144, 170]])
        frame_to_crop = estimate_similarity(face.keypoints, places)
        return AlignedFace(cv2.warpAffine(frame, frame_to_crop, (224, 224)), frame_to_crop, face)

    def choose_mask(self, face, identity):
        return None

    def generate(self, faces, identities):
        mask = cv2.GaussianBlur(cv2.circle(np.zeros((224, 224), np.float32), (112, 125), 85, 1.0, -1), (0, 0), 4)
        views = [identity.views[0] for identity in identities]
        return [GeneratedFace(self.align(view.image, view.face).crop, mask) for view in views]


class KeypointEmbedder:
    def embed(self, image, face):
        return face.keypoints.ravel().astype(np.float32)


def test_a_pack_without_dense_landmarks_is_judged_by_the_embedded_one(pack, hopper, collins):
    other = replace(pack, landmarker=None, surface=None, embedder=KeypointEmbedder(), generator=PastingGenerator())
    swapper = FaceSwapper(replace(other, make_smoother=FaceKeypointSmoother))
    source, target = swapper.identify(hopper, "hopper"), swapper.identify(collins, "collins")
    assert target.views[0].face.landmarks is None
    judge = Judge(pack, KeypointEmbedder())
    photos = judge.see(hopper), judge.see(collins)
    swap = swap_photo(swapper, collins, source, target)
    score = judge.score(swap, *photos, "hopper", [("hopper", photos[0]), ("collins", photos[1])])
    assert score.nearer_source
    assert score.retrieved
    assert score.second_nearer is False  # the face is where it was
    assert score.seam > 1.1


def test_the_original_as_result_is_perfect_but_for_its_identity(pack, hopper, collins):
    judge = Judge(pack)
    source, target = judge.see(hopper), judge.see(collins)
    weight = np.zeros(collins.shape[:2], np.float32)
    left, top, right, bottom = target.face.box.astype(int)
    weight[top:bottom, left:right] = 1
    untouched = Swap(collins, weight)
    score = judge.score(untouched, source, target, "hopper", [("hopper", source), ("collins", target)])
    assert not score.nearer_source
    assert not score.retrieved
    assert score.second_nearer is None
    assert score.mouth == score.yaw_deg == score.eye_symmetry == score.edge_colour == 0
    assert score.sharpness == score.grain == 1
    blank = Swap(np.zeros_like(collins), weight)
    assert judge.score(blank, source, target, "hopper", [("hopper", source)]) == NO_FACE


def test_the_second_net_sees_an_upright_square_around_the_face(pack, swapper, hopper, tmp_path):
    landmarks = swapper.identify(hopper, "hopper").views[0].face.landmarks
    seen = transform_points(upright_square(landmarks), landmarks[:, :2])
    assert seen.min() > 0
    assert seen.max() < INPUT_PX
    assert np.ptp(seen[:468], axis=0).max() == pytest.approx(INPUT_PX / 1.2)
    turned = np.stack([-landmarks[:, 1], landmarks[:, 0], landmarks[:, 2]], -1)
    again = transform_points(upright_square(turned), turned[:, :2])
    np.testing.assert_allclose(again, seen, atol=1e-6)


def test_the_second_net_is_asked_with_rgb_in_0_to_255(swapper, hopper, tmp_path):
    onnx = pytest.importorskip("onnx")
    mean = onnx.helper.make_node("ReduceMean", ["input"], ["embedding"], axes=[1, 2], keepdims=0)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [mean],
        "mean",
        [value("input", onnx.TensorProto.FLOAT, (1, INPUT_PX, INPUT_PX, 3))],
        [value("embedding", onnx.TensorProto.FLOAT, (1, 3))],
    )
    net = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "mean.onnx").write_bytes(net.SerializeToString())
    red = np.zeros_like(hopper)
    red[..., 2] = 200
    face = swapper.identify(hopper, "hopper").views[0].face
    np.testing.assert_allclose(open_second_net(tmp_path / "mean.onnx").embed(red, face), [200, 0, 0], atol=1e-3)


def test_a_clip_is_judged_and_a_flickering_one_flickers(swapper, pack, hopper, monkeypatch):
    source = swapper.identify(hopper, "hopper")
    (steady,) = measure_clip(COLLINS_CLIP, swapper, pack, source, 4, 2)
    assert steady.steadiness.missing == 0
    assert {len(values) for values in steady.figures.values()} == {2}
    assert set(steady.figures) >= {"seam", "edge_colour", "sharpness", "grain", "mouth", "eye_left", "yaw_deg"}
    final_image, calls = clip_quality.get_final_image, []

    def flickering(frame, aligned, generated):
        calls.append(len(calls))
        return cv2.add(final_image(frame, aligned, generated), (20.0 * (len(calls) % 2),) * 3)

    monkeypatch.setattr("utils.evaluate.clip_quality.get_final_image", flickering)
    (unsteady,) = measure_clip(COLLINS_CLIP, swapper, pack, source, 4, 2)
    assert unsteady.flicker > 3 * steady.flicker


def test_mean_colours_are_those_of_the_parts_under_the_mask(collins, swapper):
    face = swapper.identify(collins, "collins").views[0].face
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    place = AlignedFace(np.zeros((64, 64, 3), np.uint8), np.eye(2, 3), face)
    image = np.zeros((80, 80, 3), np.uint8)
    image[:8, 56:64] = (10, 20, 30)
    colours = mean_colours(image, place, GeneratedFace(place.crop, mask)).reshape(8, 8, 3)
    assert np.isnan(colours[:, :4]).all()
    np.testing.assert_allclose(colours[0, 7], (10, 20, 30))
    assert not colours[1:, 4:].any()


def test_a_clip_that_is_not_there_is_an_error(capsys, tmp_path):
    assert clip_quality.main([str(tmp_path / "missing.mp4")]) == 3
    assert "missing.mp4" in capsys.readouterr().err
