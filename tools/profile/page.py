"""page.py: a profile as one self-contained page: conditions, charts, comparison, and the source of every constant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ...accel_model.constants import Constant, list_constants
from ...accel_model.report import LayerReport
from ...accel_model.report_json import STATEMENT
from ...accel_model.spread import Comparison
from .charts import UNIT_NAMES, draw_energy, draw_legend, draw_roofline, draw_spread, draw_stack, list_units
from .conditions import describe_conditions
from .page_style import CHARTS, COLOURS, PAGE, SCRIPT
from .runs import DesignRun, Profile
from .svg import shorten

OPENING = "<!doctype html>\n<!-- colonnade profile -->\n"  # by which an earlier page is known
_MEANING = (
    "Cycles follow from closed forms and from the real rules of these frames, energies from counts of actions times "
    "the energy of each; a band says what the constants leave open. Published figures of other designs were never used "
    "to tune a constant."
)


def format_page(profile: Profile) -> str:
    """Return the page as HTML that needs no network."""
    sections = (
        _write_header(profile),
        _write_tiles(profile),
        _write_conditions(profile),
        _write_stack(profile),
        _write_roofline(profile),
        _write_energy(profile),
        _write_spread(profile),
        _write_comparison(profile),
        _write_layers(profile),
        _write_constants(profile.runs),
    )
    title = f"{profile.workload.recording} on {profile.design.spec.name}"
    return (
        f'{OPENING}<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{COLOURS}{CHARTS}{PAGE}</style></head><body><main>{''.join(sections)}</main>"
        f'<div id="tip" role="status" hidden></div><script>{SCRIPT}</script></body></html>\n'
    )


def _write_header(profile: Profile) -> str:
    work = profile.workload
    return (
        '<p class="eyebrow">colonnade profile</p>'
        f"<h1>{escape(work.recording)} on {escape(profile.design.spec.name)}</h1>"
        f'<p class="soft">{escape(work.model)}, {escape(work.scope)}. {escape(profile.design.spec.description)}</p>'
        f'<p class="statement"><strong>{STATEMENT}</strong> {_MEANING}</p>'
    )


def _write_tiles(profile: Profile) -> str:
    spread, shown = profile.design.spread, profile.design.shown
    tiles = [
        (f"{spread.frames_per_second.p50:,.0f}", "frames per second, median"),
        (f"{spread.milliseconds.p50:.3g} ms", f"per frame, median; P99 {spread.milliseconds.p99:.3g} ms"),
        (
            f"{spread.energy_mj.nominal:.3g} mJ",
            f"per frame, mean; {spread.energy_mj.low:.3g} to {spread.energy_mj.high:.3g} mJ",
        ),
        (f"{shown.utilisation:.0%}", "of the array's multiplications are wanted ones"),
    ]
    for comparison in profile.comparisons[:1]:
        tiles.append((f"{comparison.speed_up:.2f}×", f"as fast as {comparison.other}"))
        tiles.append((f"{comparison.energy_saving:.2f}×", f"less energy than {comparison.other}"))
    inner = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in tiles)
    return f'<div class="tiles">{inner}</div>'


def _write_conditions(profile: Profile) -> str:
    frames = f"{len(profile.frames):,}; charts of layers show the median one, {profile.frames[profile.shown]}"
    facts = [*describe_conditions(profile.design.spec), ("frames", frames)]
    facts.append(("host energy", profile.host.describe()))
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in facts)
    return _section("Conditions", "", f"<dl>{rows}</dl>")


def _write_stack(profile: Profile) -> str:
    report = profile.design.shown
    words = (
        "Busy cycles of each unit, one after the other. Units work at the same time: what lies behind the line "
        "that ends the layer is hidden by other work. At the right: the layer's cycles, and the unit that limits it."
    )
    return _section(
        "Work of the layers", words, draw_legend(list_units(report), with_end=True) + draw_stack(report)
    )


def _write_roofline(profile: Profile) -> str:
    report = profile.design.shown
    words = (
        "Each layer by its wanted multiply-accumulates per byte of main memory and per cycle, under what the array and "
        "the peak bandwidth allow. The colour is the unit that limits the layer."
    )
    limits = [unit for unit in UNIT_NAMES if unit in {layer.cost.limit for layer in report.layers}]
    return _section("Roofline", words, draw_legend(limits) + draw_roofline(report))


def _write_energy(profile: Profile) -> str:
    report = profile.design.shown
    band = report.energy_band_mj
    words = (
        f"The median frame takes {band.nominal:.3g} mJ, between {band.low:.3g} and {band.high:.3g} mJ as far as the "
        "constants are uncertain: the thin line of each component. Figures in mJ."
    )
    return _section("Energy by component", words, draw_energy(report))


def _write_spread(profile: Profile) -> str:
    words = "Every dot is a frame; the dark bar is the median, the coloured one the 99th percentile."
    head = (
        "design",
        "frames",
        "ms P50",
        "P95",
        "P99",
        "mean",
        "frames/s P50",
        "P99",
        "mJ P50",
        "P95",
        "P99",
        "mean",
    )
    rows = [_list_spread(run) for run in profile.runs]
    return _section(
        "From frame to frame", words, draw_spread(profile.runs, profile.frames) + _table(head, rows)
    )


def _list_spread(run: DesignRun) -> tuple[str, ...]:
    ms, rate, mj = run.spread.milliseconds, run.spread.frames_per_second, run.spread.millijoules
    figures = (ms.p50, ms.p95, ms.p99, ms.mean, rate.p50, rate.p99, mj.p50, mj.p95, mj.p99, mj.mean)
    return (run.spec.name, str(run.spread.frames), *(_format(figure) for figure in figures))


def _write_comparison(profile: Profile) -> str:
    if not profile.comparisons:
        return ""
    ours = profile.design.spec
    words = (
        f"How much faster and more frugal {ours.name} is on the same frames. Ratio of sums: all frames together. "
        "Mean of ratios: the mean over the frames, in which a frame with much to gain counts as any other."
    )
    speed_up, saving = "speed-up, ratio of sums", "energy saving, ratio of sums"
    speed_up, saving = "speed-up, ratio of sums", "energy saving, ratio of sums"
    head = (
        "design",
        "clock",
        "memory",
        "ms mean",
        "mJ mean",
        speed_up,
        "mean of ratios",
        saving,
        "mean of ratios",
    )
    rows = [_list_comparison(profile.design, None)]
    rows += [_list_comparison(run, c) for run, c in zip(profile.others, profile.comparisons, strict=True)]
    return _section("Beside the other designs", words, _table(head, rows))


def _list_comparison(run: DesignRun, comparison: Comparison | None) -> tuple[str, ...]:
    ratios = ("", "", "", "")
    if comparison is not None:
        c = comparison
        figures = (c.speed_up, c.mean_speed_up, c.energy_saving, c.mean_energy_saving)
        ratios = tuple(f"{figure:.2f}×" for figure in figures)  # type: ignore[assignment]
    spec = run.spec
    conditions = (f"{spec.clock_mhz:,g} MHz", f"{spec.dram.bandwidth_gb_per_s:g} GB/s")
    band = run.spread.energy_mj
    energy = f"{_format(band.nominal)} ({_format(band.low)} to {_format(band.high)})"
    return (spec.name, *conditions, _format(run.spread.milliseconds.mean), energy, *ratios)


def _write_layers(profile: Profile) -> str:
    report = profile.design.shown
    counts = ("active in", "out", "rules", "MAC", "cycles", "array used", "dense equivalent")
    head = ("layer", "kind", *counts, "limit", "SRAM bytes", "DRAM bytes", "µJ")
    rows: list[tuple[str, ...]] = [_list_layer(layer) for layer in report.layers]
    sums = (shorten(report.macs), f"{report.cycles:,}", f"{report.utilisation:.0%}", "", "")
    moved = (shorten(report.actions.sram_bytes), shorten(report.actions.dram_bytes))
    rows.append(("all", "", "", "", "", *sums, *moved, _format(report.energy_mj * 1e3)))
    body = f"<details><summary>Table of the layers</summary>{_table(head, rows, has_total=True)}</details>"
    return _section("Layers", "", body)


def _list_layer(layer: LayerReport) -> tuple[str, ...]:
    actions = layer.cost.actions
    counts = (f"{n:,}" for n in (layer.active_inputs, layer.active_outputs, layer.rules))
    shares = (f"{layer.utilisation:.0%}", f"{layer.dense_utilisation:.0%}", UNIT_NAMES[layer.cost.limit])
    moved = (shorten(actions.sram_bytes), shorten(actions.dram_bytes))
    energy = _format(layer.picojoules.nominal * 1e-6)
    return (
        layer.name,
        layer.kind,
        *counts,
        shorten(layer.macs),
        f"{layer.cycles:,}",
        *shares,
        *moved,
        energy,
    )


def _write_constants(runs: Sequence[DesignRun]) -> str:
    tables = "".join(_write_constants_of(run) for run in runs)
    words = (
        "Published: printed by the source. Derived: computed from published figures. Assumed: chosen by us where "
        "nothing is published. Given: from your own description. The unit is in the name."
    )
    return _section("Constants and their sources", words, tables)


def _write_constants_of(run: DesignRun) -> str:
    rows = "".join(_write_constant(constant) for constant in list_constants(run.spec))
    head = '<th>constant</th><th>value</th><th>band</th><th class="words">basis</th><th class="words">source</th>'
    return (
        f"<details><summary>{escape(run.spec.name)}</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _write_constant(constant: Constant) -> str:
    value = constant.value if isinstance(constant.value, str | bool) else f"{constant.value:g}"
    band = (
        "" if constant.low is None or constant.high is None else f"{constant.low:.3g} to {constant.high:.3g}"
    )
    badge = f'<span class="badge {constant.basis}">{constant.basis}</span>'
    cells = f"<td>{escape(constant.key)}</td><td>{escape(str(value))}</td><td>{band}</td>"
    return f'<tr>{cells}<td class="words">{badge}</td><td class="words">{escape(constant.source)}</td></tr>'


def _section(title: str, words: str, body: str) -> str:
    lead = f'<p class="soft">{escape(words)}</p>' if words else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>"


def _table(head: Iterable[str], rows: Sequence[Sequence[str]], *, has_total: bool = False) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = ""
    for number, row in enumerate(rows, start=1):
        kind = ' class="total"' if has_total and number == len(rows) else ""
        body += f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'


def _format(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
