"""bench.py: `colonnade bench`: how fast the detector and its engine are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ..bench.detect import DetectBench
    from ..bench.engine import EngineBench

app = typer.Typer(
    help="Measure speed: of the whole detector, or of the sparse engine alone.", no_args_is_help=True
)

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON, too.")
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", metavar="N", min=1, help="Timed passes; the median counts.")
]


@app.command("detect")
def bench_detect(
    recording: options.RecordingArgument,
    model: options.ModelOption = "default",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Frames held in memory.")] = 40,
    rounds: RoundsOption = 5,
    threads: options.ThreadsOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    json: JsonOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Frames per second of the detector, from points in memory to boxes, warm.

    \b
    Example:
      colonnade bench detect kitti/velodyne --threads 2 --json speed.json
    """
    from ...detector.detector import load
    from ...detector.io import open_recording
    from ..bench.detect import run_detect_bench
    from ..bench.hardware import describe_hardware
    from .output_files import check_report, write_text

    if json is not None:
        check_report("--json", json, ("recording", "frames_per_second"))
    with open_recording(recording, format=format, topic=topic, columns=columns, limit=limit) as opened:
        frames = list(opened)
    detector = load(model, threads=threads)
    with terminal.progress_bar("measuring", len(frames) * (rounds + 1), quiet=quiet) as progress:
        report = run_detect_bench(
            detector,
            frames,
            recording=recording.resolve().name,
            hardware=describe_hardware(),
            rounds=rounds,
            progress=progress,
        )
    if json is not None:
        write_text(json, report.to_json() + "\n")
    _print_detect(report)


@app.command("engine")
def bench_engine(
    rounds: RoundsOption = 15,
    threads: options.ThreadsOption = None,
    peer: Annotated[bool, typer.Option(help="Measure spconv beside it, where it is installed.")] = True,
    json: JsonOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Time per layer of the sparse convolutions, beside spconv on the CPU where it is installed."""
    from ..bench.engine import ENGINE_LAYERS, run_engine_bench
    from .output_files import check_report, write_text

    if json is not None:
        check_report("--json", json, ("tile", "layers"))
    with terminal.progress_bar("measuring", len(ENGINE_LAYERS), quiet=quiet, unit="layers") as progress:
        places = {id(layer): index for index, layer in enumerate(ENGINE_LAYERS)}
        report = run_engine_bench(
            threads=threads, rounds=rounds, peer=peer, progress=lambda layer: progress(places[id(layer)])
        )
        progress(len(ENGINE_LAYERS))
    if json is not None:
        write_text(json, report.to_json() + "\n")
    _print_engine(report)


def _print_detect(report: DetectBench) -> None:
    hardware, threads = report.hardware, terminal.count(report.threads, "thread")
    terminal.show_facts(
        [
            (
                "speed",
                f"{report.frames_per_second:.1f} frames/s, {threads}, median of {report.rounds} rounds",
            ),
            ("rounds", f"{report.slowest_round:.1f} to {report.fastest_round:.1f} frames/s"),
            ("first call", f"{report.first_frame_ms:.0f} ms"),
            (
                "recording",
                f"{report.recording}: {report.frames} frames of {report.points_per_frame:,.0f} points",
            ),
            ("model", f"{report.model}, {report.boxes_per_frame:.1f} boxes per frame"),
            (
                "machine",
                f"{hardware.cpu}, {terminal.count(hardware.cores, 'core')}, {' '.join(hardware.features)}",
            ),
        ]
    )
    rows = [(stage.name, f"{stage.median_ms:.2f}", f"{stage.p95_ms:.2f}") for stage in report.stages]
    terminal.show_table(("ms per frame", "median", "p95"), rows)


def _print_engine(report: EngineBench) -> None:
    terminal.show_facts(
        [
            ("machine", f"{report.cpu} ({report.machine}), tile {report.tile}"),
            ("threads", str(report.threads)),
            ("grid", f"{report.pillars:,} pillars on {report.shape[0]} x {report.shape[1]}"),
            ("peer", report.peer or "none (pip install 'colonnade[peers]')"),
        ]
    )
    rows = []
    for timing in report.layers:
        layer = timing.layer
        name = f"{layer.kind} {layer.kernel}x{layer.kernel}" + (
            f" s{layer.stride}" if layer.stride > 1 else ""
        )
        beside = "-" if timing.peer_total_ms is None else f"{timing.peer_total_ms:.2f}"
        speedup = "-" if timing.speedup is None else f"{timing.speedup:.2f}"
        channels, pillars = f"{layer.in_channels}-{layer.out_channels}", f"{timing.pillars_out:,}"
        rows.append(
            (name, channels, pillars, f"{timing.total_ms:.2f}", f"{timing.gflops:.1f}", beside, speedup)
        )
    terminal.show_table(("layer", "channels", "pillars", "ms", "GFLOP/s", "peer ms", "times faster"), rows)
