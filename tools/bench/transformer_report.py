"""transformer_report.py: what `colonnade bench transformer` found, and how its figures follow from the times."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .engine_report import round_figures
from .hardware import Hardware
from .rounds import Timing

SCHEMA, VERSION = "colonnade-bench-transformer", 1
Form = Literal["float", "dynamic", "portable", "fast"]


@dataclass(frozen=True)
class Distance:
    """How far an output is from that of the float model, over all samples.

    Attributes:
        output: its name.
        relative: root of the energy of the difference over that of the float output; None where not all is finite.
        largest: largest difference of two numbers; None likewise.
        same_choice: share of the rows along the last axis whose largest number is at the same place.
    """

    output: str
    relative: float | None
    largest: float | None
    same_choice: float


@dataclass(frozen=True)
class ModelRun:
    """One model in one form on one number of threads.

    Attributes:
        name: of its file, without .onnx.
        form: "float"; "dynamic": onnxruntime's own dynamic quantisation of it; "portable": a quantised file as
            onnxruntime runs it by itself; "fast": the same file with compiled operators.
        bytes: of the file; weights that lie beside it in files of their own are not counted.
        timing: of a whole run on one sample.
        speedup: over the float model on as many threads; below 1 it is slower.
        over_dynamic: likewise over dynamic quantisation; None where that was not measured.
        distances: of its outputs from those of the float model; none for that itself.
        same_as_portable: whether all outputs are, bit for bit, those of the portable form; None for other forms.
    """

    name: str
    form: Form
    bytes: int
    timing: Timing
    speedup: float
    over_dynamic: float | None
    distances: tuple[Distance, ...]
    same_as_portable: bool | None

    @property
    def label(self) -> str:
        """Name and form."""
        return f"{self.name}, {self.form}"


@dataclass(frozen=True)
class OperatorRun:
    """One compiled operator beside onnxruntime's float operator at the same shape, on one thread.

    Attributes:
        name: of the operator.
        against: the float operator.
        shape: of the first input of both.
        microseconds, float_microseconds: of a run that does nothing else; medians of processor time.
    """

    name: str
    against: str
    shape: tuple[int, ...]
    microseconds: float
    float_microseconds: float

    @property
    def ratio(self) -> float:
        """How many times as long as the float operator it takes."""
        return self.microseconds / self.float_microseconds


@dataclass(frozen=True)
class TransformerReport:
    """Everything that the command measured.

    Attributes:
        inputs: name of the file of samples.
        samples: on which distances were measured.
        timed_shapes: (input, shape) of the sample that was timed: the largest one.
        rounds: of which the median counts.
        hardware: what it was measured on.
        runs: of the models.
        operators: by themselves.
        disturbances: what speaks against the figures.
        missing: what was not measured, and why.
    """

    inputs: str
    samples: int
    timed_shapes: tuple[tuple[str, tuple[int, ...]], ...]
    rounds: int
    hardware: Hardware
    runs: tuple[ModelRun, ...]
    operators: tuple[OperatorRun, ...]
    disturbances: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def slower(self) -> tuple[ModelRun, ...]:
        """Those that take longer than the float model."""
        return tuple(run for run in self.runs if run.speedup < 1.0)

    def to_json(self) -> str:
        """Return the report as JSON."""
        content: dict[str, Any] = {"schema": SCHEMA, "version": VERSION, **asdict(self)}
        content["hardware"] = self.hardware.to_dict()
        content["timed_shapes"] = dict(self.timed_shapes)
        for entry, run in zip(content["operators"], self.operators, strict=True):
            entry["ratio"] = run.ratio
        return json.dumps(round_figures(content), indent=1, allow_nan=False)


def measure_distance(output: str, exact: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Distance:
    """Return how far an output is from that of the float model.

    Args:
        output: its name.
        exact, found: per sample the float model's and the other one's, of equal shapes.
    """
    energy = noise = largest = 0.0
    same = []
    for one, other in zip(exact, found, strict=True):
        wide = one.astype(np.float64)
        difference = other.astype(np.float64) - wide
        energy += float(np.square(wide).sum())
        noise += float(np.square(difference).sum())
        largest = float(np.max(np.abs(difference), initial=largest))
        if one.size and one.ndim:
            same.append(float(np.mean(one.argmax(-1) == other.argmax(-1))))
    choice = float(np.mean(same)) if same else 1.0
    if not (math.isfinite(noise) and math.isfinite(energy)):
        return Distance(output, None, None, choice)
    return Distance(output, math.sqrt(noise / max(energy, 1e-300)), largest, choice)
