"""Stores float32 constants that are exactly half-precision numbers as such, with a Cast in front of their use.

Lossless, and free at run time: onnxruntime folds the Cast when it loads the file. The published nets were quantised to
float16, so this halves them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MIN_ELEMENTS = 64  # below this the extra node costs more bytes than it saves


def stored(net: onnx.ModelProto) -> bytes:
    """The net as a file, its constants in half precision where that loses nothing; the same bytes at every build."""
    return bytes(store_as_half(net).SerializeToString(deterministic=True))


def store_as_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of `model` in which every large enough constant without a rounding error is stored in half precision.

    Args:
        model: any ONNX model; not modified.

    Returns:
        A model that computes the same numbers, bit for bit.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= MIN_ELEMENTS and is_exact_in_half(values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(result, full_check=True)
    return result


def is_exact_in_half(values: NDArray[np.float32]) -> bool:
    """Whether every number survives the way to float16 and back, its sign of zero included.

    >>> is_exact_in_half(np.array([0.5, -2.0], np.float32)), is_exact_in_half(np.array([0.1], np.float32))
    (True, False)
    """
    with np.errstate(over="ignore"):
        returned = values.astype(np.float16).astype(np.float32)
    return np.array_equal(returned.view(np.uint32), values.view(np.uint32))
