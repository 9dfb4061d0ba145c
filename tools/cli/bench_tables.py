"""bench_tables.py: the reports of `colonnade bench` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ..bench.detect import DetectReport, DetectRun
    from ..bench.engine_report import EngineReport, FrameReport, LayerRun, NetworkRun, PeerRun
    from ..bench.hardware import Hardware

_SINGLE_CHANNELS = (64, 128, 256)
_KEY = (
    "ms: processor time on 1 thread, wall time on more; vector, tile: useful operations as a share of that unit's "
    "peak;\nrules: rules and plans, for spconv its indices; ideal: speed-up over dense onnxruntime of the same "
    "precision x (1 - MACs saved)"
)


def print_detect(report: DetectReport) -> None:
    """Print the speed of every run, and what a frame's time goes into."""
    terminal.show_facts(
        [
            (
                f"{run.precision}, {terminal.count(run.threads, 'thread')}",
                f"{run.frames_per_second:.1f} frames/s ({run.slowest_round:.1f} to {run.fastest_round:.1f} in "
                f"{terminal.count(report.rounds, 'round')}), {100 * run.other_share:.0f} % not convolution",
            )
            for run in report.runs
        ]
        + [
            (
                f"{scaling.precision} scaling",
                f"{scaling.factor:.2f} x from {terminal.count(scaling.fewest, 'thread')} to {scaling.most}",
            )
            for scaling in report.scalings
        ]
        + [
            ("first calls", ", ".join(f"{run.first_frame_ms:.0f} ms" for run in report.runs)),
            (
                "recording",
                f"{report.recording}: {report.frames} frames of {report.points_per_frame:,.0f} points",
            ),
            (
                "model",
                f"{_describe_model(report.runs[0])}, {report.runs[0].boxes_per_frame:.1f} boxes per frame",
            ),
            ("machine", _describe_machine(report.hardware)),
        ]
    )
    heads = [f"{run.precision} x{run.threads}" for run in report.runs]
    rows = [
        (
            stages[0].name,
            *(text for stage in stages for text in (f"{stage.median_ms:.2f}", f"{stage.p95_ms:.2f}")),
        )
        for stages in zip(*(run.stages for run in report.runs), strict=True)
    ]
    rules = ["-" if run.rules_ms is None else f"{run.rules_ms:.2f}" for run in report.runs]
    rows.append(("(rules, plans)", *(text for value in rules for text in (value, ""))))
    columns = ("ms per frame", *(text for head in heads for text in (head, "p95")))
    terminal.show_table(columns, rows)
    _show_warnings(report.disturbances, report.missing)


def _describe_model(run: DetectRun) -> str:
    return run.model if run.keep is None else f"{run.model} keeping {run.keep}"


def print_engine(report: EngineReport) -> None:
    """Print the peaks, every frame with its peers, and the layers."""
    facts = [("machine", _describe_machine(report.hardware)), ("kernels", "; ".join(report.forms))]
    for peak in report.peaks:
        rate = f"{peak.gops:,.0f} GOP/s, {terminal.count(peak.threads, 'thread')}"
        facts.append((f"{peak.precision} peak", f"{rate}, {peak.unit} ({peak.instruction})"))
    if report.bandwidth is not None:
        cache, memory = report.bandwidth.gbs[0], report.bandwidth.gbs[-1]
        facts.append(("one core reads", f"{cache:.0f} GB/s from its cache, {memory:.0f} GB/s from memory"))
    facts.append(("rounds", f"{report.rounds}, of which the median counts"))
    terminal.show_facts(facts)
    for frame in report.frames:
        _print_frame(frame)
    print(_KEY)
    if report.layers:
        _print_layers(report)
    _show_warnings(report.disturbances, report.missing)


def _print_frame(frame: FrameReport) -> None:
    points = "" if frame.points is None else f"{frame.points:,} points, "
    print(f"\nframe {frame.name}: {points}{frame.pillars:,} pillars")
    rows = [_list_network(run) for run in frame.networks]
    rows += [_list_peer(run) for run in frame.peers]
    columns = ("network", "ms", "wall", "saved", "vector", "tile", "rules", "share", "ideal")
    terminal.show_table(columns, rows)
    _print_speedups(frame)


def _list_network(run: NetworkRun) -> tuple[str, ...]:
    return (
        f"{run.choice.label} {run.precision} x{run.timing.threads}",
        f"{run.timing.ms:.1f}",
        f"{run.timing.wall_ms:.1f}",
        f"{100 * run.saving:.1f} %",
        _show_share(run.peak_fraction),
        _show_share(run.tile_fraction),
        f"{run.rules.ms:.2f}",
        f"{100 * run.rules_share:.1f} %",
        "-" if run.ideal_share is None else f"{run.ideal_share:.2f}",
    )


def _list_peer(run: PeerRun) -> tuple[str, ...]:
    return (
        f"{run.name} {run.computes} {run.precision} x{run.timing.threads}",
        f"{run.timing.ms:.1f}",
        f"{run.timing.wall_ms:.1f}",
        "",
        _show_share(run.peak_fraction),
        _show_share(run.tile_fraction),
        "" if run.indices is None else f"{run.indices.ms:.2f}",
        "",
        "",
    )


def _show_share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _print_speedups(frame: FrameReport) -> None:
    """Print how many times faster than each peer every network is."""
    peers = list(dict.fromkeys((s.peer, s.precision) for run in frame.networks for s in run.speedups))
    if not peers:
        return
    rows = []
    for run in frame.networks:
        factors = {(s.peer, s.precision): s.factor for s in run.speedups}
        cells = [f"{factors[peer]:.2f}" if peer in factors else "-" for peer in peers]
        rules = "-" if run.rules_speedup is None else f"{run.rules_speedup:.2f}"
        rows.append((f"{run.choice.label} {run.precision} x{run.timing.threads}", *cells, rules))
    heads = (f"{name}\n{precision}" for name, precision in peers)
    terminal.show_table(("times faster than", *heads, "indices"), rows)


def _print_layers(report: EngineReport) -> None:
    print(f"\nlayers of {report.layers_of}, 1 thread, rules and plan kept")
    rows = [
        (
            f"{layer.name} {layer.kind} {layer.kernel}x{layer.kernel} {layer.precision}",
            f"{layer.in_channels}-{layer.out_channels}",
            f"{layer.outputs:,}",
            f"{layer.timing.ms:.3f}",
            f"{layer.gops:.0f}",
            _show_share(layer.peak_fraction),
            _show_share(layer.tile_fraction),
            f"{layer.intensity:.0f}",
            f"{100 * layer.roof_fraction:.0f} %",
        )
        for layer in report.layers
    ]
    columns = ("layer", "channels", "outputs", "ms", "GOP/s", "vector", "tile", "op/B", "roof")
    terminal.show_table(columns, rows)
    for channels in _SINGLE_CHANNELS:
        fractions = [
            f"{precision} {100 * best.peak_fraction:.0f} %"
            for precision in ("fp32", "int8")
            if (best := _find_fastest(report, channels, precision)) is not None
        ]
        if fractions:
            print(
                f"submanifold layer of {channels} channels, of the vector unit's peak: {', '.join(fractions)}"
            )


def _find_fastest(report: EngineReport, channels: int, precision: str) -> LayerRun | None:
    """Return the fastest of the equal 3 × 3 submanifold layers of one width."""
    same = [
        layer
        for layer in report.layers
        if (layer.kind, layer.kernel, layer.in_channels, layer.out_channels, layer.precision)
        == ("submanifold", 3, channels, channels, precision)
    ]
    return max(same, key=lambda layer: layer.gops, default=None)


def _describe_machine(hardware: Hardware) -> str:
    return f"{hardware.cpu}, {terminal.count(hardware.cores, 'core')}, {' '.join(hardware.features)}"


def _show_warnings(disturbances: tuple[str, ...], missing: tuple[str, ...]) -> None:
    if disturbances:
        terminal.show_warning(f"this machine was too busy to measure on: {'; '.join(disturbances)}")
    for line in missing:
        terminal.show_note(f"not measured: {line}")
