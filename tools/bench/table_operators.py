"""table_operators.py: compiled table operators by themselves, beside onnxruntime's float ones at the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import MissingExtraError
from ...runtime.lut import IntegerTable, Levels, build_norm, build_softmax, fit, quantise_affine
from ...runtime.threads import make_session_options
from ...runtime.transformer.custom_ops import find_verdict, register
from ...runtime.transformer.operators import DOMAIN, OPERATORS
from .transformer_report import OperatorRun

Array = NDArray[Any]
# Of MiniLM at 128 tokens.
CURVE_SHAPE, SOFTMAX_SHAPE, NORM_SHAPE = (1, 128, 1536), (1, 12, 128, 128), (1, 128, 384)
CURVE_STEP, CURVE_ZERO = 6.0 / 240, 8  # of uint8 outputs: number = step * (byte - zero)
NORM_STEP, NORM_ZERO = 5.0 / 127, 128
REPEATS = 20  # runs per call: one is too short for the clock
_OPSET, _IR_VERSION = 20, 9  # the first opset with Gelu
_CURVE_HALF, _NORM_REACH = 2**13 - 1, 2**17  # of integer inputs, as models have them
_CURVE_REACH, _NORM_LARGEST = 6.0, 8.0  # of float inputs
_SCORE_SCALE = 1e-3
_EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class Case:
    """A node on an input.

    Attributes:
        name, domain: of the operator.
        value: the input that changes from run to run.
        constants: the others, part of the model.
    """

    name: str
    domain: str
    value: Array
    constants: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class Pair:
    """A compiled operator and the float operator that it stands for.

    Attributes:
        fast, exact: nodes.
        calls: run the one and the other, each REPEATS times.
    """

    fast: Case
    exact: Case
    calls: tuple[Callable[[], None], Callable[[], None]]

    def report(self, seconds: float, float_seconds: float) -> OperatorRun:
        """Return the figures from the times of the two calls."""
        fast, exact = (1e6 * time / REPEATS for time in (seconds, float_seconds))
        return OperatorRun(self.fast.name, self.exact.name, self.fast.value.shape, fast, exact)


def open_pairs() -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return the operators to time, and a line where they cannot be timed here."""
    try:
        import onnx as _  # noqa: F401
    except ImportError:
        return (), (str(MissingExtraError("onnx", "bench", "timing operators by themselves")),)
    verdict = find_verdict(frozenset(fast.name for fast, _ in draw_cases()))
    if not verdict.usable:
        return (), (f"operators by themselves: {verdict.reason}",)
    return tuple(Pair(fast, exact, (_open(fast), _open(exact))) for fast, exact in draw_cases()), ()


def draw_cases() -> tuple[tuple[Case, Case], ...]:
    """Return pairs of a compiled operator and a float one on the same numbers, as far as the formats let them."""
    rng = np.random.default_rng(0)
    return (*_draw_curves(rng), *_draw_softmax(rng), *_draw_norms(rng))


def _draw_curves(rng: np.random.Generator) -> list[tuple[Case, Case]]:
    x = np.clip(rng.normal(0.0, 1.5, CURVE_SHAPE), -_CURVE_REACH, _CURVE_REACH).astype(np.float32)
    scale = _CURVE_REACH / _CURVE_HALF
    table = fit("gelu").to_levels(
        Levels(scale, -_CURVE_HALF, _CURVE_HALF), Levels.unsigned(CURVE_STEP, 8, CURVE_ZERO)
    )
    exact = Case("Gelu", "", x)
    words = _round(x, scale, _CURVE_HALF)
    return [
        (Case("TableU8", DOMAIN, words, _pack(table)), exact),
        (Case("QuantisedTableU8", DOMAIN, x, (*_rounding(scale, _CURVE_HALF), *_pack(table))), exact),
    ]


def _draw_softmax(rng: np.random.Generator) -> list[tuple[Case, Case]]:
    x = rng.normal(0.0, 2.0, SOFTMAX_SHAPE).astype(np.float32)
    tables = build_softmax(_SCORE_SCALE)
    constants = (*_pack(tables.exponential), *_pack(tables.reciprocal))
    return [(Case("SoftmaxU8", DOMAIN, _round(x, _SCORE_SCALE, 2**17), constants), Case("Softmax", "", x))]


def _draw_norms(rng: np.random.Generator) -> list[tuple[Case, Case]]:
    x = rng.normal(0.0, 1.0, NORM_SHAPE).astype(np.float32)
    gain, bias = (rng.normal(mean, 0.1, NORM_SHAPE[-1]).astype(np.float32) for mean in (1.0, 0.0))
    scale = _NORM_LARGEST / _NORM_REACH
    words, rounding = _round(x, scale, _NORM_REACH), _rounding(scale, _NORM_REACH)
    to_bytes = _norm_constants(scale, gain, bias, 0, 255, NORM_STEP, NORM_ZERO)
    step = 2.0**-12
    to_floats = _norm_constants(scale, gain, bias, -(2**15) + 1, 2**15 - 1, step, 0)
    exact = Case("LayerNormalization", "", x, (gain, bias))
    return [
        (Case("LayerNormU8", DOMAIN, words, to_bytes), exact),
        (Case("QuantisedLayerNormU8", DOMAIN, x, (*rounding, *to_bytes)), exact),
        (
            Case("QuantisedLayerNormF32", DOMAIN, x, (*rounding, *to_floats, np.array([step], np.float32))),
            exact,
        ),
    ]


def _norm_constants(
    scale: float, gain: Array, bias: Array, low: int, high: int, step: float, zero: int
) -> tuple[Array, ...]:
    tables = build_norm(scale, _EPSILON, low=low, high=high)
    levels = np.array([tables.epsilon, tables.low, tables.high], np.int64)
    return (*_pack(tables.rsqrt), levels, *quantise_affine(gain, bias, step, zero))


def _pack(table: IntegerTable) -> tuple[Array, ...]:
    limits = (table.shift, table.input_low, table.input_high, table.low, table.high)
    return table.breakpoints, table.slopes, table.intercepts, np.array(limits, np.int64)


def _rounding(scale: float, reach: int) -> tuple[Array, Array]:
    return np.array([1.0 / scale], np.float32), np.array([reach], np.float32)


def _round(x: Array, scale: float, reach: int) -> Array:
    return np.clip(np.rint(x / scale), -reach, reach).astype(np.int32)


def _open(case: Case) -> Callable[[], None]:
    """Return a call that runs a node REPEATS times on one thread."""
    import onnxruntime

    options = make_session_options(1)
    if case.domain:
        register(options, [case.name])
    session = onnxruntime.InferenceSession(_write(case), options, providers=["CPUExecutionProvider"])
    inputs = {"x": case.value}

    def call() -> None:
        for _ in range(REPEATS):
            session.run(None, inputs)

    return call


def _write(case: Case) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    names = [f"constant{place}" for place in range(len(case.constants))]
    node = helper.make_node(case.name, ["x", *names], ["y"], domain=case.domain)
    kinds = _find_kinds(case)
    graph = helper.make_graph(
        [node],
        case.name,
        [helper.make_tensor_value_info("x", kinds[0] or TensorProto.FLOAT, case.value.shape)],
        [helper.make_tensor_value_info("y", kinds[1] or TensorProto.FLOAT, case.value.shape)],
        [numpy_helper.from_array(array, name) for array, name in zip(case.constants, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(DOMAIN, 1)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
    return model


def _find_kinds(case: Case) -> Sequence[int]:
    """Return the element types of a compiled operator's first input and its output; zeros for a float operator."""
    known = {operator.name: (int(operator.inputs[0]), int(operator.output)) for operator in OPERATORS}
    return known[case.name] if case.domain else (0, 0)
