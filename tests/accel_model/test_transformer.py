"""test_transformer.py: transformers on an array with an operator unit: counts by hand, exact forms, invariants."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.accel_model.dense_array import count_double_buffered, count_per_tap_fill, count_serial
from colonnade.accel_model.dma import overlap
from colonnade.accel_model.operation_cost import lay_slots
from colonnade.accel_model.report import Report
from colonnade.accel_model.sequence_lengths import change_unit, compare_lengths
from colonnade.accel_model.spec import ArraySpec, DramSpec, EnergySpec, NonlinearSpec, Spec, SramSpec
from colonnade.accel_model.transformer import (
    SHAPES,
    TransformerShape,
    find_shape,
    list_operations,
    simulate_operations,
)
from colonnade.runtime.errors import ConfigError, UsageError
from colonnade.runtime.operations import OperandRecord, OperationRecord, OperationTrace

INT8 = Spec(
    name="engine",
    description="",
    kind="transformer",
    clock_mhz=1000.0,
    array=ArraySpec(64, 64),
    sram=SramSpec(256, 640, 512, 128, 0),
    dram=DramSpec("lpddr4", 19.2, 0.94, 0.9),
    energy=EnergySpec(28),
    nonlinear=NonlinearSpec("nn_lut", 64, 4),
)
DINT4 = replace(INT8, name="engine4", array=ArraySpec(64, 64, mac_format="dint4"))
FREE = replace(INT8, dram=replace(INT8.dram, bandwidth_gb_per_s=inf))  # memory that takes no time
TINY = TransformerShape("tiny", 1, 8, 2, 16, 2, "gelu", "layer_norm", norm_first=False)


def make_product(rows: int, inner: int, columns: int, batch: int = 1, bits: int = 32) -> OperationRecord:
    operands = (
        OperandRecord("x", False, batch * rows * inner, bits),
        OperandRecord("w", batch == 1, batch * inner * columns, bits),
    )
    return OperationRecord("product", "matmul", batch, rows, inner, columns, operands, bits)


def make_operator(kind: str, source: OperationRecord, name: str = "operator") -> OperationRecord:
    operand = OperandRecord(source.name, False, source.elements, 32)
    return OperationRecord(name, kind, source.batch, source.rows, 0, source.columns, (operand,), 32)


def simulate(spec: Spec, *operations: OperationRecord) -> Report:
    return simulate_operations(OperationTrace("some", operations), spec)


def sum_busy(report: Report, unit: str) -> int:
    return sum(layer.cost.busy_cycles(unit) for layer in report.layers)


def test_operations_by_hand():
    trace = list_operations(TINY, 5)
    shapes = [(op.name, op.kind, op.batch, op.rows, op.inner, op.columns) for op in trace.operations]
    assert shapes == [
        ("layer0.qkv", "matmul", 1, 5, 8, 24),
        ("layer0.scores", "matmul", 2, 5, 4, 5),
        ("layer0.softmax", "softmax", 2, 5, 0, 5),
        ("layer0.values", "matmul", 2, 5, 5, 4),
        ("layer0.attention_out", "matmul", 1, 5, 8, 8),
        ("layer0.attention_add", "add", 1, 5, 0, 8),
        ("layer0.attention_norm", "layer_norm", 1, 5, 0, 8),
        ("layer0.mlp_in", "matmul", 1, 5, 8, 16),
        ("layer0.gelu", "gelu", 1, 5, 0, 16),
        ("layer0.mlp_out", "matmul", 1, 5, 16, 8),
        ("layer0.mlp_add", "add", 1, 5, 0, 8),
        ("layer0.mlp_norm", "layer_norm", 1, 5, 0, 8),
    ]
    assert trace.macs == 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 2 * 5 * 5 * 4
    add = trace.operations[5]
    assert [operand.source for operand in add.operands] == ["layer0.attention_out", "embeddings"]


@pytest.mark.parametrize(
    ("name", "parameters", "norms"),
    [("stories260k", 260_032, 11), ("smollm2-135m", 134_515_008, 61)],
)
def test_dimensions_give_the_parameters_of_the_models(name, parameters, norms):
    """stories260K's file states 260,032 parameters; SmolLM2's 134.5 million. Their embeddings are the heads."""
    shape = find_shape(name)
    operations = list_operations(shape, 3).operations
    weights = sum(operand.elements for op in operations for operand in op.operands if operand.weight)
    assert sum(op.kind == "rms_norm" for op in operations) == norms
    assert weights + norms * shape.hidden == parameters


def test_minilm_has_the_operators_of_its_graph():
    kinds = [op.kind for op in list_operations(find_shape("minilm"), 7).operations]
    assert (kinds.count("softmax"), kinds.count("gelu"), kinds.count("layer_norm")) == (6, 6, 12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("sequence", [1, 17])
def test_operations_read_what_came_before(shape, sequence):
    seen = {"embeddings"}
    for operation in list_operations(shape, sequence).operations:
        assert operation.name not in seen
        assert all(operand.weight or operand.source in seen for operand in operation.operands)
        seen.add(operation.name)


def test_what_is_no_shape():
    with pytest.raises(UsageError, match="minilm"):
        find_shape("mini")
    with pytest.raises(UsageError, match="at least 1"):
        list_operations(TINY, 0)
    with pytest.raises(ConfigError, match="divide"):
        replace(TINY, heads=3)
    with pytest.raises(ConfigError, match="above 0"):
        replace(TINY, mlp=0)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 4),
    st.integers(1, 40), st.integers(1, 40),
)  # fmt: skip
def test_products_alone_take_the_closed_forms(rows, inner, columns, batch, height, width):
    folds = [rows] * (batch * -(-inner // height) * -(-columns // width))
    for preload, count in (
        ("double_buffered", count_double_buffered(folds, height, width)),
        ("serial", count_serial(folds, height, width)),
        ("per_tap_fill", count_per_tap_fill(folds, height)),
    ):
        spec = replace(FREE, array=ArraySpec(height, width, weight_preload=preload))
        report = simulate(spec, make_product(rows, inner, columns, batch))
        assert report.cycles == count


def test_worked_products():
    spec = replace(FREE, array=ArraySpec(4, 4))
    assert simulate(spec, make_product(1, 12, 4)).cycles == 4 + 4 + 4 + 1 + 6 == 19
    assert simulate(replace(FREE, array=ArraySpec(2, 2)), make_product(3, 2, 2)).cycles == 7


def test_an_operator_beside_the_array_by_hand():
    """Two tiles of 64 rows, one fold of 64 × 64: L is free, A = 64 + R + drain; GELU of a tile 4 + 64 on 64 lanes."""
    spec = replace(FREE, sram=replace(INT8.sram, psum_kib=32))  # a half holds 64 rows of 64 sums
    product = make_product(128, 64, 64)
    (layer,) = simulate(spec, product, make_operator("gelu", product)).layers
    tail = 64 + 64 - 2
    assert layer.cost.tiling.tiles == 2
    assert layer.cost.busy_cycles("array") == 64 + 128 + tail == count_double_buffered([64, 64], 64, 64)
    assert layer.cost.busy_cycles("nonlinear") == 2 * (4 + 64)
    assert layer.cycles == (64 + 64) + max(64 + tail, 68) + 68


def test_the_operator_unit_reads_one_half_of_the_sums():
    spec = replace(FREE, sram=replace(INT8.sram, psum_kib=24))  # 96 rows of 64 sums
    product = make_product(96, 64, 64)
    assert simulate(spec, product).layers[0].cost.tiling.tile_inputs == 96
    assert simulate(spec, product, make_operator("gelu", product)).layers[0].cost.tiling.tile_inputs == 48


def test_a_row_that_does_not_fit_is_added():
    product = make_product(32, 64, 256)
    softmax = make_operator("softmax", product)
    wide = simulate(FREE, product, softmax)
    small = simulate(replace(FREE, sram=replace(INT8.sram, psum_kib=1)), product, softmax)  # a half: 128 sums
    assert [layer.kind for layer in wide.layers] == ["matmul + softmax"]
    assert [layer.kind for layer in small.layers] == ["matmul", "softmax"]
    assert small.layers[1].start == small.layers[0].cycles
    assert small.layers[1].cycles == 32 * (4 + 6 + 4 + 4 + 6 + 4 + 4)
    with pytest.raises(ConfigError, match="psum_kib"):
        simulate(replace(FREE, sram=replace(INT8.sram, psum_kib=0.1)), product)


def test_activations_that_stand_still_take_two_passes_in_four_bit_multipliers():
    free4 = replace(FREE, array=DINT4.array)
    heads, linear = make_product(100, 64, 64, batch=2), make_product(100, 64, 64)
    assert simulate(free4, heads).cycles == count_double_buffered([100] * 4, 64, 64)
    assert simulate(free4, linear).cycles == simulate(FREE, linear).cycles
    twice = replace(free4, array=replace(DINT4.array, macs_per_pe=2))  # at equal area
    assert simulate(twice, heads).cycles == simulate(FREE, heads).cycles
    narrow = make_product(100, 64, 64, batch=2, bits=4)  # a cache of 4 bits needs one
    assert simulate(free4, narrow).cycles == simulate(FREE, heads).cycles


def test_memory_traffic_by_hand():
    """Weights once; what the next step alone reads stays on the chip; a residual that is read later is written."""
    report = simulate_operations(list_operations(TINY, 5), INT8)
    names = [layer.name for layer in report.layers]
    assert names == [
        "layer0.qkv",
        "layer0.scores + softmax",
        "layer0.values",
        "layer0.attention_out + attention_add + attention_norm",
        "layer0.mlp_in + gelu",
        "layer0.mlp_out + mlp_add + mlp_norm",
    ]
    moved = [layer.cost.actions.dram_bytes for layer in report.layers]
    assert moved == [
        5 * 8
        + 8 * 24
        + 5 * 24,  # embeddings, weights; keys and queries go on, but values are read later: written
        0,
        5 * 8,  # values come back
        8 * 8
        + 5 * 8
        + 5 * 8,  # weights; the residual comes in; the norm's result is read now and later: written
        8 * 16,
        16 * 8 + 5 * 8 + 5 * 8,  # weights, the residual in, the result out
    ]


def test_what_fits_no_buffer_goes_through_main_memory():
    small = replace(INT8, sram=replace(INT8.sram, input_kib=0.03))  # a half holds 15 bytes
    moved = [
        layer.cost.actions.dram_bytes for layer in simulate_operations(list_operations(TINY, 5), small).layers
    ]
    assert moved[1] == 5 * 8 + 5 * 8 + 2 * 25  # queries, keys, and shares of 25 bytes per head
    assert moved[2] == 2 * 25 + 5 * 8 + 5 * 8


def test_weights_that_do_not_stay_are_read_for_every_tile():
    product = make_product(512, 128, 128)
    small = replace(INT8, sram=replace(INT8.sram, weight_kib=8, psum_kib=32))  # 128 rows of 64 sums
    bytes_read = simulate(small, product).layers[0].cost.actions.dram_bytes
    assert bytes_read == 4 * 128 * 128 + 512 * 128 + 512 * 128


def run_events(load, array, operators, store) -> int:
    """Run units on pieces as soon as they can; return when all is stored.

    Every buffer has two halves: load i waits for array i - 2, array i for operators i - 2, operators i for store i - 2.
    One channel serves L0 L1 L2 S0 L3 S1 ...
    """
    count = len(load)
    ends = {unit: [0] * count for unit in "LANS"}

    def end(unit: str, piece: int) -> int:
        return ends[unit][piece] if 0 <= piece < count else 0

    def run(unit: str, piece: int, free: int, cycles: int, *waits: int) -> None:
        ends[unit][piece] = max(free, *waits) + cycles

    channel = 0
    for slot in range(count + 3):
        if 0 <= slot - 3 < count:
            i = slot - 3
            run("S", i, channel, store[i], end("N", i))
            channel = end("S", i)
        if slot < count:
            run("L", slot, channel, load[slot], end("A", slot - 2))
            channel = end("L", slot)
        i = slot - 1
        if 0 <= i < count:
            run("A", i, end("A", i - 1), array[i], end("L", i), end("N", i - 2))
        i = slot - 2
        if 0 <= i < count:
            run("N", i, end("N", i - 1), operators[i], end("A", i), end("S", i - 2))
    return channel


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=12))
def test_slots_are_never_faster_than_units_that_start_when_they_can(pieces):
    load, array, operators, store = (np.array(part, np.int64) for part in zip(*pieces, strict=True))
    none = np.zeros_like(array)
    cycles = int(lay_slots(load, array, operators, store, 1).lengths.sum())
    free = run_events(load.tolist(), array.tolist(), operators.tolist(), store.tolist())
    assert free <= cycles <= int(load.sum() + array.sum() + operators.sum() + store.sum())
    assert cycles >= max(array.sum(), operators.sum(), load.sum() + store.sum())
    assert int(lay_slots(load, array, none, store, 0).lengths.sum()) == overlap(load, array, store)


shapes = st.builds(
    lambda layers, head, key_heads, share, mlp, gated, norm_first, vocabulary: TransformerShape(
        "drawn", layers, head * key_heads * share, key_heads * share, mlp, key_heads,
        "silu" if gated else "gelu", "rms_norm" if gated else "layer_norm",
        norm_first=norm_first, gated=gated, rotary=gated, vocabulary=vocabulary,
    ),
    st.integers(1, 2), st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(1, 300),
    st.booleans(), st.booleans(), st.sampled_from([0, 100]),
)  # fmt: skip


@st.composite
def specs(draw) -> Spec:
    size = 1 << draw(st.integers(2, 7))
    sram = SramSpec(*(float(1 << draw(st.integers(2, 9))) for _ in range(4)), 0)
    return replace(
        INT8,
        array=ArraySpec(size, size, mac_format=draw(st.sampled_from(["int8", "dint4", "fp16"]))),
        sram=sram,
        dram=replace(INT8.dram, bandwidth_gb_per_s=draw(st.sampled_from([1.0, 19.2, 400.0]))),
        nonlinear=NonlinearSpec(
            draw(st.sampled_from(["nn_lut", "polynomial", "exact"])), 1 << draw(st.integers(0, 7)), 4
        ),
    )


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(1, 200), specs())
def test_no_step_beats_its_limits_and_events_add_up(shape, sequence, spec):
    trace = list_operations(shape, sequence)
    report = simulate_operations(trace, spec)
    assert report.macs == trace.macs
    rate = spec.dram_bytes_per_cycle * spec.dram.streaming_efficiency
    start = 0
    for layer in report.layers:
        cost = layer.cost
        assert layer.start == start
        start += cost.cycles
        assert cost.cycles >= cost.actions.mac / spec.array.macs_per_cycle
        assert cost.cycles >= cost.actions.dram_bytes / rate - 1e-6
        assert cost.cycles <= sum(cycles for _, cycles in cost.busy)
        assert cost.actions.idle_pe >= 0
        assert layer.utilisation <= 1
        for unit, cycles in cost.busy:
            assert cycles <= cost.cycles
            events = [event for event in cost.events if event.unit == unit]
            assert sum(event.end - event.start for event in events) == cycles
            edges = [0, *(edge for event in events for edge in (event.start, event.end)), cost.cycles]
            assert edges == sorted(edges)
        assert cost.limit == max(cost.busy, key=lambda pair: pair[1])[0]


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(1, 150), specs())
def test_more_memory_speed_or_a_table_is_never_slower(shape, sequence, spec):
    trace = list_operations(shape, sequence)
    cycles = simulate_operations(trace, spec).cycles
    faster = replace(spec, dram=replace(spec.dram, bandwidth_gb_per_s=2 * spec.dram.bandwidth_gb_per_s))
    assert simulate_operations(trace, faster).cycles <= cycles
    assert simulate_operations(trace, change_unit(spec, "nn_lut")).cycles <= cycles
    assert simulate_operations(trace, spec) == simulate_operations(trace, spec)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("sequence", [1, 16, 100, 512])
def test_narrow_weights_move_less(name, sequence):
    """In buffers that hold every weight once they save half of its bytes; in small ones a plan may trade some back."""
    trace = list_operations(SHAPES[name], sequence)
    wide, narrow = (
        simulate_operations(trace, replace(INT8, array=replace(INT8.array, mac_format=kind)))
        for kind in ("int8", "dint4")
    )
    weights = sum(operand.elements for op in trace.operations for operand in op.operands if operand.weight)
    saved = wide.actions.dram_bytes - narrow.actions.dram_bytes
    assert saved > 0
    if INT8.sram.weight_kib >= 512 and sequence <= 16:
        assert abs(saved - weights / 2) <= len(trace.operations)


@pytest.mark.parametrize("name", ["minilm", "stories260k"])
@pytest.mark.parametrize("unit", ["nn_lut", "polynomial", "exact"])
def test_longer_is_never_faster_and_more_lanes_never_slower(name, unit):
    spec = change_unit(INT8, unit)
    cycles = [
        simulate_operations(list_operations(SHAPES[name], s), spec).cycles
        for s in (16, 17, 32, 100, 128, 512)
    ]
    assert cycles == sorted(cycles)
    trace = list_operations(SHAPES[name], 128)
    assert spec.nonlinear is not None
    by_lanes = [
        simulate_operations(trace, replace(spec, nonlinear=replace(spec.nonlinear, lanes=lanes))).cycles
        for lanes in (8, 16, 32, 64)
    ]
    assert by_lanes == sorted(by_lanes, reverse=True)


def test_very_long_sequences_are_costed_too():
    report = simulate_operations(list_operations(replace(SHAPES["smollm2-135m"], layers=1), 65_536), INT8)
    assert report.cycles > report.macs / INT8.array.macs_per_cycle


def test_energy_is_the_sum_of_its_parts():
    report = simulate_operations(list_operations(find_shape("minilm"), 64), INT8)
    parts = sum(part.picojoules.nominal for layer in report.layers for part in layer.energy)
    assert report.energy_mj == pytest.approx(parts / 1e9, rel=1e-9)
    assert report.energy_band_mj.low <= report.energy_mj <= report.energy_band_mj.high
    assert report.actions.nonlinear > 0


def test_other_accelerators_are_refused():
    trace = list_operations(TINY, 4)
    with pytest.raises(ConfigError, match="runs no transformers"):
        simulate_operations(trace, replace(INT8, kind="dense", nonlinear=None))
    with pytest.raises(ConfigError, match="no operator unit"):
        change_unit(replace(INT8, nonlinear=None), "exact")
    assert simulate_operations(OperationTrace("nothing", ()), INT8).cycles == 0


def test_lengths_side_by_side():
    comparison = compare_lengths(find_shape("minilm"), [INT8, DINT4], [16, 128], ["nn_lut", "polynomial"])
    order = [(r.sequence, r.accelerator, r.unit) for r in comparison.results]
    assert order[:4] == [
        (16, "engine", "nn_lut"), (16, "engine", "polynomial"),
        (16, "engine4", "nn_lut"), (16, "engine4", "polynomial"),
    ]  # fmt: skip
    assert len(order) == 8
    by_key = dict(zip(order, comparison.results, strict=True))
    for length in (16, 128):
        tables, polynomials = by_key[length, "engine", "nn_lut"], by_key[length, "engine", "polynomial"]
        assert tables.array_cycles == polynomials.array_cycles
        assert tables.nonlinear_share < polynomials.nonlinear_share
        assert tables.cycles < polynomials.cycles
    # The operators' share grows with the length, as published; the figures themselves are not compared.
    assert (
        by_key[16, "engine", "polynomial"].nonlinear_share
        < by_key[128, "engine", "polynomial"].nonlinear_share
    )
    found = json.loads(comparison.to_json())
    assert found["published"]["speed_up_at_most"] == 1.26
    assert found["results"][0]["cycles_to_first"] == 1.0
    assert found["results"][1]["cycles_to_first"] > 1.0
    with pytest.raises(UsageError, match="at least one"):
        compare_lengths(TINY, [INT8], [])
