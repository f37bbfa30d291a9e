"""One place that opens ONNX models with onnxruntime; imported late, because onnxruntime takes a while to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.devices import Provider
from utils.errors import ModelFileError

if TYPE_CHECKING:
    import onnxruntime


def open_session(
    path: Path, threads: int = 1, providers: Sequence[Provider] = ("CPUExecutionProvider",)
) -> onnxruntime.InferenceSession:
    """Open an ONNX model.

    Args:
        path: the .onnx file, already verified.
        threads: intra-operator threads; the small nets of the embedded pack are fastest with one.
        providers: best first.

    Raises:
        ModelFileError: if onnxruntime does not take the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exception classes share no public base
        raise ModelFileError(f"{str(path)!r} is not a usable ONNX model ({error}); restore the file") from error
