"""test_sparse_pipeline.py: the sparse pipeline's cycles are those of a simulator of all units that carries data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from event_simulator import Machine, simulate_layer
from event_workload import Outcome, Workload
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import (
    KINDS,
    Drawer,
    PillarSpec,
    draw_cells,
    make_job,
    make_layer,
    make_spec,
)

from colonnade.accel_model.cost import LoopOrder
from colonnade.accel_model.pipeline import Steps, run_pipeline
from colonnade.accel_model.reference import run_steps
from colonnade.accel_model.scheduler import cost_sparse_layer
from colonnade.accel_model.sparse_layer import plan_schedule
from colonnade.runtime.trace import LayerRecord

ORDERS: tuple[LoopOrder, ...] = ("tiles_outer", "channels_outer")
CASES_PER_KIND = 40
FEWEST_CASES = 20  # of those drawn; the others do not fit the buffers
SWITCHES = ("weight_grouping", "ganged_scatter", "active_tiles")


def draw_workload(seed: int, kind: str, kernel: int, stride: int) -> Workload:
    """Return a random layer with data, on a random machine."""
    drawer = Drawer(np.random.default_rng(seed))
    layer = drawer.layer(kind, kernel, stride)
    return fill(
        layer,
        drawer.spec(layer),
        drawer.pick(*ORDERS),
        drawer.pick(1, 3, 8, 20, 128),
        bool(drawer.pick(False, False, True)),
    )


def fill(
    layer: LayerRecord, spec: PillarSpec, order: LoopOrder, tile_inputs: int, rules_known: bool = False
) -> Workload:
    """Return a layer with random features and weights."""
    rng = np.random.default_rng(1)
    wide = layer.in_channels, layer.out_channels
    features = rng.integers(-9, 10, (layer.active_inputs, wide[0]))
    weights = rng.integers(-9, 10, (layer.kernel**2, *wide))
    return Workload(layer, spec, features, weights, order, tile_inputs, rules_known)


def check_data(work: Workload, outcome: Outcome) -> None:
    """Assert that main memory holds the convolution, each kept output stored once and no other."""
    kept = work.layer.kept_sites.cells[work.layer.out_sites.cells]
    np.testing.assert_array_equal(outcome.stored[kept], work.convolve()[kept])
    assert (outcome.times_stored == kept[:, None]).all()


def check_workload(work: Workload) -> bool:
    """Compare model and simulator, unit by unit; False where the model says that a buffer is too small."""
    job = make_job(work.layer, work.spec, work.rules_known)
    schedule = plan_schedule(job, work.order, work.tile_inputs)
    if schedule is None:
        return False
    timeline, outcome = run_pipeline(schedule.steps), simulate_layer(work)
    check_data(work, outcome)
    for unit, spans in zip(("load", "rules", "store"), timeline.spans[[0, 1, 3]].tolist(), strict=True):
        assert [tuple(span) for span in spans if span[1] > span[0]] == [
            span for span in outcome.spans[unit] if span[1] > span[0]
        ], unit
    assert timeline.cycles == outcome.cycles
    return True


# --- the pipeline against the simulator ---


@pytest.mark.parametrize(("kind", "kernel", "stride"), KINDS)
def test_random_grids_take_the_simulated_cycles(kind: str, kernel: int, stride: int) -> None:
    checked = [check_workload(draw_workload(seed, kind, kernel, stride)) for seed in range(CASES_PER_KIND)]
    assert sum(checked) >= FEWEST_CASES


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kind", "kernel", "stride"), [KINDS[1], KINDS[2], KINDS[3], KINDS[6]])
def test_crops_of_real_frames_take_the_simulated_cycles(
    real_maps: list[np.ndarray], kind: str, kernel: int, stride: int, order: LoopOrder
) -> None:
    spec = make_spec(4, 4, 8.0)
    for cells in real_maps:
        layer = make_layer(crop_busiest(cells), kind, kernel, stride, (4, 6))
        assert check_workload(fill(layer, spec, order, 32))


def crop_busiest(cells: np.ndarray, side: int = 24) -> np.ndarray:
    """Return the block of cells with most pillars among those that are not full."""
    blocks = [
        cells[y : y + side, x : x + side]
        for y in range(0, cells.shape[0] - side, side)
        for x in range(0, cells.shape[1] - side, side)
    ]
    return max((block for block in blocks if block.mean() < 0.4), key=lambda block: int(block.sum()))


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_changes_what_is_simulated(switch: str) -> None:
    kind = {"weight_grouping": KINDS[3], "ganged_scatter": KINDS[6], "active_tiles": KINDS[2]}[switch]
    layer = make_layer(draw_cells(np.random.default_rng(3), (10, 10), 0.4), *kind, channels=(4, 6))
    on = make_spec(4, 4, 2.0)
    off = replace(on, dataflow=replace(on.dataflow, **{switch: False}))
    works = [fill(layer, spec, "tiles_outer", 8) for spec in (on, off)]
    assert all(map(check_workload, works))
    assert simulate_layer(works[0]).cycles < simulate_layer(works[1]).cycles


def test_the_best_schedule_is_one_that_can_be_simulated() -> None:
    layer = make_layer(draw_cells(np.random.default_rng(5), (20, 20), 0.7), "dilating", channels=(4, 10))
    spec = make_spec(4, 4, 2.0)
    cost = cost_sparse_layer(make_job(layer, spec), 0)
    work = fill(layer, spec, cost.tiling.order, cost.tiling.tile_inputs)
    outcome = simulate_layer(work)
    check_data(work, outcome)
    assert cost.cycles == outcome.cycles


def test_an_output_that_leaves_too_early_is_caught() -> None:
    """The simulator itself: with the tiles' order of finality broken, what is stored is no convolution."""
    layer = make_layer(np.eye(6, dtype=np.bool_)[::-1], "dilating", channels=(2, 2))
    work = fill(layer, make_spec(2, 2, 8.0), "tiles_outer", 1)
    check_data(work, simulate_layer(work))
    broken = Machine(work)
    broken.tiles = [replace(tile, final=tile.reached) for tile in broken.tiles]
    with pytest.raises(AssertionError):
        check_data(work, broken.run())


# --- cases worked by hand ---


@pytest.mark.parametrize(
    ("kind", "preload", "expected"),
    [
        ("dilating", "serial", 9 * 11),
        ("dilating", "double_buffered", 4 + 8 * 4 + 1 + 6),
        ("dilating", "per_tap_fill", 9 * 5),
        ("submanifold", "serial", 11),
        ("submanifold", "double_buffered", 11),
    ],
)
def test_one_interior_pillar_by_hand(kind: str, preload: str, expected: int) -> None:
    cells = np.zeros((5, 5), np.bool_)
    cells[2, 2] = True
    spec = make_spec(4, 4)
    spec = replace(spec, array=replace(spec.array, weight_preload=preload))
    schedule = plan_schedule(make_job(make_layer(cells, kind), spec), "tiles_outer", 1)
    assert schedule is not None
    steps = schedule.steps
    assert steps.lead + steps.stream.sum() + steps.tail[-1] == expected
    assert check_workload(fill(make_layer(cells, kind), spec, "tiles_outer", 1))


def test_inputs_that_no_output_reads() -> None:
    """A 2 x 2 layer of stride 2 drops the last column of an odd grid."""
    cells = np.zeros((5, 5), np.bool_)
    cells[:, 4] = True
    assert check_workload(fill(make_layer(cells, "strided", 2, 2), make_spec(), "tiles_outer", 1))
    cells[3, 1] = True
    assert check_workload(fill(make_layer(cells, "strided", 2, 2), make_spec(), "tiles_outer", 1))


# --- the kernel ---

TIMES = st.lists(st.tuples(*[st.integers(0, 40)] * 5), min_size=1, max_size=12)


def make_steps(times: list[tuple[int, ...]], lead: int) -> Steps:
    load, rules, stream, tail, store = (np.array(column, np.int64) for column in zip(*times, strict=True))
    return Steps(load, rules, stream, tail, store, lead)


@settings(deadline=None)
@given(TIMES, st.integers(0, 9))
def test_the_kernel_equals_its_twin(times: list[tuple[int, ...]], lead: int) -> None:
    steps = make_steps(times, lead)
    timeline, twin = run_pipeline(steps), run_steps(steps)
    np.testing.assert_array_equal(timeline.spans, np.array(twin))
    assert timeline.cycles == max(end for unit in twin for _, end in unit)


@settings(deadline=None)
@given(TIMES)
def test_without_rules_and_tails_it_is_the_closed_overlap(times: list[tuple[int, ...]]) -> None:
    """Total = sum over s of max(C[s-1], L[s] + S[s-2])."""
    steps = make_steps([(load, 0, stream, 0, store) for load, _, stream, _, store in times], 0)
    count = len(times)
    loads, computes, stores = (np.pad(column, 2) for column in (steps.load, steps.stream, steps.store))
    total = sum(max(computes[s + 1], loads[s + 2] + stores[s]) for s in range(count + 2))
    assert run_pipeline(steps).cycles == total
