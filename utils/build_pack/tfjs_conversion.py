"""The state of one conversion of a TensorFlow.js graph: the ONNX name of each value in each layout."""

from __future__ import annotations

from collections.abc import Mapping

from utils.build_pack.errors import BuildError
from utils.build_pack.graph import TO_NCHW, TO_NHWC, Array, GraphBuilder, TensorSpec


class Conversion:
    """The state of one conversion: the source's constants, and the ONNX names of its values in either layout."""

    def __init__(self, builder: GraphBuilder, constants: Mapping[str, Array], source: TensorSpec) -> None:
        self.builder = builder
        self._source = source
        self._constants = constants
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._plain: dict[str, str] = {}
        self._nchw: dict[str, str] = {}

    def constant(self, value: str) -> Array:
        """The content of a constant.

        Raises:
            BuildError: if `value` is computed, where only constants can be converted.
        """
        if value not in self._constants:
            raise BuildError(f"{value!r} has to be a constant")
        return self._constants[value]

    def integers(self, value: str) -> list[int]:
        """The content of a constant of axes, sizes or positions."""
        return [int(number) for number in self.constant(value).reshape(-1).tolist()]

    def is_nchw(self, value: str) -> bool:
        """Whether `value` exists in NCHW."""
        return value in self._nchw

    def plain(self, value: str) -> str:
        """ONNX name of `value` in the layout of the source."""
        if value not in self._plain:
            if value in self._constants:
                self._plain[value] = self.builder.constant(self._constants[value])
            else:
                self._plain[value] = self.builder.transposed(self._nchw[value], TO_NHWC)
        return self._plain[value]

    def nchw(self, value: str) -> str:
        """ONNX name of the rank-4 `value` in NCHW; a constant of channels broadcasts over height and width."""
        if value not in self._nchw:
            if value in self._constants:
                self._nchw[value] = self.builder.constant(channels_first(self._constants[value]))
            else:
                self._nchw[value] = self.builder.transposed(self._plain[value], TO_NCHW)
        return self._nchw[value]

    def shape_of(self, value: str) -> tuple[int, ...]:
        """Shape of `value` in the layout of the source."""
        if value not in self._shapes:
            self._shapes[value] = self.builder.shape_of(self.plain(value), [self._source])
        return self._shapes[value]

    def put_plain(self, value: str, name: str) -> None:
        """Record that `value` was computed in the layout of the source."""
        self._plain[value] = name

    def put_nchw(self, value: str, name: str) -> None:
        """Record that `value` was computed in NCHW."""
        self._nchw[value] = name


def channels_first(values: Array) -> Array:
    """A constant so that it broadcasts against (N, C, H, W): (N, H, W, C), (1, 1, C) or (C,).

    Raises:
        BuildError: if it has another rank.
    """
    if values.ndim == 4:
        return values.transpose(TO_NCHW)
    if values.ndim == 3:  # the slopes of a PRelu, (1, 1, C)
        return values.transpose(2, 0, 1)[None]
    if values.ndim == 1:
        return values.reshape(1, -1, 1, 1)
    raise BuildError(f"a constant of shape {values.shape} has no channel axis")
