"""chrome_trace.py: when each unit worked, as a trace of Chrome's format, which Perfetto opens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .report import LayerReport, Report
from .report_json import STATEMENT
from .spec import Spec

SCHEMA = "colonnade-accelerator-trace"
_LAYERS = 0  # the thread that shows whole layers


def format_trace(reports: Sequence[Report]) -> str:
    """Return reports as one trace: a process per report, a track for its layers, one per unit, and counters.

    Times are microseconds at the design's clock; `args` of a block hold its cycles. Counters: main memory's rate while
    it moves a layer's bytes [GB/s], and nominal power, averaged over each layer [W].

    Source: Trace Event Format (Google, 2016), events M, X and C.
    """
    events = [event for process, report in enumerate(reports, start=1) for event in _list(report, process)]
    body = {
        "schema": SCHEMA,
        "displayTimeUnit": "ns",
        "otherData": {"statement": STATEMENT, "designs": [_describe_conditions(r.spec) for r in reports]},
        "traceEvents": events,
    }
    return json.dumps(body, separators=(",", ":")) + "\n"


def _describe_conditions(spec: Spec) -> dict[str, object]:
    return {
        "design": spec.name,
        "clock_mhz": spec.clock_mhz,
        "mac_format": spec.array.mac_format,
        "bandwidth_gb_per_s": spec.dram.bandwidth_gb_per_s,
    }


def _list(report: Report, process: int) -> Iterator[dict[str, Any]]:
    """Yield the events of one report."""
    threads = _number_units(report)
    yield _name("process_name", process, 0, f"{report.spec.name}: {report.trace_name}")
    yield _name("thread_name", process, _LAYERS, "layers")
    for unit, thread in threads.items():
        yield _name("thread_name", process, thread, unit)
    for thread in (_LAYERS, *threads.values()):
        order = {"name": "thread_sort_index", "ph": "M", "pid": process, "tid": thread}
        yield order | {"args": {"sort_index": thread}}
    clock = report.spec.clock_mhz
    for layer in report.layers:
        end = layer.start + layer.cycles
        about = {"limit": layer.cost.limit, "utilisation": layer.utilisation, "rules": layer.rules}
        block = _block(layer.name, process, _LAYERS, (layer.start, end), clock)
        yield block | {"args": block["args"] | about}
        for event in layer.cost.events:
            span = (layer.start + event.start, layer.start + event.end)
            yield _block(f"{layer.name} {event.label}", process, threads[event.unit], span, clock)
        yield from _count(layer, process, report.spec)
    if report.layers:
        for name, unit in (("DRAM", "GB/s"), ("power", "W")):
            yield _counter(name, unit, process, report.cycles / clock, 0.0)


def _number_units(report: Report) -> dict[str, int]:
    units = [unit for layer in report.layers for unit, _ in layer.cost.busy]
    units += [event.unit for layer in report.layers for event in layer.cost.events]
    return {unit: number for number, unit in enumerate(dict.fromkeys(units), start=_LAYERS + 1)}


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _block(name: str, process: int, thread: int, span: tuple[int, int], clock_mhz: float) -> dict[str, Any]:
    start, end = span
    return {
        "name": name,
        "ph": "X",
        "ts": start / clock_mhz,
        "dur": (end - start) / clock_mhz,
        "pid": process,
        "tid": thread,
        "args": {"start_cycle": start, "cycles": end - start},
    }


def _count(layer: LayerReport, process: int, spec: Spec) -> Iterator[dict[str, Any]]:
    """Yield the counters of a layer: power once, the rate of main memory wherever it begins or ends to work."""
    if layer.cycles:
        watts = layer.picojoules.nominal * 1e-6 * spec.clock_mhz / layer.cycles
        yield _counter("power", "W", process, layer.start / spec.clock_mhz, watts)
    spans = _merge_spans(layer)
    busy = sum(end - start for start, end in spans)
    if not busy:
        yield _counter("DRAM", "GB/s", process, layer.start / spec.clock_mhz, 0.0)
        return
    rate = layer.cost.actions.dram_bytes / busy * spec.clock_mhz / 1e3
    for start, end in spans:
        yield _counter("DRAM", "GB/s", process, (layer.start + start) / spec.clock_mhz, rate)
        yield _counter("DRAM", "GB/s", process, (layer.start + end) / spec.clock_mhz, 0.0)


def _merge_spans(layer: LayerReport) -> list[tuple[int, int]]:
    """Return when main memory worked, in cycles from the layer's start, spans that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((e.start, e.end) for e in layer.cost.events if e.unit == "dram"):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _counter(name: str, unit: str, process: int, time: float, value: float) -> dict[str, Any]:
    return {"name": f"{name} {unit}", "ph": "C", "ts": time, "pid": process, "args": {unit: value}}
