"""graph_builder.py: a few lines on top of onnx.helper, to write a graph as one writes a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper


class GraphBuilder:
    """Nodes and initialisers in the order in which they are written; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initialisers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: ArrayLike, dtype: type = np.float32) -> str:
        """Store an array under a name."""
        array = np.array(value, dtype=dtype, order="C")
        self._initialisers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add one operator with one output."""
        self._nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{output}_{operator}", **attributes)
        )
        return output

    def linear(self, x: str, name: str, weight: ArrayLike, bias: ArrayLike | None = None) -> str:
        """Multiply by weight (in, out) and add the bias (out,)."""
        if bias is None:
            return self.node("MatMul", [x, self.constant(f"{name}_weight", weight)], name)
        product = self.node("MatMul", [x, self.constant(f"{name}_weight", weight)], f"{name}_product")
        return self.node("Add", [product, self.constant(f"{name}_bias", bias)], name)

    def build(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the checked model, at opset 20: Softmax, LayerNormalization and Gelu are single operators."""
        graph = helper.make_graph(self._nodes, name, list(inputs), list(outputs), self._initialisers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        return model


def describe_tensor(name: str, kind: str, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    """Return a graph's input or output of kind "float" or "int64"."""
    kinds = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}
    return helper.make_tensor_value_info(name, kinds[kind], list(shape))
