"""report.py: the figures of an evaluation, each with what it means, as JSON and as a table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from ...runtime.files import replace_file
from .outcomes import Outcome


@dataclass(frozen=True)
class Figure:
    """One average precision.

    Attributes:
        label: class.
        metric: "BEV AP|R40", "3D AP|R40" or "centre AP" (nuScenes' definition).
        threshold: least IoU, or largest distance of the centres.
        unit: of the threshold, "IoU" or "m".
        near, far: range of the objects from the sensor [m].
        min_points: LiDAR points that an object needs to count.
        value: in points, 0..100; NaN where no object counts.
        objects: how many objects count.
    """

    label: str
    metric: str
    threshold: float
    unit: str
    near: float
    far: float
    min_points: int
    value: float
    objects: int

    @property
    def name(self) -> str:
        """Metric and threshold: "BEV AP|R40 @0.70"."""
        return f"{self.metric} @{self.threshold:.2f}{' m' if self.unit == 'm' else ''}"


@dataclass(frozen=True)
class OperatingPoint:
    """Hits, false alarms and misses at one score: bird's-eye IoU of at least `overlap` is a hit."""

    label: str
    score: float
    overlap: float
    near: float
    far: float
    min_points: int
    hits: int
    alarms: int
    misses: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right (0..1); NaN where nothing was found."""
        found = self.hits + self.alarms
        return self.hits / found if found else math.nan

    @property
    def recall(self) -> float:
        """Share of the objects that were found (0..1); NaN where there are none."""
        objects = self.hits + self.misses
        return self.hits / objects if objects else math.nan


@dataclass(frozen=True)
class EvaluationReport:
    """How well a detector did on one dataset.

    Attributes:
        dataset: its name.
        frames: labelled frames.
        max_range: objects beyond it [m] are ignored.
        min_points: objects with fewer points are ignored.
        score_floor: detections from this score on make up the AP.
        default_score: score of the operating points.
        ignored: class, and the kinds of objects that count neither way for it.
        figures: every AP, by class, range and metric; the whole range first.
        operating_points: precision and recall at the default score, by class and range; the whole range first.
        outcomes: every hit, miss and false alarm at the default score.
        notes: what else was decided.
    """

    dataset: str
    frames: int
    max_range: float
    min_points: int
    score_floor: float
    default_score: float
    ignored: tuple[tuple[str, tuple[str, ...]], ...]
    figures: tuple[Figure, ...]
    operating_points: tuple[OperatingPoint, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What was measured on, and what counts, in one line."""
        return (
            f"{self.dataset}: {self.frames} frames; objects with >= {self.min_points} points, "
            f"0-{self.max_range:g} m; AP from score {self.score_floor:g}, precision at {self.default_score:g}"
        )

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is ignored, and the notes, one sentence each."""
        ignored = [f"ignored for {label}: {', '.join(kinds)}" for label, kinds in self.ignored if kinds]
        return (*ignored, *self.notes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(dict.fromkeys(figure.label for figure in self.figures))

    def figure(
        self, label: str, metric: str, threshold: float, *, near: float = 0.0, far: float | None = None
    ) -> Figure:
        """Return one figure; `far` None is the whole range.

        Raises:
            KeyError: it was not measured.
        """
        wanted = (label, metric, threshold, near, self.max_range if far is None else far)
        for item in self.figures:
            if (item.label, item.metric, item.threshold, item.near, item.far) == wanted:
                return item
        raise KeyError(f"not measured: {wanted}")

    @property
    def header(self) -> tuple[str, ...]:
        """Column titles of `rows`: class, metric, then one column per range."""
        zones = dict.fromkeys((item.near, item.far) for item in self.figures)
        return ("class", "metric", *(f"{near:g}-{far:g} m" for near, far in zones))

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table: per class the objects, each AP, precision and recall, a column per range."""
        table = []
        for label in self.labels:
            points = [point for point in self.operating_points if point.label == label]
            table.append((label, "objects", *(f"{point.hits + point.misses:,}" for point in points)))
            own = [figure for figure in self.figures if figure.label == label]
            for name in dict.fromkeys(figure.name for figure in own):
                table.append((label, name, *(_show(item.value) for item in own if item.name == name)))
            suffix = f"at score {self.default_score:g} @{points[0].overlap:.2f}"
            table.append((label, f"precision {suffix}", *(_show(100 * p.precision) for p in points)))
            table.append((label, f"recall {suffix}", *(_show(100 * p.recall) for p in points)))
        return table

    def to_json(self, *, outcomes: bool = False) -> str:
        """Return the report as JSON text, with every hit, miss and false alarm on request; NaN becomes null."""
        content = asdict(self)
        content["ignored"] = {label: list(kinds) for label, kinds in self.ignored}
        for row, point in zip(content["operating_points"], self.operating_points, strict=True):
            row["precision"], row["recall"] = point.precision, point.recall
        if not outcomes:
            del content["outcomes"]
        return json.dumps(_without_nan(content), indent=1) + "\n"

    def save(self, path: str | Path, *, outcomes: bool = False) -> None:
        """Write `to_json` to `path`, under a temporary name first."""
        replace_file(Path(path), self.to_json(outcomes=outcomes))


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
