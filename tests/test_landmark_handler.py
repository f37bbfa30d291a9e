"""The 106-point landmarker: what it feeds its net, how it reads the answer, and which files it refuses.

The nets are tiny graphs made here. `finder` answers with the place of the red light in its input, so that a dot in the crop must come back
as 106 landmarks at the dot.
"""

from __future__ import annotations

import numpy as np
import pytest

from coordinate_reg.image_infer import CROP_PX, INPUT_PX, Handler
from utils.errors import ModelFileError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

VALUES = 212


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def save(path, nodes, constants, batch="N", output_batch=None, values=VALUES, input_px=INPUT_PX):
    """A graph from `data` to `fc1`."""
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, input_px, input_px])
    answer = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [output_batch or batch, values])
    graph = helper.make_graph(nodes, "landmarks", [data], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def head(kind):
    """Nodes that normalise `data` to `normal`, or pass it on."""
    constants = [constant("mean", 127.5), constant("factor", 1 / 128)]
    node = helper.make_node
    if kind == "bn_data":
        constants = [constant(name, [value] * 3) for name, value in (("one", 1), ("zero", 0), ("mean", 127.5))]
        constants.append(constant("variance", [128.0**2] * 3))
        inputs = ["data", "one", "zero", "mean", "variance"]
        return [node("BatchNormalization", inputs, ["normal"], name="bn_data", epsilon=0.0)], constants
    if kind == "none":
        return [node("Identity", ["data"], ["normal"], name="Copy")], []
    # MXNet's exporter writes `_minusscalar0` and `_mulscalar0`; others leave the names out.
    names = ("_minusscalar0", "_mulscalar0") if kind == "mxnet" else ("", "")
    return [
        node("Sub", ["data", "mean"], ["centred"], name=names[0]),
        node("Mul", ["centred", "factor"], ["normal"], name=names[1]),
    ], constants


def finder(path, kind="mxnet", batch="N", baked_batch=None, output_batch=None):
    """Net that answers with the centre of the light in the first channel, 106 times, in the units of 2d106.

    Args:
        kind: of normalisation inside the graph; the rest of it needs normalised pixels.
        batch: of the input, as declared.
        baked_batch: that the graph really takes; None for any.
        output_batch: as declared, where it differs.
    """
    nodes, constants = head(kind)
    rows, columns = np.mgrid[0:INPUT_PX, 0:INPUT_PX].reshape(2, -1) / (INPUT_PX / 2) - 1.0
    constants += [
        constant("black", 127.5 / 128),
        constant("red", [0], np.int64),
        constant("flat", [baked_batch or 0, -1], np.int64),
        constant("places", np.stack([columns, rows], axis=1)),
        constant("ones", np.ones((INPUT_PX**2, 1))),
        constant("repeats", [1, VALUES // 2], np.int64),
    ]
    node = helper.make_node
    nodes += [
        node("Gather", ["normal", "red"], ["channel"], axis=1),
        node("Add", ["channel", "black"], ["light"]),
        node("Reshape", ["light", "flat"], ["pixels"]),
        node("MatMul", ["pixels", "places"], ["moment"]),
        node("MatMul", ["pixels", "ones"], ["total"]),
        node("Div", ["moment", "total"], ["centre"]),
        node("Tile", ["centre", "repeats"], ["fc1"]),
    ]
    return save(path, nodes, constants, batch, output_batch)


def fixed(path, answer, batch=1):
    """Net that gives the same (212,) answer to everything."""
    constants = [constant("answer", np.reshape(answer, (1, -1))), constant("zero", 0)]
    node = helper.make_node
    nodes = [
        node("Mul", ["data", "zero"], ["nothing"]),
        node("ReduceMax", ["nothing"], ["flat"], axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["flat", "axis"], ["column"]),
        node("Add", ["column", "answer"], ["fc1"]),
    ]
    return save(path, nodes, [*constants, constant("axis", [1], np.int64)], batch)


def dot(x, y):
    """A crop with a red square around (x, y), and as bright a blue one elsewhere that no net may take for it."""
    crop = np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    crop[y - 6 : y + 7, x - 6 : x + 7, 2] = 255
    crop[:40, :40, 0] = 255
    return crop


def test_the_answer_is_mapped_to_the_crop(tmp_path):
    """-1 is the left edge of the input, which lies 56 pixels outside of the crop; 0 is its middle."""
    answer = np.linspace(-1, 1, VALUES)
    landmarks = Handler(fixed(tmp_path / "net.onnx", answer)).get_without_detection_without_transform(dot(112, 112))
    assert landmarks.shape == (106, 2)
    assert landmarks.dtype == np.float64
    np.testing.assert_allclose(landmarks, 1.75 * (answer.reshape(106, 2) + 1) * 96 - 56, atol=1e-4)
    assert landmarks[0, 0] == pytest.approx(-56)
    assert landmarks[-1, -1] == pytest.approx(280)


@pytest.mark.parametrize("kind", ["mxnet", "nameless", "bn_data", "none"])
@pytest.mark.parametrize(("x", "y"), [(112, 112), (60, 150), (200, 70)])
def test_a_dot_comes_back_where_it_is(tmp_path, kind, x, y):
    landmarks = Handler(finder(tmp_path / "net.onnx", kind)).get_without_detection_without_transform(dot(x, y))
    np.testing.assert_allclose(landmarks, np.tile([x, y], (106, 1)), atol=0.2)


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({}, True),
        ({"output_batch": 1}, True),  # as the released file has it
        ({"batch": 1}, False),
        ({"baked_batch": 1}, False),  # says any number and means one
    ],
    ids=["dynamic", "output says one", "one", "claims to be dynamic"],
)
def test_several_crops_at_once_or_one_by_one(tmp_path, options, batches):
    handler = Handler(finder(tmp_path / "net.onnx", **options))
    assert handler._takes_batches == batches
    places = [(60, 150), (112, 112), (180, 90)]
    crops = [dot(x, y) for x, y in places]
    landmarks = handler.get_without_detection_without_transform_batch(crops)
    assert landmarks.shape == (3, 106, 2)
    np.testing.assert_allclose(landmarks[:, 0], places, atol=0.2)
    for crop, together in zip(crops, landmarks, strict=True):
        np.testing.assert_allclose(handler.get_without_detection_without_transform(crop), together, atol=1e-3)


def test_no_crops_no_landmarks(tmp_path):
    handler = Handler(finder(tmp_path / "net.onnx"))
    assert handler.get_without_detection_without_transform_batch([]).shape == (0, 106, 2)


@pytest.mark.parametrize("crop", [np.zeros((256, 256, 3), np.uint8), np.zeros((224, 224, 3), np.float32)])
def test_other_crops_are_refused(tmp_path, crop):
    with pytest.raises(ValueError, match="crop"):
        Handler(finder(tmp_path / "net.onnx")).get_without_detection_without_transform(crop)


def test_a_missing_file_is_a_model_file_error(tmp_path):
    with pytest.raises(ModelFileError, match=r"2d106det\.onnx"):
        Handler(tmp_path / "2d106det.onnx")


@pytest.mark.parametrize("damage", ["empty", "text", "cut short", "changed"])
def test_a_damaged_file_is_a_model_file_error(tmp_path, damage):
    path = finder(tmp_path / "2d106det.onnx")
    content = path.read_bytes()
    start = content.index(b"MatMul")
    changes = {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut short": content[: len(content) // 2],
        "changed": content[:start] + b"Matter" + content[start + 6 :],
    }
    path.write_bytes(changes[damage])
    with pytest.raises(ModelFileError, match=r"2d106det\.onnx"):
        Handler(path)


@pytest.mark.parametrize("other", ["68 landmarks", "112 px", "crashes"])
def test_another_model_is_a_model_file_error(tmp_path, other):
    path = tmp_path / "2d106det.onnx"
    node = helper.make_node
    values, input_px = {"68 landmarks": (136, INPUT_PX), "112 px": (VALUES, 112), "crashes": (VALUES, INPUT_PX)}[other]
    flat = [0, values, -1] if other != "crashes" else [0, values, 5]
    nodes = [
        node("Reshape", ["data", "flat"], ["groups"]),
        node("ReduceMean", ["groups"], ["fc1"], axes=[2], keepdims=0),
    ]
    if other != "crashes":  # pixels that divide evenly into the answers
        nodes = [
            node("ReduceMean", ["data"], ["mean"], axes=[1, 2, 3], keepdims=0),
            node("Reshape", ["mean", "column"], ["groups"]),
            node("Tile", ["groups", "repeats"], ["fc1"]),
        ]
    constants = [
        constant("flat", flat, np.int64),
        constant("column", [-1, 1], np.int64),
        constant("repeats", [1, values], np.int64),
    ]
    save(path, nodes, constants, values=values, input_px=input_px)
    with pytest.raises(ModelFileError, match=r"2d106det\.onnx.*remove the file"):
        Handler(path)
