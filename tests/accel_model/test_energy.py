"""Energies: the tables against what is published, sums against their parts, one frame worked by hand."""

from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.accel_model.area import estimate_area_mm2
from colonnade.accel_model.cost import ActionCounts
from colonnade.accel_model.energy import ACTIONS, COMPONENTS, EnergyTable, derive_energies, price
from colonnade.accel_model.energy_tables import (
    NODES,
    look_up_area_mm2,
    look_up_leakage_mw,
    look_up_sram,
    scale_area,
    scale_stillmaker_baas,
    smooth,
)
from colonnade.accel_model.report import Band
from colonnade.accel_model.spec import ActionEnergy, EnergySpec
from colonnade.accel_model.spec_files import change_values, load_spec, preset_names
from colonnade.runtime.errors import ConfigError

BASE = load_spec("pillaracc-64x64")
SIZES = st.floats(0.25, 4096)
COUNTS = st.builds(ActionCounts, **{f.name: st.integers(0, 10**12) for f in fields(ActionCounts)})


def energies(**changes: object) -> dict[str, ActionEnergy]:
    """Return the energies of pillaracc-64x64 with some values changed; keys with "__" for the point."""
    values = {key.replace("__", "."): value for key, value in changes.items()}
    return dict(derive_energies(change_values(BASE, values)).entries)


@pytest.mark.parametrize(
    ("node", "factor"), [(32, 0.66), (28, 0.51), (22, 0.29), (20, 0.22), (16, 0.17), (7, 0.094)]
)
def test_scaling_with_the_node(node: int, factor: float) -> None:
    assert scale_stillmaker_baas(node) == pytest.approx(factor, abs=0.006)


def test_scaling_is_one_at_45_nm_falls_and_ends() -> None:
    assert scale_stillmaker_baas(45) == 1
    factors = [scale_stillmaker_baas(node) for node in range(7, 66)]
    assert all(a < b for a, b in pairwise(factors))
    for node in (5, 90):
        with pytest.raises(ConfigError, match="node_nm"):
            scale_stillmaker_baas(node)
    assert [scale_area(node) for node in (32, 20, 16, 10, 7)] == pytest.approx(
        [0.46, 0.21, 0.19, 0.10, 0.059]
    )


@pytest.mark.parametrize(("node", "pico"), [(45, 0.30), (28, 0.153), (7, 0.10)])
def test_an_int8_mac(node: int, pico: float) -> None:
    entry = energies(energy__node_nm=node)["mac"]
    assert entry.value_pj == pytest.approx(pico, abs=0.0015)
    assert entry.basis == "derived"


def test_macs_of_other_formats() -> None:
    at_45 = {
        form: energies(energy__node_nm=45, array__mac_format=form)["mac"]
        for form in ("int8", "w4a8", "dint4")
    }
    assert at_45["w4a8"].value_pj == pytest.approx(0.20)
    assert at_45["w4a8"].low_pj == pytest.approx(0.175)
    assert at_45["int8"].value_pj / at_45["dint4"].value_pj == pytest.approx(2.56)
    at_7 = {form: energies(energy__node_nm=7, array__mac_format=form)["mac"] for form in ("int8", "dint4")}
    assert at_7["int8"].high_pj == pytest.approx(0.1595)  # the published library
    assert at_7["dint4"].high_pj == pytest.approx(0.0624, abs=2e-4)  # published beside it


def test_another_scaling_can_be_put_in() -> None:
    def keep(node_nm: int) -> float:
        return 1.0

    entries = derive_energies(BASE, keep).entries
    assert entries["mac"].value_pj == pytest.approx(0.30)
    assert entries["register_bits"].value_pj == pytest.approx(0.009)
    assert "keep" in entries["mac"].source
    assert "scale_stillmaker_baas" in energies()["mac"].source
    assert derive_energies(replace(BASE, energy=EnergySpec(7)), keep).entries[
        "mac"
    ].value_pj == pytest.approx(0.1)


def test_smoothing_keeps_order_and_sum() -> None:
    assert smooth((1.0, 3.0, 2.0, 4.0)) == (1.0, 2.5, 2.5, 4.0)
    assert smooth((3.0, 2.0, 1.0)) == (2.0, 2.0, 2.0)
    assert smooth((1.0, 2.0)) == (1.0, 2.0)


@given(
    st.sampled_from(NODES),
    SIZES,
    st.floats(1, 8),
    st.sampled_from([1, 4, 8, 16, 32, 64, 128]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_larger_memory_is_nowhere_cheaper(
    node: int, kib: float, times: float, word: int, ports: bool
) -> None:
    small, large = (look_up_sram(node, size, word, ports) for size in (kib, kib * times))
    slack = 1 + 1e-9
    assert 0 < small.read_pj <= large.read_pj * slack
    assert small.write_pj <= large.write_pj * slack
    assert look_up_leakage_mw(node, kib) <= look_up_leakage_mw(node, kib * times) * slack
    assert look_up_area_mm2(node, kib) <= look_up_area_mm2(node, kib * times) * slack


@given(st.sampled_from([n for n in NODES if n != 7]), SIZES, st.integers(1, 128), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_wider_word_costs_no_more_per_byte(node: int, kib: float, word: int, ports: bool) -> None:
    narrow, wide = look_up_sram(node, kib, word, ports), look_up_sram(node, kib, word + 1, ports)
    assert wide.read_pj <= narrow.read_pj * (1 + 1e-9)


def test_memories_meet_the_table_where_it_is_in_order() -> None:
    assert look_up_sram(32, 64, 64).read_pj * 64 == pytest.approx(27.2)
    assert look_up_sram(32, 64, 64).write_pj * 64 == pytest.approx(86.6)
    assert look_up_sram(22, 256, 8).read_pj * 8 == pytest.approx(10.3)
    assert look_up_sram(32, 64, 8).read_pj * 8 == pytest.approx((7.7 + 7.6) / 2)
    assert look_up_sram(28, 64, 64).read_pj == pytest.approx(0.335, rel=0.02)
    for kib, read, write in ((8, 21.6, 30.7), (32, 27.8, 65.1), (64, 36.1, 111.0), (128, 70.5, 129.1)):
        two = look_up_sram(32, kib, 64, two_ports=True)
        assert two.read_pj * 64 == pytest.approx(read, rel=0.04)
        assert two.write_pj * 64 == pytest.approx(write, rel=0.04)
    assert look_up_sram(7, 32, 64).read_pj * 8 == pytest.approx(8.5)
    wide = look_up_sram(22, 128, 64)  # of half the input buffer
    at_7 = energies(energy__node_nm=7)["input_read_bytes"]
    assert at_7.low_pj <= wide.read_pj < at_7.value_pj
    assert look_up_leakage_mw(32, 256) == pytest.approx(159)
    assert look_up_leakage_mw(32, 512) == pytest.approx(2 * 159)
    assert look_up_area_mm2(45, 8) == pytest.approx(0.058)


@pytest.mark.parametrize(
    ("dram", "low", "value", "high"), [("lpddr4", 6, 10, 14), ("ddr4", 11, 15, 20), ("hbm2", 3.9, 5, 7)]
)
def test_main_memory(dram: str, low: float, value: float, high: float) -> None:
    entries = energies(dram__type=dram)
    stream, random = entries["dram_stream_bits"], entries["dram_random_bits"]
    assert (stream.low_pj, stream.value_pj, stream.high_pj) == (low, value, high)
    assert 1.4 < random.value_pj / stream.value_pj < 2.6


@given(
    st.sampled_from(preset_names()),
    st.sampled_from(NODES),
    st.sampled_from(["int8", "w4a8", "dint4", "fp16"]),
    st.sampled_from(["lpddr4", "ddr4", "hbm2"]),
    st.floats(32, 2048),
    st.floats(10, 4000),
)
@settings(max_examples=150, deadline=None)
def test_every_action_has_a_band_and_a_source(
    name: str, node: int, form: str, dram: str, kib: float, clock: float
) -> None:
    changes = {"energy.node_nm": node, "array.mac_format": form, "dram.type": dram, "clock_mhz": clock}
    spec = change_values(load_spec(name), changes | {"sram.psum_kib": kib, "sram.weight_kib": kib})
    table = derive_energies(spec)
    assert tuple(table.entries) == ACTIONS == tuple(f.name for f in fields(ActionCounts))
    for action, entry in table.entries.items():
        assert 0 <= entry.low_pj <= entry.value_pj <= entry.high_pj < 1e7, action
        assert entry.basis in ("published", "derived", "assumed")
        assert entry.source
    idle, mac = table.entries["idle_pe"], table.entries["mac"]
    assert (idle.value_pj, idle.basis) == (0, "assumed")
    assert idle.high_pj == pytest.approx(mac.value_pj / 10)


@pytest.mark.parametrize(
    ("unit", "entries"), [("nn_lut", 16), ("nn_lut", 2), ("polynomial", 16), ("exact", 16)]
)
def test_operator_units(unit: str, entries: int) -> None:
    spec = change_values(
        load_spec("transformer-int8"), {"nonlinear.unit": unit, "nonlinear.entries": entries}
    )
    found = derive_energies(spec).entries["nonlinear"]
    assert 0 < found.low_pj <= found.value_pj < found.high_pj
    assert found.basis == "assumed"  # nothing is published
    assert energies()["nonlinear"].high_pj == 0


def test_leakage_follows_the_clock_and_the_memories() -> None:
    slow, fast = energies(clock_mhz=500)["cycles"], energies(clock_mhz=1000)["cycles"]
    assert slow.value_pj == pytest.approx(2 * fast.value_pj)
    milliwatts = sum(look_up_leakage_mw(28, kib) for kib in (128, 128, 640, 512, 64, 64, 128, 128))
    assert fast.value_pj == pytest.approx(milliwatts)  # 1 mW for 1 ns is 1 pJ


def test_unknown_overrides_are_refused() -> None:
    spec = replace(BASE, energy=EnergySpec(28, {"macs": ActionEnergy(1, 1, 1, "given", "")}))
    with pytest.raises(ConfigError, match=r"unknown actions \['macs'\]"):
        derive_energies(spec)


def test_components_share_out_all_actions() -> None:
    assert sorted(name for _, names in COMPONENTS for name in names) == sorted(ACTIONS)
    assert [name for name, _ in COMPONENTS] == [
        "mac",
        "array",
        "input_sram",
        "weight_sram",
        "psum_sram",
        "output_sram",
        "rules",
        "nonlinear",
        "dram",
        "leakage",
    ]


@given(COUNTS, COUNTS)
@settings(max_examples=100, deadline=None)
def test_energy_is_the_sum_of_its_parts(first: ActionCounts, second: ActionCounts) -> None:
    table = derive_energies(BASE)
    parts = price(first, table)
    for field, value in (("low", "low_pj"), ("nominal", "value_pj"), ("high", "high_pj")):
        total = sum(getattr(part.picojoules, field) for part in parts)
        direct = sum(getattr(first, a) * getattr(table.entries[a], value) for a in ACTIONS)
        assert total == pytest.approx(direct, rel=1e-9, abs=1e-9)
    for one, two, both in zip(parts, price(second, table), price(first + second, table), strict=True):
        added = one.picojoules + two.picojoules
        assert both.picojoules.nominal == pytest.approx(added.nominal, rel=1e-9, abs=1e-9)
        assert both.picojoules.low <= both.picojoules.nominal <= both.picojoules.high


@given(COUNTS, st.sampled_from(ACTIONS))
@settings(max_examples=100, deadline=None)
def test_energy_is_linear_in_each_action(actions: ActionCounts, action: str) -> None:
    table = derive_energies(BASE)
    entry = table.entries[action]
    doubled = replace(entry, **{n: 2 * getattr(entry, n) for n in ("value_pj", "low_pj", "high_pj")})
    before, after = price(actions, table), price(actions, EnergyTable({**table.entries, action: doubled}))
    for (component, names), old, new in zip(COMPONENTS, before, after, strict=True):
        rise = getattr(actions, action) * entry.high_pj if action in names else 0.0
        assert new.component == old.component == component
        assert new.picojoules.high == pytest.approx(old.picojoules.high + rise, rel=1e-9, abs=1e-9)


# The backbone of PointPillars on the grid of KITTI: taps, Cin, Cout, outputs, how many such layers.
BACKBONE = (
    (9, 64, 64, 248 * 216, 4),
    (9, 64, 128, 124 * 108, 1),
    (9, 128, 128, 124 * 108, 5),
    (9, 128, 256, 62 * 54, 1),
    (9, 256, 256, 62 * 54, 5),
)


def count_dense(side: int) -> ActionCounts:
    """Return the actions of a side x side array: inputs read per fold of columns, sums read and written per fold."""
    total = ActionCounts()
    for taps, inputs, outputs, positions, layers in BACKBONE:
        folds = -(-taps * inputs // side)
        sums = 4 * positions * outputs * folds
        total += ActionCounts(
            mac=layers * taps * inputs * outputs * positions,
            input_read_bytes=layers * taps * inputs * positions * -(-outputs // side),
            psum_read_bytes=layers * sums,
            psum_write_bytes=layers * sums,
        )
    return total + ActionCounts(dram_stream_bits=8 * 75_300_000)


def total_mj(actions: ActionCounts, table: EnergyTable) -> float:
    return sum((part.picojoules for part in price(actions, table)), Band(0.0, 0.0, 0.0)).nominal / 1e9


def by_hand() -> EnergyTable:
    values = {
        "mac": 0.153,
        "input_read_bytes": 0.335,
        "weight_read_bytes": 0.335,
        "psum_read_bytes": 0.445,
        "psum_write_bytes": 1.367,
        "dram_stream_bits": 10.0,
    }
    spec = change_values(load_spec("dense-64x64"), {f"energy.overrides.{k}": v for k, v in values.items()})
    return derive_energies(spec)


@pytest.mark.parametrize(
    ("side", "total", "inputs", "sums"), [(64, 14.1, 0.16, 3.35), (16, 24.6, 0.62, 13.4)]
)
def test_a_dense_frame_worked_by_hand(side: int, total: float, inputs: float, sums: float) -> None:
    actions = count_dense(side)
    assert actions.mac == 29_620_961_280
    parts = {part.component: part.picojoules.nominal / 1e9 for part in price(actions, by_hand())}
    assert parts["mac"] == pytest.approx(4.53, abs=0.005)
    assert parts["input_sram"] == pytest.approx(inputs, abs=0.006)
    assert parts["psum_sram"] == pytest.approx(sums, abs=0.05)
    assert parts["dram"] == pytest.approx(6.03, abs=0.01)
    assert total_mj(actions, by_hand()) == pytest.approx(total, abs=0.05)


def test_a_dense_frame_at_7_nm() -> None:
    """Jouppi's energies of 32 KB memories and HBM2, without leakage, for which there is no cycle in the counts."""
    changes = {"energy.node_nm": 7, "dram.type": "hbm2", "sram.input_kib": 64, "sram.psum_kib": 32}
    table = derive_energies(change_values(load_spec("dense-64x64"), changes))
    assert total_mj(count_dense(64), table) == pytest.approx(10.4, abs=0.05)


def test_area_is_a_proxy_that_grows_with_what_is_built() -> None:
    area = estimate_area_mm2(BASE)
    assert 1 < area < 50
    for changes in (
        {"array.rows": 128},
        {"sram.psum_kib": 1024},
        {"mapping.lanes": 8},
        {"array.mac_format": "fp16"},
        {"energy.node_nm": 32},
    ):
        assert estimate_area_mm2(change_values(BASE, changes)) > area, changes
    for changes in ({"array.mac_format": "dint4"}, {"energy.node_nm": 22}):
        assert estimate_area_mm2(change_values(BASE, changes)) < area, changes
    memories = sum(look_up_area_mm2(28, kib) for kib in (256, 640, 512, 128, 256))
    assert area > memories
    assert estimate_area_mm2(load_spec("pillaracc-16x16")) < area / 3
    areas = [
        estimate_area_mm2(change_values(load_spec("transformer-int8"), {"nonlinear.unit": unit}))
        for unit in ("polynomial", "exact")
    ]
    assert areas[0] < areas[1]
    less = change_values(load_spec("transformer-int8"), {"nonlinear.entries": 4})
    assert estimate_area_mm2(less) < estimate_area_mm2(load_spec("transformer-int8"))
