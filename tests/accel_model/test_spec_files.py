"""Hardware descriptions: presets say where every number comes from; what cannot be is refused by name."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.accel_model.energy import derive_energies
from colonnade.accel_model.spec import ActionEnergy, Provenance
from colonnade.accel_model.spec_files import (
    LARGEST_FILE,
    PRESETS,
    change_values,
    dump_spec,
    load_spec,
    parse_spec,
    preset_names,
)
from colonnade.accel_model.spec_limits import DEFAULTS, LEAVES, PARTS, SECTIONS
from colonnade.runtime.errors import ConfigError

NAMED_IN_THE_ISSUE = {
    "pillaracc-64x64",
    "pillaracc-16x16",
    "dense-64x64",
    "dense-16x16",
    "pointacc-64x64",
    "transformer-int8",
    "transformer-dint4",
}
ORIGINS = {"published", "derived", "assumed"}
SMALL = """
name: small
description: nothing in particular
kind: dense
clock_mhz: 800
array: {rows: 8, columns: 4}
sram: {input_kib: 16, weight_kib: 16, psum_kib: 16, output_kib: 8, rule_kib: 0}
dram: {type: ddr4, bandwidth_gb_per_s: 19.2, streaming_efficiency: 0.75, random_efficiency: 0.66}
energy: {node_nm: 28}
"""


def numbers_of(node: object, path: str = "") -> list[tuple[str, object]]:
    """Return all numbers of a YAML tree that do not stand as `value` beside a basis and a source."""
    if isinstance(node, dict):
        inside = {k: v for k, v in node.items() if not (k == "value" and {"basis", "source"} <= set(node))}
        return [found for key, value in inside.items() for found in numbers_of(value, f"{path}.{key}")]
    return [(path, node)] if isinstance(node, (int, float)) else []


def leaves_of(node: dict, path: str = "") -> dict[str, object]:
    found = {}
    for key, value in node.items():
        where = f"{path}.{key}".strip(".")
        if isinstance(value, dict) and "value" not in value:
            found |= leaves_of(value, where)
        else:
            found[where] = value
    return found


def test_the_presets_of_the_issue_are_there() -> None:
    assert set(preset_names()) >= NAMED_IN_THE_ISSUE
    assert list(preset_names()) == sorted(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_where_every_value_comes_from(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    tree = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert numbers_of(tree) == []
    expected = {key for key in LEAVES if key.rpartition(".")[0] in (*PARTS[spec.kind], "energy")} | {
        "clock_mhz"
    }
    assert set(spec.provenance) == expected
    for key, origin in spec.provenance.items():
        assert origin.basis in ORIGINS, key
        assert len(origin.source) > 10, key
        assert origin.source != "default of the model", f"{key} is not in the file"


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_writing_and_reading(name: str) -> None:
    spec = load_spec(name)
    assert parse_spec(dump_spec(spec)) == spec


def test_large_presets_differ_only_in_what_they_compare() -> None:
    pillar = load_spec("pillaracc-64x64")
    for name in (
        "dense-64x64",
        "pointacc-64x64",
        "transformer-int8",
        "transformer-dint4",
        "transformer-fp16",
    ):
        other = load_spec(name)
        assert (other.clock_mhz, other.dram, other.energy) == (pillar.clock_mhz, pillar.dram, pillar.energy)
        assert (other.array.rows, other.array.columns) == (64, 64)
        assert replace(other.sram, rule_kib=pillar.sram.rule_kib) == pillar.sram
    pointacc = load_spec("pointacc-64x64")
    assert replace(pointacc, mapping=pillar.mapping, name="", description="", provenance={}) == replace(
        pillar, name="", description="", provenance={}
    )
    assert pointacc.mapping.method == "merge_sort"
    assert pointacc.mapping.lanes == 64


@pytest.mark.parametrize("size", [64, 16])
def test_sizes_follow_from_what_their_sources_say(size: int) -> None:
    spec = load_spec(f"pillaracc-{size}x{size}")
    assert spec.gather.gather_bytes_per_cycle == spec.array.rows == size
    assert spec.gather.scatter_bytes_per_cycle == 4 * spec.array.columns
    needed = 9 * 256 * 256 if size == 64 else 2 * 9 * 256 * 16
    assert spec.sram.weight_kib * 1024 >= needed
    assert spec.dram.bandwidth_gb_per_s == 2.4 * 8
    assert (spec.dram.streaming_efficiency, spec.dram.random_efficiency) == (0.94, 0.90)


def test_every_number_has_a_range_and_defaults_are_allowed() -> None:
    for key, leaf in LEAVES.items():
        assert leaf.choices or leaf.type in (str, bool) or leaf.low < leaf.high, key
    for key, value in DEFAULTS.items():
        assert LEAVES[key].check(key, value) == value


def test_bare_values_are_given_and_the_rest_is_said_to_be_default() -> None:
    spec = parse_spec(SMALL)
    assert spec.provenance["array.rows"] == Provenance("given", "")
    assert spec.provenance["array.mac_format"] == Provenance("assumed", "default of the model")
    assert spec.array.mac_format == "int8"
    assert parse_spec(dump_spec(spec)) == spec


def test_a_file_starts_from_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("based_on: pillaracc-64x64\nclock_mhz: 1e3\narray: {rows: 32}\n")
    spec, base = load_spec(path), load_spec("pillaracc-64x64")
    assert spec.name == "mine"
    assert spec.array == replace(base.array, rows=32)
    assert spec.clock_mhz == 1000.0
    assert base.gather is not None
    assert spec.gather == replace(base.gather, gather_bytes_per_cycle=32)  # follows the rows
    assert spec.provenance["array.rows"].basis == "given"
    assert spec.provenance["array.columns"] == base.provenance["array.columns"]
    assert load_spec(str(path)) == spec


def test_another_kind_takes_only_its_own_parts_from_the_preset() -> None:
    spec = parse_spec("based_on: pillaracc-16x16\nkind: dense\n", "flat.yaml")
    assert (spec.kind, spec.name, spec.mapping, spec.gather, spec.dataflow) == (
        "dense",
        "flat",
        None,
        None,
        None,
    )
    assert not [key for key in spec.provenance if key.startswith(("mapping", "gather", "dataflow"))]


def test_hbm2_is_one_word_away() -> None:
    slow, fast = load_spec("pillaracc-64x64"), load_spec("pillaracc-64x64-hbm2")
    assert fast.dram.bandwidth_gb_per_s > 10 * slow.dram.bandwidth_gb_per_s
    switched = change_values(slow, {"dram.type": "hbm2"})
    assert derive_energies(switched).entries == derive_energies(fast).entries
    assert derive_energies(slow).entries["dram_stream_bits"].value_pj == 10


IMPOSSIBLE = {  # values for change_values, what the message must name
    "unknown key": ({"array.row": 8}, ["array.row:", "array.rows?"]),
    "key of another section": ({"sram.rows": 8}, ["sram.rows:", "array.rows?"]),
    "another unit": ({"clock_ghz": 1}, ["clock_ghz:", "clock_mhz?"]),
    "bool for whole number": ({"array.rows": True}, ["array.rows:", "whole number from 1", "True"]),
    "bool for number": ({"clock_mhz": True}, ["clock_mhz:", "number from 1"]),
    "number for bool": ({"dataflow.tile_search": 1}, ["dataflow.tile_search:", "true or false"]),
    "fraction": ({"array.rows": 8.5}, ["array.rows:", "8.5"]),
    "text": ({"array.rows": "8"}, ["array.rows:", "'8'"]),
    "zero": ({"array.columns": 0}, ["array.columns:", "got 0"]),
    "negative": ({"sram.input_kib": -1}, ["sram.input_kib:", "-1"]),
    "NaN": ({"clock_mhz": math.nan}, ["clock_mhz:", "nan"]),
    "infinite": ({"dram.bandwidth_gb_per_s": math.inf}, ["dram.bandwidth_gb_per_s:", "inf"]),
    "absurd": ({"clock_mhz": 1e9}, ["clock_mhz:", "10000"]),
    "enormous": ({"clock_mhz": 10**5000}, ["clock_mhz:", "digits"]),
    "efficiency above one": ({"dram.streaming_efficiency": 1.01}, ["dram.streaming_efficiency:", "to 1,"]),
    "efficiency of nothing": ({"dram.random_efficiency": 0.0}, ["dram.random_efficiency:"]),
    "random above stream": (
        {"dram.random_efficiency": 0.95},
        ["dram.random_efficiency:", "streaming_efficiency"],
    ),
    "choice": ({"dram.type": "ddr5"}, ["dram.type:", "lpddr4, ddr4, hbm2"]),
    "node": ({"energy.node_nm": 12}, ["energy.node_nm:", "45, 40, 32, 28, 22, 7"]),
    "kind": ({"kind": "dense"}, ["mapping:", "dense", "array, sram, dram"]),
    "part of another kind": ({"nonlinear.lanes": 4}, ["nonlinear.lanes:", "pillar"]),
    "packed taps": ({"array.tap_packing": "packed"}, ["array.tap_packing:", "by_tap"]),
    "no rules": ({"sram.rule_kib": 0}, ["sram.rule_kib:"]),
    "small weights": ({"sram.weight_kib": 3}, ["sram.weight_kib:", "fold", "at least 4"]),
    "small inputs": ({"sram.input_kib": 1, "array.rows": 1024}, ["sram.input_kib:", "at least 2"]),
    "small sums": ({"sram.psum_kib": 1, "array.columns": 512}, ["sram.psum_kib:", "at least 2"]),
    "small outputs": ({"sram.output_kib": 0.25, "array.columns": 256}, ["sram.output_kib:"]),
    "action": ({"energy.overrides.macs": 1}, ["energy.overrides.macs:", "energy.overrides.mac?"]),
    "negative energy": ({"energy.overrides.mac": -1}, ["energy.overrides.mac:"]),
    "band upside down": (
        {"energy.overrides.mac": ActionEnergy(1.0, 2.0, 3.0, "given", "")},
        ["energy.overrides.mac:", "low_pj <= value_pj"],
    ),
    "no key": ({3: 4}, ["3:", "array.rows"]),
}


@pytest.mark.parametrize(("values", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_change_is_refused_by_name(values: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        change_values(load_spec("pillaracc-64x64"), values)
    assert all(word in str(caught.value) for word in words), str(caught.value)


WRONG_FILES = {  # text that replaces another in SMALL, what the message must name
    "unknown key": ("rows: 8", "row: 8", ["array.row:", "did you mean array.rows?"]),
    "unknown section": ("sram:", "srams:", ["srams:", "did you mean sram?"]),
    "leaf at the top": ("clock_mhz: 800", "clock_mhz: 800\nrows: 8", ["rows:", "array.rows?"]),
    "missing key": ("rows: 8, ", "", ["missing array.rows"]),
    "missing section": ("energy: {node_nm: 28}", "", ["missing energy.node_nm"]),
    "missing name": ("name: small", "", ["missing name"]),
    "part of another kind": ("energy:", "mapping: {}\nenergy:", ["mapping:", "dense"]),
    "part that is missing": ("kind: dense", "kind: pillar", ["missing mapping.method", "pillar"]),
    "missing unit": ("kind: dense", "kind: transformer", ["missing nonlinear.unit", "transformer"]),
    "no mapping of keys": ("{rows: 8, columns: 4}", "8", ["array:", "mapping of keys"]),
    "NaN": ("clock_mhz: 800", "clock_mhz: .nan", ["clock_mhz:", "nan"]),
    "nothing": ("clock_mhz: 800", "clock_mhz:", ["clock_mhz:", "None"]),
    "list": ("clock_mhz: 800", "clock_mhz: [800]", ["clock_mhz:", "list"]),
    "value alone": ("rows: 8", "rows: {value: 8}", ["array.rows:", "missing basis, source"]),
    "basis": ("rows: 8", "rows: {value: 8, basis: known, source: me}", ["array.rows.basis:", "published"]),
    "source": ("rows: 8", "rows: {value: 8, basis: derived, source: ''}", ["array.rows.source:"]),
    "unknown origin": (
        "rows: 8",
        "rows: {value: 8, basis: given, sauce: x}",
        ["array.rows.sauce:", "source?"],
    ),
    "key twice": ("clock_mhz: 800", "clock_mhz: 800\nclock_mhz: 900", ["line 6", "clock_mhz is there twice"]),
    "number as key": ("clock_mhz: 800", "clock_mhz: 800\n7: 8", ["line 6", "word as key"]),
    "anchor": ("clock_mhz: 800", "clock_mhz: &c 800", ["line 5", "no anchors"]),
    "tag": ("clock_mhz: 800", "clock_mhz: !!python/name:os.system 800", ["line 5", "tags"]),
    "preset": ("kind: dense", "based_on: pillarac-64x64", ["based_on:", "pillaracc-64x64?"]),
    "overrides": ("node_nm: 28", "node_nm: 28, overrides: [mac]", ["energy.overrides:", "actions"]),
    "action": ("node_nm: 28", "node_nm: 28, overrides: {macs: 1}", ["energy.overrides.macs:", "mac?"]),
    "part of an energy": ("node_nm: 28", "node_nm: 28, overrides: {mac: {value_pj: 1}}", ["missing low_pj"]),
    "broken YAML": ("{node_nm: 28}", "{node_nm: 28", ["cannot be read as YAML"]),
    "two documents": ("name: small", "name: small\n---\nname: b", ["cannot be read as YAML"]),
}


@pytest.mark.parametrize(("old", "new", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SMALL
    path = tmp_path / "wrong.yaml"
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    assert all(word in str(caught.value) for word in ("wrong.yaml:", *words)), str(caught.value)


def test_energies_of_a_file_replace_derived_ones() -> None:
    text = SMALL.replace(
        "node_nm: 28",
        "node_nm: 28, overrides: {mac: 0.5, idle_pe: "
        "{value_pj: 2, low_pj: 1, high_pj: 3e0, basis: published, source: a paper}}",
    )
    spec = parse_spec(text)
    assert spec.energy.overrides["mac"] == ActionEnergy(0.5, 0.5, 0.5, "given", "")
    assert derive_energies(spec).entries["idle_pe"] == ActionEnergy(2.0, 1.0, 3.0, "published", "a paper")
    assert parse_spec(dump_spec(spec)) == spec


def test_missing_files_and_presets_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"pillaracc-64x65: neither a file nor a preset; .*pillaracc-64x64\?"
    ):
        load_spec("pillaracc-64x65")
    with pytest.raises(ConfigError, match=r"neither a file nor a preset"):
        load_spec(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes\.yaml: cannot be read"):
        load_spec(tmp_path / "bytes.yaml")


BOMBS = {
    "billion laughs": "a: &a [x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n" for i in range(24)),
    "loop": "&a [*a]",
    "deep list": "[" * 20_000,
    "deep mapping": "{a: " * 5_000,
    "deep block": "".join(" " * i + "a:\n" for i in range(200)),
    "huge": "a: " + "x" * (LARGEST_FILE + 1),
    "long key": "? " + "k" * 50_000 + "\n: 1",
    "many keys": "".join(f"k{i}: 1\n" for i in range(6_000)),
    "long number": "clock_mhz: " + "9" * 10_000,
    "long hexadecimal": "based_on: 0x" + "f" * 10_000,
    "hexadecimals in a list": "clock_mhz: [0x" + "f" * 10_000 + "]",
    "sexagesimal": "clock_mhz: 1" + ":59" * 400 + ".5",
    "date that is none": "name: 2001-99-99",
    "merge": "<<: {name: x}",
    "NUL": "name: \0",
    "nothing": "",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_at_once(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_spec(path)
    assert len(str(caught.value)) < 1500


TOKENS = st.sampled_from(
    [
        *"{}[]:-'|>#?%=@~,",
        '"',
        "\t",
        "\n",
        "  ",
        "---\n",
        "&a ",
        "*a",
        "!!int ",
        "!!float ''",
        "<<: ",
        ".inf",
        "0x",
        "null",
        "true",
        "1e400",
        "2001-01-01",
    ]
)


@given(data=st.data(), name=st.sampled_from(["small", *preset_names()]))
@settings(max_examples=250, deadline=None)
def test_a_mangled_file_is_an_accelerator_or_a_config_error(data: st.DataObject, name: str) -> None:
    text = SMALL if name == "small" else (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(TOKENS | st.text(max_size=4)) + text[start + length :]
    try:
        spec = parse_spec(text)
    except ConfigError:
        return
    assert parse_spec(dump_spec(spec)) == spec
    assert all(math.isfinite(entry.high_pj) for entry in derive_energies(spec).entries.values())


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=3)
    | st.lists(st.integers(), max_size=3)
)


@given(
    st.sampled_from(["pillaracc-16x16", "dense-64x64", "transformer-int8"]),
    st.dictionaries(
        st.sampled_from([*LEAVES, "energy.overrides.mac", "x"]) | st.text(max_size=5), VALUES, max_size=3
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_change_makes_an_accelerator_or_a_config_error(name: str, values: dict) -> None:
    base = load_spec(name)
    try:
        spec = change_values(base, values)
    except ConfigError:
        return
    assert parse_spec(dump_spec(spec)) == spec
    assert all(spec.provenance[key].basis == "given" for key in values if key in spec.provenance)


def test_a_change_leaves_the_rest_and_the_original_alone() -> None:
    base = load_spec("pillaracc-64x64")
    before = dump_spec(base)
    changed = change_values(base, {"array.rows": 32, "energy.overrides.mac": 2, "sram.psum_kib": 64})
    assert dump_spec(base) == before
    assert (changed.array.rows, changed.array.columns, changed.sram.psum_kib) == (32, 64, 64.0)
    assert isinstance(changed.sram.psum_kib, float)
    assert changed.energy.overrides["mac"].value_pj == 2.0
    assert {key for key in changed.provenance if changed.provenance[key] != base.provenance[key]} == {
        "array.rows",
        "gather.gather_bytes_per_cycle",
        "sram.psum_kib",
    }
    assert change_values(base, {}) == base


def test_a_change_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_spec("pillaracc-64x64")
    monkeypatch.setattr(yaml, "load", None)
    monkeypatch.setattr(Path, "open", None)
    assert change_values(base, {"array.rows": 7}).array.rows == 7


def test_sections_are_the_parts_of_a_spec() -> None:
    spec = load_spec("pillaracc-64x64")
    assert all(hasattr(spec, section) for section in SECTIONS)
    assert {section for parts in PARTS.values() for section in parts} == set(SECTIONS)


# --- what follows ---


def test_ports_and_banks_follow_the_array() -> None:
    wide = change_values(load_spec("pillaracc-64x64"), {"array.rows": 128, "array.columns": 128})
    assert wide.gather is not None
    assert (wide.gather.gather_bytes_per_cycle, wide.gather.scatter_bytes_per_cycle) == (128, 512)
    assert wide.gather.banks == 32
    assert wide.provenance["gather.banks"].basis == "derived"
    named = change_values(
        load_spec("pillaracc-64x64"), {"array.rows": 128, "gather.gather_bytes_per_cycle": 64}
    )
    assert named.gather is not None
    assert named.gather.gather_bytes_per_cycle == 64
    assert named.provenance["gather.gather_bytes_per_cycle"].basis == "given"


def test_efficiencies_follow_the_type_of_memory() -> None:
    text = "based_on: pillaracc-64x64\ndram: {type: hbm2, bandwidth_gb_per_s: 256}\n"
    spec = parse_spec(text, "mine.yaml")
    assert (spec.dram.streaming_efficiency, spec.dram.random_efficiency) == (0.59, 0.24)
    assert "hbm2" in spec.provenance["dram.streaming_efficiency"].source
    assert spec == parse_spec(dump_spec(spec), "mine.yaml")
    own = parse_spec(text.replace("256", "256, streaming_efficiency: 0.8"), "mine.yaml")
    assert (own.dram.streaming_efficiency, own.dram.random_efficiency) == (0.8, 0.24)
