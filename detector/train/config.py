"""config.py: what a training run is, read from a YAML file; every value has a default but the name."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from ...runtime.errors import ConfigError
from ..architecture import Widths
from ..pillars import PillarGeometry
from .augment import Augmentation

T = TypeVar("T")


def _demand(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        span = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise ConfigError(f"{name}: expected {span}, got {value}")


@dataclass(frozen=True)
class Pool:
    """The synthetic scans that a run trains on.

    Attributes:
        folder: where they are kept; filled when it is not complete.
        scans: how many.
        seed: of the first scene; scan i uses seed + i.
        start_with: training starts when this many are there, while the rest is made beside it.
    """

    folder: str = "runs/pool"
    scans: int = 8000
    seed: int = 1_000_000
    start_with: int = 400

    def __post_init__(self) -> None:
        _demand("pool.scans", self.scans, 1)
        _demand("pool.seed", self.seed, 0)
        _demand("pool.start_with", self.start_with, 1)


@dataclass(frozen=True)
class RealFrames:
    """Labelled real frames to mix in.

    Attributes:
        dataset: path of a dataset that `open_dataset` reads; empty for none. "$NAME" takes it from the
            environment.
        share: part of the samples that are real.
    """

    dataset: str = ""
    share: float = 0.0

    def __post_init__(self) -> None:
        _demand("real.share", self.share, 0, 1)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        samples: training samples in all.
        batch: samples per step.
        learning_rate: the highest.
        warm_up: part of the run in which the learning rate rises.
        frozen_norm: last part of the run, in which batch norm's statistics stand still.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        average: decay of the running average of the weights that is exported.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations on synthetic scenes; 0 for none.
        start_from: checkpoint of another run; empty for none.
    """

    samples: int = 40_000
    batch: int = 4
    learning_rate: float = 3e-3
    warm_up: float = 0.1
    frozen_norm: float = 0.12
    weight_decay: float = 0.01
    clip: float = 10.0
    average: float = 0.998
    checkpoint_every: int = 250
    validate_every: int = 1000
    start_from: str = ""

    def __post_init__(self) -> None:
        for name in ("samples", "batch", "checkpoint_every"):
            _demand(f"schedule.{name}", getattr(self, name), 1)
        for name in ("learning_rate", "weight_decay", "clip", "validate_every"):
            _demand(f"schedule.{name}", getattr(self, name), 0)
        for name in ("warm_up", "frozen_norm", "average"):
            _demand(f"schedule.{name}", getattr(self, name), 0, 1)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return max(1, self.samples // self.batch)


# A quarter of the view: the network is the same everywhere, so training may see any part of the circle.
_TRAINING_GRID = PillarGeometry(-3.84, -25.6, 51.2, 25.6, -1.0, 4.0, 0.32)
_DETECTION_GRID = PillarGeometry(-51.2, -51.2, 51.2, 51.2, -1.0, 4.0, 0.32)


@dataclass(frozen=True)
class TrainingConfig:
    """A training run; see docs/training.md."""

    name: str
    seed: int = 0
    classes: tuple[str, ...] = ("car", "pedestrian", "cyclist")
    training_data: str = "procedural street scenes of colonnade's simulator"
    licence: str = "Apache-2.0"
    score: float = 0.4
    widths: Widths = field(default_factory=Widths)
    training_grid: PillarGeometry = _TRAINING_GRID
    detection_grid: PillarGeometry = _DETECTION_GRID
    pool: Pool = field(default_factory=Pool)
    real: RealFrames = field(default_factory=RealFrames)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        _demand("seed", self.seed, 0)
        _demand("score", self.score, 0, 1)
        if not self.classes or not all(isinstance(name, str) for name in self.classes):
            raise ConfigError(f"classes: expected names, got {list(self.classes)}")


def _build(kind: type[T], source: Any, where: str) -> T:
    if not isinstance(source, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(source).__name__}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, source)) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    values: dict[str, Any] = {}
    for key, value in source.items():
        hint = hints[key]
        if is_dataclass(hint):
            values[key] = _build(hint, value, f"{where}.{key}")  # type: ignore[arg-type]
        elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
            values[key] = value
        elif isinstance(value, list):
            values[key] = tuple(value)
        else:
            raise ConfigError(f"{where}.{key}: expected {getattr(hint, '__name__', hint)}, got {value!r}")
    try:
        return kind(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from error


def read_config(path: str | Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        ConfigError: the file is missing or malformed, or a key or value is not known.
    """
    path = Path(path)
    try:
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as YAML: {reason}") from error
    return _build(TrainingConfig, source, path.name)
