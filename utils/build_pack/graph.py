"""Builds an ONNX graph node by node; the three converters share it.

Knows names, constants and the final check, and nothing about the formats that are converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from utils.build_pack.errors import BuildError

Array: TypeAlias = NDArray[np.generic]
Attribute: TypeAlias = int | float | str | list[int]

OPSET = 17  # the newest in which ReduceMax, ReduceMin and ReduceMean still take their axes as attributes
IR_VERSION = 8  # belongs to opset 17

TO_NCHW = [0, 3, 1, 2]
TO_NHWC = [0, 2, 3, 1]


@dataclass(frozen=True)
class TensorSpec:
    """Name and shape of a float32 input or output; a string is a free dimension."""

    name: str
    shape: tuple[int | str, ...]


class GraphBuilder:
    """Collects nodes in the order in which they are added, which has to be a topological one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._count = 0

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Attribute) -> str:
        """Append a node with one output; returns the output's name, which is made up unless given."""
        output = output or self._fresh(op.lower())
        self._nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Array, label: str = "constant") -> str:
        """Store `value` as an initialiser and return its name."""
        name = self._fresh(label)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        """Store a list of axes, sizes or pads as int64, the type that ONNX wants for them."""
        return self.constant(np.array(values, np.int64), "integers")

    def transposed(self, value: str, order: Sequence[int]) -> str:
        """Append a Transpose; `order` is the source axis of each result axis."""
        return self.add("Transpose", [value], perm=list(order))

    def model(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], description: str) -> onnx.ModelProto:
        """Close the graph.

        Raises:
            onnx.checker.ValidationError: if the graph is not well formed, or shape inference contradicts `outputs`.
        """
        used = {name for node in self._nodes for name in node.input}
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(spec) for spec in inputs],
            [_value_info(spec) for spec in outputs],
            [constant for constant in self._constants if constant.name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], doc_string=description)
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    def shape_of(self, value: str, inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
        """Static shape of a value, by ONNX's own inference over the nodes added so far.

        Raises:
            BuildError: if it depends on the data.
        """
        for spec in inputs:
            if spec.name == value:
                return tuple(int(size) for size in spec.shape)
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(spec) for spec in inputs],
            [helper.make_empty_tensor_value_info(value)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type
        if not inferred.HasField("shape") or not all(size.HasField("dim_value") for size in inferred.shape.dim):
            raise BuildError(f"the shape of {value!r} cannot be inferred")
        return tuple(size.dim_value for size in inferred.shape.dim)

    def _fresh(self, label: str) -> str:
        self._count += 1
        return f"{label}_{self._count}"


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, list(spec.shape))
