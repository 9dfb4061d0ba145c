"""evaluate.py: `colonnade eval`: how well a model detects on labelled datasets."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...detector.detector import Detector
    from ...detector.evaluate import EvaluationReport

_KEYS = ("model", "model_sha256", "reports")  # by which an earlier report is known


def evaluate(
    datasets: Annotated[
        list[Path], typer.Argument(metavar="DATASET...", help="Folders of labelled datasets.")
    ],
    model: options.ModelOption = "default",
    precision: options.PrecisionOption = None,
    keep: options.KeepOption = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout", metavar="NAME", help="kitti-object, kitti-drive, pandaset, argoverse or synthetic."
        ),
    ] = None,
    limit: options.LimitOption = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the reports as JSON, too, after every dataset."),
    ] = None,
    excuse_unlabelled: Annotated[
        bool,
        typer.Option(
            "--excuse-unlabelled", help="Detections in KITTI's DontCare regions are no false alarms."
        ),
    ] = False,
    ignore_twins: Annotated[
        bool,
        typer.Option("--ignore-twins", help="An object that was labelled twice counts once (PandaSet)."),
    ] = False,
    errors: Annotated[
        bool, typer.Option("--errors", help="Say where misses and false alarms lie, and why.")
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            metavar="FOLDER",
            help="Draw misses and false alarms of every class, up to 20 a sheet.",
        ),
    ] = None,
    threads: options.ThreadsOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Score a model: KITTI AP (R40) from above and in 3D, centre-distance AP as nuScenes defines it, and precision.

    \b
    Examples:
      colonnade eval street/
      colonnade eval --model my-model/ street/ kitti/ --json scores.json
      colonnade eval --pictures errors/ street/            and look at what went wrong

    Each figure comes with its metric, threshold, range and number of objects; what is ignored stands below the table.
    """
    from ...detector.detector import load
    from ...detector.evaluate import EvaluationProtocol, open_dataset, run_detector, score_results
    from ...runtime.files import replace_file
    from .error_pictures import ErrorPictures
    from .output_files import check_report

    if json is not None:
        check_report("--json", json, _KEYS)
    detector = load(model, precision=precision, threads=threads, keep=options.read_keep(keep))
    protocol = EvaluationProtocol(excuse_unlabelled=excuse_unlabelled, ignore_twins=ignore_twins)
    drawer = None if pictures is None else ErrorPictures(pictures)  # refuses a folder before the long run
    reports = []
    for path in datasets:
        dataset = open_dataset(path, layout=layout, limit=limit)
        with terminal.progress_bar(f"evaluating {dataset.name}", len(dataset), quiet=quiet) as progress:
            results = run_detector(detector, dataset, protocol=protocol, progress=progress)
        reports.append(
            score_results(
                results, protocol, detector.default_score, dataset=dataset.name, notes=dataset.notes
            )
        )
        if json is not None:  # after every dataset, so that an interruption loses but the one in work
            replace_file(json, _format_json(reports, detector))
        _print_report(reports[-1])
        if errors:
            _print_errors(reports[-1])
        if drawer is not None:
            with terminal.progress_bar(f"drawing {dataset.name}", len(dataset), quiet=quiet) as progress:
                where = drawer.write(reports[-1], results, dataset, progress)
            print(f"{where}\n")


def _print_report(report: EvaluationReport) -> None:
    print(report.title)
    terminal.show_table(report.header, report.rows(), names=2)
    for sentence in report.conditions:
        print(f"- {sentence}")
    print()


def _print_errors(report: EvaluationReport) -> None:
    from ...detector.evaluate import analyse_errors

    analysis = analyse_errors(report)
    tables = (
        ("range", "m", analysis.by_range),
        ("LiDAR points", "", analysis.by_points),
        ("share hidden", "", analysis.by_occlusion),
    )
    for name, unit, bins in tables:
        rows = [
            (b.label, f"{b.low:g}-{'' if b.high is None else f'{b.high:g}'} {unit}", *map(str, counts))
            for b in bins
            if any(counts := (b.objects, b.misses, b.alarms))
        ]
        if not rows:  # as what hides an object, where the sensor's place is not known
            continue
        print(f"errors at score {analysis.score:g} by {name}")
        terminal.show_table(("class", name, "objects", "misses", "false alarms"), rows, names=2)
    print(f"causes at score {analysis.score:g}")
    causes = [(c.label, c.kind, c.cause, str(c.count)) for c in analysis.causes]
    terminal.show_table(("class", "error", "cause", "count"), causes, names=3)


def _format_json(reports: list[EvaluationReport], detector: Detector) -> str:
    """Return all reports under the model that they are about."""
    from dataclasses import asdict

    from ...detector.evaluate import analyse_errors
    from ...detector.keeping import format_keep
    from ..bench.hardware import describe_hardware

    content = {
        "model": detector.manifest.name,
        "model_sha256": detector.manifest.sha256,
        "precision": detector.precision,
        "keep": format_keep(detector.keep) or None,
        "threads": detector.threads,
        "hardware": describe_hardware().to_dict(),
        "reports": [
            json_text.loads(report.to_json()) | {"errors": asdict(analyse_errors(report))}
            for report in reports
        ],
    }
    return json_text.dumps(content, indent=1) + "\n"
