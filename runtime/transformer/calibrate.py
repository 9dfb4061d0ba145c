"""calibrate.py: what the tensors of a float graph are on samples: their ranges, and rows that weights multiply."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import ModelError
from .graph import Graph
from .samples import Samples
from .session import make_session

RangeMethod = Literal["min-max", "percentile", "mse"]
RANGE_METHODS: tuple[RangeMethod, ...] = get_args(RangeMethod)
PERCENT = 99.99  # of the values, at each end
_MOST_VALUES = 2**17  # of a tensor that are kept for percentiles and errors
_MOST_ROWS, _MOST_ROW_VALUES = 2**13, 2**23  # of a tensor, and the numbers in them
_SHARES = np.linspace(0.3, 1.0, 36)  # of the range that "mse" tries
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor was.

    Attributes:
        low, high: least and largest value, and 0.
        width: length of the last axis; 0 where there was none.
        values: (n,) float32 of its values, evenly thinned.
        rows: (m, width) float32 of its rows along the last axis, evenly thinned; empty unless asked for.
    """

    low: float
    high: float
    width: int
    values: NDArray[np.float32]
    rows: NDArray[np.float32]

    @property
    def reach(self) -> float:
        """The largest magnitude, above 0."""
        return max(-self.low, self.high) or 1.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was seen of each tensor that was asked for."""

    seen: Mapping[str, Seen]

    def find(self, tensor: str) -> Seen:
        """Return what a tensor was."""
        return self.seen[tensor]


def calibrate(
    graph: Graph,
    samples: Samples,
    tensors: Iterable[str],
    with_rows: Iterable[str] = (),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Run the float graph on samples, one at a time, and look at tensors.

    Args:
        graph: as it was read.
        samples: what to run it on.
        tensors: names to look at.
        with_rows: names of which rows are kept, too.
        threads: of the runtime.
        progress: called with the number of samples done.

    Raises:
        ModelError: the runtime refuses the graph or a sample, or a tensor is not finite.
    """
    names = tuple(dict.fromkeys((*tensors, *with_rows)))
    wanted = frozenset(with_rows)
    session = make_session(graph.with_outputs(name for name in names if name not in graph.inputs), threads)
    watchers = {name: _Watcher(name in wanted, len(samples)) for name in names}
    for number, sample in enumerate(samples):
        for name, value in _run(session, names, sample, number):
            if not np.isfinite(value).all():
                raise ModelError(f"tensor '{name}' is not finite on calibration sample {number}")
            watchers[name].observe(np.asarray(value, np.float32))
        if progress is not None:
            progress(number + 1)
    return Calibration({name: watcher.finish() for name, watcher in watchers.items()})


def find_ranks(graph: Graph, samples: Samples, threads: int | None = None) -> None:
    """Run the float graph once, to learn the ranks that could not be inferred where patterns depend on them.

    Raises:
        ModelError: the runtime refuses the graph or the sample.
    """
    kinds = ("Softmax", "ReduceMean", "LayerNormalization")
    wanted = {node.input[0] for node in graph.nodes if node.op_type in kinds}
    names = tuple(sorted(name for name in wanted if graph.shape(name) is None))
    if names:
        session = make_session(graph.with_outputs(names), threads)
        for name, value in _run(session, names, next(iter(samples)), 0):
            graph.set_rank(name, np.ndim(value))


def find_range(seen: Seen, method: RangeMethod) -> tuple[float, float]:
    """Return the values that become the ends of a format; 0 lies within.

    Args:
        seen: of a tensor.
        method: "min-max" clips nothing seen, "percentile" 0.01 % at each end, "mse" makes the mean square of
            rounding and clipping errors of 8 bits least.

    Raises:
        UsageError: an unknown method.
    """
    check_choice("method", method, RANGE_METHODS)
    low, high = seen.low, seen.high
    if method == "percentile" and seen.values.size:
        ends = np.percentile(seen.values, (100.0 - PERCENT, PERCENT))
        low, high = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
    elif method == "mse" and seen.values.size:
        low, high = _find_least_error(seen)
    return (low, high) if high > low else (0.0, 1.0)


def _find_least_error(seen: Seen) -> tuple[float, float]:
    """Shrink first the end that is farther out, then the other."""
    ends = [seen.low, seen.high]
    for place in sorted((0, 1), key=lambda place: -abs(ends[place])):
        tried = [[*ends[:place], ends[place] * share, *ends[place + 1 :]] for share in _SHARES]
        errors = [_measure_error(seen.values, *pair) for pair in tried]
        ends = tried[int(np.argmin(errors))]
    return ends[0], ends[1]


def _measure_error(values: NDArray[np.float32], low: float, high: float) -> float:
    step = (high - low) / 255.0
    if step <= 0.0:
        return math.inf
    zero = round(-low / step)
    levels = np.clip(np.rint(values / np.float32(step)) + zero, 0, 255) - zero
    return float(np.square(levels * np.float32(step) - values, dtype=np.float64).sum())


def _run(
    session: Any, names: tuple[str, ...], sample: Mapping[str, NDArray[Any]], number: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    made = [name for name in names if name not in sample]
    yield from ((name, sample[name]) for name in names if name in sample)
    if not made:  # the runtime refuses to run for nothing
        return
    try:
        yield from zip(made, session.run(made, dict(sample)), strict=True)
    except Exception as error:  # onnxruntime's own kinds
        raise ModelError(f"the model does not run on calibration sample {number}: {error}") from error


class _Watcher:
    """Range and thinned values of one tensor, sample by sample."""

    def __init__(self, keeps_rows: bool, samples: int) -> None:
        self._low = self._high = 0.0
        self._width = 0
        self._values: list[NDArray[np.float32]] = []
        self._rows: list[NDArray[np.float32]] = []
        self._keeps_rows, self._samples = keeps_rows, samples

    def observe(self, value: NDArray[np.float32]) -> None:
        if value.size == 0:
            return
        self._low, self._high = min(self._low, float(value.min())), max(self._high, float(value.max()))
        self._values.append(_thin(value.ravel(), -(-_MOST_VALUES // self._samples)))
        self._width = value.shape[-1] if value.ndim else 0
        if self._keeps_rows and self._width:
            most = min(_MOST_ROWS, _MOST_ROW_VALUES // self._width)
            self._rows.append(_thin(value.reshape(-1, self._width), -(-most // self._samples)))

    def finish(self) -> Seen:
        empty = np.zeros((0, 0), np.float32)
        values = np.concatenate(self._values) if self._values else empty[0:0].ravel()
        return Seen(
            self._low, self._high, self._width, values, np.concatenate(self._rows) if self._rows else empty
        )


def _thin(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return at most `count` of the values along the first axis, one from each of as many equal parts, as a copy.

    Where in its part is spread by a multiplicative hash: at an even spacing that divides the width of a tensor, the
    same channels would be taken again and again, and those with the outliers perhaps never.
    """
    if len(values) <= count:
        return values.copy()
    parts = np.arange(count, dtype=np.uint64)
    within = (parts * np.uint64(2654435761) % np.uint64(2**32)) / 2.0**32
    return values[((parts + within) * (len(values) / count)).astype(np.int64)]
