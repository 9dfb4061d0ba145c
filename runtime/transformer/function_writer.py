"""function_writer.py: writes the body of a model-local ONNX function, an operator a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .onnx_files import import_onnx

if TYPE_CHECKING:
    import onnx

DOMAIN = "colonnade"
VERSION = 1
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMax": 18}  # opset since which axes are no attribute any more


class FunctionWriter:
    """The body of one function; every method returns the name of a tensor.

    Args:
        name: of the function, in the domain "colonnade".
        inputs, outputs: of the function.
        opset: of ONNX's own operators.
    """

    def __init__(self, name: str, inputs: Sequence[str], outputs: Sequence[str], opset: int) -> None:
        self._onnx = import_onnx()
        self._name, self._inputs, self._outputs, self._opset = name, list(inputs), list(outputs), opset
        self._nodes: list[onnx.NodeProto] = []
        self._count = 0

    def constant(self, value: Any, dtype: Any) -> str:
        """Store a number or an array."""
        tensor = self._onnx.numpy_helper.from_array(np.array(value, dtype))
        return self.node("Constant", [], value=tensor)

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add an operator with one output."""
        self._count += 1
        name = output or f"t{self._count}"
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, tensor: str, dtype: Any, output: str | None = None) -> str:
        """Change the format of elements."""
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", [tensor], output, to=kind)

    def reduce(self, operator: str, tensor: str) -> str:
        """Add ReduceSum or ReduceMax over the last axis, which stays with length one."""
        if self._opset < _AXES_AS_INPUT[operator]:
            return self.node(operator, [tensor], axes=[-1], keepdims=1)
        return self.node(operator, [tensor, self.constant([-1], np.int64)], keepdims=1)

    def element(self, tensor: str, place: int) -> str:
        """Take one element of a vector, as a scalar."""
        return self.node("Gather", [tensor, self.constant(place, np.int64)], axis=0)

    def add_trailing_axis(self, tensor: str) -> str:
        """Return the tensor with one more axis of length one at its end."""
        shape = self.node("Shape", [tensor])
        return self.node(
            "Reshape", [tensor, self.node("Concat", [shape, self.constant([1], np.int64)], axis=0)]
        )

    def shift_right(self, tensor: str, shift: str, largest: int) -> str:
        """Shift int64 right, rounding down; |values| < 2^largest, shifts of int64 <= largest < 63.

        ONNX shifts unsigned numbers only, so the values are moved above 0 and back.
        """
        offset = self.constant(1 << largest, np.int64)
        moved = self.cast(self.node("Add", [tensor, offset]), np.uint64)
        bits = self.cast(shift, np.uint64)
        shifted = self.node("BitShift", [moved, bits], direction="RIGHT")
        back = self.node("BitShift", [self.constant(1 << largest, np.uint64), bits], direction="RIGHT")
        return self.node("Sub", [self.cast(shifted, np.int64), self.cast(back, np.int64)])

    def shift_left(self, tensor: str, shift: str) -> str:
        """Shift int64 >= 0 left by int64."""
        bits = [self.cast(name, np.uint64) for name in (tensor, shift)]
        return self.cast(self.node("BitShift", bits, direction="LEFT"), np.int64)

    def clip(self, tensor: str, low: str, high: str) -> str:
        """Return what lies between two scalars of the tensor's format."""
        return self.node("Min", [self.node("Max", [tensor, low]), high])

    def look_up(self, x: str, breakpoints: str, slopes: str, intercepts: str, limits: str) -> str:
        """Evaluate a table at int64 of any shape: compare and count, one multiply-add, shift, clip.

        Args:
            x: int64.
            breakpoints: (N-1,) int32; slopes: (N,) int32; intercepts: (N,) int64.
            limits: (5,) int64: shift, least and largest input, least and largest output.

        Returns:
            int64.
        """
        shift, first, last, low, high = (self.element(limits, place) for place in range(5))
        values = self.clip(x, first, last)
        above = self.node(
            "GreaterOrEqual", [self.add_trailing_axis(values), self.cast(breakpoints, np.int64)]
        )
        counted = self.reduce("ReduceSum", self.cast(above, np.int64))
        flat = self.constant([-1], np.int64)
        index = self.node("Reshape", [counted, flat])
        shape = self.node("Shape", [x])
        slope, intercept = (
            self.node("Reshape", [self.node("GatherElements", [table, index], axis=0), shape])
            for table in (self.cast(slopes, np.int64), intercepts)
        )
        sums = self.node("Add", [self.node("Mul", [values, slope]), intercept])
        # The sum may need all 64 bits, so there is no room for an offset: take off the remainder instead.
        power = self.shift_left(self.constant(1, np.int64), shift)
        rest = self.node("Mod", [sums, power])
        whole = self.node("Div", [self.node("Sub", [sums, rest]), power])
        return self.clip(whole, low, high)

    def count_bits(self, tensor: str, bits: int) -> str:
        """Return floor(log2) of int64 >= 1 whose last axis has length one; below 2^bits."""
        powers = self.constant([1 << bit for bit in range(1, bits)], np.int64)
        return self.reduce("ReduceSum", self.cast(self.node("GreaterOrEqual", [tensor, powers]), np.int64))

    def finish(self) -> onnx.FunctionProto:
        """Return the function."""
        opsets = [self._onnx.helper.make_opsetid("", self._opset)]
        function: onnx.FunctionProto = self._onnx.helper.make_function(
            DOMAIN, self._name, self._inputs, self._outputs, self._nodes, opsets
        )
        return function
