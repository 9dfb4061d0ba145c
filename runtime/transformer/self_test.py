"""self_test.py: runs every compiled operator in onnxruntime and compares it with NumPy; started by custom_ops.py.

It runs in a process of its own, which may crash. Its tables are random numbers and no fits: what is to be shown is
that calls, types and shapes arrive as they should, and that the arithmetic is that of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..lut import reference
from ..lut.integer import IntegerTable
from ..lut.operators import NormTables, SoftmaxTables
from .custom_ops import register_untested
from .onnx_wire import write_model
from .operators import DOMAIN, OPERATORS, Operator

Array = NDArray[Any]
_SHAPES = ((0, 5), (1, 1), (3, 7), (2, 16), (2, 3, 40), (5, 131))
_ELEMENTS: dict[int, Any] = {1: np.float32, 2: np.uint8, 4: np.uint16, 6: np.int32, 7: np.int64}


@dataclass(frozen=True)
class Case:
    """Inputs of an operator and what it must give."""

    inputs: tuple[Array, ...]
    expected: Array


def check_operators(names: Sequence[str]) -> None:
    """Run operators, in two sessions each.

    Raises:
        ModelError: one gives other numbers than the reference, or takes what it must refuse.
    """
    rng = np.random.default_rng(20)
    for operator in (operator for operator in OPERATORS if operator.name in names):
        sessions = [open_session(operator) for _ in range(2)]
        for shape in _SHAPES:
            case = draw_case(operator.name, shape, rng)
            for session in sessions:
                compare(operator.name, run(session, case.inputs), case.expected)
        _check_refusal(operator, sessions[0], rng)


def open_session(operator: Operator) -> Any:
    """Return a session whose model is one node.

    Raises:
        ModelError: onnxruntime does not know the interface.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # refusals are part of the test
    if not register_untested(options, frozenset({operator.name})):
        raise ModelError("onnxruntime has no interface of the version that Colonnade knows")
    inputs = [(f"x{place}", int(kind)) for place, kind in enumerate(operator.inputs)]
    model = write_model(operator.name, DOMAIN, inputs, [("y", int(operator.output))])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: Any, inputs: tuple[Array, ...]) -> Array:
    """Return the output of a session of `open_session`."""
    result: Array = session.run(None, {f"x{place}": value for place, value in enumerate(inputs)})[0]
    return result


def compare(name: str, found: Array, expected: Array) -> None:
    """Raise ModelError unless two arrays are equal, with type and shape."""
    is_equal = (
        found.dtype == expected.dtype and found.shape == expected.shape and np.array_equal(found, expected)
    )
    if not is_equal:
        raise ModelError(f"{name} gives other numbers than its reference at shape {expected.shape}")


def _check_refusal(operator: Operator, session: Any, rng: np.random.Generator) -> None:
    """Hand over a last input that is too short: it must end in an exception."""
    inputs = draw_case(operator.name, (2, 16), rng).inputs
    try:
        run(session, (*inputs[:-1], inputs[-1][:-1]))
    except Exception as error:  # onnxruntime's own kinds
        if "INVALID_ARGUMENT" in str(error):
            return
        raise
    raise ModelError(f"{operator.name} takes an input that is too short")


def draw_case(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    """Return random inputs for an operator, the first of a shape whose last axis are the rows."""
    return _DRAW[name](name, shape, rng)


def draw_table(rng: np.random.Generator, entries: int, low: int, high: int, top: int) -> IntegerTable:
    """Return a table of random segments for inputs low..high and outputs 0..top."""
    points = np.sort(rng.integers(low, high, entries - 1)).astype(np.int32)
    slopes = rng.integers(-300, 300, entries).astype(np.int32)
    intercepts = rng.integers(0, top << 8, entries)
    return IntegerTable(points, slopes, intercepts, 8, low, high, 0, top)


def pack(table: IntegerTable) -> tuple[Array, Array, Array, Array]:
    """Return a table as the operators take it."""
    numbers = (table.shift, table.input_low, table.input_high, table.low, table.high)
    return table.breakpoints, table.slopes, table.intercepts, np.array(numbers, np.int64)


def _draw_lookup(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    values = rng.integers(0, 256, shape).astype(np.uint8)
    entries = rng.integers(0, 256, 256).astype(np.uint8)
    return Case((values, entries), entries[values])


def _draw_map(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    values = rng.integers(-4000, 4000, shape).astype(np.int32)
    inputs = (values, *pack(draw_table(rng, int(rng.integers(2, 40)), -3000, 3000, 255)))
    return Case(inputs, _compute(name, inputs))


def _draw_quantised(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    """Turn a case of the operator behind the quantisation into one of floats."""
    inner = name.removeprefix("Quantised").replace("F32", "I32")
    case = draw_case(inner, shape, rng)
    factor, reach, scale = (np.array([number], np.float32) for number in (0.7, 2500.0, 0.3))
    floats = rng.uniform(-5000.0, 5000.0, shape).astype(np.float32)
    words = np.rint(np.clip(floats * factor, -reach, reach)).astype(np.int32)
    expected = _compute(inner, (words, *case.inputs[1:]))
    inputs = (floats, factor, reach, *case.inputs[1:])
    if name.endswith("F32"):
        return Case((*inputs, scale), expected.astype(np.float32) * scale)
    return Case(inputs, expected)


def _draw_softmax(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    values = rng.integers(-2000, 2000, shape).astype(np.int32)
    exponential = draw_table(rng, 16, -1500, 0, 2**15)
    reciprocal = draw_table(rng, 16, 2**28, 2**29, 2**15)
    tables = SoftmaxTables(exponential, reciprocal, 8 * np.dtype(_find_format(name)).itemsize)
    return Case((values, *pack(exponential), *pack(reciprocal)), reference.softmax(values, tables))


def _draw_norm(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Case:
    values = rng.integers(-5000, 5000, shape).astype(np.int32)
    levels = np.array([rng.integers(0, 10**6), 0, 255], np.int64)
    gamma = rng.integers(-40000, 40000, shape[-1]).astype(np.int32)
    beta = rng.integers(-(2**27), 2**27, shape[-1])
    inputs = (values, *pack(draw_table(rng, 16, 2**28, 2**30, 2**15)), levels, gamma, beta)
    return Case(inputs, _compute(name, inputs))


def _compute(name: str, inputs: tuple[Array, ...]) -> Array:
    """Return what a Table or norm must give."""
    table = unpack(inputs[1:5])
    if name.startswith("Table"):
        return reference.apply(inputs[0], table).astype(_find_format(name))
    levels, gamma, beta = inputs[5:]
    norm = reference.rms_norm if name.startswith("Rms") else reference.layer_norm
    tables = NormTables(table, int(levels[0]), int(levels[1]), int(levels[2]))
    return norm(inputs[0], tables, gamma, beta).astype(_find_format(name))


def unpack(arrays: tuple[Array, ...]) -> IntegerTable:
    """Return a table from the four inputs of an operator."""
    points, slopes, intercepts, limits = arrays
    return IntegerTable(points, slopes, intercepts, *map(int, limits))


def _find_format(name: str) -> Any:
    return next(_ELEMENTS[operator.output] for operator in OPERATORS if operator.name == name)


def _assign_draws() -> Iterator[tuple[str, Callable[[str, tuple[int, ...], np.random.Generator], Case]]]:
    stems = (
        ("Lookup", _draw_lookup),
        ("Table", _draw_map),
        ("Quantised", _draw_quantised),
        ("Softmax", _draw_softmax),
        ("", _draw_norm),
    )
    for operator in OPERATORS:
        yield operator.name, next(draw for stem, draw in stems if operator.name.startswith(stem))


_DRAW = dict(_assign_draws())
