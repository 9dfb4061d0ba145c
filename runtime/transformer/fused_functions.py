"""fused_functions.py: rounding and a table or norm as one function, so that one compiled operator can stand in for it.

| function | inputs | output |
|---|---|---|
| QuantisedTableU8 | x float32 (...), factor, reach float32 (1,), then as TableU8 | uint8 |
| QuantisedTableF32 | x, factor, reach, then as TableI32, scale float32 (1,) | float32 |
| QuantisedLayerNormU8, QuantisedRmsNormU8 | x, factor, reach, then as LayerNormU8 or RmsNormU8 | uint8 |
| QuantisedLayerNormF32, QuantisedRmsNormF32 | x, factor, reach, then as the I32 form, scale | float32 |

x becomes round(clip(x * factor, -reach, reach)), reach at most 2^24; floats that come out are times scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .function_writer import DOMAIN, VERSION, FunctionWriter
from .functions import TABLE
from .onnx_files import import_onnx

if TYPE_CHECKING:
    import onnx

PREFIX = "Quantised"
_NORM = (*TABLE, "levels", "gamma", "beta")


def write_fused_function(name: str, opset: int) -> onnx.FunctionProto:
    """Return one of the functions of the table above; the file must also hold that of `find_inner`."""
    inner = find_inner(name)
    is_float = name.endswith("F32")
    inputs = _NORM if "Norm" in name else TABLE
    writer = FunctionWriter(
        name, ["x", "factor", "reach", *inputs, *(["scale"] if is_float else [])], ["y"], opset
    )
    scaled = writer.node("Mul", ["x", "factor"])
    most = writer.node("Reshape", ["reach", writer.constant(np.zeros(0), np.int64)])
    clipped = writer.node("Clip", [scaled, writer.node("Neg", [most]), most])
    words = writer.cast(writer.node("Round", [clipped]), np.int32)
    found = writer.node(inner, [words, *inputs], None if is_float else "y", domain=DOMAIN)
    if is_float:
        writer.node("Mul", [writer.cast(found, np.float32), "scale"], "y")
    function = writer.finish()
    function.opset_import.append(import_onnx().helper.make_opsetid(DOMAIN, VERSION))
    return function


def find_inner(name: str) -> str:
    """Return the name of the function that a fused one calls."""
    return name.removeprefix(PREFIX).replace("F32", "I32")
