"""Converts a TensorFlow.js graph model to ONNX; no TensorFlow needed.

Covers the operations of the attention mesh `facemesh-attention-pinto` and of the identity net `faceres`, and no others;
anything else is an error, never a guess. The source computes in NHWC. Convolutions and what lies between them are rebuilt
in NCHW, and a value is transposed only where the other layout is asked for, so that the runtime finds almost no Transpose
to run.

Source: semantics of TensorFlow's raw ops, https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import TO_NCHW, GraphBuilder, TensorSpec
from utils.build_pack.tfjs_conversion import Conversion, channels_first
from utils.build_pack.tfjs_graph import Node, in_order, input_of, parse_node
from utils.build_pack.tfjs_weights import read_weights

_END = 2**31 - 1  # an open end of a slice
_PADDING = {b"SAME": "SAME_UPPER", b"VALID": "VALID"}
_CAST_TARGETS = {"DT_INT32": TensorProto.INT32, "DT_FLOAT": TensorProto.FLOAT}
_DIRECT_OPS = {"Mul": "Mul", "Sub": "Sub", "Maximum": "Max", "Minimum": "Min", "Floor": "Floor"}
_REDUCTIONS = {"Max": "ReduceMax", "Mean": "ReduceMean", "Min": "ReduceMin", "Prod": "ReduceProd"}


Lowering: TypeAlias = Callable[[Conversion, Node], None]


def convert(
    topology: Mapping[str, Any], data: bytes, outputs: Mapping[str, TensorSpec], description: str
) -> onnx.ModelProto:
    """Convert a graph model with one input.

    Args:
        topology: the parsed JSON of the model.
        data: its weight file.
        outputs: node of the source -> name and shape of the output; only the number of elements has to agree, so
            (1, 1, 1, 1404) may become (1, 468, 3).
        description: goes into the file.

    Returns:
        The net with the input `input`, in the shape of the source.

    Raises:
        BuildError: on an operation or attribute that is not covered.
    """
    nodes = [parse_node(entry) for entry in topology["modelTopology"]["node"]]
    weights = read_weights(topology["weightsManifest"][0]["weights"], data)
    source = input_of(nodes)
    constants = {name: weight.values for name, weight in weights.items()}
    conversion = Conversion(GraphBuilder("graph_model"), constants, source)
    for node in in_order(nodes, list(outputs)):
        if node.op == "Placeholder":
            conversion.put_plain(node.name, source.name)
        elif node.op != "Const":
            _lowering(node)(conversion, node)
    for name, spec in outputs.items():
        shape = conversion.builder.integers([int(size) for size in spec.shape])
        conversion.builder.add("Reshape", [conversion.plain(name), shape], spec.name)
    return conversion.builder.model([source], list(outputs.values()), description)


def _lowering(node: Node) -> Lowering:
    if node.op in _DIRECT_OPS:
        return _elementwise
    if node.op in _REDUCTIONS:
        return _reduction
    if node.op not in _LOWERINGS:
        raise BuildError(f"{node.name!r} is a {node.op}, which this converter does not cover")
    return _LOWERINGS[node.op]


def _convolution(conversion: Conversion, node: Node) -> None:
    filters = conversion.constant(node.inputs[1])  # (height, width, in, out), depthwise (height, width, channels, 1)
    depthwise = node.op == "DepthwiseConv2dNative"
    if depthwise and filters.shape[3] != 1:
        raise BuildError(f"{node.name!r} multiplies channels by {filters.shape[3]}")
    weights = filters.transpose(2, 3, 0, 1) if depthwise else filters.transpose(3, 2, 0, 1)
    result = conversion.builder.add(
        "Conv",
        [conversion.nchw(node.inputs[0]), conversion.builder.constant(weights, "filters")],
        kernel_shape=list(filters.shape[:2]),
        strides=node.integers("strides")[1:3],
        dilations=node.integers("dilations")[1:3],
        auto_pad=_PADDING[node.text("padding")],
        group=filters.shape[2] if depthwise else 1,
    )
    conversion.put_nchw(node.name, result)


def _max_pool(conversion: Conversion, node: Node) -> None:
    result = conversion.builder.add(
        "MaxPool",
        [conversion.nchw(node.inputs[0])],
        kernel_shape=node.integers("ksize")[1:3],
        strides=node.integers("strides")[1:3],
        auto_pad=_PADDING[node.text("padding")],
    )
    conversion.put_nchw(node.name, result)


def _prelu(conversion: Conversion, node: Node) -> None:
    # relu(x) + slope * min(x, 0): the same numbers to the last bit, in half the time that onnxruntime's PRelu takes.
    builder, value = conversion.builder, conversion.nchw(node.inputs[0])
    slopes = builder.constant(channels_first(conversion.constant(node.inputs[1])), "slopes")
    negative = builder.add("Min", [value, builder.constant(np.array(0, np.float32), "zero")])
    result = builder.add("Add", [builder.add("Relu", [value]), builder.add("Mul", [negative, slopes])])
    conversion.put_nchw(node.name, result)


def _pad(conversion: Conversion, node: Node) -> None:
    before, after = conversion.constant(node.inputs[1]).astype(np.int64).T[:, TO_NCHW].tolist()
    pads = conversion.builder.integers([*before, *after])
    conversion.put_nchw(node.name, conversion.builder.add("Pad", [conversion.nchw(node.inputs[0]), pads]))


def _sum_of_all(conversion: Conversion, node: Node) -> None:
    # Where one term is the result of a convolution the sum stays in its layout.
    in_nchw = any(conversion.is_nchw(value) for value in node.inputs)
    terms = [conversion.nchw(value) if in_nchw else conversion.plain(value) for value in node.inputs]
    total = terms[0]
    for term in terms[1:]:
        total = conversion.builder.add("Add", [total, term])
    (conversion.put_nchw if in_nchw else conversion.put_plain)(node.name, total)


def _elementwise(conversion: Conversion, node: Node) -> None:
    inputs = [conversion.plain(value) for value in node.inputs]
    conversion.put_plain(node.name, conversion.builder.add(_DIRECT_OPS[node.op], inputs))


def _relu(conversion: Conversion, node: Node) -> None:
    conversion.put_nchw(node.name, conversion.builder.add("Relu", [conversion.nchw(node.inputs[0])]))


def _square(conversion: Conversion, node: Node) -> None:
    value = conversion.plain(node.inputs[0])
    conversion.put_plain(node.name, conversion.builder.add("Mul", [value, value]))


def _reciprocal_root(conversion: Conversion, node: Node) -> None:
    root = conversion.builder.add("Sqrt", [conversion.plain(node.inputs[0])])
    conversion.put_plain(node.name, conversion.builder.add("Reciprocal", [root]))


def _reduction(conversion: Conversion, node: Node) -> None:
    axes = conversion.integers(node.inputs[1])
    value, keep = conversion.plain(node.inputs[0]), int(node.flag("keep_dims"))
    conversion.put_plain(node.name, conversion.builder.add(_REDUCTIONS[node.op], [value], axes=axes, keepdims=keep))


def _reduce_sum(conversion: Conversion, node: Node) -> None:
    axes = conversion.builder.integers(conversion.integers(node.inputs[1]))
    inputs, keep = [conversion.plain(node.inputs[0]), axes], int(node.flag("keep_dims"))
    conversion.put_plain(node.name, conversion.builder.add("ReduceSum", inputs, keepdims=keep))


def _reshape(conversion: Conversion, node: Node) -> None:
    shape = conversion.builder.integers(conversion.integers(node.inputs[1]))
    conversion.put_plain(node.name, conversion.builder.add("Reshape", [conversion.plain(node.inputs[0]), shape]))


def _transpose(conversion: Conversion, node: Node) -> None:
    order = conversion.integers(node.inputs[1])
    conversion.put_plain(node.name, conversion.builder.transposed(conversion.plain(node.inputs[0]), order))


def _cast(conversion: Conversion, node: Node) -> None:
    target = _CAST_TARGETS[node.attributes["DstT"]["type"]]
    conversion.put_plain(node.name, conversion.builder.add("Cast", [conversion.plain(node.inputs[0])], to=target))


def _concatenation(conversion: Conversion, node: Node) -> None:
    (axis,) = conversion.integers(node.inputs[-1])
    inputs = [conversion.plain(value) for value in node.inputs[:-1]]
    conversion.put_plain(node.name, conversion.builder.add("Concat", inputs, axis=axis))


def _strided_slice(conversion: Conversion, node: Node) -> None:
    begins, ends, steps = (conversion.integers(value) for value in node.inputs[1:4])
    if any(node.integer(key) for key in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")):
        raise BuildError(f"{node.name!r} is a StridedSlice with a mask that this converter does not cover")
    open_begin, open_end = node.integer("begin_mask"), node.integer("end_mask")
    begins = [0 if open_begin >> axis & 1 else begin for axis, begin in enumerate(begins)]
    ends = [_END if open_end >> axis & 1 else end for axis, end in enumerate(ends)]
    limits = [conversion.builder.integers(part) for part in (begins, ends, range(len(begins)), steps)]
    conversion.put_plain(node.name, conversion.builder.add("Slice", [conversion.plain(node.inputs[0]), *limits]))


def _gather(conversion: Conversion, node: Node) -> None:
    (axis,) = conversion.integers(node.inputs[2])
    inputs = [conversion.plain(value) for value in node.inputs[:2]]
    conversion.put_plain(node.name, conversion.builder.add("Gather", inputs, axis=axis))


def _gather_nd(conversion: Conversion, node: Node) -> None:
    # The source clamps positions to 48 in a map of 48 x 48. TensorFlow.js then reads the next row, and onnxruntime
    # refuses to run: an eye near the right border of the crop would stop the program. The last pixel is what was meant.
    builder, value = conversion.builder, conversion.plain(node.inputs[0])
    indices = builder.add("Cast", [conversion.plain(node.inputs[1])], to=TensorProto.INT64)
    sizes = conversion.shape_of(node.inputs[0])[: conversion.shape_of(node.inputs[1])[-1]]
    inside = builder.add("Min", [indices, builder.integers([size - 1 for size in sizes])])
    conversion.put_plain(node.name, builder.add("GatherND", [value, inside]))


def _matmul(conversion: Conversion, node: Node) -> None:
    left, right = (conversion.plain(value) for value in node.inputs)
    if node.flag("adj_x"):
        raise BuildError(f"{node.name!r} multiplies a transposed left factor, which this converter does not cover")
    if node.flag("adj_y"):
        rank = len(conversion.shape_of(node.inputs[1]))
        right = conversion.builder.transposed(right, [*range(rank - 2), rank - 1, rank - 2])
    conversion.put_plain(node.name, conversion.builder.add("MatMul", [left, right]))


_LOWERINGS: dict[str, Lowering] = {
    "Add": _sum_of_all,
    "AddN": _sum_of_all,
    "AddV2": _sum_of_all,
    "BatchMatMulV2": _matmul,
    "Cast": _cast,
    "ConcatV2": _concatenation,
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "GatherNd": _gather_nd,
    "GatherV2": _gather,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Prelu": _prelu,
    "Relu": _relu,
    "Reshape": _reshape,
    "Rsqrt": _reciprocal_root,
    "Square": _square,
    "StridedSlice": _strided_slice,
    "Sum": _reduce_sum,
    "Transpose": _transpose,
}
