"""report_cases.py: small reports made by hand, so that what is written of them can be told in advance."""

from __future__ import annotations

from dataclasses import replace

from colonnade.accel_model.cost import ActionCounts, Event, LayerCost, Tiling
from colonnade.accel_model.report import Band, ComponentEnergy, LayerReport, Report
from colonnade.accel_model.spec_files import load_spec


def make_layer(name: str, start: int, cycles: int) -> LayerReport:
    """Return a layer whose array works for half of it, its memory for a quarter in two pieces."""
    half, eighth = cycles // 2, cycles // 8
    events = (
        Event("dram", 0, eighth, "load 0"),
        Event("array", eighth, eighth + half, "tile 0"),
        Event("dram", cycles - eighth, cycles, "store 0"),
    )
    actions = ActionCounts(
        mac=1000 * cycles, input_read_bytes=64, dram_stream_bits=80 * cycles, cycles=cycles
    )
    busy = (("array", half), ("dram", 2 * eighth))
    cost = LayerCost(cycles, busy, "array", Tiling("tiles_outer", 512, 1), actions, 3, 0, events=events)
    energy = (
        ComponentEnergy("mac", Band(1.0 * cycles, 2.0 * cycles, 3.0 * cycles)),
        ComponentEnergy("dram", Band(5.0 * cycles, 10.0 * cycles, 14.0 * cycles)),
    )
    return LayerReport(
        name, "submanifold", 10, 10, 50, 1000 * cycles, 4000 * cycles, 4096, start, cost, energy
    )


def make_report(*cycles: int, clock_mhz: float = 1000.0, name: str = "frame") -> Report:
    """Return the report of a frame from the cycles of its layers."""
    layers, start = [], 0
    for number, length in enumerate(cycles):
        layers.append(make_layer(f"layer{number}", start, length))
        start += length
    return Report(name, replace(load_spec("pillaracc-64x64"), clock_mhz=clock_mhz), tuple(layers))
