"""The tool that rebuilds the embedded pack: converters on small graphs, lossless storage, packages that try to leave."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from utils.weights import BUILTIN_FOLDER, MANIFEST_NAME, load_manifest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from utils.build_pack import dlib_to_onnx, packages, recipe, tfjs_to_onnx  # noqa: E402
from utils.build_pack.__main__ import main  # noqa: E402
from utils.build_pack.errors import BuildError  # noqa: E402
from utils.build_pack.graph import GraphBuilder, TensorSpec  # noqa: E402
from utils.build_pack.half_storage import is_exact_in_half, store_as_half  # noqa: E402
from utils.build_pack.manifest import manifest_text  # noqa: E402
from utils.build_pack.packages import Package, fetch, read_member  # noqa: E402
from utils.build_pack.tfjs_weights import read_weights  # noqa: E402
from utils.build_pack.triangles import triangles_of  # noqa: E402

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
    image = functional.conv2d(
        same_padded(image, 3, 2), torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()), stride=2
    )
    image = functional.prelu(image + torch.from_numpy(bias)[:, None, None], torch.from_numpy(slopes.reshape(-1)))
    weights = torch.from_numpy(depthwise.transpose(2, 3, 0, 1).copy())
    image = functional.conv2d(same_padded(image, 3, 2), weights, stride=2, groups=4) + functional.max_pool2d(image, 2)
    expected = np.pad(image.numpy().transpose(0, 2, 3, 1), [(0, 0), (0, 0), (0, 0), (0, 3)])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_layers_of_the_second_identity_net() -> None:
    filters, scale, bias = noise(3, 3, 2, 4), noise(4), noise(4, seed=1)
    graph = Topology(1, 8, 8, 2)
    graph.add("Conv2D", "a", "x", graph.constant("w", filters), **CONVOLUTION)
    graph.add("Mul", "b", "a", graph.constant("scale", scale))
    graph.add("Add", "c", "b", graph.constant("bias", bias))
    graph.add("Relu", "d", "c")
    graph.add("Minimum", "e", "d", graph.constant("six", 0.8))
    graph.add("Maximum", "f", "e", graph.constant("zero", 0.1))
    graph.add("Mean", "g", "f", graph.constant("axes", [1, 2], "int32"))
    values = noise(1, 8, 8, 2, seed=3)
    (actual,) = run(graph.convert("g", 1, 4), values)

    image = same_padded(torch.from_numpy(values.transpose(0, 3, 1, 2).copy()), 3, 2)
    image = torch.nn.functional.conv2d(image, torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()), stride=2)
    expected = (image.numpy().transpose(0, 2, 3, 1) * scale + bias).clip(0.1, 0.8).mean((1, 2))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_slices_honour_their_masks() -> None:
    graph = Topology(1, 5, 6)
    limits = [
        graph.constant(name, value, "int32") for name, value in [("b", [0, 1, 2]), ("e", [0, 4, 0]), ("s", [1, 2, 3])]
    ]
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


def weight_entry(kind: str, **quantisation: object) -> list[dict[str, Any]]:
    return [{"name": "w", "shape": [2], "dtype": kind, "quantization": quantisation or None}]


def test_eight_bit_weights() -> None:
    entry = weight_entry("float32", dtype="uint8", scale=0.5, min=-1.0)
    weight = read_weights(entry, b"\x02\x05")["w"]
    np.testing.assert_array_equal(weight.values, np.array([0.0, 1.5], np.float32))
    assert weight.zero_point == 2
    assert read_weights(weight_entry("float32", dtype="uint8", scale=0.5, min=-1.1), b"ab")["w"].zero_point is None


def test_half_precision_and_plain_weights() -> None:
    halves = np.array([0.5, -3.0], np.float16)
    weight = read_weights(weight_entry("float32", dtype="float16"), halves.tobytes())["w"]
    assert weight.values.dtype == np.float32
    np.testing.assert_array_equal(weight.values, halves)
    integers = np.array([7, -7], np.int32)
    np.testing.assert_array_equal(read_weights(weight_entry("int32"), integers.tobytes())["w"].values, integers)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_weight_file_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(BuildError, match="weight file"):
        read_weights(weight_entry("int32"), bytes(size))


@pytest.mark.parametrize("entry", [weight_entry("string"), weight_entry("int32", dtype="uint8", scale=1, min=0)])
def test_an_unknown_storage_is_refused(entry: list[dict[str, Any]]) -> None:
    with pytest.raises(BuildError, match="unknown storage"):
        read_weights(entry, bytes(8))


# --- dlib's net


def dlib_weights() -> tuple[list[dict[str, Any]], bytes, dict[str, NDArray[np.float32]]]:
    """The net with random weights: its manifest, its file, and the values, with 8-bit and plain filters by turns."""
    random = np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    values: dict[str, NDArray[np.float32]] = {}

    def store(name: str, *shape: int, eight_bit: bool = False) -> None:
        entries.append({"name": name, "shape": list(shape), "dtype": "float32"})
        if eight_bit:
            raw = random.integers(0, 256, shape, dtype=np.uint8)
            scale = 0.02 / np.sqrt(shape[0] * shape[1] * shape[2])
            entries[-1]["quantization"] = {"dtype": "uint8", "scale": scale, "min": -128 * scale}
            values[name] = ((raw.astype(np.float32) - 128) * np.float32(scale)).astype(np.float32)
            pieces.append(raw.tobytes())
        else:
            values[name] = (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
            pieces.append(values[name].tobytes())

    def layer(name: str, edge: int, channels_in: int, channels: int) -> None:
        store(f"{name}/conv/filters", edge, edge, channels_in, channels, eight_bit=channels != 64)
        for kind in ("conv/bias", "scale/weights", "scale/biases"):
            store(f"{name}/{kind}", channels)

    layer("conv32_down", 7, 3, 32)
    channels = 32
    for block in dlib_to_onnx.BLOCKS:
        wider = int(block.split("_")[0].removeprefix("conv"))
        layer(f"{block}/conv1", 3, channels, wider)
        layer(f"{block}/conv2", 3, wider, wider)
        channels = wider
    store("fc", 256, 128)
    return [{"weights": entries}], b"".join(pieces), values


def dlib_reference(values: dict[str, NDArray[np.float32]], faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """The net as dlib defines it, layer by layer in torch."""
    functional = torch.nn.functional

    def layer(image: Any, name: str, stride: int, padding: int) -> Any:
        filters = torch.from_numpy(values[f"{name}/conv/filters"].transpose(3, 2, 0, 1).copy())
        image = functional.conv2d(image, filters, torch.from_numpy(values[f"{name}/conv/bias"]), stride, padding)
        scale, shift = (torch.from_numpy(values[f"{name}/scale/{kind}"]) for kind in ("weights", "biases"))
        return image * scale[:, None, None] + shift[:, None, None]

    image = (torch.from_numpy(faces) - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    image = functional.max_pool2d(torch.relu(layer(image, "conv32_down", 2, 0)), 3, 2)
    for block in dlib_to_onnx.BLOCKS:
        halves = "down" in block
        inner = torch.relu(layer(image, f"{block}/conv1", 2 if halves else 1, 0 if halves else 1))
        inner = layer(inner, f"{block}/conv2", 1, 1)
        shortcut = functional.avg_pool2d(image, 2) if halves else image
        channels, size = inner.shape[1], max(inner.shape[2], shortcut.shape[2])
        total = torch.zeros(len(faces), channels, size, size)
        for part in (inner, shortcut):
            total[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        image = torch.relu(total)
    result: NDArray[np.float32] = (image.mean((2, 3)) @ torch.from_numpy(values["fc"])).numpy()
    return result


def test_the_recognition_net_is_the_one_that_dlib_defines() -> None:
    manifest, data, values = dlib_weights()
    faces = np.random.default_rng(1).uniform(0, 255, (2, 3, 150, 150)).astype(np.float32)
    (actual,) = run(dlib_to_onnx.convert(manifest, data, "a test"), faces)
    expected = dlib_reference(values, faces)
    assert actual.shape == (2, 128)
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_missing_weight_is_named() -> None:
    manifest, data, _ = dlib_weights()
    manifest[0]["weights"][-1]["name"] = "other"
    with pytest.raises(BuildError, match="'fc'"):
        dlib_to_onnx.convert(manifest, data, "a test")


def test_eight_bit_filters_without_a_zero_are_refused() -> None:
    manifest, data, _ = dlib_weights()
    manifest[0]["weights"][0]["quantization"]["min"] *= 1.003
    with pytest.raises(BuildError, match="conv32_down"):
        dlib_to_onnx.convert(manifest, data, "a test")


# --- half storage


def model_of(constant: NDArray[np.float32]) -> Any:
    builder = GraphBuilder("test")
    builder.add("Add", ["input", builder.constant(constant)], "y")
    spec = [TensorSpec("input", constant.shape)], [TensorSpec("y", constant.shape)]
    return builder.model(*spec, "a test")


@pytest.mark.parametrize(
    ("constant", "stored"),
    [
        (noise(8, 16).astype(np.float16).astype(np.float32), onnx.TensorProto.FLOAT16),
        (noise(8, 16), onnx.TensorProto.FLOAT),
        (noise(3).astype(np.float16).astype(np.float32), onnx.TensorProto.FLOAT),
        (np.full((8, 16), 1e6, np.float32), onnx.TensorProto.FLOAT),
        (np.full((8, 16), -0.0, np.float32), onnx.TensorProto.FLOAT16),
    ],
    ids=["halves", "singles", "too few", "too large", "negative zero"],
)
def test_half_storage_changes_no_bit(constant: NDArray[np.float32], stored: int) -> None:
    model = model_of(constant)
    before = model.SerializeToString()
    halved = store_as_half(model)
    assert model.SerializeToString() == before
    assert [tensor.data_type for tensor in halved.graph.initializer] == [stored]
    values = noise(*constant.shape, seed=1)
    (expected,), (actual,) = run(model, values), run(halved, values)
    assert expected.tobytes() == actual.tobytes()


def test_what_is_exact_in_half() -> None:
    assert is_exact_in_half(np.array([0.5, -2.0, 65504, 2**-24, np.inf], np.float32))
    for value in (0.1, 65505, 2**-25, 1e9):
        assert not is_exact_in_half(np.array([value], np.float32))


# --- packages


def tar_with(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
    return entry


OUTSIDE = ["../evil", "a/../../evil", "/evil", "..\\evil"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_an_archive_are_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(name, "x")
    for path in (tar_with(tmp_path / "a.tgz", tar_entry(name)), tmp_path / "a.whl"):
        with pytest.raises(BuildError, match="no name within an archive"):
            read_member(path, name)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tgz", "a.whl"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_regular_files_are_read(kind: bytes, tmp_path: Path) -> None:
    path = tar_with(tmp_path / "a.tgz", tar_entry("target"), tar_entry("net", kind, "target"))
    assert read_member(path, "target") == b"xxx"
    with pytest.raises(BuildError, match="no regular file 'net'"):
        read_member(path, "net")


def test_members_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/net", "xxx")
        archive.writestr("folder/", "")
    assert read_member(path, "folder/net") == b"xxx"
    for name in ("folder/", "net"):
        with pytest.raises(BuildError, match="no regular file"):
            read_member(path, name)
    monkeypatch.setattr(packages, "MAX_MEMBER_BYTES", 2)
    with pytest.raises(BuildError, match="at most 2 bytes"):
        read_member(path, "folder/net")


@pytest.mark.parametrize("name", ["a.whl", "a.tgz", "cut.tgz"])
def test_a_damaged_archive_is_named(name: str, tmp_path: Path) -> None:
    sound = tar_with(tmp_path / "sound.tgz", *(tar_entry(str(index)) for index in range(100))).read_bytes()
    (tmp_path / name).write_bytes(sound[: len(sound) // 2] if name == "cut.tgz" else b"damaged")
    with pytest.raises(BuildError, match=name):
        read_member(tmp_path / name, "99")


def test_another_build_of_a_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x-1.tgz").write_bytes(b"other")
    with pytest.raises(BuildError, match=r"x-1\.tgz is damaged or another build"):
        fetch(Package("npm", "x", "1", "x-1.tgz", "0" * 64), tmp_path)


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"x-1\.tgz is missing and so is npm"):
        fetch(Package("npm", "x", "1", "x-1.tgz", "0" * 64), tmp_path)


def test_the_command_fails_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert")
    for package in recipe.PACKAGES:
        (tmp_path / package.archive).write_bytes(b"damaged")
    assert main(["--packages", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert recipe.PACKAGES[0].archive in line
    assert not (tmp_path / "out").exists()


def test_the_second_net_needs_its_own_package_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / recipe.HUMAN_MODELS.archive).write_bytes(b"damaged")
    assert main(["--packages", str(tmp_path), "--second_net", str(tmp_path / "net.onnx")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert recipe.HUMAN_MODELS.archive in line
    assert [path.name for path in tmp_path.iterdir()] == [recipe.HUMAN_MODELS.archive]


# --- the pack that lies in the repository


def test_the_manifest_is_what_the_recipe_gives() -> None:
    contents = {entry.name: (BUILTIN_FOLDER / entry.name).read_bytes() for entry in recipe.RECIPES}
    assert (BUILTIN_FOLDER / MANIFEST_NAME).read_text(encoding="utf-8") == manifest_text(contents, recipe.RECIPES)
    for name, sha256 in recipe.CONSTANTS_SHA256.items():
        assert load_manifest().files[name].sha256 == sha256
    kept = {*recipe.KEPT_FILES, *(f"LICENSES/{name}" for name in recipe.PACKAGE_LICENCES)}
    assert kept == {
        path.relative_to(BUILTIN_FOLDER).as_posix()
        for path in BUILTIN_FOLDER.rglob("*")
        if path.is_file() and path.name not in {*contents, MANIFEST_NAME}
    }


@pytest.mark.parametrize(
    ("entry", "shapes"),
    [
        (recipe.DETECTOR_BACK, {"regressors": [1, 896, 16], "scores": [1, 896, 1]}),
        (recipe.DETECTOR_FULL_RANGE, {"regressors": [1, 2304, 16], "scores": [1, 2304, 1]}),
        (recipe.MESH, {spec.name: list(spec.shape) for spec in recipe.MESH_OUTPUTS.values()}),
        (recipe.RECOGNITION, {"embedding": ["N", 128]}),
    ],
    ids=lambda value: value.name if isinstance(value, recipe.Recipe) else "",
)
def test_nets_of_the_pack_have_the_outputs_of_the_manifest(entry: recipe.Recipe, shapes: dict[str, list[Any]]) -> None:
    session = onnxruntime.InferenceSession(BUILTIN_FOLDER / entry.name, providers=["CPUExecutionProvider"])
    assert {output.name: output.shape for output in session.get_outputs()} == shapes
    (source,) = session.get_inputs()
    assert entry.input.startswith(f"input ({', '.join(map(str, source.shape))}) float32")
    for name in shapes:
        assert name in entry.output or entry is recipe.DETECTOR_FULL_RANGE


@pytest.mark.parametrize("entry", [recipe.DETECTOR_BACK, recipe.DETECTOR_FULL_RANGE])
def test_the_detectors_see_a_face_where_there_is_one(entry: recipe.Recipe) -> None:
    data = pytest.importorskip("skimage.data")
    net = onnx.load(BUILTIN_FOLDER / entry.name)
    size = net.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    photo = cv2.resize(data.astronaut(), (size, size), interpolation=cv2.INTER_AREA)[None]
    best = [run(net, (image / 127.5 - 1).astype(np.float32))[1].max() for image in (photo, np.full_like(photo, 128))]
    assert best[0] > 1 > -1 > best[1]


def test_an_eye_near_the_right_border_does_not_stop_the_mesh() -> None:
    data = pytest.importorskip("skimage.data")
    turn, zoom = -0.0225, 1.648
    linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    frame_to_crop = np.column_stack([linear, [96, 96] - linear @ [210.62, 119.19]])
    crop = cv2.warpAffine(data.astronaut(), frame_to_crop, (192, 192))
    session = onnxruntime.InferenceSession(BUILTIN_FOLDER / recipe.MESH.name, providers=["CPUExecutionProvider"])
    mesh, eye, flag = session.run(["mesh", "right_eye", "face_flag"], {"input": (crop[None] / 255).astype(np.float32)})
    assert flag[0, 0] > 5
    assert 160 < mesh[0, 263, 0] < 192
    assert np.abs(eye[0, 0] - mesh[0, 263, :2]).max() < 6


def script_with(edges: NDArray[np.int64]) -> str:
    return f'f("FACEMESH_LIPS",[[1,2]]);f("FACEMESH_TESSELATION",{json.dumps(edges.tolist())});'


def test_triangles_come_back_from_their_edges() -> None:
    triangles = np.load(BUILTIN_FOLDER / recipe.TRIANGLES.name)
    assert triangles.shape == (852, 3)
    assert triangles.dtype == np.int64
    edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
    np.testing.assert_array_equal(triangles_of(script_with(edges)), triangles)

    open_round, foreign, flipped = edges.copy(), edges.copy(), edges.copy()
    open_round[1] = open_round[1, ::-1]
    foreign[0, 0] = 468
    flipped[:3] = flipped[:3, ::-1][::-1]
    for wrong, reason in [
        (open_round, "close"),
        (foreign, "outside"),
        (flipped, "same direction"),
        (edges[3:], "shape"),
    ]:
        with pytest.raises(BuildError, match=reason):
            triangles_of(script_with(wrong))
    with pytest.raises(BuildError, match="does not list"):
        triangles_of("nothing")


# --- with what requirements-pack.txt installs


class TfliteWriter:
    """Writes .tflite files with the classes that the schema generates."""

    def __init__(self) -> None:
        self.tflite = pytest.importorskip("tflite")
        self.builder = pytest.importorskip("flatbuffers").Builder(1024)

    def table(self, kind: str, **fields: Any) -> Any:
        getattr(self.tflite, f"{kind}Start")(self.builder)
        for field, value in fields.items():
            getattr(self.tflite, f"{kind}Add{field}")(self.builder, value)
        return getattr(self.tflite, f"{kind}End")(self.builder)

    def vector(self, *values: int) -> Any:
        return self.builder.CreateNumpyVector(np.array(values, np.int32))

    def tables(self, *items: Any) -> Any:
        self.builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return self.builder.EndVector()

    def buffer(self, data: bytes) -> Any:
        return self.table("Buffer", Data=self.builder.CreateNumpyVector(np.frombuffer(data, np.uint8)))

    def tensor(self, name: str, shape: tuple[int, ...], kind: str, content: int = 0) -> Any:
        label, sizes = self.builder.CreateString(name), self.vector(*shape)
        kind_code = getattr(self.tflite.TensorType, kind)
        return self.table("Tensor", Name=label, Shape=sizes, Type=kind_code, Buffer=content)

    def code(self, name: str) -> Any:
        number = getattr(self.tflite.BuiltinOperator, name)
        return self.table("OperatorCode", DeprecatedBuiltinCode=number, BuiltinCode=number)

    def operator(self, code: int, inputs: list[int], output: int, **options: Any) -> Any:
        sources, results = self.vector(*inputs), self.vector(output)
        return self.table("Operator", OpcodeIndex=code, Inputs=sources, Outputs=results, **options)

    def file(self, codes: Any, buffers: Any, tensors: Any, operators: Any, result: int) -> bytes:
        inputs, outputs = self.vector(0), self.vector(result)
        graph = self.table("SubGraph", Tensors=tensors, Inputs=inputs, Outputs=outputs, Operators=operators)
        graphs = self.tables(graph)
        model = self.table("Model", Version=3, OperatorCodes=codes, Subgraphs=graphs, Buffers=buffers)
        self.builder.Finish(model, b"TFL3")
        return bytes(self.builder.Output())


def tflite_file(filters: NDArray[np.float16]) -> bytes:
    """A net with a half-precision convolution, fused ReLU, padding and a reshape: (1, 4, 4, C) to (1, 4, out + 1)."""
    writer = TfliteWriter()
    tflite, (out, _, _, channels) = writer.tflite, filters.shape
    pads = np.array([[0, 0], [0, 0], [0, 0], [0, 1]], np.int32)
    buffers = writer.tables(*(writer.buffer(data) for data in (b"", filters.tobytes(), pads.tobytes())))
    tensors = writer.tables(
        writer.tensor("input", (1, 4, 4, channels), "FLOAT32"),
        writer.tensor("halves", filters.shape, "FLOAT16", 1),
        writer.tensor("filters", filters.shape, "FLOAT32"),
        writer.tensor("image", (1, 2, 2, out), "FLOAT32"),
        writer.tensor("pads", (4, 2), "INT32", 2),
        writer.tensor("padded", (1, 2, 2, out + 1), "FLOAT32"),
        writer.tensor("result", (1, 4, out + 1), "FLOAT32"),
    )
    codes = writer.tables(*(writer.code(name) for name in ("DEQUANTIZE", "CONV_2D", "PAD", "RESHAPE")))
    relu = tflite.ActivationFunctionType.RELU
    same = tflite.Padding.SAME
    options = writer.table("Conv2DOptions", Padding=same, StrideW=2, StrideH=2, FusedActivationFunction=relu)
    kind = tflite.BuiltinOptions.Conv2DOptions
    operators = writer.tables(
        writer.operator(0, [1], 2),
        writer.operator(1, [0, 2], 3, BuiltinOptionsType=kind, BuiltinOptions=options),
        writer.operator(2, [3, 4], 5),
        writer.operator(3, [5], 6),
    )
    return writer.file(codes, buffers, tensors, operators, 6)


def test_a_small_tflite_net() -> None:
    pytest.importorskip("tflite")
    from utils.build_pack import tflite_to_onnx

    filters = noise(3, 3, 3, 2).astype(np.float16)
    values = noise(1, 4, 4, 2, seed=1)
    (actual,) = run(tflite_to_onnx.convert(tflite_file(filters), {"result": "y"}, "a test"), values)
    image = same_padded(torch.from_numpy(values.transpose(0, 3, 1, 2).copy()), 3, 2)
    weights = torch.from_numpy(filters.astype(np.float32).transpose(0, 3, 1, 2).copy())
    image = torch.relu(torch.nn.functional.conv2d(image, weights, stride=2)).numpy()
    expected = np.pad(image, [(0, 0), (0, 1), (0, 0), (0, 0)]).transpose(0, 2, 3, 1).reshape(1, 4, 4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(BuildError, match="'result'"):
        tflite_to_onnx.convert(tflite_file(filters), {}, "a test")


def test_a_comparison_fails_for_what_is_not_a_number() -> None:
    pytest.importorskip("skimage")
    from utils.build_pack import verify

    reference = {"y": noise(2, 3)}
    verify.require(verify.compare("net", "noise", reference, {"y": reference["y"].reshape(6)}))
    for actual in ({"y": reference["y"] + 0.01}, {"y": reference["y"] * np.nan}):
        with pytest.raises(BuildError, match="net"):
            verify.require(verify.compare("net", "noise", reference, actual))
    for actual in ({"z": reference["y"]}, {"y": reference["y"][:1]}):
        with pytest.raises(BuildError, match="net"):
            verify.compare("net", "noise", reference, actual)


@pytest.mark.slow
@pytest.mark.skipif(PACKAGES_VARIABLE not in os.environ, reason=f"{PACKAGES_VARIABLE} names no folder of packages")
def test_the_pack_is_rebuilt_to_the_byte(tmp_path: Path) -> None:
    assert main(["--packages", os.environ[PACKAGES_VARIABLE], "--out", str(tmp_path)]) == 0
    for path in BUILTIN_FOLDER.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(BUILTIN_FOLDER)).read_bytes() == path.read_bytes()
