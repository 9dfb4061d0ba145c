"""bench.py: `colonnade bench`: how fast the detector and its engine are on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal
from .bench_accelerator import bench_accelerator
from .bench_lut import bench_lut
from .bench_transformer import bench_transformer

if TYPE_CHECKING:
    from ..bench.engine import EnginePlan
    from ..bench.frames import EngineFrame

app = typer.Typer(
    help="Measure speed: of the whole detector, of the sparse engine alone, or of transformers.",
    no_args_is_help=True,
)

JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON, too.")
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", metavar="N", min=1, help="Timed passes; the median counts.")
]
_VARIANTS = ("dense", "dilating", "pruned", "submanifold", "submanifold-2x2")
_KEEP = 0.5


app.command("accelerator")(bench_accelerator)
app.command("lut")(bench_lut)
app.command("transformer")(bench_transformer)


@app.command("detect")
def bench_detect(
    recording: options.RecordingArgument,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            help="An embedded model, a model folder, or standard-submanifold, standard-dilating, ... for the "
            "standard network with random weights.",
        ),
    ] = "default",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Frames held in memory.")] = 20,
    rounds: RoundsOption = 5,
    precision: Annotated[
        str | None,
        typer.Option("--precision", metavar="fp32|int8", help="Only this one; all of the model by default."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", metavar="N", min=1, help="Threads to use; one and all by default."),
    ] = None,
    keep: options.KeepOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    json: JsonOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Frames per second of the detector, from points in memory to boxes, warm.

    \b
    Examples:
      colonnade bench detect kitti/velodyne --threads 2 --json speed.json
      colonnade bench detect kitti/velodyne --model standard-submanifold
    """
    _let_threads_sleep()
    from ...detector.io import open_recording
    from ...runtime.files import replace_file
    from ..bench.detect import open_detectors, run_detect_bench
    from ..bench.hardware import describe_hardware
    from .bench_tables import print_detect
    from .output_files import check_report

    if json is not None:
        check_report("--json", json, ("recording", "frames_sha256"))
    with open_recording(recording, format=format, topic=topic, columns=columns, limit=limit) as opened:
        frames = list(opened)
    detectors, missing = open_detectors(model, precision, threads, options.read_keep(keep))
    total = len(detectors) * len(frames) * (rounds + 1)
    with terminal.progress_bar("measuring", total, quiet=quiet) as progress:
        report = run_detect_bench(
            detectors,
            frames,
            recording=recording.resolve().name,
            hardware=describe_hardware(),
            rounds=rounds,
            missing=missing,
            progress=progress,
        )
    if json is not None:
        replace_file(json, report.to_json() + "\n")
    print_detect(report)


@app.command("engine")
def bench_engine(
    recording: Annotated[
        Path | None,
        typer.Argument(metavar="RECORDING", help="Frames to measure on; a drawn street by default."),
    ] = None,
    frame: Annotated[
        list[str] | None,
        typer.Option("--frame", metavar="ID", help="Measure on this frame of it; may be repeated."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Without --frame: its first N frames.")
    ] = 1,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="NAME",
            help=f"Form of the network, of {', '.join(_VARIANTS)}; may be repeated; all by default.",
        ),
    ] = None,
    keep: Annotated[
        list[float] | None,
        typer.Option(
            "--keep",
            metavar="SHARE",
            help=f"Share of pillars that the pruned form keeps; may be repeated; {_KEEP} by default.",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", metavar="fp32|int8", help="May be repeated; both by default."),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", metavar="N", min=1, help="May be repeated; 1 by default."),
    ] = None,
    rounds: RoundsOption = 5,
    peers: Annotated[
        bool, typer.Option(help="Measure onnxruntime, OpenVINO and spconv, too, where they are installed.")
    ] = True,
    layers: Annotated[
        bool, typer.Option(help="Measure the layers of the submanifold form one by one, too.")
    ] = True,
    json: JsonOption = None,
    chart: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE.png", help="Draw time against remaining work."),
    ] = None,
    roofline: Annotated[
        Path | None,
        typer.Option("--roofline", metavar="FILE.png", help="Draw the layers against the core's limits."),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Time of the standard network, beside other runtimes and the peak of the cores.

    Everything is measured in turns, warm. One thread is measured by processor time, which other programs disturb
    less; several by wall time.

    \b
    Examples:
      colonnade bench engine --json engine.json --chart engine.png
      colonnade bench engine kitti/velodyne --frame 000000 --variant submanifold --threads 1 --threads 2
    """
    _let_threads_sleep()
    from ...runtime.files import replace_file
    from ..bench.engine import EngineBench
    from .bench_tables import print_engine
    from .output_files import check_report

    plan = _plan_engine(variant, keep, precision, threads, rounds, peers, layers)
    if json is not None:
        check_report("--json", json, ("hardware", "rounds", "layers"))
    _check_charts(chart, roofline, layers=layers)
    bench = EngineBench(_find_frames(recording, frame, limit), plan)
    with terminal.step_bar("measuring", bench.calls, quiet=quiet, unit="calls") as advance:
        report = bench.run(advance)
    if json is not None:
        replace_file(json, report.to_json() + "\n")
    if chart is not None or roofline is not None:
        from ..bench.charts import draw_roofline, draw_time_chart

        if chart is not None:
            replace_file(chart, draw_time_chart(report))
        if roofline is not None:
            replace_file(roofline, draw_roofline(report))
    print_engine(report)


def _let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, or their waiting counts as processor time of the next contender.

    OpenMP reads it when Numba first starts its threads, so it has to be set before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _plan_engine(
    variants: list[str] | None,
    keeps: list[float] | None,
    precisions: list[str] | None,
    threads: list[int] | None,
    rounds: int,
    peers: bool,
    layers: bool,
) -> EnginePlan:
    from ...detector.manifest import PRECISIONS
    from ...detector.standard import VARIANTS
    from ...runtime.errors import UsageError
    from ..bench.engine import EnginePlan
    from ..bench.engine_report import Choice

    unknown = [name for name in variants or () if name not in VARIANTS]
    if unknown:
        raise UsageError(f"--variant {unknown[0]}: choose among {', '.join(VARIANTS)}")
    unknown = [name for name in precisions or () if name not in PRECISIONS]
    if unknown:
        raise UsageError(f"--precision {unknown[0]}: choose among {', '.join(PRECISIONS)}")
    named = tuple(name for name in VARIANTS if variants is None or name in variants)
    if keeps and "pruned" not in named:
        raise UsageError("--keep is for the pruned form; add --variant pruned")
    return EnginePlan(
        choices=tuple(
            Choice(name, share)
            for name in named
            for share in (dict.fromkeys(keeps or [_KEEP]) if name == "pruned" else (None,))
        ),
        precisions=tuple(name for name in PRECISIONS if precisions is None or name in precisions),
        threads=tuple(dict.fromkeys(threads or [1])),
        rounds=rounds,
        peers=peers,
        layers=layers,
    )


def _find_frames(recording: Path | None, names: list[str] | None, limit: int) -> tuple[EngineFrame, ...]:
    from ...runtime.errors import UsageError
    from ..bench.frames import draw_street, read_frames

    if recording is not None:
        return read_frames(recording, names=names or (), limit=limit)
    if names:
        raise UsageError("--frame needs a RECORDING that it is a frame of")
    return (draw_street(),)


def _check_charts(chart: Path | None, roofline: Path | None, *, layers: bool) -> None:
    """Find out before the work begins whether the pictures can be drawn and written."""
    from ...runtime.errors import UsageError
    from ..bench.charts import is_chart, require_matplotlib
    from .output_files import check_file

    for option, path in (("--chart", chart), ("--roofline", roofline)):
        if path is None:
            continue
        if path.suffix.lower() != ".png":
            raise UsageError(f"{option} {path}: the chart is a PNG; let the name end in .png")
        require_matplotlib()
        check_file(option, path)
        if path.is_file() and path.stat().st_size and not is_chart(path):
            raise UsageError(f"{option} {path}: the file exists and is no earlier chart; choose another name")
    if chart is not None and roofline is not None and chart.resolve() == roofline.resolve():
        raise UsageError(f"--roofline {roofline}: this is the file of --chart, too; choose another name")
    if roofline is not None and not layers:
        raise UsageError("--roofline shows the layers; leave --no-layers out")
