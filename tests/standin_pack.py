"""A complete ghost pack of stand-ins, in a copy of the project, so that the real command line runs on it. Not a test itself.

The networks have the released names, shapes and sizes in memory, but their files are small: in a kernel, the numbers of one output channel
are those of the channel before, `STEP` places further on, and torch.save writes shared memory once. The detector answers with fixed places
in the 640 x 640 input, and with no face where the picture is black; the landmarker answers with one drawn face.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from no_internet import GUARD
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from standin_weights import shapes_of, standin_tensor
from torch import Tensor, nn

from arcface_model.iresnet import iresnet100
from coordinate_reg.landmarks_106 import LEFT_CONTOUR_106, RIGHT_CONTOUR_106
from models.aei_net import AEI_Net
from models.sr_net import LipSpadeGenerator
from utils.inference.masks import BROWS, UPPER_LIDS
from utils.model_files.table import MODEL_FILES, ModelFile

ROOT = Path(__file__).resolve().parents[1]
CODE = ("models", "utils", "insightface_func", "arcface_model", "coordinate_reg")
LINKED = ("weights/builtin", "examples/images", "examples/videos")  # only ever read
STEP = 11
INPUT_PX, ANCHORS, STRIDES = 640, 2, (8, 16, 32)
BLACK = -0.95  # of the input's mean, normalised; letterboxed pictures lie above


@dataclass(frozen=True)
class Place:
    """A face that the detector answers with, in pixels of its 640 x 640 input."""

    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float], ...]
    score: float = 0.9


# Where the builtin pack finds the face in the example photo of Eileen Collins, and the same at the picture's left.
COLLINS = Place((224, 85, 340, 223), ((254.8, 126.8), (308.8, 129.3), (279, 161.8), (253.1, 172.8), (306.6, 175.2)))
BESIDE = Place((154, 95, 270, 233), ((184.8, 136.8), (238.8, 139.3), (209, 171.8), (183.1, 182.8), (236.6, 185.2)), 0.8)


@dataclass(frozen=True)
class Finished:
    """How a command line ended."""

    code: int
    stdout: str
    stderr: str


def overlapping_state(network: nn.Module) -> dict[str, Tensor]:
    """Stand-ins for all that a checkpoint of `network` (best on the meta device) holds, as views of little memory."""
    return {key: _overlapping(key, shape) for key, shape in shapes_of(network)}


def _overlapping(key: str, shape: tuple[int, ...]) -> Tensor:
    if len(shape) < 2:
        return standin_tensor(key, shape)
    fan_in = math.prod(shape[1:])
    numbers = standin_tensor(key, (1, fan_in + STEP * (shape[0] - 1)))[0] * math.sqrt(
        (fan_in + STEP * (shape[0] - 1)) / fan_in
    )
    inner = torch.empty(shape[1:], device="meta").stride()
    return numbers.as_strided(shape, (STEP, *inner))


def write_network(path: Path, network: nn.Module, extra: Sequence[str] = ()) -> Path:
    """Save stand-ins for `network`, and tensors of the names `extra` that it does not have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(overlapping_state(network) | {name: torch.zeros(3) for name in extra}, path)
    return path


def write_generator(path: Path, backbone: str = "unet", num_blocks: int = 2) -> Path:
    """Save stand-ins for AEI-Net."""
    with torch.device("meta"):
        network = AEI_Net(backbone, num_blocks)
    return write_network(path, network)


def write_backbone(path: Path) -> Path:
    """Save stand-ins for IResNet-100."""
    with torch.device("meta"):
        network = iresnet100()
    return write_network(path, network)


def write_sr(path: Path) -> Path:
    """Save stand-ins for LIP-SPADE, with a layer that the released checkpoint has and nobody uses."""
    with torch.device("meta"):
        network = LipSpadeGenerator()
    return write_network(path, network, ["fc.bias"])


def write_detector(path: Path, places: Sequence[Place] = (COLLINS,)) -> Path:
    """Save a net with SCRFD's interface: nine outputs, scores, boxes and keypoints of three strides with two anchors each."""
    maps = [[np.zeros(((INPUT_PX // s) ** 2 * ANCHORS, n), np.float32) for s in STRIDES] for n in (1, 4, 10)]
    stride = STRIDES[-1]
    for place in places:
        left, top, right, bottom = place.box
        column, row = round((left + right) / 2 / stride), round((top + bottom) / 2 / stride)
        anchor = (row * (INPUT_PX // stride) + column) * ANCHORS
        x, y = column * stride, row * stride
        maps[0][-1][anchor] = place.score
        maps[1][-1][anchor] = np.array([x - left, y - top, right - x, bottom - y]) / stride
        maps[2][-1][anchor] = (np.array(place.keypoints) - (x, y)).ravel() / stride
    names = ["448", "471", "494", "451", "474", "497", "454", "477", "500"]  # as the released file has them
    values = [value for kind in maps for value in kind]
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "black"], ["lit"]),
        helper.make_node("Cast", ["lit"], ["gate"], to=TensorProto.FLOAT),
        *(helper.make_node("Mul", [f"fixed_{name}", "gate"], [name]) for name in names),
    ]
    constants = [_constant("black", BLACK), *(_constant(f"fixed_{n}", v) for n, v in zip(names, values, strict=True))]
    outputs = [(name, list(value.shape)) for name, value in zip(names, values, strict=True)]
    return _save_graph(path, nodes, constants, ("input.1", [1, 3, "height", "width"]), outputs)


def drawn_landmarks(half_width_px: float = 70.0) -> NDArray[np.float64]:
    """(106, 2) in a crop of 224 pixels: half an ellipse of a contour, brows, upper lids, and the rest at the nose."""
    points = np.full((106, 2), (112.0, 140.0))
    turn = np.linspace(0, np.pi / 2, len(LEFT_CONTOUR_106))
    for side, contour in ((-1, LEFT_CONTOUR_106), (1, RIGHT_CONTOUR_106)):
        points[list(contour)] = np.stack([112 + side * half_width_px * np.cos(turn), 100 + 98 * np.sin(turn)], axis=1)
    across = np.array([-56.0, -46, -36, -26, -16, 16, 26, 36, 46, 56]) + 112
    points[list(BROWS)] = np.stack([across, np.full(10, 86.0)], axis=1)
    points[list(UPPER_LIDS)] = np.stack([across, np.full(10, 104.0)], axis=1)
    return points


def write_landmarker(path: Path) -> Path:
    """Save a net with the interface of 2d106, normalisation inside; the face that it draws is the wider the lighter the picture."""
    wide, narrow = (((drawn_landmarks(half) + 56) / 1.75 / 96 - 1).ravel() for half in (75.0, 65.0))
    nodes = [
        helper.make_node("Sub", ["data", "centre"], ["centred"]),
        helper.make_node("Mul", ["centred", "factor"], ["normal"]),
        helper.make_node("ReduceMean", ["normal"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "spread"], ["offset"]),
        helper.make_node("Add", ["offset", "middle"], ["fc1"]),
    ]
    constants = [
        _constant("centre", 127.5),
        _constant("factor", 1 / 128),
        numpy_helper.from_array(np.array([1]), "last"),
        _constant("spread", (wide - narrow)[None] / 2),
        _constant("middle", (wide + narrow)[None] / 2),
    ]
    return _save_graph(path, nodes, constants, ("data", ["N", 3, 192, 192]), [("fc1", ["N", 212])])


def _constant(name: str, value: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, np.float32), name)


def _save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    source: tuple[str, list[object]],
    outputs: Sequence[tuple[str, list[object]]],
) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (source, *outputs)]
    graph = helper.make_graph(nodes, "standin", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


class Project:
    """A copy of the project in `folder`, with a complete ghost pack unless `bare`."""

    def __init__(self, folder: Path, bare: bool = False) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", "*.pth*", "*.lock", "antelope", "model")
        for name in CODE:
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "inference.py", folder)
        for name in LINKED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name, target_is_directory=True)
        if not bare:
            self.write_pack()

    def place(self, name: str) -> Path:
        """Where the file of this name in the table belongs."""
        return self.folder / next(file.path for file in MODEL_FILES if file.name == name)

    def write_pack(self) -> None:
        """Write all five files, and give the copy's table the checksums of those whose real ones it knows."""
        write_detector(self.place("scrfd_10g_bnkps"))
        write_landmarker(self.place("2d106det"))
        write_backbone(self.place("backbone"))
        write_generator(self.place("G_unet_2blocks"))
        write_sr(self.place("10_net_G"))
        for file in MODEL_FILES:
            if file.sha256 and self.place(file.name).is_file():
                self._expect(file)

    def _expect(self, file: ModelFile) -> None:
        table = self.folder / "utils" / "model_files" / "table.py"
        content = self.place(file.name).read_bytes()
        text = table.read_text(encoding="utf-8")
        text, count = re.subn(
            rf'{file.bytes},(\s+)"{file.sha256}"', rf'{len(content)},\g<1>"{sha256(content).hexdigest()}"', text
        )
        assert count == 1, f"the table of model files has another form than expected at {file.name}"
        table.write_text(text, encoding="utf-8")

    def run(self, *arguments: object) -> Finished:
        """`python inference.py` with these arguments, in the copy."""
        command = [sys.executable, "inference.py", *map(str, arguments)]
        options = {"cwd": self.folder, "preexec_fn": GUARD, "timeout": 300}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Finished(done.returncode, done.stdout, done.stderr)

    def run_python(self, program: str, *arguments: object) -> Finished:
        """A program in the copy, for what no flag does."""
        command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
        options = {"cwd": self.folder, "preexec_fn": GUARD, "timeout": 300}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return Finished(done.returncode, done.stdout, done.stderr)
