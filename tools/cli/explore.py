"""explore.py: `colonnade explore`: variations of an accelerator on real frames, and which of them are worth having."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...accel_model.exploration import Point, PointResult, Space
    from ...accel_model.exploration_files import ResultLog
    from ...runtime.trace import Trace
    from ..profile.traces import TracedFrame

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
LOG, TABLE, REPORT, CHART = "points.jsonl", "points.csv", "exploration.json", "front.svg"
_MOST_ROWS = 25  # of the front on the terminal


def explore(
    space: Annotated[
        Path, typer.Argument(metavar="SPACE.yaml", help="The space: based_on, values, sample, seed.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where results go.")],
    trace: Annotated[
        list[Path] | None,
        typer.Option(
            "--trace", metavar="FILE", help="Frames that `profile --save-trace` wrote; may be repeated."
        ),
    ] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option("--recording", metavar="RECORDING", help="Frames to run the model on; may be repeated."),
    ] = None,
    model: options.ModelOption = "default",
    frames: Annotated[
        int, typer.Option("--frames", "--limit", metavar="N", min=1, help="At most N frames of each.")
    ] = 1,
    precision: options.PrecisionOption = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", min=1, help="Processes to use; one per core by default."),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Sweep variations of an accelerator: latency, energy and area of each, and the Pareto front.

    \b
    Examples:
      colonnade explore space.yaml --trace drive.jsonl -o sweep/
      colonnade explore space.yaml --recording drive.mcap --model standard-dilating -o sweep/

    \b
    SPACE.yaml:
      based_on: pillaracc-64x64        a preset, or a YAML file
      values:                          all combinations of these
        array.rows:
          - 16
          - 64
        dram.bandwidth_gb_per_s:
          - 12.8
          - 25.6
      sample: 200                      only so many of them, drawn
      seed: 0                          with this seed

    \b
    Writes to FOLDER:
      points.jsonl       one design per line, as they are done; run again to go on where it stopped
      points.csv         all designs
      exploration.json   space, frames, front and designs
      front.svg          latency, energy and area

    Exit codes: as of `colonnade detect`; 3 = done, but some designs cannot run the frames, or frames were skipped.
    """
    from ...accel_model.exploration import list_points, load_space
    from ...accel_model.exploration_files import ResultLog
    from ..bench.hardware import count_cores

    _check_folder(output, [space, *(trace or []), *(recording or [])])
    wanted = load_space(space)
    traced = _gather_traces(trace or [], recording or [], model, frames, precision)
    traces = [frame.trace for frame in traced]
    points = list_points(wanted, traces)
    output.mkdir(parents=True, exist_ok=True)
    with ResultLog(output / LOG) as log:
        known = sum(point.key in log.found for point in points)
        if known and not quiet:
            terminal.show_note(f"{known:,} of {len(points):,} designs are in {output / LOG} already")
        was_interrupted = _compute(wanted, points, traces, log, processes or count_cores(), quiet)
        results = [log.found[point.key] for point in points if point.key in log.found]
    _finish(wanted, results, traced, output, total=len(points))
    if was_interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(result.problem is not None for result in results):
        raise typer.Exit(EXIT_SKIPPED)


def _check_folder(folder: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder that holds something else than an earlier exploration, or that is or holds what is read."""
    from ...accel_model.exploration_files import OPENING
    from ...runtime.errors import UsageError
    from .output_files import check_apart, check_earlier, check_folder

    for path in inputs:
        if path.resolve().parent != folder.resolve() or path.is_dir():
            check_apart("--output", folder, path, "input")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder}: a file of this name exists; choose a folder")
    if (folder / LOG).exists():
        check_earlier("--output", folder / LOG, OPENING, "log of an exploration")
    elif folder.is_dir() and any((folder / name).exists() for name in (TABLE, REPORT, CHART)):
        raise UsageError(
            f"--output {folder}: holds files of these names that are not ours; choose another folder"
        )
    try:
        check_folder(folder, make=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written: {error.strerror or error}") from error


def _gather_traces(
    files: Sequence[Path], recordings: Sequence[Path], model: str, limit: int, precision: str | None
) -> list[TracedFrame]:
    """Return the frames of all files of traces and recordings.

    Raises:
        UsageError: none is named.
    """
    from ...runtime.errors import UsageError
    from .profile_sources import ModelOptions, RecordingOptions, read_traces, run_model

    if not files and not recordings:
        raise UsageError("name the frames to run: --trace FILE, or --recording RECORDING")
    found: list[TracedFrame] = []
    for path in files:
        with read_traces(path, limit) as source:
            found += source.frames
    for path in recordings:
        with run_model(RecordingOptions(path, limit=limit), ModelOptions(model, precision)) as source:
            found += source.frames
    if not found:
        raise UsageError("--recording: there is no frame in it")
    return found


def _compute(
    space: Space,
    points: Sequence[Point],
    traces: Sequence[Trace],
    log: ResultLog,
    processes: int,
    quiet: bool,
) -> bool:
    """Cost the points that are not known yet; return whether Ctrl-C stopped it."""
    from ...accel_model.exploration import explore as cost_points
    from .interrupts import deferred_interrupt

    missing = [point for point in points if point.key not in log.found]
    results: Iterator[PointResult] = cost_points(space.base, missing, traces, processes=processes)
    with (
        closing(results),  # type: ignore[type-var]
        deferred_interrupt() as is_interrupted,
        terminal.progress_bar("exploring", len(missing), quiet=quiet, unit="designs") as progress,
    ):
        for done, result in enumerate(results, start=1):
            log.add(result)
            progress(done)
            if is_interrupted():
                break
        return is_interrupted()


def _finish(
    space: Space, results: Sequence[PointResult], traced: Sequence[TracedFrame], folder: Path, *, total: int
) -> None:
    """Write the files that are made of all results, and print the front."""
    from ...accel_model.exploration import find_front
    from ...accel_model.exploration_files import format_exploration, format_results
    from ...runtime.files import replace_file
    from ..profile.front_chart import draw_front

    front = find_front(results)
    names = [frame.name for frame in traced]
    replace_file(folder / TABLE, format_results(results, front))
    replace_file(folder / REPORT, format_exploration(space, results, front, names))
    replace_file(folder / CHART, draw_front(results, front))
    problems = [result for result in results if result.problem is not None]
    terminal.show_facts(_list_facts(space, results, front, len(problems), len(traced), folder, total))
    if problems:
        terminal.show_warning(f"{len(problems):,} cannot run the frames, the first: {problems[0].problem}")
    if front:
        _print_front(front)


def _list_facts(
    space: Space,
    results: Sequence[PointResult],
    front: Sequence[PointResult],
    problems: int,
    frames: int,
    folder: Path,
    total: int,
) -> list[tuple[str, str]]:
    from ...accel_model.report_json import STATEMENT
    from ..profile.conditions import describe_conditions

    done = f"{len(results):,}" + (f" of {total:,}, then interrupted" if len(results) < total else "")
    return [
        ("designs", f"{done}, {problems:,} cannot run the frames, {len(front):,} on the front"),
        ("frames", f"{frames:,}; figures are means of a frame"),
        ("base", space.base.name),
        *((name, words) for name, words in describe_conditions(space.base) if name != "constants"),
        ("area", "a proxy: multipliers and memories only"),
        ("basis", STATEMENT),
        ("results", str(folder)),
    ]


def _print_front(front: Sequence[PointResult]) -> None:
    rows = [
        (
            *(str(value) for _, value in result.point.values),
            f"{result.milliseconds:,.3f}",
            f"{result.millijoules:,.3f}",
            f"{result.low_mj:,.2f}",
            f"{result.high_mj:,.2f}",
            f"{result.area_mm2:.2f}",
            f"{result.utilisation:.0%}",
        )
        for result in front[:_MOST_ROWS]
    ]
    print("\nPareto front of latency, energy and area")
    names = _shorten_keys([key for key, _ in front[0].point.values])
    terminal.show_table((*names, "ms", "mJ", "low", "high", "mm2", "used"), rows, names=0)
    if len(front) > _MOST_ROWS:
        print(f"and {len(front) - _MOST_ROWS:,} more in {TABLE}")


def _shorten_keys(keys: Sequence[str]) -> list[str]:
    """Return the last part of each key, or all of it where two end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
