"""test_report_json.py: everything of a report is in its JSON, with the source of every constant."""

from __future__ import annotations

import json

import pytest
from report_cases import make_report

from colonnade.accel_model.constants import list_constants
from colonnade.accel_model.cost import ActionCounts
from colonnade.accel_model.energy import derive_energies
from colonnade.accel_model.report_json import SCHEMA, VERSION, add_components
from colonnade.accel_model.spec_files import change_values, load_spec, preset_names


def test_totals_layers_and_actions_are_those_of_the_report() -> None:
    report = make_report(800, 1600)
    content = json.loads(report.to_json())
    assert (content["schema"], content["version"]) == (SCHEMA, VERSION)
    assert "no RTL" in content["statement"]
    totals = content["totals"]
    assert totals["cycles"] == 2400
    assert totals["milliseconds"] == pytest.approx(2.4e-3)
    assert totals["frames_per_second"] == pytest.approx(1e9 / 2400)
    assert totals["energy_mj"] == pytest.approx(
        {"low": 6e-9 * 2400, "nominal": 12e-9 * 2400, "high": 17e-9 * 2400}
    )
    assert totals["dram_bytes"] == 24000
    assert ActionCounts(**totals["actions"]) == report.actions
    assert [layer["name"] for layer in content["layers"]] == ["layer0", "layer1"]
    second = content["layers"][1]
    assert (second["start_cycle"], second["cycles"], second["limit"]) == (800, 1600, "array")
    assert second["busy_cycles"] == {"array": 800, "dram": 400}
    assert second["utilisation"] == pytest.approx(1000 / 4096)
    assert second["macs_per_dram_byte"] == pytest.approx(100)


def test_energies_sum_to_their_parts() -> None:
    report = make_report(800, 1600, 240)
    content = json.loads(report.to_json())
    for key in ("low", "nominal", "high"):
        parts = sum(part[key] for part in content["energy_by_component_pj"].values())
        assert parts * 1e-9 == pytest.approx(content["totals"]["energy_mj"][key], rel=1e-9)
        layers = sum(layer["energy_pj"][key] for layer in content["layers"])
        assert layers == pytest.approx(parts, rel=1e-9)
    assert [part.component for part in add_components(report)] == ["mac", "dram"]


def test_an_empty_report_is_json() -> None:
    content = json.loads(make_report().to_json())
    assert content["totals"]["frames_per_second"] is None
    assert content["layers"] == []


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_a_preset_has_a_source(name: str) -> None:
    spec = load_spec(name)
    constants = list_constants(spec)
    keys = [constant.key for constant in constants]
    assert len(set(keys)) == len(keys)
    assert {f"energy.{action}_pj" for action in derive_energies(spec).entries} <= set(keys)
    assert {"array.rows", "clock_mhz", "dram.bandwidth_gb_per_s", "energy.node_nm"} <= set(keys)
    for constant in constants:
        if isinstance(constant.value, int | float) and not isinstance(constant.value, bool):
            assert constant.source, constant.key
            assert constant.basis in ("published", "derived", "assumed"), constant.key
        if constant.low is not None and constant.high is not None:
            assert constant.low <= constant.value <= constant.high, constant.key


def test_a_value_of_ones_own_is_given() -> None:
    spec = change_values(load_spec("pillaracc-64x64"), {"array.rows": 20})
    found = {constant.key: constant for constant in list_constants(spec)}["array.rows"]
    assert (found.value, found.basis) == (20, "given")
