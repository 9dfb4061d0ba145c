"""detect.py: `colonnade detect`: a recording in; boxes, a table and pictures out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...detector.detector import Detector
    from ...detector.io import RecordingInfo
    from ...detector.view import MovieWriter
    from ...runtime.errors import CorruptFrameError
    from .detection_run import DetectionRun, RunSummary, Selection

EXIT_SKIPPED, EXIT_INTERRUPTED = 3, 130
_EVERY_FRAME = "frame"  # the value of --ground that estimates it


def detect(
    recording: options.RecordingArgument,
    model: options.ModelOption = "default",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where results go; results/<time> by default."),
    ] = None,
    picture: Annotated[bool, typer.Option("--picture", help="Draw a bird's-eye PNG of every frame.")] = False,
    movie: Annotated[
        Path | None, typer.Option("--movie", metavar="FILE", help="Make a movie: .webp, .gif or .png.")
    ] = None,
    picture_size: Annotated[
        int,
        typer.Option("--picture-size", metavar="PX", min=200, max=8000, help="Width of pictures and movie."),
    ] = 1000,
    show: Annotated[bool, typer.Option("--show", help="Show frames in a 3-D window (extra open3d).")] = False,
    score: Annotated[
        float | None,
        typer.Option("--score", metavar="S", help="Lowest score of a box; the model's default."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="NAMES", help="Only these, such as car,pedestrian.")
    ] = None,
    range_m: Annotated[
        float | None, typer.Option("--range", metavar="M", help="Only boxes up to so many metres away.")
    ] = None,
    limit: options.LimitOption = None,
    threads: options.ThreadsOption = None,
    precision: options.PrecisionOption = None,
    keep: options.KeepOption = None,
    ground: Annotated[
        str,
        typer.Option(
            "--ground",
            metavar="Z|frame",
            help="Height of the ground under the sensor in metres, such as -1.73; 'frame' estimates it in every frame.",
            rich_help_panel="What is guessed about the recording",
        ),
    ] = _EVERY_FRAME,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    intensity_scale: options.IntensityScaleOption = None,
    ros_distro: options.RosDistroOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a corrupt frame instead of skipping it.")
    ] = False,
    quiet: options.QuietOption = False,
) -> None:
    """Find the objects in a recording.

    \b
    Examples:
      colonnade detect drive.mcap
      colonnade detect kitti/velodyne --picture --movie drive.webp
      colonnade detect drive.bag --topic /points --classes car --limit 100

    \b
    Writes to results/<time>/ (and links it as results/latest):
      detections.jsonl     one JSON object per frame and line
      kitti/FRAME.txt      KITTI label text, the LiDAR taken for the camera
      pictures/FRAME.png   with --picture
      config.yaml          the effective configuration
      summary.json         counts and times

    \b
    Exit codes:
      0    done
      1    input or environment at fault
      2    wrong usage
      3    done, but corrupt frames were skipped
      70   a fault in Colonnade
      130  interrupted; what was done is kept
    """
    from ...detector.detector import load
    from ...detector.io import describe, open_recording
    from ...runtime.file_names import readable_name
    from .detection_run import DetectionRun, Selection
    from .interrupts import deferred_interrupt
    from .result_folder import FrameOutputs, PictureLook, create_result_folder, write_config

    if show:
        from ...detector.view.window import import_open3d

        import_open3d()  # its absence must not be found out after the first frame
    skipped = _SkippedFrames()
    selection = Selection(score, _split_names(classes), range_m)
    with open_recording(
        recording,
        format=format,
        topic=topic,
        columns=columns,
        intensity_scale=intensity_scale,
        ros_distro=ros_distro,
        limit=limit,
        on_corrupt=None if strict else skipped,
    ) as frames:
        info = frames.info
        detector = load(model, precision=precision, threads=threads, keep=options.read_keep(keep))
        selection.check(detector.classes)
        level = _parse_ground(ground)
        if not quiet:
            terminal.show_note(describe(info) + "\n" + _describe_detector(detector, selection))
        film = None
        if movie is not None:
            film = _open_movie(movie, recording)
        folder = create_result_folder(output, recording)
        write_config(folder, _effective_config(info, detector, selection, level, limit, strict))
        reach = detector.manifest.geometry.reach
        look = PictureLook(
            readable_name(recording.resolve().name),
            picture_size,
            None if range_m is None else min(range_m, reach),
            reach,
        )
        with (
            FrameOutputs(folder, look, pictures=picture, movie=film) as outputs,
            deferred_interrupt() as is_interrupted,
            terminal.progress_bar("detecting", frames.length, quiet=quiet) as on_frame,
        ):
            run = DetectionRun(
                frames,
                detector,
                selection=selection,
                ground=level,
                outputs=outputs,
                on_frame=on_frame,
                is_stopped=is_interrupted,
            )
            ended, problem = _drive(run, folder, show)
            ended = "interrupted" if is_interrupted() else ended
        summary = run.summarise(skipped.count, ended)
        _finish(summary, detector, folder, movie)
    if problem is not None:
        raise problem
    if ended == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if skipped.count:
        raise typer.Exit(EXIT_SKIPPED)


class _SkippedFrames:
    """Reports and counts the corrupt frames of a recording."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, error: CorruptFrameError) -> None:
        self.count += 1
        terminal.show_warning(f"frame skipped: {error}")


def _open_movie(path: Path, recording: Path) -> MovieWriter:
    """Return the writer of the movie; what cannot be written or replaced is refused before anything is."""
    from ...detector.view import MovieWriter
    from ...detector.view.movie import is_movie
    from ...runtime.errors import UsageError
    from .output_files import check_apart, check_file

    film = MovieWriter(path)
    check_file("--movie", path, may_make=True)
    if path.exists():
        check_apart("--movie", path, recording)
    if path.is_file() and path.stat().st_size and not is_movie(path):
        raise UsageError(f"--movie {path}: the file exists and is no movie; choose another name")
    return film


def _drive(run: DetectionRun, folder: Path, show: bool) -> tuple[str, Exception | None]:
    """Run to the end, and return how it ended and the error that stopped it."""
    try:
        results = run.results()
        if show:
            from ...detector.view import show_frames

            if show_frames(results, folder / "view.png", report=terminal.show_note) is None:
                return "complete", None  # the window was closed: that is where the user wanted to stop
        for _ in results:
            pass
    except KeyboardInterrupt:
        return "interrupted", None
    except Exception as error:
        return "error", error
    return "complete", None


def _finish(summary: RunSummary, detector: Detector, folder: Path, movie: Path | None) -> None:
    """Write the summary and print the tables."""
    from ...detector.keeping import format_keep
    from ...runtime.files import replace_file
    from ..bench.hardware import describe_hardware
    from .earlier_results import SUMMARY

    manifest = detector.manifest
    more = {
        "model": manifest.name,
        "model_sha256": manifest.sha256,
        "precision": detector.precision,
        "keep": format_keep(detector.keep) or None,
        "threads": detector.threads,
    }
    replace_file(folder / SUMMARY, summary.to_json(**more, hardware=describe_hardware().to_dict()) + "\n")

    frames = f"{summary.frames:,}"
    frames += f", {summary.skipped:,} corrupt skipped" if summary.skipped else ""
    frames += {"complete": "", "interrupted": ", then interrupted", "error": ", then stopped by an error"}[
        summary.ended
    ]
    speed = summary.frames_per_second
    facts = [
        ("frames", frames),
        (
            "speed",
            "not measured"
            if speed is None
            else f"{speed:.1f} frames/s, {terminal.count(detector.threads, 'thread')}",
        ),
        ("boxes", ", ".join(f"{count:,} {name}" for name, count in summary.boxes)),
        ("results", str(folder)),
    ]
    if movie is not None and movie.exists():
        facts.append(("movie", str(movie)))
    terminal.show_facts(facts)
    if summary.stages:
        rows = [(stage.name, f"{stage.p50_ms:.1f}", f"{stage.p95_ms:.1f}") for stage in summary.stages]
        first = ", without the first" if summary.frames > 1 else ", which was the first"
        noun = "frames" if summary.timed_frames > 1 else "frame"
        terminal.show_table((f"ms per frame ({summary.timed_frames:,} {noun}{first})", "p50", "p95"), rows)


def _describe_detector(detector: Detector, selection: Selection) -> str:
    from ...detector.keeping import format_keep

    kept = f", keep {format_keep(detector.keep)}" if detector.keep else ""
    score = detector.default_score if selection.score is None else selection.score
    classes = ", ".join(selection.classes or detector.classes)
    grid = detector.manifest.geometry
    reach = f"x {grid.x_min:g}..{grid.x_max:g} m, y {grid.y_min:g}..{grid.y_max:g} m"
    name = f"{detector.manifest.name} ({detector.precision}{kept})"
    return f"{'model':<10} {name}: {classes}; score >= {score:g}; {reach}"


def _split_names(names: str | None) -> tuple[str, ...] | None:
    from ...runtime.errors import UsageError

    if names is None:
        return None
    found = tuple(name.strip().lower() for name in names.split(",") if name.strip())
    if not found:
        raise UsageError(f"--classes {names}: names no class; give some, such as car,pedestrian")
    return found


def _parse_ground(ground: str) -> float | None:
    """Return the height to use for every frame, or None when it is estimated in each."""
    from ...runtime.errors import UsageError

    if ground == _EVERY_FRAME:
        return None
    try:
        height = float(ground)
    except ValueError:
        height = math.nan
    if not math.isfinite(height):
        raise UsageError(f"--ground {ground}: give a height in metres such as -1.73, or 'frame'")
    return height


def _effective_config(
    info: RecordingInfo,
    detector: Detector,
    selection: Selection,
    ground: float | None,
    limit: int | None,
    strict: bool,
) -> dict[str, object]:
    from importlib.metadata import version

    from ...detector.keeping import format_keep
    from ...runtime.file_names import readable_name

    return {
        "colonnade": version("colonnade"),
        "recording": readable_name(info.path),
        "format": info.format,
        "topic": info.topic,
        "columns": list(info.columns),
        "intensity_scale": info.intensity_scale,
        "ground": _EVERY_FRAME if ground is None else ground,
        "model": detector.manifest.name,
        "model_sha256": detector.manifest.sha256,
        "precision": detector.precision,
        "keep": format_keep(detector.keep) or None,
        "score": detector.default_score if selection.score is None else selection.score,
        "classes": list(selection.classes or detector.classes),
        "range": selection.range_m,
        "limit": limit,
        "threads": detector.threads,
        "strict": strict,
    }
