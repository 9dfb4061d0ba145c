"""test_model_cards.py: the cards that ship say what manifests and reports say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_cards import CARD, SHIPPED, read_figures, write_card, write_twin_card

from colonnade.detector.checkpoints import MODELS
from colonnade.runtime.errors import DatasetError


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_is_what_its_command_writes(name: str) -> None:
    assert (MODELS / name / CARD).read_text(encoding="utf-8") == write_card(name)
    assert (MODELS / f"{name}-int8" / CARD).read_text(encoding="utf-8") == write_twin_card(name)


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"reports": [{"dataset": "a", "figures": [{}]}]})])
def test_a_damaged_report_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"report\.json"):
        read_figures(path)
