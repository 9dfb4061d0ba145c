"""blocks.py: products with 4-bit weights in groups, by onnxruntime's block-wise kernel MatMulNBits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..quant import QuantisedMatrix, QuantisedTensor, UniformFormat, WeightFormat, pack_codes
from .graph import MICROSOFT, Graph
from .patterns import Linear

_SMALLEST_GROUP = 16
_BYTES_INSIDE = 4  # accuracy level: activations become int8, block by block, as they are read


@dataclass(frozen=True, eq=False)
class LinearResult:
    """What became of one product with weights.

    Attributes:
        name: of its node.
        form: what computes it now, such as "uint8 x int8".
        nbytes: of the weights as they are stored, scales with them.
        relative_error: mean squared error of its output on the calibration rows, over the output's energy.
    """

    name: str
    form: str
    nbytes: int
    relative_error: float


def fits_blocks(weights: WeightFormat) -> bool:
    """Tell whether a format is what the kernel takes: INT4 in groups of a power of two, 16 or more."""
    width = weights.group_size
    is_power = width >= _SMALLEST_GROUP and width & (width - 1) == 0
    numbers = weights.numbers
    return is_power and isinstance(numbers, UniformFormat) and numbers.bits == 4


def rewrite_blocks(
    graph: Graph, group: tuple[Linear, ...], matrix: QuantisedMatrix, weights: WeightFormat
) -> Iterator[LinearResult]:
    """Replace products that take the same tensor; codes, scales and zero-points are stored as they are."""
    source = group[0].input
    if not (matrix.channel_scale == 1.0).all():
        inverse = graph.add_constant(f"{source}_inverse", (1.0 / matrix.channel_scale).astype(np.float32))
        source = graph.add("Mul", [source, inverse], f"{source}_even")
    start = 0
    for linear in group:
        stop = start + linear.weight.shape[1]
        tensor = matrix.take_rows(start, stop)
        graph.remove(linear.nodes)
        _multiply(graph, source, linear, tensor, weights.group_size)
        yield LinearResult(linear.name, "int8 x int4 blocks", tensor.nbytes, matrix.relative_error)
        start = stop


def _multiply(graph: Graph, source: str, linear: Linear, tensor: QuantisedTensor, width: int) -> None:
    rows, columns = tensor.codes.shape
    output = linear.output
    groups = -(-columns // width)
    codes = np.pad(tensor.codes, ((0, 0), (0, groups * width - columns)))  # the last group may be short
    inputs = [
        source,
        graph.add_constant(f"{output}_codes", pack_codes(codes, 4).reshape(rows, groups, width // 2)),
        graph.add_constant(f"{output}_scales", tensor.integers().scale[0].astype(np.float32).ravel()),
        graph.add_constant(f"{output}_zeros", _pack_zeros(tensor).ravel()),
    ]
    product = graph.add(
        "MatMulNBits",
        inputs,
        f"{output}_unbiased" if linear.bias is not None else output,
        domain=MICROSOFT,
        K=columns,
        N=rows,
        bits=4,
        block_size=width,
        accuracy_level=_BYTES_INSIDE,
    )
    if linear.bias is not None:
        graph.add("Add", [product, graph.add_constant(f"{output}_bias", linear.bias)], output)


def _pack_zeros(tensor: QuantisedTensor) -> NDArray[np.uint8]:
    """Return the zero-points of each row, two in a byte: (rows, bytes) uint8."""
    return pack_codes(tensor.zeros().astype(np.uint8), 4)
