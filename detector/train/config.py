"""config.py: what a training run is, read from a YAML file; every value has a default but the name."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ...runtime.errors import ConfigError
from ..architecture import Architecture, Sparsity, Widths, build_architecture
from ..pillars import PillarGeometry
from ..simulate.sensors import SENSORS
from .augment import Augmentation
from .ranges import demand

T = TypeVar("T")

_LARGEST_SEED = 2**63 - 1
_EXPECTED = {
    float: "a number",
    int: "a whole number, without point or exponent",
    str: "text, in quotes where it looks like a number",
    tuple: "a list",
}
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # 1e-3: text to YAML 1.1, which wants 1.0e-3


@dataclass(frozen=True)
class Pool:
    """The synthetic scans that a run trains on.

    Attributes:
        folder: where they are kept; filled when it is not complete.
        scans: how many.
        seed: of the first scene; scan i uses seed + i.
        start_with: training starts when this many are there, while the rest is made beside it.
        sensors: names of the sensors that the scans come from, each as often; empty: the mixture of `draw_sensor`.
    """

    folder: str = "runs/pool"
    scans: int = 8000
    seed: int = 1_000_000
    start_with: int = 400
    sensors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        demand("pool.scans", self.scans, 1)
        demand("pool.seed", self.seed, 0)
        demand("pool.start_with", self.start_with, 1)
        unknown = sorted(set(self.sensors) - set(SENSORS))
        if unknown:
            raise ConfigError(f"pool.sensors: no sensor {unknown}; known are {', '.join(sorted(SENSORS))}")


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
        demand("real.share", self.share, 0, 1)


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
        lasso: weight of the group lasso: the mean norm of the pillars in front of each pruning.
        opening: part of the run in which pruning closes, from OPEN times the shares down to the shares.
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
    lasso: float = 0.01
    opening: float = 0.4

    def __post_init__(self) -> None:
        for name in ("samples", "batch", "checkpoint_every"):
            demand(f"schedule.{name}", getattr(self, name), 1)
        for name in ("learning_rate", "weight_decay", "clip", "validate_every", "lasso"):
            demand(f"schedule.{name}", getattr(self, name), 0)
        for name in ("warm_up", "frozen_norm", "average", "opening"):
            demand(f"schedule.{name}", getattr(self, name), 0, 1)

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
    score_exponents: tuple[
        tuple[float, float], ...
    ] = ()  # one pair per class; empty: `SCORE_EXPONENTS` for all
    widths: Widths = field(default_factory=Widths)
    sparsity: Sparsity = field(default_factory=Sparsity)
    training_grid: PillarGeometry = _TRAINING_GRID
    detection_grid: PillarGeometry = _DETECTION_GRID
    pool: Pool = field(default_factory=Pool)
    real: RealFrames = field(default_factory=RealFrames)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        demand("seed", self.seed, 0, _LARGEST_SEED)
        demand("score", self.score, 0, 1)
        for exponent in (number for pair in self.score_exponents for number in pair):
            demand("score_exponents", exponent, 0, 4)
        if len(self.score_exponents) not in (0, len(self.classes)):
            raise ConfigError(
                f"score_exponents: expected a pair for each class, got {list(self.score_exponents)}"
            )
        if not self.classes or not all(self.classes) or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes: expected different names, got {list(self.classes)}")
        if self.training_grid.size != self.detection_grid.size:
            raise ConfigError(
                f"training_grid.size is {self.training_grid.size} and detection_grid.size {self.detection_grid.size}: "
                "a network knows one size of pillars; give both grids the same"
            )
        for grid in (self.training_grid, self.detection_grid):
            self.architecture.check_grid(grid.shape)

    @property
    def architecture(self) -> Architecture:
        """The network that is trained."""
        return build_architecture(self.widths, len(self.classes), self.sparsity)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a value of YAML as the type of its field."""
    if get_origin(hint) is tuple and isinstance(value, list):
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(kinds) != len(value):
            raise ConfigError(f"{where}: expected {len(kinds)} values, got {len(value)}: {value}")
        return tuple(_convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{where}: {value} is too large") from None
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(f"{where}: expected one of {', '.join(get_args(hint))}, got {value!r}")
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise ConfigError(f"{where}: expected {_EXPECTED[get_origin(hint) or hint]}, got {value!r}")


def _find_default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _build(kind: type[T], source: Any, where: str, default: T | None = None) -> T:
    """Return a `kind` with the values of `source`, and those of `default` for what it does not name."""
    if not isinstance(source, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(source).__name__}")
    hints = get_type_hints(kind)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, source)) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    values = {
        name: _find_default(f) if default is None else getattr(default, name) for name, f in known.items()
    }
    for key, value in source.items():
        inside = f"{where}.{key}"
        if is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, inside, values[key])
        else:
            values[key] = _convert(hints[key], value, inside)
    missing = [name for name, value in values.items() if value is MISSING]
    if missing:
        raise ConfigError(f"{where}: needs {', '.join(missing)}")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def read_config(path: str | Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        ConfigError: the file is missing or malformed, or a key or value is not known.
    """
    path = Path(path)
    try:
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read as YAML: {reason}") from error
    return _build(TrainingConfig, source, path.name)
