"""Where networks run and in which precision: one record, decided once, handed to whoever needs it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.errors import BadArgument

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True)
class Placement:
    """A device and a precision.

    Attributes:
        device: of torch's tensors.
        dtype: of the generator's weights and activations.
        onnx_providers: for onnxruntime, best first.
    """

    device: torch.device
    dtype: torch.dtype
    onnx_providers: tuple[object, ...]


def is_device_name(text: str) -> bool:
    """Whether `text` names a device.

    >>> [is_device_name(text) for text in ("auto", "cuda:1", "gpu")]
    [True, True, False]
    """
    return _DEVICE.fullmatch(text) is not None


def choose_placement(device_name: str, precision: str) -> Placement:
    """Turn the flags into a placement: CUDA and FP16 where there is a CUDA device, else the CPU and FP32.

    Args:
        device_name: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: one of `PRECISIONS`.

    Raises:
        BadArgument: if the device is not there, or the precision makes no sense on it.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = ("cuda" if found else "cpu") if device_name == "auto" else device_name
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= found:
        what = f"{found} CUDA devices" if found else "no CUDA device"
        raise BadArgument(f"--device {device_name}: torch finds {what}; use another or --device cpu, or see --doctor")
    if device.type == "cpu" and precision == "fp16":
        raise BadArgument("--precision fp16 is slower than fp32 on a CPU; use auto, fp32 or bf16, or a CUDA device")
    return Placement(device, _choose_dtype(device, precision), _choose_providers(device))


def _choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    import torch

    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def _choose_providers(device: torch.device) -> tuple[object, ...]:
    import onnxruntime

    if device.type != "cuda":
        return ("CPUExecutionProvider",)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        logger.warning(
            "onnxruntime cannot use the CUDA device, so detection runs on the CPU; 'make gpu' installs the one that can"
        )
        return ("CPUExecutionProvider",)
    return (("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider")
