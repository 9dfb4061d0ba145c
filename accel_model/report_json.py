"""report_json.py: a report as JSON: the accelerator and the source of its constants, layers, actions, energies."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from .constants import list_constants
from .report import Band, ComponentEnergy, LayerReport, Report
from .spec import Spec

SCHEMA, VERSION = "colonnade-accelerator-report", 1
STATEMENT = "Modelled, not measured: no RTL and no silicon of this accelerator exists."


def format_report(report: Report) -> str:
    """Return a report as one JSON object; see `describe_report`."""
    return json.dumps(describe_report(report), indent=1, allow_nan=False) + "\n"


def describe_report(report: Report) -> dict[str, object]:
    """Return plain values for JSON.

    Keys: schema, version, statement, trace, spec (with `constants`: key, value, low, high, basis, source, those of
    the energies in pJ among them), totals, energy_by_component_pj, layers. Units are in the names of the keys; a band
    is {low, nominal, high}. The frame rate of an empty trace is null.
    """
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "statement": STATEMENT,
        "trace": report.trace_name,
        "spec": describe_spec(report.spec),
        "totals": _describe_totals(report),
        "energy_by_component_pj": _describe_energies(add_components(report)),
        "layers": [_describe_layer(layer) for layer in report.layers],
    }


def describe_spec(spec: Spec) -> dict[str, object]:
    """Return an accelerator with all its constants as plain values."""
    head = {"name": spec.name, "description": spec.description, "kind": spec.kind}
    return head | {"constants": [asdict(constant) for constant in list_constants(spec)]}


def add_components(report: Report) -> tuple[ComponentEnergy, ...]:
    """Return the energy of each component over all layers [pJ], in the order of their first appearance."""
    sums: dict[str, Band] = {}
    for layer in report.layers:
        for part in layer.energy:
            sums[part.component] = sums.get(part.component, Band(0.0, 0.0, 0.0)) + part.picojoules
    return tuple(ComponentEnergy(name, band) for name, band in sums.items())


def _describe_totals(report: Report) -> dict[str, object]:
    rate = report.frames_per_second
    return {
        "cycles": report.cycles,
        "milliseconds": report.seconds * 1e3,
        "frames_per_second": rate if math.isfinite(rate) else None,
        "energy_mj": asdict(report.energy_band_mj),
        "watts": report.watts,
        "macs": report.macs,
        "dense_macs": report.dense_macs,
        "utilisation": report.utilisation,
        "actions": asdict(report.actions),
        "sram_bytes": report.actions.sram_bytes,
        "dram_bytes": report.actions.dram_bytes,
    }


def _describe_layer(layer: LayerReport) -> dict[str, object]:
    cost = layer.cost
    return {
        "name": layer.name,
        "kind": layer.kind,
        "active_inputs": layer.active_inputs,
        "active_outputs": layer.active_outputs,
        "rules": layer.rules,
        "macs": layer.macs,
        "dense_macs": layer.dense_macs,
        "macs_per_cycle": layer.macs_per_cycle,
        "start_cycle": layer.start,
        "cycles": layer.cycles,
        "busy_cycles": dict(cost.busy),
        "limit": cost.limit,
        "utilisation": layer.utilisation,
        "dense_utilisation": layer.dense_utilisation,
        "macs_per_dram_byte": layer.intensity,
        "tiling": asdict(cost.tiling),
        "gather_conflict_cycles": cost.gather_conflicts,
        "scatter_conflict_cycles": cost.scatter_conflicts,
        "actions": asdict(cost.actions),
        "sram_bytes": cost.actions.sram_bytes,
        "dram_bytes": cost.actions.dram_bytes,
        "energy_pj": asdict(layer.picojoules),
        "energy_by_component_pj": _describe_energies(layer.energy),
    }


def _describe_energies(parts: tuple[ComponentEnergy, ...]) -> dict[str, object]:
    return {part.component: asdict(part.picojoules) for part in parts}
