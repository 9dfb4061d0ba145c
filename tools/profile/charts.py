"""charts.py: the charts of a profile: work of each layer, roofline, energies, spread over frames."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from ...accel_model.cost import Unit
from ...accel_model.report import Band, LayerReport, Report
from ...accel_model.report_json import add_components
from .runs import DesignRun
from .svg import (
    Anchor,
    Scale,
    draw_axes,
    element,
    fit_from_zero,
    fit_log,
    mark,
    percent,
    picture,
    plot_area,
    shorten,
    text,
)

UNIT_NAMES: dict[Unit, str] = {
    "array": "array",
    "rules": "rules",
    "gather": "gather",
    "scatter": "scatter",
    "dram": "DRAM",
    "nonlinear": "operators",
}
COMPONENT_NAMES = {
    "mac": "multipliers",
    "array": "idle elements, registers",
    "input_sram": "input buffer",
    "weight_sram": "weight buffer",
    "psum_sram": "partial sums",
    "output_sram": "output buffer",
    "rules": "rules",
    "nonlinear": "operators",
    "dram": "main memory",
    "leakage": "leakage",
}
_LABELLED = 5  # layers that the roofline names: those that take the most cycles


def draw_legend(units: Sequence[Unit], *, with_end: bool = False) -> str:
    """Return what the colours of the units mean."""
    keys = [f'<span><i class="key {unit}"></i>{UNIT_NAMES[unit]}</span>' for unit in units]
    if with_end:
        keys.append('<span><i class="key end"></i>the layer\'s own length</span>')
    return f'<p class="legend">{"".join(keys)}</p>'


def list_units(report: Report) -> tuple[Unit, ...]:
    """Return the units that work in a report, in a fixed order."""
    present = {unit for layer in report.layers for unit, cycles in layer.cost.busy if cycles}
    return tuple(unit for unit in UNIT_NAMES if unit in present)


def draw_stack(report: Report) -> str:
    """Return a bar per layer: the busy cycles of its units one after the other, and a line where the layer ends.

    Units work at the same time, so a bar is longer than its layer where work hides behind other work.
    """
    units = list_units(report)
    sums = [sum(cycles for _, cycles in layer.cost.busy) for layer in report.layers]
    scale = fit_from_zero([*sums, *(layer.cycles for layer in report.layers)])
    rows = "".join(_draw_stack_row(layer, units, scale, report.cycles) for layer in report.layers)
    axis = "".join(
        f'<span style="left:{percent(scale.place(tick))}">{shorten(tick)}</span>'
        for tick in scale.list_ticks()
    )
    foot = f'<span></span><div class="axis-row">{axis}</div><span>cycles</span>'
    label = "Busy cycles of the units in each layer"
    return f'<div class="bars stack" role="group" aria-label="{label}">{rows}{foot}</div>'


def _draw_stack_row(layer: LayerReport, units: Sequence[Unit], scale: Scale, total: int) -> str:
    parts, begin = [], 0
    for unit in units:
        cycles = layer.cost.busy_cycles(unit)
        if not cycles:
            continue
        share = cycles / layer.cycles if layer.cycles else 0.0
        tip = f"{layer.name}, {UNIT_NAMES[unit]}: busy {cycles:,} of {layer.cycles:,} cycles ({share:.0%})"
        x, width = scale.place(begin), scale.place(begin + cycles) - scale.place(begin)
        parts.append(mark(tip, "rect", kind=unit, x=percent(x), y="3", width=percent(width), height="14"))
        begin += cycles
    end = percent(scale.place(layer.cycles))
    tip = f"{layer.name}: {layer.cycles:,} cycles, {layer.cycles / total if total else 0:.1%} of the frame"
    parts.append(mark(tip, "line", kind="end", x1=end, x2=end, y1="0", y2="20"))
    words = f"{tip}; limited by {UNIT_NAMES[layer.cost.limit]}"
    bar = picture(f"Layer {layer.name}", words, 20, parts)
    limit = f'<b class="{layer.cost.limit}">{UNIT_NAMES[layer.cost.limit]}</b>'
    return f"<span>{escape(layer.name)}</span>{bar}<span>{shorten(layer.cycles)} {limit}</span>"


def draw_roofline(report: Report) -> str:
    """Return layers by MAC per byte of main memory and MAC per cycle, with the roofs of array and memory."""
    spec = report.spec
    peak, slope = float(spec.array.macs_per_cycle), spec.dram_bytes_per_cycle
    layers = [layer for layer in report.layers if layer.intensity and layer.cycles]
    if not layers:
        return '<p class="empty">No layer moves bytes and multiplies.</p>'
    rates = [layer.macs / layer.cycles for layer in layers]
    across = fit_log([*(layer.intensity for layer in layers), peak / slope])
    up = fit_log([*rates, peak * 1.2])
    body = [draw_axes(across, up, ("MAC per byte of main memory", "MAC per cycle"))]
    body += _draw_roofs(across, up, peak, slope)
    places = [(across.place(a.intensity), 1 - up.place(rate)) for a, rate in zip(layers, rates, strict=True)]
    named = _choose_named(layers, places)
    for number, (layer, place) in enumerate(zip(layers, places, strict=True)):
        body += _draw_point(layer, place, is_named=number in named)
    words = (
        f"{len(layers)} layers of {report.trace_name} on {spec.name}. Roofs: {peak:,.0f} MAC per cycle, and "
        f"{slope:.3g} bytes per cycle of main memory."
    )
    return picture("Roofline", words, 420, [plot_area(body)], class_="plot")


def _draw_roofs(across: Scale, up: Scale, peak: float, slope: float) -> list[str]:
    """Return the roofs: bandwidth up to the ridge, peak behind it."""
    ridge = peak / slope
    left = max(across.low, up.low / slope)
    corners = [
        (left, left * slope),
        (min(ridge, across.high), min(peak, across.high * slope)),
        (across.high, peak),
    ]
    lines = []
    for kind, ((x1, y1), (x2, y2)) in zip(("dram", "array"), pairwise(corners), strict=True):
        tip = (
            f"main memory: {slope:.3g} bytes per cycle"
            if kind == "dram"
            else f"array: {peak:,.0f} MAC per cycle"
        )
        if x1 < x2:
            ends = {
                "x1": percent(across.place(x1)),
                "y1": percent(1 - up.place(y1)),
                "x2": percent(across.place(x2)),
                "y2": percent(1 - up.place(y2)),
            }
            lines.append(mark(tip, "line", kind=f"roof {kind}", **ends))
    x, y = (low**0.6 * high**0.4 for low, high in zip(corners[0], corners[1], strict=True))
    words = f"memory: {slope:.3g} bytes per cycle"
    place = (across.place(x), 1 - up.place(y))
    lines.append(text(words, *place, anchor="end", dx="-6", dy="-14", class_="note wide"))
    words = f"array: {peak:,.0f} MAC per cycle"
    lines.append(text(words, 1, 1 - up.place(peak), anchor="end", dy="-9", class_="note"))
    return lines


def _choose_named(layers: Sequence[LayerReport], places: Sequence[tuple[float, float]]) -> list[int]:
    """Return the layers to name: those that take the most cycles, of those that lie together the first."""
    named: list[int] = []
    for number in sorted(range(len(layers)), key=lambda n: (-layers[n].cycles, n)):
        x, y = places[number]
        is_free = all(abs(x - places[n][0]) > 0.16 or abs(y - places[n][1]) > 0.06 for n in named)
        if is_free and len(named) < _LABELLED:
            named.append(number)
    return named


def _draw_point(layer: LayerReport, place: tuple[float, float], *, is_named: bool) -> list[str]:
    x, y = place
    limit = layer.cost.limit
    tip = (
        f"{layer.name}: {layer.macs / layer.cycles:,.0f} MAC per cycle ({layer.utilisation:.0%} of the array), "
        f"{layer.intensity:,.1f} MAC per byte, limited by {UNIT_NAMES[limit]}"
    )
    parts = [mark(tip, "circle", kind=f"point {limit}", cx=percent(x), cy=percent(y), r="5.5")]
    if is_named:
        anchor: Anchor = "end" if x > 0.9 else "middle"
        parts.append(text(layer.name, x, y, anchor=anchor, dy="20", class_="label"))
    return parts


def draw_energy(report: Report) -> str:
    """Return a bar per component: nominal energy, and a thin line from its low to its high."""
    parts = [
        (COMPONENT_NAMES.get(part.component, part.component), part.picojoules * 1e-9)
        for part in add_components(report)
    ]
    parts = sorted((part for part in parts if part[1].high), key=lambda part: -part[1].nominal)
    scale = fit_from_zero(band.high for _, band in parts)
    total = report.energy_mj
    rows = "".join(_draw_energy_row(name, band, scale, total) for name, band in parts)
    return f'<div class="bars energy" role="group" aria-label="Energy of each component">{rows}</div>'


def _draw_energy_row(name: str, band: Band, scale: Scale, total: float) -> str:
    share = band.nominal / total if total else 0.0
    tip = f"{name}: {band.nominal:.3g} mJ ({band.low:.3g} to {band.high:.3g}), {share:.0%} of the frame's energy"
    low, high = percent(scale.place(band.low)), percent(scale.place(band.high))
    body = [
        mark(tip, "rect", kind="energy", x="0", y="4", width=percent(scale.place(band.nominal)), height="14"),
        element("line", x1=low, x2=high, y1="11", y2="11", class_="band"),
        element("line", x1=low, x2=low, y1="7", y2="15", class_="band"),
        element("line", x1=high, x2=high, y1="7", y2="15", class_="band"),
    ]
    bar = picture(f"Energy of {name}", tip, 22, body)
    figures = f"{band.nominal:.3g} <small>{band.low:.3g} to {band.high:.3g}</small>"
    return f"<span>{escape(name)}</span>{bar}<span>{figures}</span>"


def draw_spread(runs: Sequence[DesignRun], frames: Sequence[str]) -> str:
    """Return a row per design: every frame as a dot at its latency, with the median and the 99th percentile."""
    times = [report.seconds * 1e3 for run in runs for report in run.reports]
    across = fit_log(times)
    rows = len(runs)
    body = [_draw_time_axis(across)]
    for number, run in enumerate(runs):
        body += _draw_spread_row(run, frames, across, (number + 0.5) / rows)
    words = "; ".join(
        f"{run.spec.name}: median {run.spread.milliseconds.p50:.3g} ms, P99 {run.spread.milliseconds.p99:.3g} ms"
        for run in runs
    )
    return picture("Latency of the frames", words, 60 + 64 * rows, [plot_area(body)], class_="plot")


def _draw_time_axis(across: Scale) -> str:
    parts = []
    for value in across.list_ticks():
        x = percent(across.place(value))
        parts.append(element("line", x1=x, x2=x, y1="0", y2="100%", class_="grid"))
        parts.append(text(shorten(value), across.place(value), 1, anchor="middle", dy="15", class_="tick"))
    parts.append(text("milliseconds per frame", 1, 1, anchor="end", dy="32", class_="axis"))
    return "".join(parts)


def _draw_spread_row(run: DesignRun, frames: Sequence[str], across: Scale, y: float) -> list[str]:
    parts = [text(run.spec.name, 0, y, dy="-22", class_="label")]
    for number, (name, report) in enumerate(zip(frames, run.reports, strict=True)):
        time = report.seconds * 1e3
        tip = f"{run.spec.name}, frame {name}: {time:.3g} ms, {report.energy_mj:.3g} mJ"
        parts.append(
            mark(
                tip,
                "circle",
                kind="frame",
                cx=percent(across.place(time)),
                cy=percent(y),
                r="4",
                transform=f"translate(0 {(number * 7) % 11 - 5})",  # apart, so that equal frames can be told
            )
        )
    for label, value in (("P50", run.spread.milliseconds.p50), ("P99", run.spread.milliseconds.p99)):
        tip = f"{run.spec.name}, {label}: {value:.3g} ms"
        place = {"x": percent(across.place(value)), "y": percent(y), "width": "2.5", "height": "30"}
        parts.append(
            mark(tip, "rect", kind=f"quantile {label.lower()}", transform="translate(-1.25 -15)", **place)
        )
    return parts
