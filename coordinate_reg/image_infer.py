"""GHOST's landmarker: 106 points of an aligned crop, by insightface's `2d106det.onnx`.

It takes crops as they are: no detection, and no alignment of its own. Source: GHOST (doi 10.1109/ACCESS.2022.3196668), which runs
the MXNet version of the net; insightface, alignment/coordinate_reg and model_zoo/landmark.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.devices import Provider
from utils.errors import ModelFileError
from utils.inference.alignment import invert, transform_points
from utils.inference.records import Affine, Image, Points
from utils.onnx_session import open_session

if TYPE_CHECKING:
    import onnxruntime

CROP_PX = 224  # side of GHOST's aligned crop
INPUT_PX = 192  # side of the net's input
FACE_PX = 128  # of the input, in its middle, that the crop is shrunk to
LANDMARK_COUNT = 106
_SHRINK, _SHIFT_PX = FACE_PX / CROP_PX, (INPUT_PX - FACE_PX) / 2
CROP_TO_INPUT: Affine = np.array([[_SHRINK, 0.0, _SHIFT_PX], [0.0, _SHRINK, _SHIFT_PX]])
# insightface's rule: a subtraction and a multiplication among the first nodes are the normalisation.
FIRST_NODES, FIRST_NORM_NODES = 8, 3
NORMALISED_INSIDE, NORMALISED_OUTSIDE = (0.0, 1.0), (127.5, 128.0)  # mean, std


class Handler:
    """Landmarks of crops; holds one session.

    Args:
        path: `2d106det.onnx`.
        threads: of onnxruntime.
        providers: of onnxruntime, best first.

    Raises:
        ModelFileError: if the file is missing, damaged or another model.
    """

    def __init__(self, path: Path, threads: int = 1, providers: Sequence[Provider] = ("CPUExecutionProvider",)) -> None:
        self._path = path
        self._session = open_session(path, threads, providers)
        _check_interface(self._session, path)
        self._input = self._session.get_inputs()[0].name
        self._mean, self._std = _normalisation(path)
        self._takes_batches = self._probe()

    def get_without_detection_without_transform(self, image: Image) -> Points:
        """Landmarks of one crop.

        Args:
            image: (224, 224, 3) BGR uint8, aligned.

        Returns:
            (106, 2) float64 in pixels of the crop.

        Raises:
            ValueError: if the crop has another shape.
        """
        return self.get_without_detection_without_transform_batch([image])[0]

    def get_without_detection_without_transform_batch(self, images: Sequence[Image]) -> NDArray[np.float64]:
        """Landmarks of several crops, in one call of the net if it can take more than one.

        Args:
            images: N times (224, 224, 3) BGR uint8, aligned.

        Returns:
            (N, 106, 2) float64 in pixels of the crops.

        Raises:
            ValueError: if a crop has another shape.
        """
        if not len(images):
            return np.zeros((0, LANDMARK_COUNT, 2))
        tensor = np.stack([self._prepare(image) for image in images])  # (N, 3, 192, 192) RGB
        batches = [tensor] if self._takes_batches else [single[None] for single in tensor]
        answers = np.concatenate([self._run(batch) for batch in batches])
        in_input = (answers.astype(np.float64).reshape(-1, 2) + 1.0) * (INPUT_PX // 2)
        return transform_points(invert(CROP_TO_INPUT), in_input).reshape(-1, LANDMARK_COUNT, 2)

    def _prepare(self, image: Image) -> NDArray[np.float32]:
        """(3, 192, 192) RGB."""
        if image.shape != (CROP_PX, CROP_PX, 3) or image.dtype != np.uint8:
            raise ValueError(f"a crop of ({CROP_PX}, {CROP_PX}, 3) uint8 is needed, not of {image.shape} {image.dtype}")
        shrunk = cv2.warpAffine(
            image, CROP_TO_INPUT, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        rgb = shrunk[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)
        return (rgb - np.float32(self._mean)) / np.float32(self._std)

    def _run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3, 192, 192) -> (N, 212)."""
        answer = self._session.run(None, {self._input: tensor})[0]
        if answer.shape != (len(tensor), 2 * LANDMARK_COUNT):
            raise ValueError(f"the net answers {answer.shape} to {tensor.shape}")
        return answer

    def _probe(self) -> bool:
        """Whether the net takes several crops at once; not all files do that say so."""
        one = np.zeros((1, 3, INPUT_PX, INPUT_PX), np.float32)
        try:
            self._run(one)
        except Exception as error:  # onnxruntime's own exception classes share no public base
            raise ModelFileError(f"{str(self._path)!r} does not run ({error}); {_REMEDY}") from error
        try:
            self._run(np.concatenate([one, one]))
        except Exception:  # the reason does not matter: one by one is always right
            return False
        return True


_REMEDY = "put insightface's 2d106det.onnx there, or remove the file to go without it"


def _check_interface(session: onnxruntime.InferenceSession, path: Path) -> None:
    """Refuse a model that is not a landmarker for 106 points."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    sizes = [list(inputs[0].shape[1:]), list(outputs[0].shape[1:])] if len(inputs) == len(outputs) == 1 else []
    floats = all(end.type == "tensor(float)" for end in (*inputs, *outputs))
    if sizes != [[3, INPUT_PX, INPUT_PX], [2 * LANDMARK_COUNT]] or not floats:
        shapes = f"{[end.shape for end in inputs]} -> {[end.shape for end in outputs]}"
        wanted = f"[[N, 3, {INPUT_PX}, {INPUT_PX}]] -> [[N, {2 * LANDMARK_COUNT}]]"
        raise ModelFileError(f"{str(path)!r} is no model for 106 landmarks ({shapes} instead of {wanted}); {_REMEDY}")


def _normalisation(path: Path) -> tuple[float, float]:
    """Mean and standard deviation that the input is normalised with before the net sees it."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node[:FIRST_NODES]
    labels = [label for node in nodes for label in (node.name, node.op_type)]
    subtracts = any(label.startswith(("Sub", "_minus")) for label in labels)
    multiplies = any(label.startswith(("Mul", "_mul")) for label in labels)
    normalises = any(node.name == "bn_data" for node in nodes[:FIRST_NORM_NODES])
    return NORMALISED_INSIDE if normalises or (subtracts and multiplies) else NORMALISED_OUTSIDE
