"""model_cards.py: the cards of the models that ship, from their manifests, trainings and accuracy reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import format_table

from colonnade.detector.checkpoints import MANIFEST, MODELS, TWIN_SUFFIX
from colonnade.detector.keeping import format_keep, report_keep
from colonnade.detector.manifest import Manifest, read_manifest
from colonnade.detector.train.config import TrainingConfig, read_config
from colonnade.runtime.errors import ColonnadeError, DatasetError
from colonnade.runtime.files import replace_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS, TRAINING = ROOT / "docs" / "results", ROOT / "training"
CARD = "README.md"
SHIPPED = ("edge", "standard")
SENSORS = {  # of the sets that the reports are about
    "pandaset_002": "Pandar64, real; trained on",
    "kitti_drive_0005": "HDL-64E, real",
    "training": "HDL-64E, real (KITTI objects)",
    "adcf7d18": "two VLP-32C, real (Argoverse 2)",
    "simulated-hdl64e": "HDL-64E, simulated",
    "simulated-os1-128": "OS1-128, simulated",
    "simulated-hdl32e": "HDL-32E, simulated",
    "simulated-vlp16": "VLP-16, simulated",
}
_JUDGED = (("car", 0.5), ("car", 0.7), ("pedestrian", 0.25), ("cyclist", 0.25))
_METRIC = "BEV AP|R40"
_LIMITS = """\
- Cars are found well to 35 m, people less far, cyclists least; half-hidden ones are missed, or found with a low score.
- The real sets are small: a few points are noise, and the Argoverse sweep is an anecdote. PandaSet was trained on.
- Simulated sensors share the simulator with the training scenes (other seeds): they show how sensors differ, not how
  well a street of yours is seen.
- What no model of this package can do: docs/detector.md, "What it cannot do". Nobody's safety may rest on it.
"""


@dataclass(frozen=True)
class Figure:
    """One AP of a report: of a class at an overlap, between two ranges [m]; NaN-free, None where nothing counts."""

    dataset: str
    label: str
    threshold: float
    near: float
    far: float
    value: float | None
    objects: int


def read_figures(path: Path) -> tuple[Figure, ...]:
    """Return the bird's-eye APs of a report of `colonnade eval --json`.

    Raises:
        DatasetError: it is missing, or no such report.
    """
    try:
        reports: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["reports"]
        names = ("label", "threshold", "near", "far", "value", "objects")
        return tuple(
            Figure(report["dataset"], *(figure[name] for name in names))
            for report in reports
            for figure in report["figures"]
            if figure["metric"] == _METRIC
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: no report of `colonnade eval --json` ({error})") from error


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _list_sets(figures: tuple[Figure, ...], twins: tuple[Figure, ...]) -> Iterator[list[str]]:
    """Yield a row for each set: float32 / int8 of each class over the whole range, with the objects that count."""
    for name in dict.fromkeys(figure.dataset for figure in figures):
        row = [SENSORS.get(name, name)]
        for label, threshold in _JUDGED:
            pair = [_find_whole(part, name, label, threshold) for part in (figures, twins)]
            row.append(f"{_show(pair[0].value)} / {_show(pair[1].value)} ({pair[0].objects})")
        yield row


def _find_whole(figures: tuple[Figure, ...], dataset: str, label: str, threshold: float) -> Figure:
    own = [f for f in figures if (f.dataset, f.label, f.threshold) == (dataset, label, threshold)]
    return max(own, key=lambda figure: figure.far - figure.near)


def _list_ranges(figures: tuple[Figure, ...]) -> Iterator[list[str]]:
    """Yield a row for each set and range: the float32 model's AP of each class."""
    for name in dict.fromkeys(figure.dataset for figure in figures):
        spans = {(f.near, f.far) for f in figures if f.dataset == name}
        whole = max(spans, key=lambda span: span[1] - span[0])
        for near, far in sorted(spans - {whole}):
            found = {
                (f.label, f.threshold): f for f in figures if (f.dataset, f.near, f.far) == (name, near, far)
            }
            cells = [found[key] for key in _JUDGED]
            if any(cell.objects for cell in cells):
                shown = [f"{_show(cell.value)} ({cell.objects})" for cell in cells]
                yield [SENSORS.get(name, name), f"{near:g}-{far:g} m", *shown]


def write_card(name: str) -> str:
    """Return the card of the embedded model `name`.

    Raises:
        ColonnadeError: its manifest, configuration or a report is missing or damaged.
    """
    manifest = read_manifest(MODELS / name)
    config = read_config(TRAINING / f"{name}.yaml")
    figures = read_figures(RESULTS / f"accuracy-{name}.json")
    twins = read_figures(RESULTS / f"accuracy-{name}{TWIN_SUFFIX}.json")
    header = [f"{label} @{threshold:g}" for label, threshold in _JUDGED]
    return "\n".join(
        (
            f"# Model `{name}`",
            "",
            "Finds cars, people and cyclists in one LiDAR sweep, by geometry alone (x, y, z). Written by",
            "`python experiments/model_cards.py` from the model and the reports of `colonnade eval` in docs/results.",
            "",
            format_table(["", ""], list(_list_facts(manifest, config))),
            "## Accuracy",
            "",
            f"{_METRIC} in points, float32 / int8, and how many objects with at least 5 points within 50 m count:",
            "",
            format_table(["sensor", *header], list(_list_sets(figures, twins))),
            "By range, float32:",
            "",
            format_table(["sensor", "range", *header], list(_list_ranges(figures))),
            "## Limits",
            "",
            _LIMITS,
        )
    )


def write_twin_card(name: str) -> str:
    """Return the card of the int8 twin of the embedded model `name`.

    Raises:
        ModelError: its manifest is missing or damaged.
    """
    twin = read_manifest(MODELS / f"{name}{TWIN_SUFFIX}")
    calibration = twin.calibration
    assert calibration is not None  # read_manifest demands it of an int8 model
    return "\n".join(
        (
            f"# Model `{twin.name}`",
            "",
            f"The int8 form of `{name}`, whose [card](../{name}/{CARD}) tells the rest, both accuracies side by side.",
            "",
            f"- **Calibration** ({calibration.method}, {calibration.frames} frames): {calibration.source}",
            f"- **Licence of the weights**: {twin.licence}",
            f"- **Made from** weights with SHA-256 {calibration.model_sha256}",
            "",
        )
    )


def _list_facts(manifest: Manifest, config: TrainingConfig) -> Iterator[tuple[str, str]]:
    schedule, real = config.schedule, config.real
    yield "training data", manifest.training_data
    yield "licence of the weights", manifest.licence
    yield (
        "trained",
        (
            f"{schedule.samples:,} samples, {100 * real.share:.0f} % of them real, seed {config.seed}, on from "
            f"`{schedule.start_from}` (training/{manifest.name}.yaml)"
        ),
    )
    yield (
        "vector pruning",
        f"keeps {format_keep(report_keep(manifest.architecture))} of the pillars of its blocks",
    )
    gates = manifest.architecture.gate_channels
    yield "density gates", f"{gates} hidden channels" if gates else "none"
    yield "default score", f"{manifest.score:g}"
    yield "weights", f"SHA-256 {manifest.sha256}"


def main() -> None:
    """Write the cards of the models named on the command line, or of all that ship."""
    for name in sys.argv[1:] or SHIPPED:
        try:
            replace_file(MODELS / name / CARD, write_card(name))
            replace_file(MODELS / f"{name}{TWIN_SUFFIX}" / CARD, write_twin_card(name))
        except ColonnadeError as error:
            sys.exit(f"model_cards: {error}")
        print(f"written {(MODELS / name / CARD).relative_to(ROOT)} (beside {MANIFEST})")


if __name__ == "__main__":
    main()
