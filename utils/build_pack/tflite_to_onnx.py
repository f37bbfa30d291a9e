"""Converts a TensorFlow Lite net to ONNX; no TensorFlow needed, only the schema of the format.

Covers the operations of MediaPipe's two face detectors and no others; anything else is an error, never a guess. The
source computes in NHWC; here every rank-4 value is NCHW, with a Transpose behind the input and before each Reshape.

Source: schema.fbs of TensorFlow 2.18, kernels of tensorflow/lite/kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import tflite

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import TO_NCHW, TO_NHWC, Array, GraphBuilder, TensorSpec

_TYPES: dict[int, type[np.generic]] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_PADDING = {tflite.Padding.SAME: "SAME_UPPER", tflite.Padding.VALID: "VALID"}
_OP_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


@dataclass(frozen=True)
class Operator:
    """One operation of the source graph: the numbers of its tensors, and its options as a table of the schema."""

    name: str
    inputs: tuple[int, ...]
    output: int
    options: Any


class Conversion:
    """The state of one conversion: the tensors of the source, and the ONNX names of those that are computed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.graph = model.Subgraphs(0)
        self.builder = GraphBuilder("tflite")
        self._constants: dict[int, Array] = {}
        self._names: dict[int, str] = {}

    def shape(self, tensor: int) -> list[int]:
        """Shape of a tensor in the layout of the source."""
        return [int(size) for size in self.graph.Tensors(tensor).ShapeAsNumpy()]

    def tensor_name(self, tensor: int) -> str:
        """What the source calls a tensor."""
        return str(self.graph.Tensors(tensor).Name().decode())

    def operators(self) -> list[Operator]:
        """The operations, in the order in which the source runs them."""
        return [self._operator(self.graph.Operators(index)) for index in range(self.graph.OperatorsLength())]

    def constant(self, tensor: int) -> Array:
        """Content of a tensor that is stored, or was computed from stored ones.

        Raises:
            BuildError: if the tensor depends on the input, is sparse, or is of an unknown type.
        """
        if tensor not in self._constants:
            self._constants[tensor] = self._stored(tensor)
        return self._constants[tensor]

    def put_constant(self, tensor: int, values: Array) -> None:
        """Record the content of a tensor."""
        self._constants[tensor] = values

    def name(self, tensor: int) -> str:
        """ONNX name of a computed tensor.

        Raises:
            BuildError: if it has not been computed.
        """
        if tensor not in self._names:
            raise BuildError(f"tensor {self.tensor_name(tensor)!r} is used before it is computed")
        return self._names[tensor]

    def put(self, tensor: int, name: str) -> None:
        """Record the ONNX name of a computed tensor; NCHW if it has rank 4."""
        self._names[tensor] = name

    def _stored(self, tensor: int) -> Array:
        entry = self.graph.Tensors(tensor)
        buffer = self._model.Buffers(entry.Buffer())
        dtype = _TYPES.get(entry.Type())
        if dtype is None or not buffer.DataLength() or entry.Sparsity() is not None:
            raise BuildError(f"tensor {self.tensor_name(tensor)!r} is not a stored dense constant of a known type")
        return np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype).reshape(self.shape(tensor))

    def _operator(self, entry: Any) -> Operator:
        code = self._model.OperatorCodes(entry.OpcodeIndex())
        # The field for the first 127 operations is deprecated but still the one that older files fill.
        name = _OP_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = tuple(int(tensor) for tensor in entry.InputsAsNumpy())
        return Operator(name, inputs, int(entry.Outputs(0)), entry.BuiltinOptions())


Lowering: TypeAlias = Callable[[Conversion, Operator], None]


def convert(data: bytes, outputs: dict[str, str], description: str) -> onnx.ModelProto:
    """Convert a net with one image as input.

    Args:
        data: the .tflite file.
        outputs: name of an output in the source -> its name in the result.
        description: goes into the file.

    Returns:
        The net with the input `input`, (1, H, W, C) as in the source, and the source's outputs in order and shape.

    Raises:
        BuildError: on an operation, type or option that is not covered.
    """
    conversion = Conversion(tflite.Model.GetRootAsModel(data, 0))
    graph = conversion.graph
    image = int(graph.Inputs(0))
    source = TensorSpec("input", tuple(conversion.shape(image)))
    conversion.put(image, conversion.builder.transposed(source.name, TO_NCHW))
    for operator in conversion.operators():
        if operator.name not in _LOWERINGS:
            raise BuildError(f"the net uses {operator.name}, which this converter does not cover")
        _LOWERINGS[operator.name](conversion, operator)
    specs = []
    for tensor in (int(tensor) for tensor in graph.OutputsAsNumpy()):
        if conversion.tensor_name(tensor) not in outputs:
            raise BuildError(f"the net has an output {conversion.tensor_name(tensor)!r} that the recipe does not name")
        spec = TensorSpec(outputs[conversion.tensor_name(tensor)], tuple(conversion.shape(tensor)))
        conversion.builder.add("Identity", [conversion.name(tensor)], spec.name)
        specs.append(spec)
    return conversion.builder.model([source], specs, description)


def _options(operator: Operator, kind: type[Any]) -> Any:
    options = kind()
    options.Init(operator.options.Bytes, operator.options.Pos)
    return options


def _activated(conversion: Conversion, value: str, activation: int) -> str:
    """Append the activation that the source fuses into the operation before."""
    if activation == tflite.ActivationFunctionType.NONE:
        return value
    if activation == tflite.ActivationFunctionType.RELU:
        return conversion.builder.add("Relu", [value])
    raise BuildError(f"the net fuses activation number {activation}, which this converter does not cover")


def _dequantize(conversion: Conversion, operator: Operator) -> None:
    half = conversion.constant(operator.inputs[0])
    if half.dtype != np.float16:
        raise BuildError("the net has quantised weights other than float16")
    conversion.put_constant(operator.output, half.astype(np.float32))


def _convolution(conversion: Conversion, operator: Operator) -> None:
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    options = _options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
    filters = conversion.constant(
        operator.inputs[1]
    )  # (out, height, width, in), depthwise (1, height, width, channels)
    channels = conversion.shape(operator.inputs[0])[3]
    if depthwise and options.DepthMultiplier() != 1:
        raise BuildError(f"a depthwise convolution multiplies channels by {options.DepthMultiplier()}")
    weights = filters.transpose(3, 0, 1, 2) if depthwise else filters.transpose(0, 3, 1, 2)
    inputs = [conversion.name(operator.inputs[0]), conversion.builder.constant(weights, "filters")]
    inputs += [conversion.builder.constant(conversion.constant(bias), "bias") for bias in operator.inputs[2:]]
    result = conversion.builder.add(
        "Conv",
        inputs,
        kernel_shape=list(filters.shape[1:3]),
        strides=[options.StrideH(), options.StrideW()],
        dilations=[options.DilationHFactor(), options.DilationWFactor()],
        auto_pad=_PADDING[options.Padding()],
        group=channels if depthwise else 1,
    )
    conversion.put(operator.output, _activated(conversion, result, options.FusedActivationFunction()))


def _max_pool(conversion: Conversion, operator: Operator) -> None:
    options = _options(operator, tflite.Pool2DOptions)
    result = conversion.builder.add(
        "MaxPool",
        [conversion.name(operator.inputs[0])],
        kernel_shape=[options.FilterHeight(), options.FilterWidth()],
        strides=[options.StrideH(), options.StrideW()],
        auto_pad=_PADDING[options.Padding()],
    )
    conversion.put(operator.output, _activated(conversion, result, options.FusedActivationFunction()))


def _addition(conversion: Conversion, operator: Operator) -> None:
    result = conversion.builder.add("Add", [conversion.name(tensor) for tensor in operator.inputs])
    activation = _options(operator, tflite.AddOptions).FusedActivationFunction()
    conversion.put(operator.output, _activated(conversion, result, activation))


def _relu(conversion: Conversion, operator: Operator) -> None:
    conversion.put(operator.output, conversion.builder.add("Relu", [conversion.name(operator.inputs[0])]))


def _pad(conversion: Conversion, operator: Operator) -> None:
    before, after = conversion.constant(operator.inputs[1]).astype(np.int64).T[:, TO_NCHW].tolist()
    inputs = [conversion.name(operator.inputs[0]), conversion.builder.integers([*before, *after])]
    conversion.put(operator.output, conversion.builder.add("Pad", inputs))


def _resize_bilinear(conversion: Conversion, operator: Operator) -> None:
    options = _options(operator, tflite.ResizeBilinearOptions)
    if options.AlignCorners() or not options.HalfPixelCenters():
        raise BuildError("a bilinear resize has other pixel centres than halves")
    batch, height, width, channels = conversion.shape(operator.output)
    sizes = conversion.builder.integers([batch, channels, height, width])
    result = conversion.builder.add(
        "Resize",
        [conversion.name(operator.inputs[0]), "", "", sizes],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    conversion.put(operator.output, result)


def _reshape(conversion: Conversion, operator: Operator) -> None:
    value, shape = conversion.name(operator.inputs[0]), conversion.shape(operator.output)
    if len(shape) == 4:
        raise BuildError("a reshape to rank 4 is not covered")
    if len(conversion.shape(operator.inputs[0])) == 4:
        value = conversion.builder.transposed(value, TO_NHWC)
    result = conversion.builder.add("Reshape", [value, conversion.builder.integers(shape)])
    conversion.put(operator.output, result)


def _concatenation(conversion: Conversion, operator: Operator) -> None:
    if len(conversion.shape(operator.output)) == 4:
        raise BuildError("a concatenation of rank 4 is not covered")
    axis = _options(operator, tflite.ConcatenationOptions).Axis()
    inputs = [conversion.name(tensor) for tensor in operator.inputs]
    conversion.put(operator.output, conversion.builder.add("Concat", inputs, axis=axis))


_LOWERINGS: dict[str, Lowering] = {
    "ADD": _addition,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEQUANTIZE": _dequantize,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RELU": _relu,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize_bilinear,
}
