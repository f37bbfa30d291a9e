"""Builds dlib's face recognition net (ResNet-29, 128-d) as ONNX from the 8-bit weights that face-api publishes.

Filters stay 8-bit in the file: a Cast, a Sub and a Mul turn them into float32 once, when onnxruntime folds constants at
loading. The scale and shift that follow each convolution are folded into it. The input is divided by 256, as dlib does
it; face-api.js divides by 255.

Source: dlib, dnn_face_recognition_ex.cpp and input_rgb_image_sized; face-api.js, src/faceRecognitionNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import GraphBuilder, TensorSpec
from utils.build_pack.tfjs_weights import StoredWeight, floats, read_weights

INPUT_SIZE_PX = 150
EMBEDDING_SIZE = 128
MEAN_RGB = (122.782, 117.001, 104.298)  # dlib input_rgb_image: average of the training faces
DIVISOR = 256  # dlib input_rgb_image::to_tensor
# In the order of computation; a name with `down` halves the size, the next ones keep it.
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
_FILTERS_TO_ONNX = (3, 2, 0, 1)  # (height, width, in, out) to (out, in, height, width)


@dataclass(frozen=True)
class FeatureMap:
    """A computed value: its ONNX name, channels, and edge length in pixels."""

    name: str
    channels: int
    size_px: int


def convert(manifest: Sequence[Mapping[str, Any]], data: bytes, description: str) -> onnx.ModelProto:
    """Build the net.

    Args:
        manifest: the parsed weights manifest.
        data: its weight file.
        description: goes into the file.

    Returns:
        The net: `input` (N, 3, 150, 150) float32 RGB in [0, 255] to `embedding` (N, 128).

    Raises:
        BuildError: if a weight is missing or does not fit the net.
    """
    weights = read_weights(manifest[0]["weights"], data)
    builder = GraphBuilder("dlib_face_recognition")
    mean = builder.constant(np.array(MEAN_RGB, np.float32).reshape(1, 3, 1, 1), "mean")
    face = FeatureMap(builder.add("Sub", ["input", mean]), 3, INPUT_SIZE_PX)
    features = _relu(builder, _convolution(builder, weights, face, "conv32_down", stride=2, divisor=DIVISOR))
    pooled = builder.add("MaxPool", [features.name], kernel_shape=[3, 3], strides=[2, 2])
    features = FeatureMap(pooled, features.channels, (features.size_px - 3) // 2 + 1)
    for block in BLOCKS:
        features = (_halving_block if "down" in block else _block)(builder, weights, features, block)
    average = builder.add("ReduceMean", [features.name], axes=[2, 3], keepdims=0)
    last = _stored_filters(builder, _weight(weights, "fc"), "fc", np.ones((1, 1), np.float32), (0, 1))
    builder.add("MatMul", [average, last], "embedding")
    return builder.model(
        [TensorSpec("input", ("N", 3, INPUT_SIZE_PX, INPUT_SIZE_PX))],
        [TensorSpec("embedding", ("N", EMBEDDING_SIZE))],
        description,
    )


def _block(builder: GraphBuilder, weights: Mapping[str, StoredWeight], features: FeatureMap, name: str) -> FeatureMap:
    inner = _relu(builder, _convolution(builder, weights, features, f"{name}/conv1", padding=1))
    inner = _convolution(builder, weights, inner, f"{name}/conv2", padding=1)
    return _relu(builder, _sum(builder, features, inner))


def _halving_block(
    builder: GraphBuilder, weights: Mapping[str, StoredWeight], features: FeatureMap, name: str
) -> FeatureMap:
    """Residual block whose shortcut is a 2 x 2 average; the smaller term is filled with zeros, as by add_prev of dlib.

    In each of the four blocks the shortcut has fewer channels and the inner part is as large or smaller.
    """
    inner = _relu(builder, _convolution(builder, weights, features, f"{name}/conv1", stride=2))
    inner = _convolution(builder, weights, inner, f"{name}/conv2", padding=1)
    average = builder.add("AveragePool", [features.name], kernel_shape=[2, 2], strides=[2, 2])
    shortcut = FeatureMap(average, features.channels, features.size_px // 2)
    channels = max(inner.channels, shortcut.channels)
    size_px = max(inner.size_px, shortcut.size_px)
    grown = [_grown(builder, value, channels, size_px) for value in (shortcut, inner)]
    return _relu(builder, _sum(builder, *grown))


def _grown(builder: GraphBuilder, features: FeatureMap, channels: int, size_px: int) -> FeatureMap:
    """Append zeros behind the last channel, right and below."""
    if (features.channels, features.size_px) == (channels, size_px):
        return features
    more_px = size_px - features.size_px
    pads = builder.integers([0, 0, 0, 0, 0, channels - features.channels, more_px, more_px])
    return FeatureMap(builder.add("Pad", [features.name, pads]), channels, size_px)


def _sum(builder: GraphBuilder, left: FeatureMap, right: FeatureMap) -> FeatureMap:
    return FeatureMap(builder.add("Add", [left.name, right.name]), left.channels, left.size_px)


def _relu(builder: GraphBuilder, features: FeatureMap) -> FeatureMap:
    return FeatureMap(builder.add("Relu", [features.name]), features.channels, features.size_px)


def _convolution(
    builder: GraphBuilder,
    weights: Mapping[str, StoredWeight],
    features: FeatureMap,
    name: str,
    *,
    stride: int = 1,
    padding: int = 0,
    divisor: int = 1,
) -> FeatureMap:
    """Convolution, scale and shift in one; `divisor` divides the input."""
    filters = _weight(weights, f"{name}/conv/filters")
    edge, _, channels_in, channels = filters.raw.shape
    if channels_in != features.channels:
        raise BuildError(f"{name} takes {channels_in} channels where the net has {features.channels}")
    scale = floats(_weight(weights, f"{name}/scale/weights"))
    shift = floats(_weight(weights, f"{name}/scale/biases"))
    bias = floats(_weight(weights, f"{name}/conv/bias")) * scale + shift
    factor = (scale / np.float32(divisor)).reshape(-1, 1, 1, 1)
    result = builder.add(
        "Conv",
        [
            features.name,
            _stored_filters(builder, filters, name, factor, _FILTERS_TO_ONNX),
            builder.constant(bias, f"{name}/bias"),
        ],
        kernel_shape=[edge, edge],
        strides=[stride, stride],
        pads=[padding] * 4,
    )
    return FeatureMap(result, channels, (features.size_px + 2 * padding - edge) // stride + 1)


def _stored_filters(
    builder: GraphBuilder, weight: StoredWeight, name: str, factor: NDArray[np.float32], order: tuple[int, ...]
) -> str:
    """ONNX name of `weight` times `factor`, its axes in `order`, with the numbers as they were published."""
    if weight.raw.dtype != np.uint8:
        return builder.constant(floats(weight).transpose(order) * factor, name)
    zero = weight.zero_point
    if zero is None:
        raise BuildError(f"the 8-bit weights of {name} have no exact zero")
    stored = builder.constant(weight.raw.transpose(order), name)
    centred = builder.add(
        "Sub",
        [builder.add("Cast", [stored], to=TensorProto.FLOAT), builder.constant(np.array(zero, np.float32), "zero")],
    )
    return builder.add("Mul", [centred, builder.constant(factor * np.float32(weight.scale), f"{name}/factor")])


def _weight(weights: Mapping[str, StoredWeight], name: str) -> StoredWeight:
    if name not in weights:
        raise BuildError(f"the weight file has no {name!r}")
    return weights[name]
