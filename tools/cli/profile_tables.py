"""profile_tables.py: the results of `colonnade profile` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ...accel_model.report import Band, LayerReport
    from ...accel_model.spread import Comparison, Quantiles
    from ..profile.runs import DesignRun, Profile


def print_profile(profile: Profile) -> None:
    """Print conditions, layers of the median frame, totals, the spread over frames, and comparisons."""
    _print_conditions(profile)
    _print_layers(profile)
    _print_totals(profile)
    _print_spread(profile.runs)
    if profile.comparisons:
        _print_comparisons(profile)


def _print_conditions(profile: Profile) -> None:
    from ...accel_model.report_json import STATEMENT
    from ..profile.conditions import describe_conditions

    work, spec = profile.workload, profile.design.spec
    terminal.show_facts(
        [
            (
                "what",
                f"{work.recording}, {terminal.count(len(profile.frames), 'frame')}: {work.model}, {work.scope}",
            ),
            ("on", f"{spec.name}: {spec.description}"),
            *describe_conditions(spec),
            ("basis", STATEMENT),
        ]
    )


def _print_layers(profile: Profile) -> None:
    from ..profile.charts import UNIT_NAMES

    report = profile.design.shown
    rows = [(*_list_layer(layer, report.cycles), UNIT_NAMES[layer.cost.limit]) for layer in report.layers]
    print(f"\nlayers of the median frame, {profile.frames[profile.shown]}")
    head = ("layer", "in", "out", "rules", "cycles", "share", "used", "DRAM kB", "uJ", "limit")
    terminal.show_table(head, rows)


def _list_layer(layer: LayerReport, total: int) -> tuple[str, ...]:
    return (
        layer.name,
        *(f"{number:,}" for number in (layer.active_inputs, layer.active_outputs, layer.rules, layer.cycles)),
        f"{layer.cycles / total:.1%}" if total else "-",
        f"{layer.utilisation:.0%}",
        f"{layer.cost.actions.dram_bytes / 1e3:,.1f}",
        f"{layer.picojoules.nominal * 1e-6:,.1f}",
    )


def _print_totals(profile: Profile) -> None:
    report = profile.design.shown
    moved, clock = report.actions.dram_bytes, report.spec.clock_mhz
    terminal.show_facts(
        [
            ("cycles", f"{report.cycles:,}, {report.seconds * 1e3:.3f} ms at {clock:,g} MHz"),
            ("frames/s", f"{report.frames_per_second:,.1f}"),
            ("energy", f"{_word_band(report.energy_band_mj)} mJ per frame, {report.watts:.3g} W"),
            ("array used", f"{report.utilisation:.1%} of its multiplications are wanted ones"),
            (
                "MAC",
                f"{report.macs / 1e9:.3f} G of {report.dense_macs / 1e9:.3f} G dense ones{_word_saving(profile)}",
            ),
            ("main memory", f"{moved / 1e6:.2f} MB per frame"),
            ("host energy", profile.host.describe()),
        ]
    )


def _word_saving(profile: Profile) -> str:
    report = profile.design.shown
    return f", {1 - report.macs / report.dense_macs:.1%} saved" if report.dense_macs else ""


def _print_spread(runs: tuple[DesignRun, ...]) -> None:
    rows = []
    for run in runs:
        spread = run.spread
        figures = (
            ("cycles", spread.cycles, ",.0f"),
            ("ms", spread.milliseconds, ",.3f"),
            ("frames/s", spread.frames_per_second, ",.1f"),
            ("mJ", spread.millijoules, ",.3f"),
        )
        rows += [(run.spec.name, name, *_list_quantiles(values, form)) for name, values, form in figures]
    print(
        f"\nspread over {terminal.count(runs[0].spread.frames, 'frame')}; frames/s are those of the slow frames"
    )
    terminal.show_table(("design", "per frame", "P50", "P95", "P99", "mean"), rows, names=2)


def _list_quantiles(values: Quantiles, form: str) -> tuple[str, ...]:
    return tuple(format(value, form) for value in (values.p50, values.p95, values.p99, values.mean))


def _print_comparisons(profile: Profile) -> None:
    rows = [
        (comparison.other, *_list_conditions(run), *_list_ratios(comparison))
        for comparison, run in zip(profile.comparisons, profile.others, strict=True)
    ]
    print(
        f"\n{profile.design.spec.name} beside other designs; sums: ratio of sums, mean: mean of the frames' ratios"
    )
    head = ("than", "MHz", "GB/s", "its ms", "its mJ", "faster, sums", "mean", "less energy, sums", "mean")
    terminal.show_table(head, rows)


def _list_conditions(run: DesignRun) -> tuple[str, ...]:
    spec, spread = run.spec, run.spread
    clock, bandwidth = f"{spec.clock_mhz:,g}", f"{spec.dram.bandwidth_gb_per_s:g}"
    return clock, bandwidth, f"{spread.milliseconds.mean:,.3f}", f"{spread.energy_mj.nominal:,.3f}"


def _list_ratios(comparison: Comparison) -> tuple[str, ...]:
    c = comparison
    figures = (c.speed_up, c.mean_speed_up, c.energy_saving, c.mean_energy_saving)
    return tuple(f"{figure:.2f} x" for figure in figures)


def _word_band(band: Band) -> str:
    return f"{band.nominal:.3g} ({band.low:.3g} to {band.high:.3g})"
