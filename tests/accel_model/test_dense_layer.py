"""Tests of dense layers on a whole accelerator: traffic, tiles that fit, overlap, actions, events, encoder."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from dense_cases import ROOMY, list_backbone, list_neck, make_head, make_layer, make_spec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from colonnade.accel_model.cost import LayerCost
from colonnade.accel_model.dense_array import count_double_buffered, count_serial
from colonnade.accel_model.dense_layer import (
    SLACK,
    cost_dense_layer,
    cost_encoder,
    count_dense_cycles,
    find_gemm,
    find_work,
)
from colonnade.accel_model.dense_tiling import Machine, Work, bound_cut, lay_tiles, list_cuts, split
from colonnade.accel_model.dma import overlap
from colonnade.accel_model.spec import Spec, SramSpec
from colonnade.runtime.errors import ConfigError
from colonnade.runtime.trace import EncoderRecord, LayerRecord

BACKBONE = list_backbone()
NETWORK = [*BACKBONE, *list_neck(), make_head(72)]
LARGE = SramSpec(512, 768, 128, 256, 32)
MIDDLE = SramSpec(128, 160, 32, 64, 32)
SMALL = SramSpec(16, 16, 8, 8, 8)


def count_smallest_traffic(layer: LayerRecord) -> int:
    """Return int8 bytes where map and weights are read once and the output is written once."""
    (height, width), outputs = layer.in_shape, layer.out_shape[0] * layer.out_shape[1]
    weights = layer.kernel**2 * layer.in_channels * layer.out_channels
    return height * width * layer.in_channels + weights + outputs * layer.out_channels


def check_events(cost: LayerCost) -> None:
    for unit, busy in cost.busy:
        events = [event for event in cost.events if event.unit == unit]
        assert all(event.start < event.end for event in events)
        assert all(a.end <= b.start for a, b in pairwise(events))
        assert sum(event.end - event.start for event in events) == busy <= cost.cycles
    assert max((event.end for event in cost.events), default=0) == cost.cycles


def test_dense_multiplications_are_the_layer_s():
    assert sum(find_gemm(layer).macs for layer in NETWORK) == 34_173_812_736
    for layer in NETWORK:
        assert cost_dense_layer(layer, make_spec(64)).actions.mac == layer.dense_macs


@pytest.mark.parametrize("preload", ["serial", "double_buffered", "per_tap_fill"])
@pytest.mark.parametrize("size", [16, 64])
def test_free_memory_leaves_the_array_s_form(size, preload):
    for layer in NETWORK:
        spec = make_spec(size, preload=preload)
        cost = cost_dense_layer(layer, spec)
        assert cost.cycles == cost.busy_cycles("array") == count_dense_cycles(layer, spec)
        assert cost.limit == "array"
        assert cost.busy_cycles("dram") == 0


@pytest.mark.parametrize(("size", "input_mj", "psum_mj"), [(64, 0.16, 3.35), (16, 0.62, 13.4)])
def test_backbone_smells_right(size, input_mj, psum_mj):
    """Traffic and counts of the 16 convolutions, priced at 28 nm, INT8: 0.153 pJ per MAC, SRAM 0.335 pJ/B for inputs,
    0.445 read and 1.367 write for partial sums, LPDDR4 at 10 pJ per bit."""
    costs = [cost_dense_layer(layer, make_spec(size, sram=LARGE, bandwidth=25.6)) for layer in BACKBONE]
    actions = sum((cost.actions for cost in costs[1:]), costs[0].actions)
    assert actions.dram_bytes == sum(map(count_smallest_traffic, BACKBONE))
    assert round(actions.dram_bytes / 1e6, 1) == 75.3
    assert round(actions.dram_stream_bits * 10 * 1e-9, 2) == 6.03
    assert round(actions.mac * 0.153 * 1e-9, 2) == 4.53
    assert actions.input_read_bytes * 0.335 * 1e-9 == pytest.approx(input_mj, abs=0.006)
    psum = (actions.psum_read_bytes * 0.445 + actions.psum_write_bytes * 1.367) * 1e-9
    assert psum == pytest.approx(psum_mj, abs=0.06)


def test_actions_counted_by_hand():
    """3 × 3, 6 -> 5 channels, 4 × 4 positions on 4 × 4: two row folds per tap, two column folds, one piece."""
    cost = cost_dense_layer(make_layer("dilating", 3, 1, (6, 5), (4, 4)), make_spec(4))
    actions, macs = cost.actions, 16 * 9 * 6 * 5
    assert cost.cycles == count_double_buffered([16] * 36, 4, 4)
    assert actions.mac == macs
    assert actions.idle_pe == cost.cycles * 16 - macs
    assert actions.register_bits == macs * (8 + 32)
    assert (actions.input_read_bytes, actions.input_write_bytes) == (16 * 54 * 2, 16 * 6)
    assert (actions.weight_read_bytes, actions.weight_write_bytes) == (270, 270)
    assert actions.psum_read_bytes == actions.psum_write_bytes == 4 * 16 * 5 * 18
    assert actions.output_read_bytes == actions.output_write_bytes == 80
    assert actions.dram_stream_bits == 8 * (96 + 270 + 80)
    assert actions.cycles == cost.cycles


def test_small_psum_buffer_reads_weights_again():
    """16 positions in a buffer of 5 rows: 4 pieces of 4, each repeats all folds."""
    layer = make_layer("dilating", 3, 1, (4, 4), (4, 4))
    sram = replace(ROOMY, psum_kib=5 * 4 * 4 / 1024)
    serial = cost_dense_layer(layer, make_spec(4, sram=sram, preload="serial"))
    double = cost_dense_layer(layer, make_spec(4, sram=sram))
    assert serial.cycles == count_serial([4] * 36, 4, 4)
    assert double.cycles == count_double_buffered([4] * 36, 4, 4)
    assert double.actions.weight_read_bytes == 4 * 9 * 16
    assert double.actions.weight_write_bytes == 9 * 16


def test_sixteen_bits_double_the_bytes_and_four_halve_the_weights():
    layer = BACKBONE[5]
    int8, fp16, w4a8 = (
        cost_dense_layer(layer, make_spec(64, mac_format=form)).actions for form in ("int8", "fp16", "w4a8")
    )
    assert fp16.dram_stream_bits == 2 * int8.dram_stream_bits
    assert w4a8.weight_write_bytes * 2 == int8.weight_write_bytes
    assert w4a8.input_write_bytes == int8.input_write_bytes


def test_twice_the_columns_halve_the_column_folds():
    layer = BACKBONE[-1]  # 256 output channels
    reads = [
        cost_dense_layer(layer, make_spec(64, columns)).actions.input_read_bytes for columns in (64, 128, 256)
    ]
    assert reads[0] == 2 * reads[1] == 4 * reads[2]


@pytest.mark.parametrize("sram", [LARGE, MIDDLE, SMALL], ids=["large", "middle", "small"])
@pytest.mark.parametrize("size", [16, 64])
def test_network_on_buffers(size, sram):
    for layer in NETWORK:
        spec = make_spec(size, sram=sram, bandwidth=25.6)
        cost = cost_dense_layer(layer, spec)
        check_events(cost)
        assert cost.actions.dram_bytes >= count_smallest_traffic(layer)
        assert cost.cycles >= layer.dense_macs / size**2
        assert cost.cycles >= cost.actions.dram_bytes / 25.6
        assert cost.limit == max(cost.busy, key=lambda item: item[1])[0]
        assert len(cost.events) <= 80


def test_memory_limits_a_layer_that_multiplies_little():
    cost = cost_dense_layer(make_head(72), make_spec(64, sram=LARGE, bandwidth=1.0))
    assert cost.limit == "dram"
    assert cost.cycles == pytest.approx(count_smallest_traffic(make_head(72)), rel=0.02)


LAYERS = st.one_of(
    st.builds(
        make_layer,
        st.just("dilating"),
        st.sampled_from([1, 3, 5]),
        st.just(1),
        st.tuples(st.integers(1, 80), st.integers(1, 80)),
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
    ),
    st.builds(
        make_layer,
        st.just("strided"),
        st.sampled_from([2, 3]),
        st.just(2),
        st.tuples(st.integers(1, 80), st.integers(1, 80)),
        st.tuples(st.integers(2, 40), st.integers(2, 40)),
    ),
    st.builds(
        lambda up, channels, shape: make_layer("transposed", up, up, channels, shape),
        st.sampled_from([1, 2, 4]),
        st.tuples(st.integers(1, 80), st.integers(1, 40)),
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
    ),
)
BUFFERS = st.builds(
    SramSpec,
    *(st.sampled_from(sizes) for sizes in ([8, 12, 64], [2, 3, 16, 96], [1, 4, 9], [1, 3, 32])),
    st.just(8),
)
SPECS = st.builds(
    lambda rows, columns, sram, preload, bandwidth, m: make_spec(
        rows, columns, sram=sram, preload=preload, bandwidth=bandwidth, macs_per_pe=m
    ),
    st.integers(1, 20),
    st.integers(1, 20),
    BUFFERS,
    st.sampled_from(["serial", "double_buffered", "per_tap_fill"]),
    st.sampled_from([0.3, 1.0, 7.7, 100.0, math.inf]),
    st.sampled_from([1, 2]),
)


@given(LAYERS, SPECS)
@settings(max_examples=150, deadline=None)
def test_every_layer_on_every_accelerator(layer: LayerRecord, spec: Spec):
    cost = cost_dense_layer(layer, spec)
    check_events(cost)
    assert cost.cycles * spec.array.macs_per_cycle >= layer.dense_macs
    assert cost.cycles >= cost.actions.dram_bytes / spec.dram.bandwidth_gb_per_s
    assert max(dict(cost.busy).values()) <= cost.cycles <= sum(dict(cost.busy).values())
    assert cost.busy_cycles("array") >= count_dense_cycles(layer, spec)
    assert cost.actions.idle_pe >= 0
    faster = replace(spec, dram=replace(spec.dram, bandwidth_gb_per_s=2 * spec.dram.bandwidth_gb_per_s))
    assert cost_dense_layer(layer, faster).cycles <= cost.cycles * (1 + 1 / SLACK)


def list_read(work: Work, axis: int, parts: list[int]) -> list[int]:
    """Return the rows (axis 0) or columns (1) that the windows of each part of the positions read, part by part."""
    read, first = [], 0
    for part in parts:
        begins = range(
            first * work.stride - work.padding, (first + part) * work.stride - work.padding, work.stride
        )
        windows = {begin + tap for begin in begins for tap in range(work.kernel)}
        read += sorted(windows & set(range(work.in_shape[axis])))
        first += part
    return read


@example(  # all 528 outputs of a position are more than half of the output buffer
    make_layer("transposed", 4, 4, (1, 33), (1, 1)),
    make_spec(1, 1, sram=SramSpec(8, 2, 1, 1, 8)),
)
@given(LAYERS, SPECS)
@settings(max_examples=100, deadline=None)
def test_every_cut_fits_and_holds_the_layer(layer: LayerRecord, spec: Spec):
    work, machine, gemm = find_work(layer), Machine.of(spec), find_gemm(layer)
    folds = -(-gemm.columns // spec.array.columns)
    for cut in list_cuts(work, machine):
        tiles = lay_tiles(cut, work, machine)
        assert tiles.positions.sum() == gemm.positions
        assert tiles.store_bytes.sum() == gemm.positions * gemm.columns
        height, width = -(-work.grid[0] // cut.row_tiles), -(-work.grid[1] // cut.stripes)
        read = [
            min((n - 1) * work.stride + work.kernel, size)
            for n, size in zip((height, width), work.in_shape, strict=True)
        ]
        assert tiles.store_bytes.max() <= spec.sram.output_kib * 512
        if cut.map_stays:
            assert work.in_shape[0] * work.in_shape[1] * gemm.in_channels <= spec.sram.input_kib * 1024
        else:
            assert read[0] * read[1] * gemm.in_channels <= spec.sram.input_kib * 512
        if cut.weights == "layer":
            assert tiles.weight_bytes == gemm.depth * gemm.columns <= spec.sram.weight_kib * 1024
        if cut.weights == "fold":
            assert 4 * height * width * min(gemm.columns, spec.array.columns) <= spec.sram.psum_kib * 1024
        if cut.weights == "group":
            fullest = min(-(-folds // cut.groups) * spec.array.columns, gemm.columns)
            assert gemm.depth * fullest <= spec.sram.weight_kib * 512
        passes = cut.groups if cut.groups_outer and not cut.map_stays else 1
        rows = len(list_read(work, 0, [work.grid[0]]))
        columns = list_read(work, 1, split(work.grid[1], cut.stripes).tolist())
        columns = sorted(set(columns)) if cut.map_stays else columns
        assert tiles.input_bytes == passes * rows * len(columns) * gemm.in_channels
        cycles = overlap(
            machine.rate.count_all_cycles(tiles.load_bytes),
            tiles.compute,
            machine.rate.count_all_cycles(tiles.store_bytes),
        )
        assert bound_cut(cut, work, machine) <= cycles


@given(LAYERS, SPECS)
@settings(max_examples=60, deadline=None)
def test_tiles_add_up_to_the_form_over_their_pieces(layer: LayerRecord, spec: Spec):
    work, machine, array = find_work(layer), Machine.of(spec), spec.array
    most, gemm = machine.count_psum_rows(work.gemm.columns), work.gemm
    folds = (
        gemm.taps
        * -(-gemm.in_channels // (array.rows * array.macs_per_pe))
        * -(-gemm.columns // array.columns)
    )
    for cut in list_cuts(work, machine):
        tiles = lay_tiles(cut, work, machine)
        pieces = np.concatenate([split(t, -(-t // most)) for t in tiles.positions.tolist()])
        assert pieces.max() <= most
        assert len(pieces) == tiles.pieces
        times = np.repeat(pieces, folds)
        expected = {
            "double_buffered": count_double_buffered(times, array.rows, array.columns),
            "serial": count_serial(times, array.rows, array.columns),
            "per_tap_fill": int(times.sum()) + times.size * array.rows,
        }
        assert tiles.compute.sum() == expected[array.weight_preload]


def test_stripes_read_shared_columns_twice():
    """8 × 8 cells, halves of 16 cells: 2 × 2 positions read 4 × 4; 4 stripes read 3 + 4 + 4 + 3 columns."""
    layer = make_layer("dilating", 3, 1, (16, 16), (8, 8))
    cost = cost_dense_layer(layer, make_spec(16, sram=replace(ROOMY, input_kib=0.5)))
    assert cost.actions.input_write_bytes == 8 * (3 + 4 + 4 + 3) * 16
    assert cost.tiling.tile_inputs == 2 * 2


@pytest.mark.parametrize(
    ("key", "value", "content"),
    [
        ("psum_kib", 0.2, "partial sums of one position, 256 bytes; give at least 0.25"),
        ("weight_kib", 7.9, "weights of a fold and of the next, 4096 bytes; give at least 8"),
        ("input_kib", 4.0, "one position's window, 2304 bytes; give at least 4.5"),
        ("output_kib", 0.1, "one position, 64 bytes; give at least 0.125"),
    ],
)
def test_buffers_that_hold_no_tile_are_named(key, value, content):
    layer = BACKBONE[-1]
    with pytest.raises(ConfigError, match=rf"sram\.{key} = {value}.*{content}"):
        cost_dense_layer(layer, make_spec(64, sram=replace(LARGE, **{key: value})))
    enough = float(content.rsplit(" ", 1)[1])
    assert cost_dense_layer(layer, make_spec(64, sram=replace(LARGE, **{key: enough}))).cycles


def test_grid_without_outputs_costs_nothing():
    cost = cost_dense_layer(make_layer("strided", 2, 2, (4, 4), (1, 1)), make_spec(4))
    assert (cost.cycles, cost.events) == (0, ())


ENCODER = EncoderRecord(20_000, 6_000, 9, 3, 64, "int8")


def test_encoder_counted_by_hand():
    """100 points · 5 values and 10 pillars · 3 values × 8 channels on 4 × 4: 2 · 2 folds of 100, 1 · 2 of 10."""
    cost = cost_encoder(EncoderRecord(100, 10, 5, 3, 8, "int8"), make_spec(4))
    assert cost.cycles == count_double_buffered([100] * 4 + [10] * 2, 4, 4)
    assert cost.actions.mac == 100 * 5 * 8 + 10 * 3 * 8
    assert cost.actions.input_read_bytes == (500 + 30) * 2
    assert cost.actions.psum_read_bytes == 4 * 8 * (100 * 2 + 10)
    assert cost.actions.dram_bytes == 500 + 30 + 64 + 10 * (8 + 4)


@pytest.mark.parametrize("sram", [LARGE, MIDDLE, SMALL], ids=["large", "middle", "small"])
@pytest.mark.parametrize("size", [16, 64])
def test_encoder_on_buffers(size, sram):
    cost = cost_encoder(ENCODER, make_spec(size, sram=sram, bandwidth=25.6))
    check_events(cost)
    assert cost.actions.mac == ENCODER.macs
    assert cost.cycles >= ENCODER.macs / size**2
    assert cost.cycles >= cost.actions.dram_bytes / 25.6
    tile = -(-ENCODER.points // cost.tiling.tiles) * 9 + cost.tiling.tile_inputs * 3
    assert tile <= sram.input_kib * 512
    assert cost.tiling.tile_inputs * 68 <= sram.output_kib * 512


def test_encoder_without_points_costs_nothing():
    assert cost_encoder(EncoderRecord(0, 0, 9, 3, 64, "int8"), make_spec(16)).cycles == 0


def test_encoder_needs_room_for_a_pillar():
    with pytest.raises(
        ConfigError, match=r"sram\.output_kib = 0.1: half of it does not hold a pillar, 68 bytes"
    ):
        cost_encoder(ENCODER, make_spec(16, sram=replace(LARGE, output_kib=0.1)))
