"""Says how far a converted net is from the published one.

What the published nets compute comes from tflite_reference.py and node_reference.py. Errors are relative to the largest
number of an output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from skimage import data

from utils.build_pack.errors import BuildError

Tensor: TypeAlias = NDArray[np.float32]

TOLERANCE = 1e-4  # rounding in another order gives about 1e-6
_FACE = (slice(0, 220), slice(120, 340))  # rows and columns of the astronaut's face


@dataclass(frozen=True)
class Check:
    """One comparison of one output of one net for one picture."""

    net: str
    picture: str
    output: str
    relative_error: float

    @property
    def passed(self) -> bool:
        """Whether the error is small enough; one that is not a number is not."""
        return self.relative_error <= TOLERANCE

    def __str__(self) -> str:
        return f"{self.net:30} {self.picture:8} {self.output:11} {self.relative_error:.1e} (at most {TOLERANCE:.0e})"


def pictures(size_px: int) -> dict[str, Tensor]:
    """Inputs to compare on, by name: noise, a photo, the face in it, and that face over the left and right border.

    Returns:
        (1, S, S, 3) float32 RGB in [0, 1] each.
    """
    photo = data.astronaut()
    face = _resized(photo[_FACE], size_px)
    chosen = {
        "noise": np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8),
        "photo": _resized(photo, size_px),
        "face": face,
        "shifted": np.roll(face, size_px // 4, axis=1),
    }
    return {name: (image[None] / np.float32(255)).astype(np.float32) for name, image in chosen.items()}


def compare(net: str, picture: str, expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> list[Check]:
    """One check per output; shapes may differ, sizes not.

    Raises:
        BuildError: if the names or sizes of the outputs differ.
    """
    if expected.keys() != actual.keys():
        raise BuildError(f"{net} has the outputs {sorted(actual)} instead of {sorted(expected)}")
    checks = []
    for name, reference in expected.items():
        if reference.size != actual[name].size:
            raise BuildError(f"{net} gives {actual[name].size} numbers for {name} instead of {reference.size}")
        difference = np.abs(reference.reshape(-1) - actual[name].reshape(-1)).max()
        checks.append(Check(net, picture, name, float(difference / np.abs(reference).max())))
    return checks


def require(checks: Sequence[Check]) -> None:
    """Stop at the first check that failed.

    Raises:
        BuildError: naming it.
    """
    for check in checks:
        if not check.passed:
            raise BuildError(f"the converted net differs from the published one: {check}")


def open_converted(net: bytes) -> Any:
    """A session of onnxruntime for a converted file."""
    return onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])


def output_names(session: Any) -> list[str]:
    """Names of a converted net's outputs, in its order."""
    return [output.name for output in session.get_outputs()]


def run_converted(session: Any, values: Tensor) -> dict[str, Tensor]:
    """Outputs of a converted net, by name."""
    names = output_names(session)
    return dict(zip(names, session.run(names, {"input": np.ascontiguousarray(values)}), strict=True))


def _resized(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    return cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
