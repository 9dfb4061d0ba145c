"""bench_transformer.py: `colonnade bench transformer`: a quantised transformer beside its float model, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ..bench.transformer_report import Distance, ModelRun, TransformerReport

_KEY = (
    "ms: processor time of a run on 1 thread, wall time on more; x: times as fast as the float model, and as\n"
    "onnxruntime's dynamic quantisation of it; distance: from the float outputs, root of the energies' ratio;\n"
    "choice: rows of the outputs whose largest number is at the same place; ratio: time over the float operator's"
)


def bench_transformer(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The float model.")],
    inputs: Annotated[
        Path,
        typer.Option(
            "--inputs",
            "--calibrate",
            metavar="DATA.npz",
            help="One array for each input of the model, first axis the samples; the largest sample is timed.",
        ),
    ],
    quantised: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[QUANTISED.onnx]...",
            help="Quantised forms of it, from colonnade quantize.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option("--threads", metavar="N", min=1, help="May be repeated; 1 by default."),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, help="Timed runs; the median counts.")
    ] = 9,
    operators: Annotated[bool, typer.Option(help="Time compiled operators by themselves, too.")] = True,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON, too.")
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Time of a transformer: float, quantised by onnxruntime at run time, and quantised by colonnade.

    Quantised files run as any onnxruntime runs them ("portable"), and with compiled operators ("fast"). Everything is
    measured in turns, warm. One thread is measured by processor time, which other programs disturb less; several by
    wall time.

    \b
    Examples:
      colonnade bench transformer minilm.onnx minilm-w8a8.onnx --inputs sentences.npz --json speed.json
      colonnade bench transformer vit.onnx --inputs images.npz --threads 1 --threads 2
    """
    from ...runtime.files import replace_file
    from ..bench.transformer import TransformerBench, TransformerPlan
    from .output_files import check_apart, check_report

    if json is not None:
        check_report("--json", json, ("inputs", "timed_shapes", "runs"))
        for path in (model, inputs, *(quantised or [])):
            check_apart("--json", json, path, "input file")
    plan = TransformerPlan(tuple(dict.fromkeys(threads or [1])), rounds, operators)
    bench = TransformerBench(model, quantised or [], inputs, plan)
    with terminal.step_bar("measuring", bench.calls, quiet=quiet, unit="calls") as advance:
        report = bench.run(advance)
    if json is not None:
        replace_file(json, report.to_json() + "\n")
    print_transformer(report)


def print_transformer(report: TransformerReport) -> None:
    """Print every model with its times and distances, then the operators."""
    shapes = ", ".join(f"{name} {_show_shape(shape)}" for name, shape in report.timed_shapes)
    machine = report.hardware
    terminal.show_facts(
        [
            ("timed", shapes),
            ("compared", f"{terminal.count(report.samples, 'sample')} of {report.inputs}"),
            ("rounds", f"{report.rounds}, of which the median counts"),
            (
                "machine",
                f"{machine.cpu}, {terminal.count(machine.cores, 'core')}, {' '.join(machine.features)}",
            ),
        ]
    )
    columns = ("model", "form", "threads", "MB", "ms", "x float", "x dynamic", "distance", "choice")
    terminal.show_table(columns, [_list_run(run) for run in report.runs], names=2)
    if report.operators:
        rows = [
            (
                f"{run.name} {_show_shape(run.shape)}",
                run.against,
                f"{run.microseconds:.0f}",
                f"{run.float_microseconds:.0f}",
                f"{run.ratio:.2f}",
            )
            for run in report.operators
        ]
        terminal.show_table(("operator", "against", "µs", "float µs", "ratio"), rows, names=2)
    print(_KEY)
    _show_notes(report)


def _list_run(run: ModelRun) -> tuple[str, ...]:
    return (
        run.name,
        run.form,
        f"{run.timing.threads}",
        f"{run.bytes / 1e6:.1f}",
        f"{run.timing.ms:.2f}",
        f"{run.speedup:.2f}",
        "-" if run.over_dynamic is None else f"{run.over_dynamic:.2f}",
        _show_distance(run.distances),
        f"{100 * min(part.same_choice for part in run.distances):.1f} %" if run.distances else "",
    )


def _show_distance(distances: tuple[Distance, ...]) -> str:
    """Return the distance of the output that is furthest from the float model's."""
    if not distances:
        return ""
    if any(part.relative is None for part in distances):
        return "not finite"
    return f"{100 * max(part.relative or 0.0 for part in distances):.2f} %"


def _show_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _show_notes(report: TransformerReport) -> None:
    for run in report.slower:
        threads = terminal.count(run.timing.threads, "thread")
        terminal.show_warning(
            f"{run.label} is slower than the float model on {threads}: it takes {1 / run.speedup:.2f} times as long"
        )
    for run in report.runs:
        if run.same_as_portable is False:
            terminal.show_warning(f"{run.label}: the outputs are not those of the portable form")
    if report.disturbances:
        terminal.show_warning(f"this machine was too busy to measure on: {'; '.join(report.disturbances)}")
    for line in report.missing:
        terminal.show_note(f"not measured: {line}")
