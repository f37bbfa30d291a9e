"""Where networks run, with what, and in which precision: one record, decided once, handed to whoever needs it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from utils.errors import BadArgument

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Provider: TypeAlias = str | tuple[str, dict[str, Any]]  # of onnxruntime: a name, or a name and its options

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_CPUINFO = Path("/proc/cpuinfo")  # Linux's; elsewhere nothing is known of the processor


@dataclass(frozen=True)
class CpuEngine:
    """How OpenVINO runs networks.

    Attributes:
        precision: of the generator; its input and output are float32 all the same.
        threads: for one network. They change no result.
    """

    precision: Literal["fp32", "bf16"]
    threads: int = field(repr=False)


@dataclass(frozen=True)
class Placement:
    """A device and a precision.

    Attributes:
        device: of torch's tensors.
        dtype: of the tensors that go into the generator, and of its weights where torch runs it.
        onnx_providers: for onnxruntime, best first.
        engine: of networks on the CPU; None where torch runs them.
    """

    device: torch.device
    dtype: torch.dtype
    onnx_providers: tuple[Provider, ...]
    engine: CpuEngine | None = None


def is_device_name(text: str) -> bool:
    """Whether `text` names a device.

    >>> [is_device_name(text) for text in ("auto", "cuda:1", "gpu")]
    [True, True, False]
    """
    return _DEVICE.fullmatch(text) is not None


def choose_placement(device_name: str, precision: str) -> Placement:
    """Turn the flags into a placement: CUDA and FP16 where there is a CUDA device, else the CPU, with OpenVINO if that is installed.

    On a CPU, `auto` is BF16 where that is faster and OpenVINO is installed, else FP32.

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
    if device.type == "cpu" and importlib.util.find_spec("openvino") is not None:
        return Placement(device, torch.float32, _choose_providers(device), choose_cpu_engine(precision, _cpuinfo()))
    return Placement(device, _choose_dtype(device, precision), _choose_providers(device))


def usable_cores() -> int:
    """How many cores this process may use; the one place that says how many threads a network gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_cpu_engine(precision: str, cpuinfo: str) -> CpuEngine:
    """How OpenVINO runs the generator on this processor.

    AMX calculates BF16 many times as fast as FP32, and so do AMD's processors with AVX512-BF16, twice. Intel's without AMX have the
    instruction at half of FP32's rate (measured on an Emerald Rapids: 0.78 s a face against 0.52 s).

    Args:
        precision: `auto`, `fp32` or `bf16`.
        cpuinfo: Linux's description of the processor; empty if there is none.

    Raises:
        BadArgument: if BF16 is asked of a processor that is not known to have it.

    >>> choose_cpu_engine("auto", "flags : avx512f amx_bf16").precision, choose_cpu_engine("auto", "").precision
    ('bf16', 'fp32')
    """
    words = set(cpuinfo.split())
    has_bf16 = bool(words & {"avx512_bf16", "amx_bf16"})
    is_fast = "amx_bf16" in words or (has_bf16 and "AuthenticAMD" in words)
    if precision == "bf16" and not has_bf16:
        raise BadArgument("--precision bf16: this processor is not known to calculate in BF16; use auto or fp32")
    return CpuEngine("bf16" if precision == "bf16" or (precision == "auto" and is_fast) else "fp32", usable_cores())


def _cpuinfo() -> str:
    try:
        return _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _choose_dtype(device: torch.device, precision: str) -> torch.dtype:
    import torch

    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def _choose_providers(device: torch.device) -> tuple[Provider, ...]:
    import onnxruntime

    if device.type != "cuda":
        return ("CPUExecutionProvider",)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        logger.warning(
            "onnxruntime cannot use the CUDA device, so detection and landmarks run on the CPU; 'make gpu' installs the one that can"
        )
        return ("CPUExecutionProvider",)
    # Its default tries all kernels at every new size of batch, and may choose others in the next process.
    options = {"device_id": device.index or 0, "cudnn_conv_algo_search": "HEURISTIC"}
    return (("CUDAExecutionProvider", options), "CPUExecutionProvider")


def with_tensorrt(providers: Sequence[Provider], model: Path) -> tuple[Provider, ...]:
    """Put TensorRT before CUDA, if onnxruntime and the machine have it.

    Its engine is built at the first use, which takes a while, and kept beside the model. Every other size of input would need
    another one, so this is for models that get one size only.

    Args:
        providers: best first.
        model: the .onnx file.
    """
    import onnxruntime

    if isinstance(providers[0], str) or not _has_tensorrt(onnxruntime.get_available_providers()):
        return tuple(providers)
    engines = model.with_name(f"{model.name}.tensorrt")
    try:
        engines.mkdir(exist_ok=True)
    except OSError as error:
        logger.warning(f"{str(engines)!r} cannot be written ({error}), so TensorRT is not used")
        return tuple(providers)
    _, cuda_options = providers[0]
    options = {
        "device_id": cuda_options["device_id"],
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
    }
    return (("TensorrtExecutionProvider", options), *providers)


def _has_tensorrt(available: Sequence[str]) -> bool:
    """Whether its package is there, too: onnxruntime names its provider even without, and finds the libraries once they are loaded."""
    if "TensorrtExecutionProvider" not in available or importlib.util.find_spec("tensorrt") is None:
        return False
    try:
        importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        logger.warning(f"the package tensorrt does not load ({error}), so TensorRT is not used")
        return False
    return True
