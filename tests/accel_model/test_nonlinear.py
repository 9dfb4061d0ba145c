"""test_nonlinear.py: operators on lanes: worked cases, a unit stepped cycle by cycle, energies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.accel_model.nonlinear import (
    count_elements,
    count_operator,
    count_row,
    count_steps,
)
from colonnade.accel_model.spec import (
    ArraySpec,
    DramSpec,
    EnergySpec,
    NonlinearSpec,
    Spec,
    SramSpec,
)

TABLES = NonlinearSpec("nn_lut", lanes=16, pipeline_cycles=4)
POLYNOMIALS = replace(TABLES, unit="polynomial")
EXACT = replace(TABLES, unit="exact")
UNITS = (TABLES, POLYNOMIALS, EXACT)
ELEMENTWISE = ("gelu", "silu", "add", "multiply", "rotate")
ROWS = ("softmax", "layer_norm", "rms_norm")


def test_worked_cases():
    assert count_row("softmax", 64, TABLES) == 8 + 12 + 4 + 4 == 28
    assert count_elements("gelu", 1000, TABLES) == 4 + 63 == 67
    assert count_row("layer_norm", 64, TABLES) == (4 + 4) + 4 + 4
    assert count_row("rms_norm", 64, TABLES) == count_row("layer_norm", 64, TABLES)
    assert count_elements("rotate", 1000, TABLES) == 4 + 2 * 63
    assert count_operator("softmax", 10, 64, TABLES) == 280
    assert count_operator("gelu", 10, 100, TABLES) == 67


def test_worked_cases_of_polynomials():
    # i-exp: quotient, remainder, square; and a product to requantise; one serial division per row.
    assert count_row("softmax", 64, POLYNOMIALS) == (4 + 4) + (4 * 4 + 4 + 4) + 32 + 4 == 68
    assert count_elements("gelu", 1000, POLYNOMIALS) == 4 + 2 * 63
    # the mean, the squares, four iterations of a division and an addition, a division, the scale
    assert count_row("layer_norm", 64, POLYNOMIALS) == (4 + 4 + 4) + (4 + 4) + (4 * 33 + 32) + 4
    assert count_row("rms_norm", 64, POLYNOMIALS) == (4 + 4) + (4 * 33 + 32) + 4
    assert count_elements("silu", 1000, POLYNOMIALS) == 4 + 36 * 63


def test_worked_cases_of_special_functions():
    assert count_row("softmax", 64, EXACT) == (4 + 4) + (8 * 4 + 4 + 4) + 12 + 4
    assert count_elements("gelu", 1000, EXACT) == 4 + 8 * 63


def step_tree(arrivals: list[int], levels: int) -> int:
    """Clock groups of lanes through a tree of registers; return the cycle at which the last result is out.

    Args:
        arrivals: cycle in which each group stands at the tree's foot.
        levels: registers from the foot to the root.
    """
    stages: list[int | None] = [None] * (levels + 1)
    waiting, seen, clock = sorted(arrivals), 0, 0
    while seen < len(arrivals):
        stages = [None, *stages[:-1]]
        if waiting and waiting[0] <= clock:
            stages[0] = waiting.pop(0)
        clock += 1
        if stages[-1] is not None:
            seen += 1
    return clock


def step_lanes(elements: int, lanes: int, stages: int) -> list[int]:
    """Clock elements through lanes of `stages` registers, one group per cycle; return when each group comes out."""
    pipe: list[int] = [0] * (stages + 1)
    left, clock, out = elements, 0, []
    while left > 0 or any(pipe):
        pipe = [min(left, lanes) if left > 0 else 0, *pipe[:-1]]
        left -= lanes
        if pipe[-1]:
            out.append(clock)
            pipe[-1] = 0
        clock += 1
    return out


def step_elements(elements: int, lanes: int, depth: int) -> int:
    """Return cycles until the last element of an element-wise operator is out of its lane."""
    return step_lanes(elements, lanes, depth)[-1] + 1


def step_softmax(width: int, lanes: int, depth: int) -> int:
    """Return cycles of a row: maximum, exponentials and their sum, reciprocal, scale, each after the one before."""
    levels = 0
    while 1 << levels < lanes:
        levels += 1
    largest = step_tree(step_lanes(width, lanes, 0), levels)
    exponentials = step_tree(step_lanes(width, lanes, depth), levels)
    reciprocal = step_elements(1, lanes, depth) - 1  # the sum stands in the lane's register already
    scale = step_elements(width, lanes, 0)
    return largest + exponentials + reciprocal + scale


def step_norm(width: int, lanes: int, depth: int) -> int:
    """Return cycles of a row: sums, reciprocal root, scale."""
    levels = 0
    while 1 << levels < lanes:
        levels += 1
    sums = step_tree(step_lanes(width, lanes, 0), levels)
    return sums + step_elements(1, lanes, depth) - 1 + step_elements(width, lanes, 0)


@settings(deadline=None, max_examples=400)
@given(st.integers(1, 600), st.integers(1, 70), st.integers(1, 12))
def test_tables_take_the_cycles_of_a_stepped_unit(width, lanes, depth):
    unit = NonlinearSpec("nn_lut", lanes, depth)
    assert count_elements("gelu", width, unit) == step_elements(width, lanes, depth)
    assert count_row("softmax", width, unit) == step_softmax(width, lanes, depth)
    assert count_row("layer_norm", width, unit) == step_norm(width, lanes, depth)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(UNITS), st.sampled_from(ELEMENTWISE + ROWS), st.integers(1, 40), st.integers(1, 3000),
    st.integers(0, 8),
)  # fmt: skip
def test_cycles_grow_with_work_and_never_beat_the_lanes(unit, kind, rows, width, exponent):
    unit = replace(unit, lanes=1 << exponent)
    cycles = count_operator(kind, rows, width, unit)
    assert cycles <= count_operator(kind, rows, width + 1, unit)
    assert cycles < count_operator(kind, rows + 1, width, unit) or kind in ELEMENTWISE
    assert cycles * unit.lanes >= rows * width  # every element passes a lane at least once
    assert count_steps(kind, rows, width, unit) < count_steps(kind, rows, width + 1, unit) or kind == "add"
    if width >= 2 * unit.lanes:  # else a deeper tree of sums may cost more than fewer groups save
        doubled = replace(unit, lanes=2 * unit.lanes)
        assert count_operator(kind, rows, width, doubled) <= cycles


@pytest.mark.parametrize("kind", ["softmax", "gelu", "silu", "layer_norm", "rms_norm"])
def test_tables_are_the_fastest(kind):
    assert count_operator(kind, 7, 300, TABLES) < count_operator(kind, 7, 300, POLYNOMIALS)
    assert count_operator(kind, 7, 300, TABLES) < count_operator(kind, 7, 300, EXACT)


def test_nothing_costs_nothing():
    for unit in UNITS:
        assert all(count_operator(kind, 3, 0, unit) == 0 for kind in ELEMENTWISE + ROWS)


def test_steps_by_hand():
    assert count_steps("softmax", 2, 10, TABLES) == 2 * (10 + 1 + 10)
    assert count_steps("softmax", 2, 10, POLYNOMIALS) == 2 * (40 + 1 + 10)
    assert count_steps("layer_norm", 2, 10, TABLES) == 2 * (20 + 1)
    assert count_steps("layer_norm", 2, 10, POLYNOMIALS) == 2 * (20 + 5 + 1)
    assert count_steps("gelu", 2, 10, POLYNOMIALS) == 2 * 10 * 2
    assert count_steps("add", 2, 10, TABLES) == 0


def make_spec(unit: NonlinearSpec | None) -> Spec:
    return Spec(
        "engine", "", "transformer", 1000.0, ArraySpec(16, 16), SramSpec(64, 64, 64, 64, 0),
        DramSpec("lpddr4", 19.2, 0.94, 0.9), EnergySpec(28), nonlinear=unit,
    )  # fmt: skip
