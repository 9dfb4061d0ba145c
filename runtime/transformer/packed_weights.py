"""packed_weights.py: 4-bit weights lie in the file as two codes a byte, and become int8 when it is opened.

The function depends on constants alone, so onnxruntime computes it once, and the int8 weights are what its kernels
prepare. It spells the exact integer image of `quant.DIntFormat` and `quant.UniformFormat`.

| function | inputs | output |
|---|---|---|
| DecodeInt4 | codes uint8 (N, K/2), two a byte, the low half first; zeros int32 (N, 1) | int8 (K, N): code - zero |
| DecodeDint4 | the same | int8 (K, N): 2 (code - zero); codes 14 and 15 are -1 and 1 |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..quant import QuantisedTensor
from ..quant.dint import DIntLevels
from ..quant.uniform import UniformLevels
from .function_writer import DOMAIN, FunctionWriter
from .graph import Graph

if TYPE_CHECKING:
    import onnx

_NAMES = {UniformLevels: "DecodeInt4", DIntLevels: "DecodeDint4"}


def find_decoder(tensor: QuantisedTensor) -> str | None:
    """Return the function that decodes a tensor; None where there is none, and it is stored as int8."""
    is_packed = tensor.bits == 4 and tensor.codes.shape[1] % 2 == 0 and len(tensor.levels) == 1
    return _NAMES.get(type(tensor.levels[0])) if is_packed else None


def add_weights(graph: Graph, tensor: QuantisedTensor, output: str) -> str:
    """Store weights (out, in); return the name of their integers, int8 (in, out)."""
    decoder = find_decoder(tensor)
    if decoder is None:
        return graph.add_constant(output, np.ascontiguousarray(tensor.integers().values[0].T, np.int8))
    graph.add_function(write_decoder(decoder, graph.opset))
    codes = graph.add_constant(f"{output}_codes", tensor.pack())
    zeros = graph.add_constant(f"{output}_zeros", tensor.zeros().astype(np.int32))
    return graph.add(decoder, [codes, zeros], output, domain=DOMAIN)


def write_decoder(name: str, opset: int) -> onnx.FunctionProto:
    """Return one of the functions of the table above."""
    writer = FunctionWriter(name, ["packed", "zeros"], ["weights"], opset)
    words = writer.cast("packed", np.int32)
    sixteen = writer.constant(16, np.int32)
    halves = [writer.node(operator, [words, sixteen]) for operator in ("Mod", "Div")]
    pairs = writer.node("Concat", [writer.add_trailing_axis(half) for half in halves], axis=-1)
    codes = writer.node("Reshape", [pairs, writer.constant([0, -1], np.int64)])
    numbers = writer.node("Sub", [codes, "zeros"])
    if name == "DecodeDint4":
        numbers = writer.node("Mul", [numbers, writer.constant(2, np.int32)])
        for code, value in ((14, -1), (15, 1)):
            is_special = writer.node("Equal", [codes, writer.constant(code, np.int32)])
            numbers = writer.node("Where", [is_special, writer.constant(value, np.int32), numbers])
    writer.node("Transpose", [writer.cast(numbers, np.int8)], "weights", perm=[1, 0])
    return writer.finish()
