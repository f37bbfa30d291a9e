"""The tool that rebuilds the embedded pack: converters on small graphs, lossless storage, packages that try to leave."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from utils.build_pack import tfjs_to_onnx  # noqa: E402
from utils.build_pack.errors import BuildError  # noqa: E402
from utils.build_pack.graph import TensorSpec  # noqa: E402
from utils.build_pack.tfjs_weights import read_weights  # noqa: E402

PACKAGES_VARIABLE = "BUILD_PACK_PACKAGES"


def run(model: Any, values: NDArray[np.float32]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": values})


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- graph models of TensorFlow.js


class Topology:
    """Writes a graph model as TensorFlow.js does it."""

    def __init__(self, *shape: int) -> None:
        dimensions = [{"size": str(size)} for size in shape]
        self.nodes: list[dict[str, Any]] = [
            {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": dimensions}}}}
        ]
        self.specifications: list[dict[str, Any]] = []
        self.data = b""

    def constant(self, name: str, values: Any, dtype: str = "float32") -> str:
        array = np.array(values, dtype)
        self.nodes.append({"name": name, "op": "Const"})
        self.specifications.append({"name": name, "shape": list(array.shape), "dtype": dtype})
        self.data += array.tobytes()
        return name

    def add(self, op: str, name: str, *inputs: str, **attributes: dict[str, Any]) -> str:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def convert(self, output: str, *shape: int) -> Any:
        topology = {
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"weights": self.specifications}],
        }
        return tfjs_to_onnx.convert(topology, self.data, {output: TensorSpec("y", shape)}, "a test")


def numbers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def text(value: str) -> dict[str, Any]:
    return {"s": base64.b64encode(value.encode()).decode()}


CONVOLUTION = {"strides": numbers(1, 2, 2, 1), "dilations": numbers(1, 1, 1, 1), "padding": text("SAME")}


def same_padded(image: Any, kernel: int, stride: int) -> Any:
    """What SAME means in TensorFlow: as much as is needed, the odd pixel right and below."""
    missing = max((-(-image.shape[2] // stride) - 1) * stride + kernel - image.shape[2], 0)
    return torch.nn.functional.pad(image, (missing // 2, missing - missing // 2) * 2)


def test_convolutions_and_what_lies_between_them() -> None:
    filters, depthwise, slopes, bias = noise(3, 3, 2, 4), noise(3, 3, 4, 1, seed=1), noise(1, 1, 4, seed=2), noise(4)
    graph = Topology(1, 8, 8, 2)
    graph.add("Conv2D", "a", "x", graph.constant("w", filters), **CONVOLUTION)
    graph.add("AddV2", "b", graph.constant("bias", bias), "a")
    graph.add("Prelu", "c", "b", graph.constant("slopes", slopes))
    graph.add("DepthwiseConv2dNative", "d", "c", graph.constant("v", depthwise), **CONVOLUTION)
    graph.add("MaxPool", "e", "c", ksize=numbers(1, 2, 2, 1), strides=numbers(1, 2, 2, 1), padding=text("VALID"))
    graph.add("AddN", "f", "d", "e")
    graph.add("Pad", "g", "f", graph.constant("pads", [[0, 0], [0, 0], [0, 0], [0, 3]], "int32"))
    values = noise(1, 8, 8, 2, seed=3)
    (actual,) = run(graph.convert("g", 1, 2, 2, 7), values)

    functional = torch.nn.functional
    image = torch.from_numpy(values.transpose(0, 3, 1, 2).copy())
    image = functional.conv2d(same_padded(image, 3, 2), torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()), stride=2)
    image = functional.prelu(image + torch.from_numpy(bias)[:, None, None], torch.from_numpy(slopes.reshape(-1)))
    weights = torch.from_numpy(depthwise.transpose(2, 3, 0, 1).copy())
    image = functional.conv2d(same_padded(image, 3, 2), weights, stride=2, groups=4) + functional.max_pool2d(image, 2)
    expected = np.pad(image.numpy().transpose(0, 2, 3, 1), [(0, 0), (0, 0), (0, 0), (0, 3)])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_slices_honour_their_masks() -> None:
    graph = Topology(1, 5, 6)
    limits = [graph.constant(name, value, "int32") for name, value in [("b", [0, 1, 2]), ("e", [0, 4, 0]), ("s", [1, 2, 3])]]
    graph.add("StridedSlice", "y", "x", *limits, begin_mask={"i": "1"}, end_mask={"i": "5"})
    values = noise(1, 5, 6)
    (actual,) = run(graph.convert("y", 1, 2, 2), values)
    np.testing.assert_array_equal(actual, values[:, 1:4:2, 2::3])


def test_a_slice_that_drops_an_axis_is_not_guessed() -> None:
    graph = Topology(1, 5)
    limits = [graph.constant(name, [1, 1], "int32") for name in "bes"]
    graph.add("StridedSlice", "y", "x", *limits, shrink_axis_mask={"i": "1"})
    with pytest.raises(BuildError, match="mask"):
        graph.convert("y", 1)


def test_arithmetic_of_the_eye_region() -> None:
    graph = Topology(1, 3, 4)
    for op, name, operand in [("Sub", "a", 0.5), ("Mul", "b", 3.0), ("Maximum", "c", -1.0), ("Minimum", "d", 1.0)]:
        graph.add(op, name, {"a": "x", "b": "a", "c": "b", "d": "c"}[name], graph.constant(f"{name}_", operand))
    last, keep = graph.constant("last", [2], "int32"), {"keep_dims": {"b": True}}
    graph.add("Square", "e", "d")
    graph.add("Sum", "f", "e", last, **keep)
    graph.add("Rsqrt", "g", "f")
    graph.add("Prod", "h", "d", last, **keep)
    graph.add("Max", "i", "d", last, **keep)
    graph.add("Min", "j", "d", last, **keep)
    graph.add("Floor", "k", "i")
    graph.add("ConcatV2", "y", "g", "h", "i", "j", "k", graph.constant("axis", 2, "int32"))
    values = noise(1, 3, 4)
    (actual,) = run(graph.convert("y", 1, 3, 5), values)
    d = np.minimum(np.maximum((values - 0.5) * 3, -1), 1)
    columns = [1 / np.sqrt((d**2).sum(2)), d.prod(2), d.max(2), d.min(2), np.floor(d.max(2))]
    np.testing.assert_allclose(actual, np.stack(columns, 2), rtol=1e-5, atol=1e-6)


def test_products_with_a_transposed_right_factor() -> None:
    graph = Topology(1, 3, 4)
    graph.add("BatchMatMulV2", "a", "x", "x", adj_y={"b": True})
    graph.add("Transpose", "y", "a", graph.constant("order", [0, 2, 1], "int32"))
    values = noise(1, 3, 4)
    (actual,) = run(graph.convert("y", 1, 3, 3), values)
    np.testing.assert_allclose(actual, values @ values.transpose(0, 2, 1), rtol=1e-5)


def test_positions_behind_the_last_pixel_read_the_last_pixel() -> None:
    graph = Topology(1, 2, 3, 1)
    graph.add("Cast", "positions", graph.constant("p", [[0.0, 0.0, 2.0], [0.0, 2.0, 3.0]]), DstT={"type": "DT_INT32"})
    graph.add("GatherNd", "y", "x", "positions")
    values = noise(1, 2, 3, 1)
    (actual,) = run(graph.convert("y", 2, 1), values)
    np.testing.assert_array_equal(actual, [values[0, 0, 2], values[0, 1, 2]])


def test_an_operation_that_is_not_covered_is_named() -> None:
    graph = Topology(1, 3)
    graph.add("Softmax", "y", "x")
    with pytest.raises(BuildError, match="'y' is a Softmax"):
        graph.convert("y", 1, 3)


def test_a_missing_node_is_named() -> None:
    graph = Topology(1, 3)
    graph.add("Square", "y", "z:0")
    with pytest.raises(BuildError, match="no node 'z'"):
        graph.convert("y", 1, 3)


def test_a_long_chain_needs_no_recursion() -> None:
    graph = Topology(1, 3)
    for index in range(1500):
        graph.add("Sub", f"s{index}", f"s{index - 1}" if index else "x", "x")
    values = noise(1, 3)
    (actual,) = run(graph.convert("s1499", 1, 3), values)
    np.testing.assert_allclose(actual, -1499 * values, rtol=1e-3)


# --- weights


def specification(dtype: str = "float32", **quantisation: object) -> list[Mapping[str, Any]]:
    return [{"name": "w", "shape": [2], "dtype": dtype, **({"quantization": quantisation} if quantisation else {})}]


def test_quantised_weights() -> None:
    (weight,) = read_weights(specification(dtype="float32", scale=0.5, min=-1.0, **{"dtype": "uint8"}), b"\x02\x05") \
        .values() if False else read_weights(
        [{"name": "w", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}}],
        b"\x02\x05",
    ).values()
    np.testing.assert_array_equal(weight.values, np.array([0.0, 1.5], np.float32))
    assert weight.zero_point == 2
