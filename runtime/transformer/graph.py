"""graph.py: an ONNX graph that can be edited: who makes a tensor and who takes it, its shape, its value if constant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .onnx_files import find_opset, import_onnx

if TYPE_CHECKING:
    import onnx

Shape = tuple[int | None, ...]
MICROSOFT = "com.microsoft"  # operators that every onnxruntime has beside ONNX's own
OLDEST_IR_WITH_FUNCTIONS = 8
_LARGEST_FOLD = 2**28  # bytes of the inputs of an operator that is computed ahead
_RANDOM = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
}


class Graph:
    """The main graph of a model, a copy; nodes of nested graphs (If, Loop) are left alone.

    Attributes:
        nodes: in an order in which they can run.
        opset: version of ONNX's own operators.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._onnx = import_onnx()
        self._model: onnx.ModelProto = self._onnx.ModelProto()
        self._model.CopyFrom(model)
        self.opset = find_opset(model)
        self._functions: dict[str, onnx.FunctionProto] = {}
        self.nodes: list[onnx.NodeProto] = list(self._model.graph.node)
        self._constants = {
            tensor.name: self._onnx.numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer
        }
        self._names = {name for node in self.nodes for name in (*node.input, *node.output, node.name)}
        self._names |= {*self._constants, *self.inputs, *self.outputs}
        self._index()
        self._fold_constants()
        self._shapes = _infer_shapes(model)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the graph takes, without initialisers that older files list there."""
        return tuple(entry.name for entry in self._model.graph.input if entry.name not in self._constants)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the graph gives."""
        return tuple(entry.name for entry in self._model.graph.output)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that makes a tensor; None for inputs and constants."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """Return the nodes that take a tensor, also inside their nested graphs."""
        return self._consumers.get(tensor, [])

    def is_inner(self, tensor: str, nodes: Sequence[onnx.NodeProto]) -> bool:
        """Tell whether a tensor is taken by the given nodes only, and is no output of the graph."""
        return tensor not in self.outputs and all(
            any(user is node for node in nodes) for user in self.consumers(tensor)
        )

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant; None where it is none."""
        return self._constants.get(tensor)

    def scalar(self, tensor: str) -> float | None:
        """Return the value of a constant of one element; None where it is none."""
        value = self._constants.get(tensor)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def shape(self, tensor: str) -> Shape | None:
        """Return a tensor's shape, None for lengths that are not fixed; None where not even its rank is known."""
        constant = self._constants.get(tensor)
        return constant.shape if constant is not None else self._shapes.get(tensor)

    def set_rank(self, tensor: str, rank: int) -> None:
        """Note how many axes a tensor has, where its shape could not be inferred."""
        self._shapes.setdefault(tensor, (None,) * rank)

    def prune(self) -> None:
        """Take out the nodes on which no output depends."""
        self.nodes = self._reach()
        self._index()

    def new_name(self, stem: str) -> str:
        """Return a name that nothing has yet."""
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    def add_constant(self, stem: str, value: NDArray[Any] | np.generic) -> str:
        """Store a constant; return its name."""
        name = self.new_name(stem)
        self._constants[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        return name

    def add(
        self, operator: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: Any
    ) -> str:
        """Add a node that makes the tensor `output`, or one of a similar name if that exists; return its name.

        It may stand anywhere: `finish` sorts.
        """
        taken = output in self._producers or output in self._constants or output in self.inputs
        name = self.new_name(output) if taken else output
        self._names.add(name)
        node = self._onnx.helper.make_node(
            operator,
            list(inputs),
            [name],
            name=self.new_name(f"{name}_{operator}"),
            domain=domain,
            **attributes,
        )
        self.nodes.append(node)
        self._producers[name] = node
        for source in dict.fromkeys(inputs):
            self._consumers.setdefault(source, []).append(node)
        return name

    def remove(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Take nodes out; something else has to make what is still wanted of their outputs."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self._index()

    def rename_uses(self, old: str, new: str) -> None:
        """Let all nodes that take `old` take `new` instead."""
        for node in self.consumers(old):
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new
        self._index()

    def with_outputs(self, tensors: Iterable[str]) -> onnx.ModelProto:
        """Return a copy of the model as it now stands that gives tensors as outputs, in place of its own."""
        copy: onnx.ModelProto = self._onnx.ModelProto()
        copy.CopyFrom(self._model)
        graph = copy.graph
        del graph.node[:], graph.initializer[:], graph.output[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        make = self._onnx.numpy_helper.from_array
        graph.initializer.extend(make(value, name) for name, value in self._constants.items())
        graph.output.extend(self._onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
        self._add_functions(copy)
        return copy

    def add_function(self, function: onnx.FunctionProto) -> None:
        """Bring a function of the model's own into the file, once for each name."""
        self._functions.setdefault(function.name, function)

    def finish(self) -> onnx.ModelProto:
        """Return the model as it now stands: sorted, without what nothing takes, with its functions."""
        graph = self._model.graph
        nodes = self._sort(self._reach())
        used = {name for node in nodes for name in _names_taken(node)} | set(self.outputs)
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        make = self._onnx.numpy_helper.from_array
        graph.initializer.extend(make(value, name) for name, value in self._constants.items() if name in used)
        kept = [entry for entry in graph.input if entry.name not in self._constants]
        del graph.input[:]
        graph.input.extend(kept)
        self._add_functions(self._model)
        return self._model

    def _add_functions(self, model: onnx.ModelProto) -> None:
        """Put functions into a model, with the domains of what may be called in it."""
        model.functions.extend(self._functions.values())
        known = {entry.domain for entry in model.opset_import}
        wanted = {MICROSOFT, *(function.domain for function in self._functions.values())} - known
        model.opset_import.extend(self._onnx.helper.make_opsetid(domain, 1) for domain in sorted(wanted))
        if self._functions:
            model.ir_version = max(model.ir_version, OLDEST_IR_WITH_FUNCTIONS)

    def _index(self) -> None:
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(_names_taken(node)):
                self._consumers.setdefault(name, []).append(node)

    def _fold_constants(self) -> None:
        """Compute what depends on constants alone, such as weights that an exporter left to be transposed."""
        kept = []
        for node in self.nodes:
            values = self._compute(node)
            if values is None or set(node.output) & set(self.outputs):
                kept.append(node)
            else:
                self._constants.update(values)
        if len(kept) < len(self.nodes):
            self.nodes = kept
            self._index()

    def _compute(self, node: onnx.NodeProto) -> dict[str, NDArray[Any]] | None:
        taken = [name for name in _names_taken(node) if name]
        if node.domain not in ("", "ai.onnx") or node.op_type in _RANDOM or _has_subgraph(node):
            return None
        if any(name not in self._constants for name in taken):
            return None
        if sum(self._constants[name].nbytes for name in taken) > _LARGEST_FOLD:
            return None
        try:
            return self._run(node, taken)
        except Exception:  # an operator without a reference stays in the graph
            return None

    def _run(self, node: onnx.NodeProto, taken: list[str]) -> dict[str, NDArray[Any]]:
        from onnx.reference import ReferenceEvaluator

        make = self._onnx.helper.make_tensor_value_info
        inputs = [
            make(name, self._onnx.helper.np_dtype_to_tensor_dtype(self._constants[name].dtype), None)
            for name in dict.fromkeys(taken)
        ]
        outputs = [make(name, 0, None) for name in node.output if name]
        graph = self._onnx.helper.make_graph([node], "one", inputs, outputs)
        model = self._onnx.helper.make_model(graph, opset_imports=self._model.opset_import)
        values = ReferenceEvaluator(model).run(None, {name: self._constants[name] for name in taken})
        return {entry.name: np.asarray(value) for entry, value in zip(outputs, values, strict=True)}

    def _reach(self) -> list[onnx.NodeProto]:
        """Return the nodes on which an output depends."""
        wanted, found = list(self.outputs), set()
        while wanted:
            node = self._producers.get(wanted.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                wanted.extend(_names_taken(node))
        return [node for node in self.nodes if id(node) in found]

    def _sort(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return nodes so that each comes after those that it depends on, else in the order that they have."""
        made = {name for node in nodes for name in node.output}
        ready: set[str] = set()
        order: list[onnx.NodeProto] = []
        waiting = nodes
        while waiting:
            late = []
            for node in waiting:
                if all(name in ready for name in _names_taken(node) if name in made):
                    order.append(node)
                    ready.update(node.output)
                else:
                    late.append(node)
            if len(late) == len(waiting):
                raise ModelError(f"the graph runs in a circle through '{late[0].name or late[0].op_type}'")
            waiting = late
        return order


def read_attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as Python has it."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = import_onnx().helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _names_taken(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node takes, and those that its nested graphs take."""
    yield from (name for name in node.input if name)
    for graph in _subgraphs(node):
        for inner in graph.node:
            yield from _names_taken(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return next(_subgraphs(node), None) is not None


def _infer_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shapes that onnx finds; none where it fails, as on models with operators that it does not know."""
    onnx = import_onnx()
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # several kinds, according to the version; patterns that need shapes are then not found
        graph = model.graph
    shapes: dict[str, Shape] = {}
    for entry in (*graph.input, *graph.output, *graph.value_info):
        kind = entry.type.tensor_type
        if kind.HasField("shape"):
            sizes = (size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
            shapes[entry.name] = tuple(sizes)
    return shapes
