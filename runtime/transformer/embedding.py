"""embedding.py: tables of vectors become int8 with one scale for each vector."""

from __future__ import annotations

import numpy as np

from ..quant import quantise_weights
from .graph import Graph, read_attribute

SMALLEST = 2**13  # numbers of a table below which it stays float


def rewrite_embeddings(graph: Graph) -> int:
    """Replace every Gather of rows from a large float table; return how many there were."""
    found = [
        node for node in graph.nodes if node.op_type == "Gather" and read_attribute(node, "axis", 0) == 0
    ]
    count = 0
    for node in found:
        table = graph.constant(node.input[0])
        if table is None or table.dtype != np.float32 or table.ndim != 2 or table.size < SMALLEST:
            continue
        rounded = quantise_weights(table)
        name, output = node.input[0], node.output[0]
        graph.remove([node])
        values = graph.add_constant(f"{name}_s8", rounded.values)
        steps = graph.add_constant(f"{name}_steps", rounded.step[:, None].astype(np.float32))
        taken = graph.add("Gather", [values, node.input[1]], f"{output}_s8", axis=0)
        scale = graph.add("Gather", [steps, node.input[1]], f"{output}_step", axis=0)
        graph.add("Mul", [graph.add("Cast", [taken], f"{output}_float", to=1), scale], output)
        count += 1
    return count
