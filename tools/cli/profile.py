"""profile.py: `colonnade profile`: what a recording would cost on an accelerator, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...accel_model.spec import Spec
    from ...runtime.errors import CorruptFrameError
    from ..profile.host_energy import EnergyMeter
    from ..profile.runs import Profile, Workload
    from ..profile.traces import TracedFrame, Tracer

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
_DESIGN = "pillaracc-64x64"
_JSON_KEYS, _TRACE_KEYS = ("schema", "designs", "host_energy"), ("schema", "traceEvents")


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
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            help="An embedded model, a model folder, or standard-submanifold, standard-dilating, standard-pruned, ... "
            "for the standard network.",
        ),
    ] = "default",
    frames: Annotated[
        int, typer.Option("--frames", "--limit", metavar="N", min=1, help="Read at most N frames.")
    ] = 20,
    keep: Annotated[
        float | None,
        typer.Option("--keep", metavar="SHARE", help="Share of pillars that standard-pruned keeps; 1."),
    ] = None,
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
    from ..profile.host_energy import NOT_RUN, open_meter
    from ..profile.runs import profile_frames
    from ..profile.traces import is_trace_file
    from .interrupts import deferred_interrupt
    from .profile_tables import print_profile

    outputs = Outputs(save_trace, json, csv, html, trace)
    outputs.check(recording)
    specs = _load_designs(on, against or [])
    recorded = RecordingOptions(recording, format, topic, columns, intensity_scale, ros_distro, frames)
    meter = open_meter()
    skipped: list[CorruptFrameError] = []
    if is_trace_file(recording):
        source = _read_traces(recording, frames)
    else:
        source = _run_model(recorded, model, precision, keep, threads, meter, skipped)
    with (
        source as (workload, traced, total),
        deferred_interrupt() as is_interrupted,
        terminal.progress_bar("profiling", total, quiet=quiet) as progress,
    ):
        result = profile_frames(
            outputs.keep_traces(traced),
            specs,
            workload,
            lambda: NOT_RUN if is_trace_file(recording) else meter.summarise(),
            progress=progress,
            is_stopped=is_interrupted,
        )
        was_interrupted = is_interrupted()
    outputs.write(result)
    print_profile(result)
    outputs.tell(quiet=quiet)
    if was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


@dataclass(frozen=True)
class RecordingOptions:
    """A recording, and what is known of it."""

    path: Path
    format: str | None = None
    topic: str | None = None
    columns: str | None = None
    intensity_scale: str | None = None
    ros_distro: str | None = None
    limit: int | None = None


class Outputs:
    """The files that were asked for; None for those that were not."""

    def __init__(
        self,
        save_trace: Path | None,
        json: Path | None,
        csv: Path | None,
        html: Path | None,
        trace: Path | None,
    ) -> None:
        self._save_trace, self._json, self._csv, self._html, self._trace = save_trace, json, csv, html, trace
        self._files = {
            "--save-trace": save_trace,
            "--json": json,
            "--csv": csv,
            "--html": html,
            "--trace": trace,
        }
        self._traces: list[TracedFrame] = []

    def check(self, recording: Path) -> None:
        """Raise UsageError where a file cannot be written or would replace something that is not ours."""
        from ...accel_model import report_csv
        from ..profile import page, traces
        from .output_files import check_apart, check_different, check_earlier, check_report

        check_different(self._files)
        for option, path in self._files.items():
            if path is not None and path.exists():
                check_apart(option, path, recording)
        openings = (
            ("--save-trace", traces.OPENING, "file of traces"),
            ("--csv", report_csv.OPENING, "table of layers"),
            ("--html", page.OPENING, "page"),
        )
        for option, opening, noun in openings:
            path = self._files[option]
            if path is not None:
                check_earlier(option, path, opening, noun)
        for option, keys in (("--json", _JSON_KEYS), ("--trace", _TRACE_KEYS)):
            path = self._files[option]
            if path is not None:
                check_report(option, path, keys)

    def keep_traces(self, frames: Iterator[TracedFrame]) -> Iterator[TracedFrame]:
        """Yield the frames, and keep their traces where they are to be written."""
        from ..profile.traces import TracedFrame, forget_cells

        for frame in frames:
            if self._save_trace is not None:
                self._traces.append(TracedFrame(frame.name, forget_cells(frame.trace)))
            yield frame

    def write(self, result: Profile) -> None:
        """Write the files."""
        from ...accel_model.chrome_trace import format_trace
        from ...accel_model.report_csv import format_layers
        from ...runtime.trace_files import save_traces
        from ..profile.page import format_page
        from ..profile.runs import format_profile
        from .output_files import write_text

        shown = [run.shown for run in result.runs]
        if self._save_trace is not None:
            save_traces(self._save_trace, [frame.trace for frame in self._traces])
        if self._json is not None:
            write_text(self._json, format_profile(result))
        if self._csv is not None:
            write_text(self._csv, format_layers(shown))
        if self._html is not None:
            write_text(self._html, format_page(result))
        if self._trace is not None:
            write_text(self._trace, format_trace(shown))

    def tell(self, *, quiet: bool) -> None:
        """Show what was written."""
        names = [str(path) for path in self._files.values() if path is not None]
        if names and not quiet:
            terminal.show_note(f"written: {', '.join(names)}")


def _load_designs(on: str, against: list[str]) -> tuple[Spec, ...]:
    """Return the accelerators, each once."""
    from ...accel_model.spec_files import load_spec
    from ...runtime.errors import UsageError

    names = (on, *against)
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise UsageError(f"--against {twice}: this design is named already")
    return tuple(load_spec(name) for name in names)


@contextmanager
def _read_traces(path: Path, limit: int) -> Iterator[tuple[Workload, Iterator[TracedFrame], int | None]]:
    """Yield what a file of traces holds."""
    from ...runtime.trace_files import load_traces
    from ..profile.runs import Workload
    from ..profile.traces import FRAME, TracedFrame

    traces = load_traces(path)[:limit]
    names = [trace.name.rpartition(FRAME) for trace in traces]
    model = ", ".join(dict.fromkeys(model or frame for model, _, frame in names))
    named = (
        TracedFrame(frame if model else str(number), trace)
        for number, (trace, (model, _, frame)) in enumerate(zip(traces, names, strict=True), start=1)
    )
    yield Workload(path.name, model, "traced earlier"), named, len(traces)


@contextmanager
def _run_model(
    recorded: RecordingOptions,
    model: str,
    precision: str | None,
    keep: float | None,
    threads: int | None,
    meter: EnergyMeter,
    skipped: list[CorruptFrameError],
) -> Iterator[tuple[Workload, Iterator[TracedFrame], int | None]]:
    """Yield the traces of a model on a recording; corrupt frames are told and added to `skipped`."""
    from ...detector.io import open_recording
    from ...runtime.file_names import readable_name
    from ..profile.runs import Workload
    from ..profile.traces import open_tracer, trace_frames

    def skip(error: CorruptFrameError) -> None:
        skipped.append(error)
        terminal.show_warning(f"frame skipped: {error}")

    with open_recording(
        recorded.path,
        format=recorded.format,
        topic=recorded.topic,
        columns=recorded.columns,
        intensity_scale=recorded.intensity_scale,
        ros_distro=recorded.ros_distro,
        limit=recorded.limit,
        on_corrupt=skip,
    ) as frames:
        tracer: Tracer = open_tracer(model, precision=precision, keep=keep, threads=threads)
        workload = Workload(readable_name(recorded.path.resolve().name), tracer.name, tracer.scope)
        yield workload, trace_frames(frames, tracer, meter), frames.length
