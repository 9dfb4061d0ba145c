"""report.py: a quantised model beside its float model: errors of its outputs, size, and speed on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .samples import Samples
from .session import Session, load

_LEAST_ROUNDS, _MOST_ROUNDS, _SECONDS = 3, 200, 4.0  # of the measurement of speed
_COMPARED = 16  # samples


@dataclass(frozen=True)
class OutputError:
    """How far an output is from that of the float model.

    Attributes:
        name: of the output.
        sqnr_db: its energy over that of the difference, in decibel; infinity where they are equal.
        same_choice: share of the rows along the last axis whose largest number is at the same place.
    """

    name: str
    sqnr_db: float
    same_choice: float


@dataclass(frozen=True)
class Comparison:
    """A quantised model beside its float model.

    Attributes:
        outputs: errors on calibration samples.
        float_bytes, bytes: sizes of the files.
        float_seconds, seconds: of one sample, medians of interleaved runs.
    """

    outputs: tuple[OutputError, ...]
    float_bytes: int
    bytes: int
    float_seconds: float
    seconds: float

    @property
    def speedup(self) -> float:
        """How many times faster the quantised model is; below 1 it is slower."""
        return self.float_seconds / self.seconds


def compare(model: Path, quantised: Path, samples: Samples, *, threads: int | None = None) -> Comparison:
    """Run both models on the same samples.

    Args:
        model, quantised: ONNX files.
        samples: to run them on; at most 16 are used.
        threads: to run with; None for all available ones.

    Raises:
        ModelError, UsageError: a model cannot be loaded, or does not run on a sample.
    """
    sessions = load(model, threads=threads), load(quantised, threads=threads)
    chosen = list(samples.take(_COMPARED))
    errors = _measure_errors(sessions, chosen)
    longest = max(chosen, key=lambda sample: sum(array.size for array in sample.values()))
    seconds = _measure_speed(sessions, longest)
    return Comparison(errors, model.stat().st_size, quantised.stat().st_size, *seconds)


def _measure_errors(
    sessions: tuple[Session, Session], samples: list[dict[str, NDArray[Any]]]
) -> tuple[OutputError, ...]:
    pairs = [tuple(session.run(sample) for session in sessions) for sample in samples]
    names = [name for name in sessions[0].outputs if pairs[0][0][name].dtype.kind == "f"]
    return tuple(
        _measure_error(name, [(exact[name], rounded[name]) for exact, rounded in pairs]) for name in names
    )


def _measure_error(name: str, pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> OutputError:
    energy = sum(float(np.square(exact, dtype=np.float64).sum()) for exact, _ in pairs)
    noise = sum(float(np.square(rounded - exact, dtype=np.float64).sum()) for exact, rounded in pairs)
    same = [np.mean(exact.argmax(-1) == rounded.argmax(-1)) for exact, rounded in pairs if exact.size]
    ratio = math.inf if noise == 0.0 else 10.0 * math.log10(max(energy, 1e-300) / noise)
    return OutputError(name, ratio, float(np.mean(same)) if same else 1.0)


def _measure_speed(
    sessions: tuple[Session, Session], sample: Mapping[str, NDArray[Any]]
) -> tuple[float, float]:
    """Return the median seconds of each session, run in turn."""
    times: tuple[list[float], list[float]] = [], []
    started = time.perf_counter()
    while len(times[0]) < _MOST_ROUNDS:
        for session, found in zip(sessions, times, strict=True):
            before = time.perf_counter()
            session.run(sample)
            found.append(time.perf_counter() - before)
        if len(times[0]) > _LEAST_ROUNDS and time.perf_counter() - started > _SECONDS:
            break
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])  # the first run warms up
