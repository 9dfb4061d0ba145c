"""profile.py: `colonnade profile`: what a recording would cost on an accelerator, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal
from .profile_sources import DEFAULT_MODEL, ModelOptions, RecordingOptions, open_source

if TYPE_CHECKING:
    from ...accel_model.spec import Spec

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
_DESIGN = "pillaracc-64x64"


def profile(
    recording: Annotated[
        Path,
        typer.Argument(metavar="RECORDING", help="A recording, or a file of traces that --save-trace wrote."),
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="DESIGN", help="Accelerator: a preset, or a YAML file.")
    ] = _DESIGN,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="DESIGN", help="Compare with this one; may be given several times."
        ),
    ] = None,
    model: options.CostedModelOption = DEFAULT_MODEL,
    frames: Annotated[
        int, typer.Option("--frames", "--limit", metavar="N", min=1, help="Read at most N frames.")
    ] = 20,
    keep: options.KeepOption = None,
    precision: options.PrecisionOption = None,
    save_trace: Annotated[
        Path | None, typer.Option("--save-trace", metavar="FILE", help="Write the traces as JSON lines.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a row per design and layer.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with charts.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Write when each unit works, for ui.perfetto.dev."),
    ] = None,
    threads: options.ThreadsOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    intensity_scale: options.IntensityScaleOption = None,
    ros_distro: options.RosDistroOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Cycles, frames per second and millijoules of a recording on an accelerator model.

    \b
    Examples:
      colonnade profile drive.mcap --on pillaracc-64x64 --against dense-64x64
      colonnade profile kitti/velodyne --model standard-dilating --html page.html
      colonnade profile drive.mcap --save-trace drive.jsonl --frames 100
      colonnade profile drive.jsonl --on mine.yaml --trace units.json

    The model runs on every frame on this computer; what it did, layer by layer, is then costed on each accelerator. The
    table shows the median frame of the first. Exit codes: as of `colonnade detect`.
    """
    from ..profile.runs import profile_frames
    from .interrupts import deferred_interrupt
    from .profile_outputs import Outputs
    from .profile_tables import print_profile

    outputs = Outputs(save_trace, json, csv, html, trace)
    outputs.check(recording)
    specs = _load_designs(on, against or [])
    recorded = RecordingOptions(recording, format, topic, columns, intensity_scale, ros_distro, frames)
    with (
        open_source(recorded, ModelOptions(model, precision, options.read_keep(keep), threads)) as source,
        deferred_interrupt() as is_interrupted,
        terminal.progress_bar("profiling", source.total, quiet=quiet) as progress,
    ):
        result = profile_frames(
            outputs.keep_traces(source.frames),
            specs,
            source.workload,
            source.measure_host,
            progress=progress,
            is_stopped=is_interrupted,
        )
        was_interrupted = is_interrupted()
    outputs.write(result)
    print_profile(result)
    outputs.tell(quiet=quiet)
    if was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if source.skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _load_designs(on: str, against: list[str]) -> tuple[Spec, ...]:
    """Return the accelerators, each once."""
    from ...accel_model.spec_files import load_spec
    from ...runtime.errors import UsageError

    names = (on, *against)
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise UsageError(f"--against {twice}: this design is named already")
    return tuple(load_spec(name) for name in names)
