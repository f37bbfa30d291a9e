"""Runs published TensorFlow.js nets in their own runtime, in node, to compare the converted ones with them.

Node gets a job as JSON, and inputs and outputs pass as files of raw float32; see tfjs_reference.mjs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.build_pack.dlib_to_onnx import DIVISOR, MEAN_RGB
from utils.build_pack.errors import BuildError
from utils.build_pack.verify import Check, Tensor, compare, open_converted, output_names, pictures, run_converted

TIMEOUT_S = 600
FACE_API_DIVISOR = 255  # face-api.js, FaceRecognitionNet.forwardInput


@dataclass(frozen=True)
class NodeNet:
    """A net in both forms.

    Attributes:
        name: of the converted file.
        kind: `graph` for a graph model, `face_recognition` for face-api's own class.
        description, weights: content of the published files.
        outputs: nodes of a graph model, in the order of the converted net's outputs.
        converted: content of the ONNX file.
    """

    name: str
    kind: str
    description: bytes
    weights: bytes
    outputs: tuple[str, ...]
    converted: bytes


def node_is_there() -> bool:
    """Whether there is a `node` to run."""
    return shutil.which("node") is not None


def verify_in_node(nets: Sequence[NodeNet], runtime: bytes, folder: Path) -> list[Check]:
    """Compare nets with TensorFlow.js.

    Args:
        nets: what to compare.
        runtime: content of face-api's bundle for browsers, which contains TensorFlow.js.
        folder: an empty folder for what passes between the two programs.

    Raises:
        BuildError: if node fails.
    """
    (folder / "runtime.mjs").write_bytes(runtime)
    sessions = {net.name: open_converted(net.converted) for net in nets}
    plans = [_plan(net, sessions[net.name], folder) for net in nets]
    job = {"runtime": (folder / "runtime.mjs").resolve().as_uri(), "nets": plans}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    _run_node(folder / "job.json")
    return [check for net in nets for check in _checks(net, sessions[net.name], folder)]


def _plan(net: NodeNet, session: Any, folder: Path) -> dict[str, Any]:
    description, weights = folder / f"{net.name}.json", folder / f"{net.name}.bin"
    description.write_bytes(net.description)
    weights.write_bytes(net.weights)
    images = pictures(_size_px(session))
    for picture, image in images.items():
        _published_input(net, image).tofile(folder / f"{net.name}.{picture}.input")
    return {
        "kind": net.kind,
        "description": str(description),
        "weights": str(weights),
        "outputs": list(net.outputs),
        "shape": [1, _size_px(session), _size_px(session), 3],
        "pictures": [
            {
                "input": str(folder / f"{net.name}.{picture}.input"),
                "outputs": [str(path) for path in _answers(net, session, picture, folder).values()],
            }
            for picture in images
        ],
    }


def _checks(net: NodeNet, session: Any, folder: Path) -> list[Check]:
    checks = []
    for picture, image in pictures(_size_px(session)).items():
        files = _answers(net, session, picture, folder)
        expected = {name: np.fromfile(path, np.float32) for name, path in files.items()}
        checks += compare(net.name, picture, expected, run_converted(session, _converted_input(net, image)))
    return checks


def _answers(net: NodeNet, session: Any, picture: str, folder: Path) -> dict[str, Path]:
    """Where node writes what the published net says, by the converted net's names."""
    return {name: folder / f"{net.name}.{picture}.{name}" for name in output_names(session)}


def _size_px(session: Any) -> int:
    return int(session.get_inputs()[0].shape[2])  # the same place in (1, S, S, 3) and (N, 3, S, S)


def _published_input(net: NodeNet, image: Tensor) -> Tensor:
    """What the published net gets for a picture in [0, 1]; (1, S, S, 3)."""
    if net.kind == "graph":
        return image
    # face-api.js divides by 255 where dlib, and so the converted net, divides by 256: shrink the contrast by as much.
    mean = np.array(MEAN_RGB, np.float32)
    return ((image * 255 - mean) * np.float32(FACE_API_DIVISOR / DIVISOR) + mean).astype(np.float32)


def _converted_input(net: NodeNet, image: Tensor) -> Tensor:
    """What the converted net gets for the same picture."""
    return image if net.kind == "graph" else (image * 255).transpose(0, 3, 1, 2)


def _run_node(job: Path) -> None:
    script = Path(__file__).with_name("tfjs_reference.mjs")
    command = ["node", str(script), str(job)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"node took more than {TIMEOUT_S} s for the published nets") from error
    if done.returncode:
        # Node quotes the line of the bundle that failed, which is a megabyte long.
        reasons = [line for line in done.stderr.splitlines() if "Error" in line and len(line) < 500]
        raise BuildError(f"node cannot run the published nets: {(reasons or ['no message'])[0]}")
