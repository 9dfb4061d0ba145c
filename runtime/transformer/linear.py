"""linear.py: products with weights become products of integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..quant import ActivationFormat, QuantisedMatrix, QuantisedTensor, Scheme, quantise_matrix
from .blocks import LinearResult, fits_blocks, rewrite_blocks
from .calibrate import RangeMethod, Seen, find_range
from .graph import Graph
from .integers import Bytes, multiply_to_float, quantise_unsigned
from .packed_weights import add_weights
from .patterns import Linear

ROWS_PER_COLUMN = 4  # of calibration, below which errors of earlier layers are not made up for
DAMPING = 0.01
SMALLEST = 1024  # weights of a matrix below which integers do not pay


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
    graph: Graph, group: tuple[Linear, ...], exact: Seen, seen: Seen, scheme: Scheme, method: RangeMethod
) -> Iterator[LinearResult]:
    """Rewrite products that take the same tensor: they share its quantisation.

    Activations become uint8 with one range for all, found on calibration data; weights become int8, exact images
    of whatever format the scheme has, with one scale per column.

    Args:
        graph: to change.
        group: the products.
        exact: what their input is in the float graph.
        seen: what it is now, errors of what was rewritten before included; of the same samples.
        scheme: of the weights.
        method: of the activations' range.
    """
    stacked = _make_up(np.concatenate([linear.weight.T for linear in group]), exact, seen)
    as_run = replace(scheme, activations=ActivationFormat(scheme.activations.bits, "tensor"))
    matrix = quantise_matrix(stacked, seen.rows, as_run)
    if fits_blocks(scheme.weights):
        yield from rewrite_blocks(graph, group, matrix, scheme.weights)
        return
    left = _quantise_input(graph, group[0].input, seen, matrix.channel_scale, method)
    start = 0
    for linear in group:
        stop = start + linear.weight.shape[1]
        tensor = matrix.take_rows(start, stop)
        bias = linear.bias
        if scheme.rounding == "gptq":
            bias = _find_bias(linear, stacked[start:stop], matrix, tensor, seen, left)
        _replace(graph, linear, left, tensor, bias)
        yield LinearResult(linear.name, "uint8 x int8", tensor.nbytes, matrix.relative_error)
        start = stop


def _make_up(weight: NDArray[np.float32], exact: Seen, seen: Seen) -> NDArray[np.float64]:
    """Return weights (out, in) that give what the float graph gives, as nearly as rows with errors allow.

    Least squares of ||W X - W' X'||: W' = W + W (X - X') X'^T (X' X'^T + damping)^-1.
    """
    rows, wanted = seen.rows.astype(np.float64), exact.rows.astype(np.float64)
    if rows.shape != wanted.shape or len(rows) < ROWS_PER_COLUMN * rows.shape[1] or exact is seen:
        return weight.astype(np.float64)
    square = rows.T @ rows
    square[np.diag_indices_from(square)] += DAMPING * np.trace(square) / len(square)
    return weight + np.linalg.solve(square, rows.T @ (wanted - rows) @ weight.T.astype(np.float64)).T


def _quantise_input(
    graph: Graph, tensor: str, seen: Seen, channel_scale: NDArray[np.float64], method: RangeMethod
) -> Bytes:
    """Divide by the channel scale, where there is one, and round to uint8."""
    if (channel_scale == 1.0).all():
        return quantise_unsigned(graph, tensor, *find_range(seen, method))
    inverse = (1.0 / channel_scale).astype(np.float32)
    rows = seen.rows * inverse
    flat = rows.ravel()
    scaled = Seen(min(float(flat.min()), 0.0), max(float(flat.max()), 0.0), seen.width, flat, rows)
    moved = graph.add("Mul", [tensor, graph.add_constant(f"{tensor}_inverse", inverse)], f"{tensor}_even")
    return quantise_unsigned(graph, moved, *find_range(scaled, method))


def _find_bias(
    linear: Linear,
    wanted: NDArray[np.float64],
    matrix: QuantisedMatrix,
    tensor: QuantisedTensor,
    seen: Seen,
    left: Bytes,
) -> NDArray[np.float32]:
    """Return the bias that makes up for what rounding the weights does to the mean of the output.

    What clipping does to activations is left out: it befalls few positions, and the bias is added to all.
    """
    scaled = seen.rows.astype(np.float64) / matrix.channel_scale
    levels = np.clip(np.rint(scaled / left.scale) + left.zero, 0, 255) - left.zero
    drift = left.scale * levels.mean(axis=0) @ (wanted * matrix.channel_scale - tensor.decode()).T
    bias = np.zeros(len(wanted)) if linear.bias is None else linear.bias
    return np.asarray(bias + drift, np.float32)


def _replace(
    graph: Graph, linear: Linear, left: Bytes, tensor: QuantisedTensor, bias: NDArray[np.float32] | None
) -> None:
    image = tensor.integers()
    if len(image.values) != 1 or image.scale.shape[2] != 1:
        raise UsageError(
            "this format needs several integers or scales for one weight, and onnxruntime has no integer product for "
            "it; choose one scale per channel, such as w8a8, w4a8 or w4a8-dint4, or INT4 in groups, such as w4a8-g32"
        )
    scale = image.scale[0, :, 0].astype(np.float32)
    graph.remove(linear.nodes)
    right = add_weights(graph, tensor, f"{linear.output}_weight")
    multiply_to_float(graph, left, right, scale, bias, linear.output)
