"""report_csv.py: reports as a table of comma-separated values, one row per layer."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import get_args

from .cost import Unit
from .report import LayerReport, Report

_COLUMNS = (
    "design", "trace", "layer", "kind", "active_inputs", "active_outputs", "rules", "macs", "dense_macs",
    "start_cycle", "cycles", "limit", "utilisation", "dense_utilisation",
    *(f"{unit}_busy_cycles" for unit in get_args(Unit)),
    "gather_conflict_cycles", "scatter_conflict_cycles", "loop_order", "tile_inputs", "tiles",
    "sram_bytes", "dram_bytes", "macs_per_dram_byte", "energy_low_pj", "energy_pj", "energy_high_pj",
)  # fmt: skip
OPENING = ",".join(_COLUMNS)  # by which an earlier table is known


def format_layers(reports: Sequence[Report]) -> str:
    """Return the layers of reports as CSV: a row of names with their units, then a row per report and layer.

    The last columns are the nominal energies of the components [pJ]; a component that a design does not have is empty.
    """
    layers = [layer for report in reports for layer in report.layers]
    components = tuple(dict.fromkeys(part.component for layer in layers for part in layer.energy))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *(f"energy_{name.replace(' ', '_')}_pj" for name in components)))
    for report in reports:
        for layer in report.layers:
            writer.writerow((report.spec.name, report.trace_name, *_list_values(layer, components)))
    return text.getvalue()


def _list_values(layer: LayerReport, components: tuple[str, ...]) -> tuple[object, ...]:
    cost, energy = layer.cost, layer.picojoules
    parts = {part.component: part.picojoules.nominal for part in layer.energy}
    return (
        layer.name, layer.kind, layer.active_inputs, layer.active_outputs, layer.rules, layer.macs,
        layer.dense_macs, layer.start, layer.cycles, cost.limit, layer.utilisation, layer.dense_utilisation,
        *(cost.busy_cycles(unit) for unit in get_args(Unit)),
        cost.gather_conflicts, cost.scatter_conflicts, cost.tiling.order, cost.tiling.tile_inputs,
        cost.tiling.tiles, cost.actions.sram_bytes, cost.actions.dram_bytes, layer.intensity,
        energy.low, energy.nominal, energy.high, *(parts.get(name, "") for name in components),
    )  # fmt: skip
