"""lookup.py: curves, softmaxes and norms become integer look-up tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..lut import (
    IntegerTable,
    Levels,
    LutTable,
    NormTables,
    SoftmaxTables,
    build_norm,
    build_softmax,
    fit,
    quantise_affine,
)
from .calibrate import Calibration
from .curves import FUNCTIONS, Curve, CurveKind
from .function_writer import DOMAIN
from .fused_functions import find_inner
from .graph import Graph
from .integers import Bytes, dequantise, quantise_wide
from .norms import Norm
from .patterns import Softmax

if TYPE_CHECKING:
    import onnx

CURVE_BITS = 14  # of a curve's input; its table is then evaluated at 16,384 places
NORM_REACH = 2**17  # of a norm's input, a half of what its arithmetic holds
OUTPUT_REACH = 2**15 - 1  # of outputs that become float again
MARGIN = 1.5  # how far beyond what was seen integers reach
SCORE_FLOOR = 16.0  # how far below the least score masked ones saturate: exp of it rounds to 0
Affine = tuple[NDArray[np.int32], NDArray[np.int64]]


@dataclass
class Tables:
    """Writes table operators into a graph, and keeps in mind which functions they need.

    Attributes:
        entries: of every table.
        functions: names used so far.
    """

    graph: Graph
    calibration: Calibration
    entries: int
    functions: set[str] = field(default_factory=set)

    def rewrite_curve(self, curve: Curve) -> None:
        """Replace a curve; where only a quantisation to uint8 follows, the table gives the bytes itself."""
        graph = self.graph
        reach = self.calibration.find(curve.input).reach * MARGIN
        half = 2 ** (CURVE_BITS - 1) - 1
        inputs = Levels(reach / half, -half, half)
        table = _fit_curve(curve.kind, self.entries)
        follower = self._find_quantisation(curve.output)
        graph.remove(curve.nodes)
        x = self._store_rounding(curve.input, inputs.scale, half)
        if follower is not None:
            node, target = follower
            graph.remove([node])
            outputs = Levels.unsigned(target.scale, 8, target.zero)
            stored = self._store(table.to_levels(inputs, outputs), curve.output)
            self._add("QuantisedTableU8", [*x, *stored], target.name)
            return
        largest = float(np.abs(FUNCTIONS[curve.kind](np.array([-reach, reach]))).max())
        scale = max(largest, 1e-6) / OUTPUT_REACH
        levels = Levels(scale, -OUTPUT_REACH - 1, OUTPUT_REACH)
        stored = self._store(table.to_levels(inputs, levels), curve.output)
        self._add("QuantisedTableF32", [*x, *stored, self._store_step(curve.output, scale)], curve.output)

    def rewrite_norm(self, norm: Norm) -> None:
        """Replace a norm; where only a quantisation to uint8 follows, it gives the bytes itself."""
        graph = self.graph
        scale = self.calibration.find(norm.input).reach * MARGIN / NORM_REACH
        follower = self._find_quantisation(norm.output)
        graph.remove(norm.nodes)
        x = self._store_rounding(norm.input, scale, NORM_REACH)
        kind = "QuantisedLayerNorm" if norm.kind == "layer" else "QuantisedRmsNorm"
        gain = norm.gain
        if follower is not None:
            node, target = follower
            graph.remove([node])
            tables = build_norm(scale, norm.epsilon, entries=self.entries, low=0, high=255)
            affine = quantise_affine(gain, norm.bias, target.scale, target.zero)
            self._add(f"{kind}U8", [*x, *self._store_norm(tables, affine, norm.output)], target.name)
            return
        step = self.calibration.find(norm.output).reach * MARGIN / OUTPUT_REACH
        tables = build_norm(scale, norm.epsilon, entries=self.entries, low=-OUTPUT_REACH, high=OUTPUT_REACH)
        affine = quantise_affine(gain, norm.bias, step)
        stored = self._store_norm(tables, affine, norm.output)
        self._add(f"{kind}F32", [*x, *stored, self._store_step(norm.output, step)], norm.output)

    def rewrite_softmax(self, softmax: Softmax, reach: float) -> None:
        """Replace a softmax between floats.

        Args:
            softmax: to replace.
            reach: of its inputs, what is masked left out.
        """
        graph = self.graph
        scale = (2.0 * reach + SCORE_FLOOR) / 2**17
        graph.remove([softmax.node])
        x = quantise_wide(graph, softmax.input, scale, 2**17)
        y = self.add_softmax(
            x, build_softmax(scale, entries=self.entries, output_bits=16), f"{softmax.output}_u16"
        )
        dequantise(graph, y, 1.0 / 65535.0, softmax.output)

    def add_softmax(self, x: str, tables: SoftmaxTables, output: str) -> str:
        """Add an integer softmax of int32; return the name of its uint8 or uint16 output."""
        inputs = [
            x,
            *self._store(tables.exponential, f"{output}_exp"),
            *self._store(tables.reciprocal, f"{output}_reciprocal"),
        ]
        return self._add(f"SoftmaxU{tables.output_bits}", inputs, output)

    def _store_norm(self, tables: NormTables, affine: Affine, stem: str) -> list[str]:
        levels = np.array([tables.epsilon, tables.low, tables.high], np.int64)
        arrays: tuple[NDArray[Any], ...] = (levels, *affine)
        parts = zip(("levels", "gamma", "beta"), arrays, strict=True)
        stored = [self.graph.add_constant(f"{stem}_{part}", value) for part, value in parts]
        return [*self._store(tables.rsqrt, stem), *stored]

    def _store_rounding(self, tensor: str, scale: float, reach: int) -> list[str]:
        """Return what a fused operator takes to round a tensor to integers: the tensor, factor, reach."""
        factor = self.graph.add_constant(f"{tensor}_factor", np.array([1.0 / scale], np.float32))
        return [tensor, factor, self.graph.add_constant(f"{tensor}_reach", np.array([reach], np.float32))]

    def _store_step(self, tensor: str, scale: float) -> str:
        return self.graph.add_constant(f"{tensor}_step", np.array([scale], np.float32))

    def _add(self, name: str, inputs: list[str], output: str) -> str:
        self.functions |= {name, find_inner(name)}
        return self.graph.add(name, inputs, output, domain=DOMAIN)

    def _store(self, table: IntegerTable, stem: str) -> list[str]:
        limits = (table.shift, table.input_low, table.input_high, table.low, table.high)
        arrays: tuple[NDArray[Any], ...] = (
            table.breakpoints,
            table.slopes,
            table.intercepts,
            np.array(limits, np.int64),
        )
        names = ("breakpoints", "slopes", "intercepts", "limits")
        return [
            self.graph.add_constant(f"{stem}_{name}", array)
            for name, array in zip(names, arrays, strict=True)
        ]

    def _find_quantisation(self, tensor: str) -> tuple[onnx.NodeProto, Bytes] | None:
        """Return the only node that takes a tensor, where that rounds it to uint8, and what it makes."""
        users = self.graph.consumers(tensor)
        if tensor in self.graph.outputs or len(users) != 1 or users[0].op_type != "QuantizeLinear":
            return None
        zero = self.graph.constant(users[0].input[2])
        scale = self.graph.scalar(users[0].input[1])
        if zero is None or zero.dtype != np.uint8 or scale is None:
            return None
        return users[0], Bytes(users[0].output[0], scale, int(zero))


@cache
def _fit_curve(kind: CurveKind, entries: int) -> LutTable:
    return fit("gelu" if kind == "gelu_tanh" else kind, entries=entries)  # no 16 segments tell those apart
