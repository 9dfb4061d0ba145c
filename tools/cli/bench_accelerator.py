"""bench_accelerator.py: `colonnade bench accelerator`: what frames cost on the accelerator presets, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, terminal


def bench_accelerator(
    recording: options.RecordingArgument,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Cost its first N frames.")] = 6,
    calibrations: Annotated[
        Path | None,
        typer.Option(
            "--camera",
            metavar="FOLDER",
            help="Crop KITTI frames to the camera's view; FOLDER holds a calibration per frame.",
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON, too.")
    ] = None,
    document: Annotated[
        Path | None, typer.Option("--document", metavar="FILE.md", help="Write the tables as a page, too.")
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Cost the standard network on all accelerator presets: every sparse variant, each optimisation on and off.

    Nothing is timed: the figures are those of models, the same on every machine.

    \b
    Examples:
      colonnade bench accelerator kitti/velodyne --camera kitti/calib --json accelerator.json
    """
    from ...runtime.files import replace_file
    from ..bench.accelerator import VARIANTS, run_accelerator_bench
    from ..bench.accelerator_document import summarise, write_document
    from ..bench.accelerator_report import read_report
    from ..bench.frames import crop_to_camera, read_frames
    from .output_files import check_file, check_report

    if json is not None:
        check_report("--json", json, ("recording", "frame_names", "ablations"))
    if document is not None:
        check_file("--document", document)
    crop = None if calibrations is None else crop_to_camera(calibrations)
    frames = read_frames(recording, limit=limit, crop=crop)
    with terminal.step_bar("costing", len(frames) * len(VARIANTS), quiet=quiet) as advance:
        name = recording.resolve().name + ("" if crop is None else ", camera view")
        report = run_accelerator_bench(frames, name, progress=advance)
    if json is not None:
        replace_file(json, report.to_json() + "\n")
    if document is not None:
        replace_file(
            document, write_document(read_report(report.to_json()))
        )  # figures as rounded in the JSON
    terminal.show_facts(list(summarise(report)))
