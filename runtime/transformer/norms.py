"""norms.py: layer norms and RMS norms in a graph, as one operator or as the several that exporters make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .graph import Graph, read_attribute

if TYPE_CHECKING:
    import onnx

NormKind = Literal["layer", "rms"]
_FUSED: dict[str, NormKind] = {
    "LayerNormalization": "layer",
    "RMSNormalization": "rms",
    "SimplifiedLayerNormalization": "rms",
}


@dataclass(frozen=True, eq=False)
class Norm:
    """output = gain * (x - mean) / sqrt(variance + epsilon) + bias over the last axis; "rms": without the mean.

    Attributes:
        nodes: what computes it.
        input: name of the tensor (..., n).
        output: name of the tensor (..., n).
        gain: (n,) float32, or (1,) where it is one number.
        bias: (n,) float32, or None.
        epsilon: added under the root.
    """

    kind: NormKind
    nodes: tuple[onnx.NodeProto, ...]
    input: str
    output: str
    gain: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    epsilon: float


def find_norms(graph: Graph) -> tuple[Norm, ...]:
    """Find every norm over the last axis whose gain and bias are constant."""
    found = (_match_fused(graph, node) or _match_parts(graph, node) for node in graph.nodes)
    return tuple(norm for norm in found if norm is not None)


def _match_fused(graph: Graph, node: onnx.NodeProto) -> Norm | None:
    kind = _FUSED.get(node.op_type)
    if kind is None or any(
        graph.consumers(name) or name in graph.outputs for name in node.output[1:] if name
    ):
        return None
    if not _is_last(graph, node.input[0], read_attribute(node, "axis", -1)):
        return None
    parameters = [graph.constant(name) for name in node.input[1:] if name]
    if any(value is None or value.ndim > 1 for value in parameters) or not parameters:
        return None
    arrays = [np.asarray(value, np.float32).reshape(-1) for value in parameters]
    epsilon = float(read_attribute(node, "epsilon", 1e-5))
    bias = arrays[1] if len(arrays) > 1 else None
    return Norm(kind, (node,), node.input[0], node.output[0], arrays[0], bias, epsilon)


def _match_parts(graph: Graph, node: onnx.NodeProto) -> Norm | None:
    """Match from the division by the root on: x / root, x * reciprocal(root), x * power(-1/2), x * (1 / root)."""
    split = _split_division(graph, node)
    if split is None:
        return None
    numerator, root, inverse_nodes = split
    spread = _match_spread(graph, root)
    if spread is None:
        return None
    squared, epsilon, nodes = spread
    nodes = [node, *inverse_nodes, *nodes]
    centred = _match_centred(graph, squared)
    kind: NormKind = "rms"
    source = squared
    if centred is not None:
        other = _match_centred(graph, numerator)
        if other is None or other[0] != centred[0]:
            return None
        kind, source = "layer", centred[0]
        nodes += [*centred[1], *other[1]]
    elif numerator != squared:
        return None
    return _take_parameters(graph, kind, source, epsilon, node, nodes)


def _split_division(graph: Graph, node: onnx.NodeProto) -> tuple[str, str, list[onnx.NodeProto]] | None:
    """Return the numerator, the tensor under whose root it is divided, and the nodes of the root."""
    if node.op_type == "Div":
        under = _match_root(graph, node.input[1], 0.5)
        return (node.input[0], *under) if under is not None and graph.scalar(node.input[0]) is None else None
    if node.op_type != "Mul":
        return None
    for left, right in (tuple(node.input), tuple(node.input)[::-1]):
        under = _match_inverse(graph, right)
        if under is not None:
            return (left, *under)
    return None


def _match_inverse(graph: Graph, tensor: str) -> tuple[str, list[onnx.NodeProto]] | None:
    node = graph.producer(tensor)
    if node is None:
        return None
    if node.op_type == "Reciprocal" or (node.op_type == "Div" and graph.scalar(node.input[0]) == 1.0):
        under = _match_root(graph, node.input[-1], 0.5)
        return (under[0], [node, *under[1]]) if under is not None else None
    return _match_root(graph, tensor, -0.5)


def _match_root(graph: Graph, tensor: str, power: float) -> tuple[str, list[onnx.NodeProto]] | None:
    node = graph.producer(tensor)
    if node is None:
        return None
    if node.op_type == "Sqrt" and power == 0.5:
        return node.input[0], [node]
    if node.op_type == "Pow" and graph.scalar(node.input[1]) == power:
        return node.input[0], [node]
    return None


def _match_spread(graph: Graph, tensor: str) -> tuple[str, float, list[onnx.NodeProto]] | None:
    """Match mean(t * t) + epsilon; return t, epsilon, the nodes."""
    add = graph.producer(tensor)
    if add is None or add.op_type != "Add":
        return None
    for left, right in (tuple(add.input), tuple(add.input)[::-1]):
        epsilon, mean = graph.scalar(right), graph.producer(left)
        if epsilon is None or mean is None or not _is_mean(graph, mean):
            continue
        square = graph.producer(mean.input[0])
        if square is None:
            continue
        if square.op_type == "Mul" and square.input[0] == square.input[1]:
            return square.input[0], epsilon, [add, mean, square]
        if square.op_type == "Pow" and graph.scalar(square.input[1]) == 2.0:
            return square.input[0], epsilon, [add, mean, square]
    return None


def _match_centred(graph: Graph, tensor: str) -> tuple[str, list[onnx.NodeProto]] | None:
    """Match x - mean(x); return x and the nodes."""
    sub = graph.producer(tensor)
    if sub is None or sub.op_type != "Sub":
        return None
    mean = graph.producer(sub.input[1])
    if mean is None or not _is_mean(graph, mean) or mean.input[0] != sub.input[0]:
        return None
    return sub.input[0], [sub, mean]


def _is_mean(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a node is the mean over the last axis, which stays with length one."""
    if node.op_type != "ReduceMean" or not read_attribute(node, "keepdims", 1):
        return False
    axes = read_attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        value = graph.constant(node.input[1])
        axes = None if value is None else value.ravel().tolist()
    return axes is not None and len(axes) == 1 and _is_last(graph, node.input[0], int(axes[0]))


def _is_last(graph: Graph, tensor: str, axis: int) -> bool:
    shape = graph.shape(tensor)
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def _take_parameters(
    graph: Graph, kind: NormKind, source: str, epsilon: float, last: onnx.NodeProto, nodes: list[Any]
) -> Norm | None:
    """Follow the gain and the bias; None where something else takes a tensor from the middle."""
    output, gain, bias = last.output[0], np.ones(1, np.float32), None
    step = _follow(graph, output, "Mul")
    if step is not None:
        node, gain = step
        output, nodes = node.output[0], [*nodes, node]
        step = _follow(graph, output, "Add")
        if step is not None:
            node, bias = step
            output, nodes = node.output[0], [*nodes, node]
    unique = list({id(node): node for node in nodes}.values())
    inner = (name for node in unique for name in node.output if name != output)
    if not all(graph.is_inner(name, unique) for name in inner):
        return None
    return Norm(kind, tuple(unique), source, output, gain, bias, epsilon)


def _follow(graph: Graph, tensor: str, operator: str) -> tuple[onnx.NodeProto, NDArray[np.float32]] | None:
    """Return the only user of a tensor, where it is such an operator with a constant per column, and the constant."""
    users = graph.consumers(tensor)
    if len(users) != 1 or users[0].op_type != operator or tensor in graph.outputs:
        return None
    others = [name for name in users[0].input if name != tensor]
    value = graph.constant(others[0]) if len(others) == 1 else None
    if value is None or value.ndim == 0 or value.size != value.shape[-1]:
        return None
    return users[0], np.asarray(value, np.float32).reshape(-1)
