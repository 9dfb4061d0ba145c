"""lut.py: errors of look-up tables and of what they are compared with, and the speed of integer operators."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import ConfigError
from ...runtime.lut import LutTable, Target, fit, fit_equal, fit_exponential_mode, fit_near_optimal
from ...runtime.lut.baselines import approximate_exp, approximate_exp_rounded, approximate_gelu
from ...runtime.lut.functions import evaluate, find_target
from .charts import require_matplotlib
from .engine_report import round_figures

GRID = 1_000_001  # points of an interval, evenly spread
CASES = (
    ("gelu", (-5.0, 5.0)),
    ("gelu", (-4.0, 4.0)),
    ("exp", (-256.0, 0.0)),
    ("exp", (-16.0, 0.0)),
    ("reciprocal", (1.0, 1024.0)),
    ("rsqrt", (1.0, 1024.0)),
    ("silu", (-20.0, 20.0)),
    ("sigmoid", (-20.0, 20.0)),
    ("tanh", (-10.0, 10.0)),
)
Method = Callable[[NDArray[np.float64]], Any]
_COLOURS = {
    "NN-LUT": "#1f5fa8",
    "near-optimal": "#2a9d8f",
    "Linear-LUT": "#d1495b",
    "exponential LUT": "#e9a03b",
    "I-BERT": "#6d597a",
    "I-BERT, rounded": "#b08ea2",
}


@dataclass(frozen=True)
class MethodError:
    """Errors of one method over uniform inputs: mean absolute, mean square, largest."""

    method: str
    mae: float
    mse: float
    max: float


@dataclass(frozen=True)
class FunctionErrors:
    """Errors of all methods on one function and interval."""

    function: str
    interval: tuple[float, float]
    methods: tuple[MethodError, ...]

    def find(self, method: str) -> MethodError:
        """Return the errors of a method."""
        return next(error for error in self.methods if error.method == method)


@dataclass(frozen=True)
class LutReport:
    """Errors of every function.

    Attributes:
        entries: of every table.
        seed: of the fits.
        functions: in the order of CASES.
    """

    entries: int
    seed: int
    functions: tuple[FunctionErrors, ...]

    def to_json(self) -> str:
        """Return the report as text, floats cut to five digits."""
        return json.dumps(round_figures(asdict(self)), indent=1)


def read_report(text: str) -> LutReport:
    """Return the report of a JSON text.

    Raises:
        ConfigError: it is none.
    """
    try:
        data = json.loads(text)
        functions = tuple(
            FunctionErrors(
                str(entry["function"]),
                (float(entry["interval"][0]), float(entry["interval"][1])),
                tuple(MethodError(**method) for method in entry["methods"]),
            )
            for entry in data["functions"]
        )
        return LutReport(int(data["entries"]), int(data["seed"]), functions)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"not a report of `colonnade bench lut`: {error}") from error


def list_methods(target: Target, entries: int, seed: int) -> dict[str, Method]:
    """Return what approximates a function on its interval, by name."""
    name, interval = target.name, target.interval
    tables: dict[str, LutTable] = {
        "NN-LUT": fit(name, entries=entries, interval=interval, seed=seed),
        "near-optimal": fit_near_optimal(name, entries=entries, interval=interval),
        "Linear-LUT": fit_equal(name, entries=entries, interval=interval),
        "exponential LUT": fit_exponential_mode(name, entries=entries, interval=interval),
    }
    polynomials: dict[str, dict[str, Method]] = {
        "gelu": {"I-BERT": approximate_gelu},
        "exp": {"I-BERT": approximate_exp, "I-BERT, rounded": approximate_exp_rounded},
    }
    return {**tables, **polynomials.get(name, {})}


def measure_errors(
    *, entries: int = 16, seed: int = 0, progress: Callable[[], None] = lambda: None
) -> LutReport:
    """Return the errors of every method on every case.

    Args:
        entries: of the tables.
        seed: of the fits.
        progress: called after each case.
    """
    functions = []
    for name, interval in CASES:
        target = find_target(name, interval)
        x = np.linspace(*interval, GRID)
        exact = evaluate(target, x)
        errors = []
        for method, approximate in list_methods(target, entries, seed).items():
            error = np.abs(np.asarray(approximate(x)) - exact)
            errors.append(
                MethodError(method, float(error.mean()), float((error**2).mean()), float(error.max()))
            )
        functions.append(FunctionErrors(name, interval, tuple(errors)))
        progress()
    return LutReport(entries, seed, tuple(functions))


def draw_errors(*, entries: int = 16, seed: int = 0) -> bytes:
    """Return a PNG: the absolute error of every method over each function's interval, on a logarithmic scale.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = require_matplotlib().Figure(figsize=(13, 9), dpi=100, layout="constrained")
    grid = figure.subplots(3, 3)
    for axes, (name, interval) in zip(grid.ravel(), CASES, strict=True):
        target = find_target(name, interval)
        positive = name in ("reciprocal", "rsqrt")
        x = np.geomspace(*interval, 4001) if positive else np.linspace(*_find_window(interval), 4001)
        exact = evaluate(target, x)
        for method, approximate in list_methods(target, entries, seed).items():
            error = np.maximum(np.abs(np.asarray(approximate(x)) - exact), 1e-8)
            axes.plot(x, error, color=_COLOURS[method], linewidth=0.9, label=method)
        axes.set_title(f"{name}, fitted on {interval[0]:g} to {interval[1]:g}", fontsize=10)
        axes.set_yscale("log")
        axes.set_ylim(1e-7, 2.0)
        axes.grid(True, color="0.9", linewidth=0.6)
        if positive:
            axes.set_xscale("log")
    for axes in grid[:, 0]:
        axes.set_ylabel("absolute error")
    handles, labels = grid.ravel()[3].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"Errors of {entries} entries, and of I-BERT's polynomials")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "colonnade bench"})
    return buffer.getvalue()


def _find_window(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the part of an interval that is worth seeing: exp is flat below -16."""
    return max(interval[0], -16.0), min(interval[1], 16.0)


def count_cases() -> int:
    """Return how often `measure_errors` calls its progress."""
    return len(CASES)
