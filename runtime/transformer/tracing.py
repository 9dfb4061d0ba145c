"""tracing.py: the operations of a transformer in ONNX, float or quantised, as `colonnade.accel_model` costs them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..operations import OperandRecord, OperationKind, OperationRecord, OperationTrace
from .curves import Curve, CurveKind
from .function_writer import DOMAIN
from .graph import Graph, read_attribute
from .norms import Norm
from .onnx_files import import_onnx, read_model
from .patterns import Patterns, Softmax, find_patterns
from .session import Session, make_session
from .table_curves import recognise_table

if TYPE_CHECKING:
    import onnx

FLOAT_BITS = 32
_PRODUCTS = {"MatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits"}
_MERGES: dict[str, OperationKind] = {"Add": "add", "Mul": "multiply"}
# A sigmoid, or a tanh, which is one, costs a SiLU less its last multiplication.
_COSTED_AS: dict[CurveKind, OperationKind] = {
    "gelu": "gelu", "gelu_tanh": "gelu", "silu": "silu", "sigmoid": "silu", "tanh": "silu",
}  # fmt: skip
_MOVES = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Tile", "Expand", "Slice", "Split", "Gather",
}  # fmt: skip
_ROUNDINGS = {"Cast", "Clip", "Round", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_BYTES = {"QuantizeLinear", "DynamicQuantizeLinear"}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Where"}
Sizes = dict[str, tuple[int, ...]]


def trace_operations(model_path: str | Path, inputs: Mapping[str, NDArray[Any]]) -> OperationTrace:
    """Return what a model runs on given inputs, in the order of its graph.

    Listed are products of matrices, softmaxes over the last axis, norms, curves, and sums and products of two
    activations of one shape, where one comes from an operation. Each has the name of the tensor that it makes. Biases,
    masks, scalings, embeddings, rounding and moving cost nothing; convolutions are not listed. Operands have the bits
    of the file: 32 of floats, 8 or 16 of integers, 4 of weights that lie packed.

    Args:
        model_path: a float model, or one that `quantize` or onnxruntime's dynamic quantisation made.
        inputs: by name; the model is run on them once, since lengths are often known only then.

    Raises:
        ModelError: the file cannot be read or run.
        UsageError: an input is missing or unknown, or the model does not run on it.
    """
    path = Path(model_path)
    graph = Graph(read_model(path))
    sizes = _find_sizes(graph, inputs)
    for name, size in sizes.items():
        graph.set_rank(name, len(size))
    tracer = _Tracer(graph, sizes, find_patterns(graph))
    for node in graph.nodes:
        tracer.visit(node)
    return OperationTrace(path.stem, tuple(tracer.operations.values()))


def _find_sizes(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> Sizes:
    """Return the shapes of all tensors in a run; only these are fetched, not the tensors."""
    names = [name for node in graph.nodes if "Sequence" not in node.op_type for name in node.output if name]
    shapes = {name: graph.new_name(f"{name}_shape") for name in names}
    model = graph.with_outputs(shapes.values())
    make = import_onnx().helper.make_node
    model.graph.node.extend(make("Shape", [name], [shape]) for name, shape in shapes.items())
    found = Session(graph.inputs, tuple(shapes.values()), make_session(model)).run(inputs)
    sizes: Sizes = {name: tuple(map(int, found[shape])) for name, shape in shapes.items()}
    return sizes | {name: np.shape(value) for name, value in inputs.items()}


@dataclass
class _Tracer:
    """Lists operations node by node.

    Attributes:
        graph, sizes, patterns: what is read.
        operations: found so far, by name.
    """

    graph: Graph
    sizes: Sizes
    patterns: Patterns
    operations: dict[str, OperationRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found: tuple[Norm | Curve, ...] = (*self.patterns.norms, *self.patterns.curves)
        self._parts = {id(node) for part in found for node in part.nodes}
        self._ends: dict[str, Norm | Curve | Softmax] = {part.output: part for part in found}
        self._ends |= {softmax.output: softmax for softmax in self.patterns.softmaxes}

    def visit(self, node: onnx.NodeProto) -> None:
        """Append what a node computes, where it is an operation or the last part of one."""
        output = node.output[0]
        if output in self._ends:
            part = self._ends[output]
            self._operate(output, _name_kind(part), part.input)
        elif id(node) in self._parts:
            return
        elif node.op_type in _PRODUCTS:
            self._multiply(node)
        elif node.domain == DOMAIN:
            self._visit_function(node)
        elif node.op_type in _MERGES and self._is_merge(node):
            self._operate(output, _MERGES[node.op_type], *node.input)

    def _visit_function(self, node: onnx.NodeProto) -> None:
        kind: OperationKind
        if "Norm" in node.op_type:
            kind = "rms_norm" if "Rms" in node.op_type else "layer_norm"
        elif "Softmax" in node.op_type:
            kind = "softmax"
        elif node.op_type.startswith("QuantisedTable"):
            arrays = [value for name in node.input[1:7] if (value := self.graph.constant(name)) is not None]
            kind = _COSTED_AS[recognise_table(arrays)]
        else:
            return
        self._operate(node.output[0], kind, node.input[0])

    def _multiply(self, node: onnx.NodeProto) -> None:
        left, right, output = node.input[0], node.input[1], node.output[0]
        first, second, made = (self._size(name) for name in (left, right, output))
        inner = first[0] if node.op_type == "Gemm" and read_attribute(node, "transA", 0) else first[-1]
        columns = made[-1] if len(second) > 1 else 1
        right_operand = self._read(right)
        if node.op_type == "MatMulNBits":
            right_operand = OperandRecord(right, True, inner * columns, read_attribute(node, "bits", 4))
        is_single = len(second) <= 2 or node.op_type == "MatMulNBits"
        batch = 1 if is_single else math.prod(made[:-2])
        rows = math.prod(made) // (batch * columns)
        operands = (self._read(left), right_operand)
        self._append(
            OperationRecord(output, "matmul", batch, rows, inner, columns, operands, self._find_bits(output))
        )

    def _operate(self, output: str, kind: OperationKind, *inputs: str) -> None:
        *outer, rows, columns = (1, 1, *self._size(output))
        operands = tuple(map(self._read, inputs))
        bits = self._find_bits(output)
        self._append(OperationRecord(output, kind, math.prod(outer), rows, 0, columns, operands, bits))

    def _append(self, operation: OperationRecord) -> None:
        self.operations[operation.name] = operation

    def _is_merge(self, node: onnx.NodeProto) -> bool:
        """Tell whether a node takes two activations of one shape, at least one from an operation."""
        if any(self.graph.constant(name) is not None for name in node.input):
            return False
        if self._size(node.input[0]) != self._size(node.input[1]):
            return False
        return any(self._read(name).source in self.operations for name in node.input)

    def _read(self, tensor: str) -> OperandRecord:
        """Return a tensor as an operand: a weight, or an activation traced back to what made its numbers.

        Copies that only repeat numbers, such as keys that heads share, are not counted.
        """
        value, node = self.graph.constant(tensor), self.graph.producer(tensor)
        if value is not None:
            return OperandRecord(tensor, True, value.size, 8 * value.itemsize)
        if node is not None and node.op_type.startswith("Decode"):
            return OperandRecord(tensor, True, math.prod(self._size(tensor)), 4)
        source, elements = tensor, math.prod(self._size(tensor))
        while source not in self.operations and (before := self._step_back(source)) is not None:
            source, elements = before, min(elements, math.prod(self._size(before)))
        return OperandRecord(source, False, elements, self._find_bits(tensor))

    def _step_back(self, tensor: str) -> str | None:
        """Return the tensor that was moved, rounded, scaled or masked; None where something else was done."""
        node = self.graph.producer(tensor)
        if node is None or node.op_type not in _MOVES | _ROUNDINGS | _ELEMENTWISE:
            return None
        names = [name for name in node.input if name and self.graph.constant(name) is None]
        if node.op_type in _ELEMENTWISE:
            names = [name for name in names if self._size(name) == self._size(tensor)]
        elif names[:1] != [node.input[0]]:
            return None
        return names[0] if names else None

    def _find_bits(self, tensor: str) -> int:
        """Return the bits of an element of an activation."""
        while (node := self.graph.producer(tensor)) is not None and node.op_type in _MOVES:
            tensor = node.input[0]
        if node is None:
            value = self.graph.constant(tensor)
            return FLOAT_BITS if value is None else 8 * value.itemsize
        if node.domain == DOMAIN and node.op_type.endswith("U16"):
            return 16
        is_byte = node.op_type in _BYTES or (node.domain == DOMAIN and node.op_type.endswith("U8"))
        return 8 if is_byte else FLOAT_BITS

    def _size(self, tensor: str) -> tuple[int, ...]:
        value = self.graph.constant(tensor)
        return self.sizes[tensor] if value is None else value.shape


def _name_kind(part: Norm | Curve | Softmax) -> OperationKind:
    if isinstance(part, Softmax):
        return "softmax"
    if isinstance(part, Norm):
        return "layer_norm" if part.kind == "layer" else "rms_norm"
    return _COSTED_AS[part.kind]
