"""test_training_document.py: docs/training.md lists the keys of a configuration and their defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from colonnade.detector.train.config import TrainingConfig, read_config

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "training.md"


def list_keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a configuration with their values, `a.b` for nested ones."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from list_keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, list(value) if isinstance(value, tuple) else value


def test_the_documented_keys_and_defaults_are_those_of_the_code() -> None:
    written = re.findall(r"^\| `([\w.]+)` \| (?:`(.*?)`|required) \| ", DOCUMENT.read_text("utf-8"), re.M)
    documented = {key: yaml.safe_load(default) if default else None for key, default in written}
    assert documented == dict(list_keys(TrainingConfig("x"))) | {"name": None}
    assert len(documented) == len(written)


def test_the_examples_are_configurations(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)
    assert len(examples) == 2
    for text in examples:
        (tmp_path / "example.yaml").write_text(text)
        assert read_config(tmp_path / "example.yaml").name == "mine"
