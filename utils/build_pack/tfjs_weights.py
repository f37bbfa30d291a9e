"""Reads the weights of a TensorFlow.js model: a list of specifications and one binary file.

Only what the two nets use: float32, int32, and float32 quantised to float16 or uint8.

Source: the format of @tensorflow/tfjs-core 4.22, io/io_utils.ts decodeWeights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import Array

_PLAIN_TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
_QUANTISED_TYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "uint8": np.dtype("u1")}


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """One tensor as it lies in the file.

    Attributes:
        raw: the stored numbers.
        scale, minimum: value = raw * scale + minimum; (1, 0) unless the tensor is quantised to integers.
    """

    raw: Array
    scale: float
    minimum: float

    @property
    def values(self) -> Array:
        """The tensor as the runtime sees it: float32 for floats of any storage, otherwise int32."""
        if self.raw.dtype == np.uint8:
            return (self.raw.astype(np.float32) * self.scale + self.minimum).astype(np.float32)
        return self.raw.astype(np.float32) if self.raw.dtype == np.float16 else self.raw

    @property
    def zero_point(self) -> int | None:
        """The stored integer that means 0.0; None if there is none, or the storage is not 8-bit."""
        if self.raw.dtype != np.uint8:
            return None
        exact = -self.minimum / self.scale
        nearest = round(exact)
        return nearest if abs(exact - nearest) < 1e-6 and 0 <= nearest <= 255 else None


def read_weights(specifications: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, StoredWeight]:
    """Cut the binary file into named tensors.

    Args:
        specifications: `weights` of the manifest, in the order of the file.
        data: the file.

    Raises:
        BuildError: if a type is unknown, or the sizes do not add up to the file's.
    """
    weights = dict(_walk(specifications, data))
    expected = sum(weight.raw.nbytes for weight in weights.values())
    if expected != len(data):
        raise BuildError(f"the weight file has {len(data)} bytes where its manifest describes {expected}")
    return weights


def floats(weight: StoredWeight) -> NDArray[np.float32]:
    """The values of a float tensor.

    Raises:
        BuildError: if it holds integers.
    """
    values = weight.values
    if values.dtype != np.float32:
        raise BuildError(f"expected a float32 tensor and found {values.dtype}")
    return values.astype(np.float32, copy=False)


def _walk(specifications: Sequence[Mapping[str, Any]], data: bytes) -> Iterator[tuple[str, StoredWeight]]:
    offset = 0
    for specification in specifications:
        name, shape = specification["name"], tuple(specification["shape"])
        quantisation = specification.get("quantization") or {}
        dtype = _stored_type(name, specification["dtype"], quantisation.get("dtype"))
        count = int(np.prod(shape, dtype=np.int64))
        if offset + count * dtype.itemsize > len(data):
            raise BuildError(f"the weight file ends within {name!r}")
        raw = np.frombuffer(data, dtype, count, offset).reshape(shape)
        offset += raw.nbytes
        yield name, StoredWeight(raw, float(quantisation.get("scale", 1.0)), float(quantisation.get("min", 0.0)))


def _stored_type(name: str, dtype: str, quantised: str | None) -> np.dtype[Any]:
    known = _PLAIN_TYPES.get(dtype) if quantised is None else _QUANTISED_TYPES.get(quantised)
    if known is None or (quantised is not None and dtype != "float32"):
        raise BuildError(f"weight {name!r} has the unknown storage {quantised or dtype!r}")
    return known
