"""linear.py: products with weights become products of integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..quant import ActivationFormat, QuantisedTensor, Scheme, quantise_matrix
from .calibrate import Calibration, RangeMethod, Seen, find_range
from .graph import Graph
from .integers import Bytes, multiply_to_float, quantise_unsigned
from .patterns import Linear

SMALLEST = 1024  # weights of a matrix below which integers do not pay


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


def group_by_input(linears: tuple[Linear, ...]) -> list[tuple[Linear, ...]]:
    """Return those together that take the same tensor, such as queries, keys and values."""
    groups: dict[str, list[Linear]] = {}
    for linear in linears:
        groups.setdefault(linear.input, []).append(linear)
    return [tuple(group) for group in groups.values()]


def is_worthwhile(linear: Linear) -> bool:
    """Tell whether a matrix is large enough for integers to pay."""
    return linear.weight.size >= SMALLEST


def rewrite_linears(
    graph: Graph, group: tuple[Linear, ...], calibration: Calibration, scheme: Scheme, method: RangeMethod
) -> Iterator[LinearResult]:
    """Rewrite products that take the same tensor: they share its quantisation.

    Activations become uint8 with one range for all, found on calibration data; weights become int8, exact images
    of whatever format the scheme has, with one scale per column.
    """
    seen = calibration.find(group[0].input)
    shared = ActivationFormat(scheme.activations.bits, "tensor")
    stacked = np.concatenate([linear.weight.T for linear in group])
    matrix = quantise_matrix(stacked, seen.rows, _with_activations(scheme, shared))
    left = _quantise_input(graph, group[0].input, seen, matrix.channel_scale, method)
    start = 0
    for linear in group:
        stop = start + linear.weight.shape[1]
        tensor = matrix.take_rows(start, stop)
        _replace(graph, linear, left, tensor)
        yield LinearResult(linear.name, "uint8 x int8", _measure_size(tensor), matrix.relative_error)
        start = stop


def _with_activations(scheme: Scheme, activations: ActivationFormat) -> Scheme:
    from dataclasses import replace

    return replace(scheme, activations=activations)


def _quantise_input(
    graph: Graph, tensor: str, seen: Seen, channel_scale: NDArray[np.float64], method: RangeMethod
) -> Bytes:
    """Divide by the channel scale, where there is one, and round to uint8."""
    if (channel_scale == 1.0).all():
        return quantise_unsigned(graph, tensor, *find_range(seen, method))
    inverse = (1.0 / channel_scale).astype(np.float32)
    rows = seen.rows * inverse
    flat = rows.ravel()
    scaled = Seen(min(float(flat.min()), 0.0), max(float(flat.max()), 0.0), flat, rows)
    moved = graph.add("Mul", [tensor, graph.add_constant(f"{tensor}_inverse", inverse)], f"{tensor}_even")
    return quantise_unsigned(graph, moved, *find_range(scaled, method))


def _replace(graph: Graph, linear: Linear, left: Bytes, tensor: QuantisedTensor) -> None:
    image = tensor.integers()
    values = np.ascontiguousarray(image.values[0].T).astype(np.int8)  # (K, N)
    scale = image.scale[0, :, 0].astype(np.float32)
    graph.remove(linear.nodes)
    right = graph.add_constant(f"{linear.output}_weight", values)
    multiply_to_float(graph, left, right, scale, linear.bias, linear.output)


def _measure_size(tensor: QuantisedTensor) -> int:
    return int(tensor.integers().values.size) + 4 * len(tensor.codes)
