"""tables.py: mean and spread over seeds, and what an experiment leaves: JSON, a table, a picture."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from colonnade.runtime.files import replace_file


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Attributes:
        mean: of them.
        deviation: standard deviation, n - 1; NaN for one value.
        least, most: the extremes.
        values: in the order of the seeds.
    """

    mean: float
    deviation: float
    least: float
    most: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return self.show(1)

    def show(self, digits: int) -> str:
        """Return "mean ± deviation" with so many decimals; "-" where there is no mean."""
        if math.isnan(self.mean):
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.deviation) else f"{mean} ± {self.deviation:.{digits}f}"


def spread(values: Sequence[float]) -> Spread:
    """Return mean and spread of one value or more."""
    found = np.asarray(values, np.float64)
    deviation = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(float(found.mean()), deviation, float(found.min()), float(found.max()), tuple(values))


def write_json(path: Path, content: Any) -> None:
    """Write dataclasses, tuples and numbers as JSON; NaN becomes null, a path its text."""
    replace_file(path, json.dumps(_plain(content), indent=1) + "\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "colonnade experiments"})
    replace_file(path, buffer.getvalue())
