"""patterns.py: what a transformer is made of, found in its graph: products with weights, attention, norms, curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .curves import Curve, find_curves
from .graph import Graph, read_attribute
from .norms import Norm, find_norms

if TYPE_CHECKING:
    import onnx

_SCALINGS = {"Mul", "Div"}


@dataclass(frozen=True, eq=False)
class Linear:
    """output = input @ weight + bias.

    Attributes:
        name: for reports.
        nodes: what computes it.
        input: name of the tensor (..., K).
        output: name of the tensor (..., N).
        weight: (K, N) float32.
        bias: (N,) float32, or None.
    """

    name: str
    nodes: tuple[onnx.NodeProto, ...]
    input: str
    output: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Softmax:
    """A softmax over the last axis."""

    node: onnx.NodeProto
    input: str
    output: str


@dataclass(frozen=True)
class Mix:
    """output = map @ value, the map being that of an attention.

    Attributes:
        value: name of (..., S, D).
        output: name of (..., T, D).
    """

    value: str
    output: str


@dataclass(frozen=True, eq=False)
class Attention:
    """output = softmax(scale * left @ right + mask) @ value, for one value or, where layers share the map, several.

    Attributes:
        nodes: what computes it, that of the scores first.
        left: name of (..., T, D), the queries.
        right: name of (..., D, S), the keys.
        scale: a constant factor of the scores.
        mask: name of what is added to the scaled scores, or None.
        softmax: its node.
        mixes: what the map is multiplied with.
    """

    nodes: tuple[onnx.NodeProto, ...]
    left: str
    right: str
    scale: float
    mask: str | None
    softmax: Softmax
    mixes: tuple[Mix, ...]


@dataclass(frozen=True, eq=False)
class Patterns:
    """All that was found in a graph, each in the order of the graph.

    Attributes:
        products: MatMul nodes of two activations, those of attentions among them.
        others: how many nodes of which operators are left alone: (operator, count), the most frequent first.
    """

    linears: tuple[Linear, ...]
    products: tuple[onnx.NodeProto, ...]
    norms: tuple[Norm, ...]
    curves: tuple[Curve, ...]
    softmaxes: tuple[Softmax, ...]
    attentions: tuple[Attention, ...]
    others: tuple[tuple[str, int], ...]


def find_patterns(graph: Graph) -> Patterns:
    """Find everything that can be rewritten."""
    norms, curves = find_norms(graph), find_curves(graph)
    linears = tuple(linear for node in graph.nodes if (linear := _match_linear(graph, node)) is not None)
    softmaxes = tuple(softmax for node in graph.nodes if (softmax := _match_softmax(graph, node)) is not None)
    attentions = tuple(
        found for softmax in softmaxes if (found := _match_attention(graph, softmax)) is not None
    )
    products = tuple(
        node
        for node in graph.nodes
        if node.op_type == "MatMul" and all(graph.constant(name) is None for name in node.input)
    )
    matched: tuple[Linear | Norm | Curve | Attention, ...] = (*linears, *norms, *curves, *attentions)
    taken = [node for found in matched for node in found.nodes]
    taken += [*products, *(softmax.node for softmax in softmaxes)]
    return Patterns(linears, products, norms, curves, softmaxes, attentions, _count_others(graph, taken))


def _match_linear(graph: Graph, node: onnx.NodeProto) -> Linear | None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or 0 in weight.shape:
        return None
    if graph.constant(node.input[0]) is not None:
        return None
    name = node.name or node.output[0]
    if node.op_type == "MatMul":
        return _take_bias(graph, Linear(name, (node,), node.input[0], node.output[0], weight, None))
    return _match_gemm(graph, node, weight, name)


def _match_gemm(graph: Graph, node: onnx.NodeProto, weight: NDArray[Any], name: str) -> Linear | None:
    if read_attribute(node, "transA", 0):
        return None
    weight = weight.T if read_attribute(node, "transB", 0) else weight
    weight = np.ascontiguousarray(weight * np.float32(read_attribute(node, "alpha", 1.0)))
    bias = None
    if len(node.input) > 2 and node.input[2]:
        value = graph.constant(node.input[2])
        if value is None or not _fits_columns(value, weight.shape[1]):
            return None
        bias = np.broadcast_to(value.ravel(), (weight.shape[1],)) * np.float32(
            read_attribute(node, "beta", 1.0)
        )
    return Linear(name, (node,), node.input[0], node.output[0], weight, bias)


def _take_bias(graph: Graph, linear: Linear) -> Linear:
    """Return the product with the Add behind it, where that adds one constant to each column."""
    users = graph.consumers(linear.output)
    if len(users) != 1 or users[0].op_type != "Add" or linear.output in graph.outputs:
        return linear
    others = [name for name in users[0].input if name != linear.output]
    value = graph.constant(others[0]) if len(others) == 1 else None
    if value is None or value.dtype != np.float32 or not _fits_columns(value, linear.weight.shape[1]):
        return linear
    bias = np.broadcast_to(value.ravel(), (linear.weight.shape[1],))
    nodes = (*linear.nodes, users[0])
    return Linear(linear.name, nodes, linear.input, users[0].output[0], linear.weight, bias)


def _fits_columns(value: NDArray[Any], columns: int) -> bool:
    """Tell whether a constant has the shape (1, ..., N) or is a single number."""
    return value.size == 1 or (value.size == columns and value.shape[-1] == columns)


def _match_softmax(graph: Graph, node: onnx.NodeProto) -> Softmax | None:
    if node.op_type != "Softmax" or node.domain not in ("", "ai.onnx"):
        return None
    axis = read_attribute(node, "axis", -1 if graph.opset >= 13 else 1)
    shape = graph.shape(node.input[0]) or graph.shape(node.output[0])
    if axis != -1 and (shape is None or axis != len(shape) - 1):
        return None
    return Softmax(node, node.input[0], node.output[0])


def _match_attention(graph: Graph, softmax: Softmax) -> Attention | None:
    users = graph.consumers(softmax.output)
    if not users or softmax.output in graph.outputs:
        return None
    for user in users:
        if user.op_type != "MatMul" or user.input[0] != softmax.output or user.input[1] == softmax.output:
            return None
        if graph.constant(user.input[1]) is not None:
            return None
    tensor, mask, scale = softmax.input, None, 1.0
    nodes = [softmax.node, *users]
    while (node := graph.producer(tensor)) is not None and graph.is_inner(tensor, nodes):
        if node.op_type == "MatMul":
            if any(graph.constant(name) is not None for name in node.input):
                return None
            mixes = tuple(Mix(user.input[1], user.output[0]) for user in users)
            return Attention((node, *nodes), node.input[0], node.input[1], scale, mask, softmax, mixes)
        step = _step_back(graph, node, can_be_masked=mask is None and scale == 1.0)
        if step is None:
            return None
        tensor, factor, added = step
        scale, mask = scale * factor, added or mask
        nodes.append(node)
    return None


def _step_back(
    graph: Graph, node: onnx.NodeProto, *, can_be_masked: bool
) -> tuple[str, float, str | None] | None:
    """Return what a scaling or a mask is applied to, its factor and the mask; None for anything else.

    Going backwards, the mask has to come before the factor: it is added to scores that are scaled.
    """
    if node.op_type in _SCALINGS:
        factors = [graph.scalar(name) for name in node.input]
        if factors[1] is not None:
            return node.input[0], factors[1] if node.op_type == "Mul" else 1.0 / factors[1], None
        if factors[0] is not None and node.op_type == "Mul":
            return node.input[1], factors[0], None
        return None
    if node.op_type != "Add" or not can_be_masked:
        return None
    sources = [_leads_to_product(graph, name) for name in node.input]
    if sources == [True, False]:
        return node.input[0], 1.0, node.input[1]
    return (node.input[1], 1.0, node.input[0]) if sources == [False, True] else None


def _leads_to_product(graph: Graph, tensor: str) -> bool:
    """Tell whether a tensor is a product of activations, or one that was scaled by a constant."""
    node = graph.producer(tensor)
    while node is not None and node.op_type in _SCALINGS:
        rest = [name for name in node.input if graph.scalar(name) is None]
        node = graph.producer(rest[0]) if len(rest) == 1 else None
    return node is not None and node.op_type == "MatMul"


def _count_others(graph: Graph, taken: list[onnx.NodeProto]) -> tuple[tuple[str, int], ...]:
    known = {id(node) for node in taken}
    names = [
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in graph.nodes
        if id(node) not in known
    ]
    return tuple(
        sorted(((name, names.count(name)) for name in set(names)), key=lambda pair: (-pair[1], pair[0]))
    )
