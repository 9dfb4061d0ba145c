"""integers.py: the nodes between numbers and integers: quantise, dequantise, and products of integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .graph import MICROSOFT, Graph


@dataclass(frozen=True)
class Bytes:
    """A tensor of bytes in the graph: number = scale * (byte - zero).

    Attributes:
        name: of the tensor.
        scale: > 0.
        zero: 0..255 of uint8; 0 of int8.
    """

    name: str
    scale: float
    zero: int


def quantise_unsigned(graph: Graph, tensor: str, low: float, high: float) -> Bytes:
    """Round a float tensor to uint8 with low..high, which hold 0, over its 256 levels."""
    scale = float(np.float32((high - low) / 255.0))
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    inputs = [tensor, store_scale(graph, tensor, scale), graph.add_constant(f"{tensor}_zero", np.uint8(zero))]
    return Bytes(graph.add("QuantizeLinear", inputs, f"{tensor}_u8"), scale, zero)


def quantise_signed(graph: Graph, tensor: str, reach: float) -> Bytes:
    """Round a float tensor to int8, -reach..reach over -127..127."""
    scale = float(np.float32(reach / 127.0))
    inputs = [tensor, store_scale(graph, tensor, scale), graph.add_constant(f"{tensor}_zero", np.int8(0))]
    return Bytes(graph.add("QuantizeLinear", inputs, f"{tensor}_s8"), scale, 0)


def quantise_wide(graph: Graph, tensor: str, scale: float, reach: int) -> str:
    """Round a float tensor to int32, saturated to -reach..reach, reach < 2^24."""
    factor = graph.add_constant(f"{tensor}_factor", np.float32(1.0 / scale))
    ends = [graph.add_constant(f"{tensor}_end", np.float32(end)) for end in (-reach, reach)]
    scaled = graph.add("Mul", [tensor, factor], f"{tensor}_scaled")
    clipped = graph.add("Clip", [scaled, *ends], f"{tensor}_clipped")
    rounded = graph.add("Round", [clipped], f"{tensor}_rounded")
    return graph.add("Cast", [rounded], f"{tensor}_i32", to=6)  # TensorProto.INT32


def dequantise(graph: Graph, tensor: str, scale: NDArray[np.float32] | float, output: str) -> str:
    """Turn integers into floats: scale * integer, one scale or one for each column."""
    floats = graph.add("Cast", [tensor], f"{tensor}_float", to=1)  # TensorProto.FLOAT
    factor = graph.add_constant(f"{tensor}_scale", np.asarray(scale, np.float32))
    return graph.add("Mul", [floats, factor], output)


def multiply(graph: Graph, left: Bytes, right: Bytes, output: str) -> str:
    """Multiply uint8 (..., T, D) by int8 (..., D, S): int32 with the scale left.scale * right.scale."""
    zero = graph.add_constant(f"{left.name}_zero", np.uint8(left.zero))
    return graph.add("MatMulInteger", [left.name, right.name, zero], output)


def multiply_to_float(
    graph: Graph,
    left: Bytes,
    right: str,
    scale: NDArray[np.float32] | float,
    bias: NDArray[np.float32] | None,
    output: str,
) -> str:
    """Multiply uint8 by int8 and scale the sums: onnxruntime's fused kernel, one pass over the output.

    Args:
        left: (..., T, D).
        right: int8 (..., D, S).
        scale: of `right`, one or (S,).
        bias: (S,), or None.
    """
    inputs = [
        left.name,
        right,
        store_scale(graph, left.name, left.scale),
        graph.add_constant(f"{right}_scale", np.asarray(scale, np.float32)),
        graph.add_constant(f"{left.name}_zero", np.uint8(left.zero)),
        graph.add_constant(f"{right}_zero", np.zeros(np.shape(scale), np.int8)),
    ]
    if bias is not None:
        inputs.append(graph.add_constant(f"{output}_bias", bias))
    return graph.add("MatMulIntegerToFloat", inputs, output, domain=MICROSOFT)


def store_scale(graph: Graph, tensor: str, scale: float) -> str:
    """Store a scale; return its name."""
    return graph.add_constant(f"{tensor}_scale", np.float32(scale))
