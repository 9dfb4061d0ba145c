"""bench_lut.py: `colonnade bench lut`: errors of look-up tables, and the speed of integer operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, terminal


def bench_lut(
    entries: Annotated[
        int, typer.Option("--entries", metavar="N", min=2, max=256, help="Entries of every table.")
    ] = 16,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the fits.")] = 0,
    speed: Annotated[
        Path | None,
        typer.Option(
            "--speed", metavar="FILE", help="Measure integer operators beside onnxruntime's, too, as JSON."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the errors as JSON, too.")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", metavar="FILE.png", help="Draw the errors of every function.")
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Errors of NN-LUT tables beside equal segments, a near-optimal fit and I-BERT's polynomials.

    Errors are the same on every machine; speed, with --speed, is that of this one.

    \b
    Examples:
      colonnade bench lut --json lut.json --chart lut.png
      colonnade bench lut --entries 8 --speed lut-speed.json
    """
    from ...runtime.files import replace_file
    from ..bench.lut import count_cases, draw_errors, measure_errors

    _check_files(json, speed, chart)
    with terminal.step_bar("fitting", count_cases(), quiet=quiet) as advance:
        report = measure_errors(entries=entries, seed=seed, progress=advance)
    if json is not None:
        replace_file(json, report.to_json() + "\n")
    if chart is not None:
        replace_file(chart, draw_errors(entries=entries, seed=seed))
    rows = [
        (
            f"{case.function}, {case.interval[0]:g} to {case.interval[1]:g}",
            ", ".join(f"{error.method} {error.mae:.2e}" for error in case.methods),
        )
        for case in report.functions
    ]
    terminal.show_facts([("mean absolute error", f"{entries} entries"), *rows])
    if speed is not None:
        from ..bench.lut_speed import describe_speed, measure_speed

        speeds = measure_speed()
        replace_file(speed, speeds.to_json() + "\n")
        terminal.show_facts(describe_speed(speeds))


def _check_files(json: Path | None, speed: Path | None, chart: Path | None) -> None:
    """Find out before the work begins whether the files can be written."""
    from ...runtime.errors import UsageError
    from ..bench.charts import is_chart, require_matplotlib
    from .output_files import check_file, check_report

    if json is not None:
        check_report("--json", json, ("entries", "seed", "functions"))
    if speed is not None:
        check_report("--speed", speed, ("hardware", "rounds", "operators"))
    if chart is None:
        return
    require_matplotlib()
    check_file("--chart", chart)
    if chart.is_file() and chart.stat().st_size and not is_chart(chart):
        raise UsageError(f"--chart {chart}: the file exists and is no earlier chart; choose another name")
