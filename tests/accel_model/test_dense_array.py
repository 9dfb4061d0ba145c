"""Tests of the closed forms of systolic arrays: by hand, against registers, against SCALE-Sim and ZigZag."""

import numpy as np
import pytest
from dense_cases import list_backbone, list_neck, make_head, make_layer, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from register_simulator import Fold, run_double_buffered, run_serial

from colonnade.accel_model.dense_array import (
    Gemm,
    count_double_buffered,
    count_input_stationary,
    count_output_stationary,
    count_per_tap_fill,
    count_row_folds,
    count_serial,
)
from colonnade.accel_model.dense_layer import count_dense_cycles, find_gemm

BLOCKS = {layer.name: layer for layer in list_backbone()}


@pytest.mark.parametrize(
    ("size", "times", "serial", "double_buffered"),
    [
        (2, [3], 4 + 2 + 3 - 2, 2 + 3 + 2),
        (2, [3, 3], 14, 2 + 3 + 3 + 2),
        (4, [1, 1, 1], 33, 4 + 4 + 4 + 1 + 6),
        (4, [10, 2, 7], 49, 4 + 10 + 4 + 7 + 6),
        (16, [4, 4, 4], 150, 16 + 16 + 16 + 4 + 30),
        (4, [1] * 9, 9 * 11, 4 + 8 * 4 + 1 + 6),  # one pillar, nine taps
        (4, [0, 0, 1, 0], 11, 11),
        (4, [0, 0], 0, 0),
        (4, [], 0, 0),
    ],
)
def test_folds_counted_by_hand(size, times, serial, double_buffered):
    assert count_serial(times, size, size) == serial
    assert count_double_buffered(times, size, size) == double_buffered


def test_fill_per_tap_counted_by_hand():
    assert count_per_tap_fill([3, 0, 5], 4) == (3 + 4) + (5 + 4)


def make_folds(seed: int) -> list[Fold]:
    generator = np.random.default_rng(seed)
    rows, columns, count = generator.integers(1, 7, 3)
    times = generator.integers(1, 10, count)
    draw = lambda *shape: generator.integers(-9, 10, shape)  # noqa: E731
    return [Fold(draw(time, rows), draw(rows, columns)) for time in times]


@pytest.mark.parametrize("seeds", [range(n, n + 50) for n in range(0, 300, 50)], ids=str)
def test_equal_to_registers(seeds):
    for seed in seeds:
        folds = make_folds(seed)
        rows, columns = folds[0].weights.shape
        times = [len(fold.inputs) for fold in folds]
        for run, count in ((run_double_buffered, count_double_buffered), (run_serial, count_serial)):
            cycles, products = run(folds)
            assert cycles == count(times, rows, columns), seed
            for fold, product in zip(folds, products, strict=True):
                np.testing.assert_array_equal(product, fold.inputs @ fold.weights)


def test_registers_cannot_run_faster():
    """One cycle earlier, either two vectors meet or a weight is not in place yet."""
    tried = 0
    for seed in range(40):
        folds = make_folds(seed)
        if len(folds) > 1:
            tried += 1
            with pytest.raises(AssertionError):
                run_double_buffered(folds, hurry=1)
    assert tried > 20


# SCALE-Sim 3.0.0 prints the last cycle's index; layers of the backbone that it ran, weight-stationary.
SCALE_SIM = [
    ("dilating 64->64", 64, 483_821),
    ("strided 64->128", 64, 244_475),
    ("dilating 128->128", 64, 488_951),
    ("strided 128->256", 64, 254_735),
    ("dilating 256->256", 64, 509_471),
    ("strided 128->256", 16, 3_909_887),
]


@pytest.mark.parametrize(("name", "size", "printed"), SCALE_SIM)
def test_serial_form_equals_scale_sim(name, size, printed):
    assert count_dense_cycles(BLOCKS[name], make_spec(size, preload="serial")) == printed + 1


def test_serial_form_equals_scale_sim_on_its_tiny_layer():
    """4 × 4 × 4 inputs, 3 × 3 without padding, 4 filters, on 16 × 16: SCALE-Sim prints 149."""
    packed = make_spec(16, preload="serial", packing="packed")
    gemm = Gemm(positions=4, taps=9, in_channels=4, columns=4)
    assert count_row_folds(gemm, packed.array) == 3
    assert count_serial([4] * 3, 16, 16) == 149 + 1


@pytest.mark.parametrize(
    ("name", "serial_64", "serial_16", "double_64", "double_16"),
    [
        ("strided 64->64", 483_821, 7_720_415, 482_302, 7_713_838),
        ("dilating 64->64", 483_821, 7_720_415, 482_302, 7_713_838),
        ("strided 64->128", 244_475, 3_870_143, 241_246, 3_856_942),
        ("dilating 128->128", 488_951, 7_740_287, 482_302, 7_713_838),
        ("strided 128->256", 254_735, 3_909_887, 241_246, 3_856_942),
        ("dilating 256->256", 509_471, 7_819_775, 482_302, 7_713_838),
    ],
)
def test_layers_of_the_backbone(name, serial_64, serial_16, double_64, double_16):
    layer = BLOCKS[name]
    serial, double = (
        [count_dense_cycles(layer, make_spec(size, preload=preload)) for size in (64, 16)]
        for preload in ("serial", "double_buffered")
    )
    assert serial == [serial_64 + 1, serial_16 + 1]
    assert double == [double_64, double_16]


@pytest.mark.parametrize(
    ("size", "preload", "total"),
    [
        (64, "serial", 7_426_620),
        (16, "serial", 116_462_016),
        (64, "double_buffered", 7_234_720),
        (16, "double_buffered", 115_707_616),
    ],
)
def test_whole_backbone(size, preload, total):
    layers = list_backbone()
    assert sum(layer.dense_macs for layer in layers) == 29_620_961_280
    assert sum(count_dense_cycles(layer, make_spec(size, preload=preload)) for layer in layers) == total


def test_neck_and_heads():
    serial = make_spec(64, preload="serial")
    parts = [count_dense_cycles(layer, serial) - 1 for layer in list_neck()]
    heads = [count_dense_cycles(make_head(columns), serial) - 1 for columns in (18, 42, 12)]
    assert parts == [107_515, 217_311, 452_863]
    assert heads == [322_547] * 3
    assert sum(parts + heads) == 1_745_330
    assert sum(heads) == 967_641
    assert count_dense_cycles(make_head(72), serial) == 645_095 + 1  # the three as one
    small = make_spec(16, preload="serial")
    layers = [*list_neck(), *map(make_head, (18, 42, 12))]
    assert sum(count_dense_cycles(layer, small) - 1 for layer in layers) == 19_827_098
    used = [find_gemm(make_head(n)).macs / (64 * 64 * 322_547) for n in (18, 42, 12)]
    assert [round(100 * share) for share in used] == [28, 65, 19]


def test_within_bands_of_zigzag():
    """ZigZag 3.9.1, tpu_like 32 × 32, total0; it schedules loads that our form has no memory for."""
    zigzag = {"dilating 64->64": (1_941_785, 0.01), "dilating 128->128": (1_935_377, 0.01)}
    zigzag["dilating 256->256"] = (1_992_456, 0.04)
    for name, (theirs, band) in zigzag.items():
        ours = count_dense_cycles(BLOCKS[name], make_spec(32))
        assert ours == 1_928_542
        assert abs(ours / theirs - 1) < band


def test_other_dataflows_by_hand():
    """2 × 2 inputs positions 4, depth 9, 3 filters on 4 × 2: folds of inputs 3 · 2, of outputs 1 · 2."""
    gemm = Gemm(positions=4, taps=9, in_channels=1, columns=3)
    assert count_input_stationary(gemm, 4, 2) == 6 * (2 * 4 + 2 + 3 - 2)
    assert count_output_stationary(gemm, 4, 2) == 2 * (4 + 2 + 9 - 2)


@given(
    gemm=st.builds(
        Gemm, st.integers(1, 200), st.sampled_from([1, 4, 9]), st.integers(1, 70), st.integers(1, 70)
    ),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
)
def test_dataflows_do_not_beat_the_array(gemm, rows, columns):
    for count in (count_input_stationary, count_output_stationary):
        assert count(gemm, rows, columns) * rows * columns >= gemm.macs


@pytest.mark.parametrize("preload", ["serial", "double_buffered", "per_tap_fill"])
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    kernel=st.sampled_from([1, 3, 5]),
    packing=st.sampled_from(["by_tap", "packed"]),
)
@settings(max_examples=60)
def test_layers_equal_their_folds(preload, shape, channels, size, kernel, packing):
    """`count_dense_cycles` is the form over a list of equal folds, and never faster than the array."""
    layer = make_layer("dilating", kernel, 1, channels, shape)
    spec = make_spec(*size, preload=preload, packing=packing)
    rows, columns = size
    deep = kernel**2 * channels[0]
    by_rows = -(-deep // rows) if packing == "packed" else kernel**2 * -(-channels[0] // rows)
    times = [shape[0] * shape[1]] * (by_rows * -(-channels[1] // columns))
    expected = {
        "serial": count_serial(times, rows, columns),
        "double_buffered": count_double_buffered(times, rows, columns),
        "per_tap_fill": count_per_tap_fill(times, rows),
    }[preload]
    assert count_dense_cycles(layer, spec) == expected
    assert expected * rows * columns >= layer.dense_macs


def test_packing_is_equal_where_rows_divide_channels():
    for channels, equal in ((32, True), (10, False), (3, False)):
        layer = make_layer("dilating", 3, 1, (channels, 16), (20, 20))
        by_tap, packed = (count_dense_cycles(layer, make_spec(16, packing=p)) for p in ("by_tap", "packed"))
        assert (packed == by_tap) == equal
        assert packed <= by_tap


def test_two_multipliers_per_element_are_twice_the_rows():
    layer = BLOCKS["dilating 256->256"]
    spec = make_spec(64, macs_per_pe=2)
    assert count_dense_cycles(layer, spec) == count_double_buffered([3348] * (9 * 2 * 4), 64, 64)
