"""test_sparse_rules.py: rules, the cycles of finding them, tiles and bank conflicts against brute force and by hand."""

from __future__ import annotations

import functools
import operator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from specs import KINDS, draw_cells, list_rules, make_job, make_layer, make_spec

from colonnade.accel_model.active_tiles import cut_tiles, fit_tiles
from colonnade.accel_model.gather_scatter import count_conflicts, group_requests
from colonnade.accel_model.geometry import LayerGeometry, find_geometry
from colonnade.accel_model.rule_generation import (
    count_hashing_cycles,
    count_row_cycles,
    count_sorting_cycles,
    count_streaming_cycles,
    share_streaming_cycles,
)
from colonnade.accel_model.sparse_layer import plan_schedule
from colonnade.accel_model.spec import MappingSpec
from colonnade.runtime.trace import SiteMap

STREAMING = MappingSpec("streaming", 1)
INTERVAL_TILE = 512
MAPS_PER_KIND = 40


def rank_pairs(geometry: LayerGeometry) -> list[list[tuple[int, int]]]:
    """Return the rules per tap as (input, output) pairs."""
    return [
        list(zip(i.tolist(), o.tolist(), strict=True))
        for i, o in zip(geometry.rule_inputs, geometry.rule_outputs, strict=True)
    ]


def find(cells: NDArray[np.bool_], kind: str, kernel: int = 3, stride: int = 1) -> LayerGeometry:
    return find_geometry(make_layer(cells, kind, kernel, stride))


def find_one(
    shape: tuple[int, int], row: int, column: int, kind: str, kernel: int, stride: int
) -> LayerGeometry:
    """Return the rules of a single pillar."""
    cells = np.zeros(shape, np.bool_)
    cells[row, column] = True
    return find(cells, kind, kernel, stride)


# --- rules ---


@pytest.mark.parametrize(("kind", "kernel", "stride"), KINDS)
def test_rules_equal_brute_force(kind: str, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(kernel + 10 * stride)
    for _ in range(MAPS_PER_KIND):
        shape = int(rng.integers(2, 14)), int(rng.integers(2, 14))
        layer = make_layer(draw_cells(rng, shape, rng.choice([0.05, 0.3, 0.8])), kind, kernel, stride)
        geometry = find_geometry(layer)
        assert rank_pairs(geometry) == list_rules(
            layer.in_sites.cells, layer.out_sites.cells, kind, kernel, stride
        )
        assert (geometry.inputs, geometry.outputs) == (len(layer.in_sites), len(layer.out_sites))
        for inputs, outputs in zip(geometry.rule_inputs, geometry.rule_outputs, strict=True):
            assert (np.diff(inputs) > 0).all()
            assert (np.diff(outputs) > 0).all()
            assert len(inputs) <= min(geometry.inputs, geometry.outputs)


def test_submanifold_taps_come_in_pairs() -> None:
    geometry = find(draw_cells(np.random.default_rng(1), (30, 40), 0.2), "submanifold")
    counts = [len(pairs) for pairs in geometry.rule_inputs]
    assert counts == counts[::-1]
    assert counts[4] == geometry.inputs == geometry.outputs
    fan_in = np.bincount(np.concatenate(geometry.rule_outputs), minlength=geometry.outputs)
    assert fan_in.sum() == sum(counts)
    assert (fan_in >= 1).all()


@pytest.mark.parametrize(
    ("kind", "place", "rules"), [("dilating", (3, 3), 9), ("dilating", (0, 0), 4), ("submanifold", (3, 3), 1)]
)
def test_one_pillar_meets_its_neighbours(kind: str, place: tuple[int, int], rules: int) -> None:
    geometry = find_one((7, 7), *place, kind, 3, 1)
    assert geometry.rules == geometry.outputs == rules


@pytest.mark.parametrize(("row", "column", "rules"), [(4, 4, 1), (4, 5, 2), (5, 4, 2), (5, 5, 4)])
def test_parity_classes_of_a_strided_layer(row: int, column: int, rules: int) -> None:
    assert find_one((10, 10), row, column, "strided", 3, 2).rules == rules
    assert find_one((10, 10), row, column, "strided", 2, 2).rules == 1


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_children_of_a_transposed_layer_are_disjoint(stride: int) -> None:
    geometry = find(draw_cells(np.random.default_rng(stride), (8, 9), 0.3), "transposed", stride, stride)
    assert [len(pairs) for pairs in geometry.rule_inputs] == [geometry.inputs] * stride**2
    assert sorted(np.concatenate(geometry.rule_outputs)) == list(range(stride**2 * geometry.inputs))


@pytest.mark.parametrize(("height", "width"), [(6, 8), (10, 4)])
def test_full_grids(height: int, width: int) -> None:
    cells = np.ones((height, width), np.bool_)
    inside = (3 * height - 2) * (3 * width - 2)
    assert find(cells, "dilating").rules == find(cells, "submanifold").rules == inside
    assert find(cells, "strided", 3, 2).rules == (3 * height // 2 - 1) * (3 * width // 2 - 1)


@pytest.mark.parametrize(("kind", "kernel", "stride"), KINDS)
def test_no_pillars_no_rules(kind: str, kernel: int, stride: int) -> None:
    geometry = find(np.zeros((6, 6), np.bool_), kind, kernel, stride)
    rows = 6 if kind != "strided" else 3
    assert geometry.rules == geometry.outputs == 0
    assert count_streaming_cycles(geometry, STREAMING) == 16 + rows
    assert count_sorting_cycles(geometry, MappingSpec("merge_sort", 8)) == 0


# --- the streaming unit ---


def test_streaming_cycles_by_hand() -> None:
    cells = np.array([[1, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], np.bool_)
    # Rows 0 and 1 see columns 0, 2, 3; row 2 sees 2, 3 and 4; row 3 sees 4.
    geometry = find(cells, "dilating")
    assert geometry.merged.tolist() == [3, 3, 3, 1]
    assert count_streaming_cycles(geometry, STREAMING) == 16 + (1 + 3) * 3 + (1 + 1)
    two = MappingSpec("streaming", 2, row_overhead_cycles=3, pipeline_cycles=5)
    assert count_streaming_cycles(geometry, two) == 5 + (3 + 2) * 3 + (3 + 1)
    assert find(cells, "transposed", 2, 2).merged.tolist() == [2, 2, 0, 1]
    assert find(cells, "strided", 2, 2).merged.tolist() == [3, 1]


def merge_columns(rows: list[list[int]], lanes: int) -> int:
    """Return the cycles of merging sorted lists of columns, `lanes` distinct ones per cycle, head by head."""
    heads, cycles = [0] * len(rows), 0
    while any(head < len(row) for head, row in zip(heads, rows, strict=True)):
        for _ in range(lanes):
            waiting = [row[head] for head, row in zip(heads, rows, strict=True) if head < len(row)]
            if waiting:
                least = min(waiting)
                for number, row in enumerate(rows):
                    heads[number] += heads[number] < len(row) and row[heads[number]] == least
        cycles += 1
    return cycles


@pytest.mark.parametrize(("kind", "kernel", "stride"), KINDS)
def test_streaming_cycles_equal_a_merge_column_by_column(kind: str, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(7)
    for lanes in (1, 2, 4):
        cells = draw_cells(rng, (11, 13), 0.3)
        columns = [np.flatnonzero(row).tolist() for row in cells]
        geometry = find(cells, kind, kernel, stride)
        mapping = MappingSpec("streaming", lanes)
        if kind == "transposed":
            windows = [[row] for row in columns]
        else:
            before = 0 if kernel == 2 else kernel // 2
            count = (len(cells) + 2 * before - kernel) // stride + 1
            windows = [
                columns[max(stride * y - before, 0) : stride * y - before + kernel] for y in range(count)
            ]
        expected = [1 + merge_columns(window, lanes) for window in windows]
        assert count_row_cycles(geometry, mapping).tolist() == expected
        for size in (1, 5, 1000):
            shares = share_streaming_cycles(geometry, cut_tiles(geometry, size), mapping)
            assert (shares >= 0).all()
            assert shares.sum() == 16 + sum(expected) == count_streaming_cycles(geometry, mapping)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.9))
def test_stride_one_merges_at_most_three_columns_per_pillar(seed: int, share: float) -> None:
    geometry = find(draw_cells(np.random.default_rng(seed), (12, 15), share), "submanifold")
    assert geometry.inputs <= geometry.merged.sum() <= 3 * geometry.inputs


def test_streaming_cycles_are_linear_in_pillars() -> None:
    rng, counts, cycles = np.random.default_rng(2), [], []
    for share in np.linspace(0.004, 0.04, 10):
        geometry = find(draw_cells(rng, (200, 300), share), "submanifold")
        counts.append(geometry.inputs)
        cycles.append(count_streaming_cycles(geometry, STREAMING))
    assert max(counts) > 9 * min(counts)
    slope, _ = np.polyfit(counts, cycles, 1)
    assert np.corrcoef(counts, cycles)[0, 1] ** 2 > 0.99
    assert slope <= 3


# --- sorting and hashing ---


def test_sorting_cycles_of_the_fairness_example() -> None:
    """P = Q = 9,983 with a merger of width 64, which takes 32 elements per cycle."""
    pillars = 9983
    every = tuple(np.arange(pillars, dtype=np.int32) for _ in range(9))
    rows = np.zeros(pillars, np.int32)
    geometry = LayerGeometry(
        "dilating", 3, 1, pillars, pillars, every, every, rows, rows, np.zeros(1, np.int64)
    )
    sorter = MappingSpec("merge_sort", 32, sorted_candidates="none")
    assert count_sorting_cycles(geometry, sorter) == 5_616
    assert count_sorting_cycles(geometry, replace(sorter, sorted_candidates="outputs")) == 8_112
    assert count_sorting_cycles(geometry, replace(sorter, sorted_candidates="products")) == 36_504
    assert count_sorting_cycles(geometry, replace(sorter, lanes=1)) == 179_694
    kept = replace(geometry, kind="submanifold")
    assert count_sorting_cycles(kept, replace(sorter, sorted_candidates="products")) == 5_616
    hashing = MappingSpec("hash", 1)
    assert count_hashing_cycles(geometry, hashing) == pillars + 9 * pillars
    assert count_hashing_cycles(geometry, replace(hashing, lanes=32)) == -(-10 * pillars // 32)


# --- active tiles ---


def test_a_later_tile_may_reach_below_the_next_one() -> None:
    """Pillars (0, 2), (0, 5), (1, 0): the third one's lowest output lies below the second one's."""
    cells = np.zeros((3, 8), np.bool_)
    cells[0, 5] = cells[1, 0] = True
    tiles = cut_tiles(find(cells, "dilating"), 1)
    assert tiles.low.tolist() == [2, 0]  # (0, 4) and (0, 0)
    assert tiles.final.tolist() == [0, 12]
    cells[0, 2] = True
    tiles = cut_tiles(find(cells, "dilating"), 1)
    assert tiles.low[0] > tiles.low[2] < tiles.low[1]
    assert tiles.final.tolist() == [0, 0, find(cells, "dilating").outputs]


@pytest.mark.parametrize(("kind", "kernel", "stride"), KINDS)
def test_no_tile_touches_an_output_that_is_final(kind: str, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(9)
    for size in (1, 3, 10, 200):
        geometry = find(draw_cells(rng, (10, 12), 0.3), kind, kernel, stride)
        tiles = cut_tiles(geometry, size)
        rules = functools.reduce(operator.iadd, rank_pairs(geometry), [])
        for tile in range(len(tiles.low)):
            later = [o for i, o in rules if i >= tiles.starts[tile + 1]]
            assert tiles.final[tile] == min(later, default=geometry.outputs)
            mine = [o for i, o in rules if tiles.starts[tile] <= i < tiles.starts[tile + 1]]
            if mine:
                assert (tiles.low[tile], tiles.high[tile]) == (min(mine), max(mine))


def test_tiles_are_halved_until_their_sums_fit() -> None:
    geometry = find(draw_cells(np.random.default_rng(4), (20, 20), 0.3), "dilating")
    whole = cut_tiles(geometry, 64)
    most = int(whole.resident.max()) - 1
    halved = fit_tiles(geometry, 64, most)
    assert halved is not None
    assert halved.resident.max() <= most < whole.resident.max()
    assert set(whole.starts) <= set(halved.starts)
    assert fit_tiles(geometry, 64, 1) is None


def spread(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the map with its 3 x 3 neighbours, by shifting."""
    framed = np.pad(cells, 1)
    height, width = cells.shape
    return np.logical_or.reduce([framed[y : y + height, x : x + width] for y in range(3) for x in range(3)])


def list_real_layers(cells: NDArray[np.bool_]) -> list[LayerGeometry]:
    """Return the stride-1 layers of the first block on a frame: three that dilate, and a submanifold one."""
    active = spread(cells)[::2, ::2]
    layers = [(active, "submanifold", active)]
    for _ in range(3):
        layers.append((active, "dilating", spread(active)))
        active = spread(active)
    plain = make_layer(np.ones((1, 1), np.bool_))
    return [
        find_geometry(
            replace(
                plain,
                kind=kind,
                in_sites=SiteMap.from_cells(read),
                out_sites=SiteMap.from_cells(written),
            )
        )
        for read, kind, written in layers
    ]


def test_intervals_of_real_frames_are_at_most_three_tiles(real_maps: list[NDArray[np.bool_]]) -> None:
    for cells in real_maps:
        for geometry in list_real_layers(cells):
            tiles = cut_tiles(geometry, INTERVAL_TILE)
            full = tiles.inputs == INTERVAL_TILE
            assert full.sum() >= 3
            assert tiles.intervals[full].max() <= 3 * INTERVAL_TILE
            assert tiles.resident[full].max() <= 3 * INTERVAL_TILE


def test_partial_sums_stay_on_the_chip() -> None:
    layer = make_layer(draw_cells(np.random.default_rng(6), (20, 20), 0.3), "dilating")
    spec = make_spec()
    kept = plan_schedule(make_job(layer, spec), "tiles_outer", 16)
    spec = replace(spec, dataflow=replace(spec.dataflow, active_tiles=False))
    spilled = plan_schedule(make_job(layer, spec), "tiles_outer", 16)
    assert kept is not None
    assert spilled is not None
    assert kept.actions.dram_random_bits == 0 < spilled.actions.dram_random_bits
    # All that is left is read back.
    assert spilled.table.gathered.sum() == spilled.table.scattered.sum()


# --- bank conflicts ---


def test_no_conflicts_on_real_ranks_unless_pillars_are_interleaved(
    real_maps: list[NDArray[np.bool_]],
) -> None:
    words, banks = 16, 16
    for cells in real_maps:
        for geometry in list_real_layers(cells):
            naive = 0
            for ranks in (*geometry.rule_inputs, *geometry.rule_outputs):
                own = group_requests(ranks, words, banks, "channel_interleaved")
                assert len(own) == len(ranks)
                assert count_conflicts(own, banks) == 0
                naive += count_conflicts(group_requests(ranks, words, banks, "pillar_interleaved"), banks)
            assert naive > 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40), st.integers(1, 6), st.integers(1, 8))
def test_conflicts_equal_counting_one_by_one(ranks: list[int], words: int, banks: int) -> None:
    expected = 0
    for first in range(0, len(ranks), words):
        wanted = [rank % banks for rank in ranks[first : first + words]]
        expected += max(wanted.count(bank) for bank in wanted) - 1
    naive = group_requests(np.array(ranks, np.int64), words, banks, "pillar_interleaved")
    assert count_conflicts(naive, banks) == expected
    own = group_requests(np.array(ranks, np.int64), words, banks, "channel_interleaved")
    assert count_conflicts(own, banks) == len(ranks) * (-(-words // banks) - 1)
