"""curves.py: functions of one number in a graph, such as GELU, recognised by their values and not by their spelling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .graph import Graph, read_attribute

if TYPE_CHECKING:
    import onnx

CurveKind = Literal["gelu", "gelu_tanh", "silu", "sigmoid", "tanh"]
Values = NDArray[np.float64]
_GRID = np.linspace(-8.0, 8.0, 401)
_TOLERANCE = 2e-6  # between two spellings, whose constants exporters round to float32
_DEEPEST = 8  # operators that a spelling puts in front of its Erf, Tanh or Sigmoid
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Values) -> Values:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # no overflow


def _gelu(x: Values) -> Values:
    return np.asarray(0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))))


def _gelu_tanh(x: Values) -> Values:
    return np.asarray(0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))))


FUNCTIONS: dict[CurveKind, Callable[[Values], Values]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}
_UNARY: dict[str, Callable[[Values], Values]] = {
    "Erf": _erf,
    "Tanh": np.tanh,
    "Sigmoid": _sigmoid,
    "Gelu": _gelu,
    "FastGelu": _gelu_tanh,
    "QuickGelu": lambda x: x * _sigmoid(1.702 * x),
    "Swish": FUNCTIONS["silu"],
    "Neg": np.negative,
}
_BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
}
_SEEDS = {"Erf", "Tanh", "Sigmoid", "Gelu", "FastGelu", "Swish"}


@dataclass(frozen=True, eq=False)
class Curve:
    """output = function(input), element by element.

    Attributes:
        kind: which of `FUNCTIONS`.
        nodes: what computes it.
        input, output: names of tensors of one shape.
    """

    kind: CurveKind
    nodes: tuple[onnx.NodeProto, ...]
    input: str
    output: str


def find_curves(graph: Graph) -> tuple[Curve, ...]:
    """Find every GELU, SiLU, sigmoid and tanh, in whatever operators it is written."""
    found: list[Curve] = []
    taken: set[int] = set()
    for node in graph.nodes:
        if node.op_type in _SEEDS and id(node) not in taken:
            curve = _match(graph, node)
            if curve is not None and not taken & {id(part) for part in curve.nodes}:
                found.append(curve)
                taken |= {id(part) for part in curve.nodes}
    return tuple(found)


def _match(graph: Graph, seed: onnx.NodeProto) -> Curve | None:
    """Try each tensor from which the seed may be computed as the variable; the longest spelling wins."""
    best: Curve | None = None
    for source in _ancestors(graph, seed):
        curve = _match_from(graph, source, seed)
        if curve is not None and (best is None or len(curve.nodes) > len(best.nodes)):
            best = curve
    return best


def _ancestors(graph: Graph, seed: onnx.NodeProto) -> list[str]:
    found, front = [seed.input[0]], [seed.input[0]]
    for _ in range(_DEEPEST):
        nodes = [
            node for name in front if (node := graph.producer(name)) is not None and _is_plain(graph, node)
        ]
        front = [name for node in nodes for name in node.input if graph.constant(name) is None]
        found += [name for name in front if name not in found]
    return found


def _match_from(graph: Graph, source: str, seed: onnx.NodeProto) -> Curve | None:
    values: dict[str, Values] = {source: _GRID}
    region: list[onnx.NodeProto] = []
    best: Curve | None = None
    for node in _follow(graph, source):
        value = _evaluate(graph, node, values)
        if value is None:
            continue
        values[node.output[0]] = value
        region.append(node)
        kind = _recognise(value)
        nodes = _between(graph, node, source)
        if kind is None or not any(part is seed for part in nodes):
            continue
        inner = (part.output[0] for part in nodes if part is not node)
        if all(graph.is_inner(name, nodes) for name in inner):
            best = Curve(kind, tuple(nodes), source, node.output[0])
    return best


def _follow(graph: Graph, source: str) -> list[onnx.NodeProto]:
    """Return plain nodes that depend on a tensor and are near it, in the order of the graph."""
    reached, found = {source}, set()
    front = [source]
    for _ in range(_DEEPEST):
        nodes = [node for name in front for node in graph.consumers(name) if _is_plain(graph, node)]
        found |= {id(node) for node in nodes}
        front = [node.output[0] for node in nodes if node.output[0] not in reached]
        reached |= set(front)
    return [node for node in graph.nodes if id(node) in found]


def _between(graph: Graph, last: onnx.NodeProto, source: str) -> list[onnx.NodeProto]:
    """Return the nodes that compute `last` from a tensor."""
    found: list[onnx.NodeProto] = []
    wanted = [last]
    while wanted:
        node = wanted.pop()
        if any(node is part for part in found):
            continue
        found.append(node)
        names = [name for name in node.input if name != source and graph.constant(name) is None]
        wanted += [part for name in names if (part := graph.producer(name)) is not None]
    return found


def _is_plain(graph: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether a node works element by element on variables and single constant numbers."""
    if node.op_type not in _UNARY and node.op_type not in _BINARY:
        return False
    constants = (name for name in node.input if graph.constant(name) is not None)
    return all(graph.scalar(name) is not None for name in constants)


def _evaluate(graph: Graph, node: onnx.NodeProto, values: dict[str, Values]) -> Values | None:
    """Return a node's values on the grid; None where it depends on something else."""
    inputs: list[Values] = []
    for name in node.input:
        constant = graph.scalar(name)
        if name not in values and constant is None:
            return None
        inputs.append(values[name] if name in values else np.float64(constant))  # type: ignore[arg-type]
    with np.errstate(all="ignore"):
        if node.op_type in _BINARY:
            return _BINARY[node.op_type](inputs[0], inputs[1])
        if node.op_type == "Gelu" and read_attribute(node, "approximate", "none") == "tanh":
            return _gelu_tanh(inputs[0])
        if node.op_type == "Swish" and read_attribute(node, "alpha", 1.0) != 1.0:
            return inputs[0] * _sigmoid(inputs[0] * read_attribute(node, "alpha"))
        return _UNARY[node.op_type](inputs[0]) if len(inputs) == 1 else None


def _recognise(values: Values) -> CurveKind | None:
    for kind, function in FUNCTIONS.items():
        if np.shape(values) == _GRID.shape and np.abs(values - function(_GRID)).max() < _TOLERANCE:
            return kind
    return None
