"""test_sparsity_document.py: the tables of docs/sparsity.md are those of the committed results."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import density
import pruning
from tables import Spread

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "sparsity.md").read_text(encoding="utf-8")


def read_result(name: str) -> dict[str, Any]:
    """Return a committed result."""
    content: dict[str, Any] = json.loads((ROOT / "docs" / "results" / name).read_text(encoding="utf-8"))
    return content


def revive(kind: type, source: dict[str, Any]) -> Any:
    """Return a dataclass of an experiment from its JSON: null is NaN, a mapping a Spread."""
    values = {}
    for field in fields(kind):
        value = source[field.name]
        if isinstance(value, dict):
            value = revive(Spread, value)
        values[field.name] = math.nan if value is None else value
    return kind(**values)


def test_the_table_of_density_is_that_of_the_runs() -> None:
    cells = [revive(density.Cell, cell) for cell in read_result("density.json")["summary"]]
    assert len(cells) >= 10
    assert density.format_cells(cells) in DOCUMENT


def test_the_table_of_pruning_is_that_of_the_runs() -> None:
    summaries = [revive(pruning.Summary, entry) for entry in read_result("pruning.json")["summary"]]
    assert len(summaries) >= 4
    assert pruning.format_summaries(summaries) in DOCUMENT


PROFILED = (
    ("SpConv (`dilating`, seed 1)", "dilating"),
    ("SpConv-P (`pruned-50`, seed 1)", "pruned-50"),
    ("`default`", "default"),
    ("`edge`", "edge"),
    ("`standard`", "standard"),
)


def test_the_table_of_the_accelerator_is_that_of_the_profiles() -> None:
    for label, name in PROFILED:
        (design,) = read_result(f"profile-{name}.json")["designs"]
        assert design["design"] == "pillaracc-64x64"
        spread = design["spread"]
        row = (
            f"| {label} | {spread['cycles']['mean']:,.0f} | {spread['frames_per_second']['mean']:,.0f} | "
            f"{spread['energy_mj']['nominal']:.2f} |"
        )
        assert row in DOCUMENT
