"""fitting.py: NN-LUT: fits a network of one hidden ReLU layer to a function and returns it as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole
from ..errors import UsageError
from .functions import Function, Line, Target, evaluate, find_target
from .splines import Floats, Samples, draw_uniform, find_density, place_by_density, place_strata, solve_values
from .table import MOST_ENTRIES, LutTable, ReluNetwork
from .training import Layer, train

_STRATA = 1024  # samples of a step, at least
_STRATA_PER_ENTRY = 4
_BATCHES = 64  # with 1,024 samples each: about the 100,000 of the paper
_WORK, _LEAST_STEPS, _MOST_STEPS = 30_000, 60, 2000  # steps times neurons, and steps
_NEAR = (
    2e-3  # of the range: a function that is so close to its asymptote at the interval's end continues as it
)


@lru_cache(maxsize=64)  # it takes a second, and a model asks for the same few
def fit(
    function: str | Function | Target,
    *,
    entries: int = 16,
    interval: tuple[float, float] | None = None,
    seed: int = 0,
) -> LutTable:
    """Return a table close to a function: knots by the function's curvature, least squares, then Adam on L1.

    Outside the interval the table goes on as the function does where that is known: GELU as 0 and x, exp as 0; 1/x
    and 1/sqrt(x) keep the value of the interval's upper end. Otherwise the first segment is constant and the
    last one is extended.

    Args:
        function: a name of `functions.TARGETS` such as "gelu", or any function of a float64 array.
        entries: segments N, 2..256; the network has N-1 neurons.
        interval: (low, high); a callable needs one, a name has its own.
        seed: of the samples.

    Raises:
        UsageError: an argument outside its domain, or a function that is not finite on the interval.
    """
    target = find_target(function, interval)
    neurons = check_entries(entries) - 1
    frame = Frame.of(target, entries)
    grid, density = find_density(target)
    strata = place_strata(grid, density, max(_STRATA, _STRATA_PER_ENTRY * entries))
    generator = np.random.default_rng(seed)
    places = generator.random((_BATCHES, len(strata) - 1))
    batches = [frame.mirror(draw_uniform(target, strata, row)) for row in places]
    judge = frame.mirror(draw_uniform(target, strata, np.full(len(strata) - 1, 0.5)))
    knots = frame.mirror_points(place_by_density(grid, density, frame.list_shares(neurons)))
    return frame.finish(improve(frame.start(judge, knots), frame, batches, judge))


def check_entries(entries: int) -> int:
    """Return a number of entries.

    Raises:
        UsageError: it is not 2..256.
    """
    if not 2 <= check_whole("entries", entries) <= MOST_ENTRIES:
        raise UsageError(f"entries must be 2..{MOST_ENTRIES}, got {entries}")
    return int(entries)


def improve(start: Layer, frame: Frame, batches: list[Samples], judge: Samples) -> Layer:
    """Return the layer trained on batches, or its start where that is closer to the judge's samples."""
    steps = min(max(_WORK // len(start.m), _LEAST_STEPS), _MOST_STEPS)
    return train(start, batches, judge, steps, frame.find_end(len(start.m)))


@dataclass(frozen=True)
class Frame:
    """The coordinate in which ReLUs open to the right: u = sign * x / size; and the lines outside the interval.

    Attributes:
        sign, size: of the coordinate.
        low, high: the interval in u.
        left, right: lines in u that the network must be outside its knots; None where it need not.
    """

    sign: float
    size: float
    low: float
    high: float
    left: Line | None
    right: Line | None

    @classmethod
    def of(cls, target: Target, entries: int) -> Frame:
        """Return the frame of a target; lines that the function has not reached at the interval's ends are left out."""
        low, high = target.interval
        sign, size = float(target.opening), max(abs(low), abs(high))
        ends = evaluate(target, np.array([low, high]))
        middle = evaluate(target, np.linspace(low, high, 257))
        near = _NEAR / entries**2 * float(np.ptp(middle))
        lines = [
            line if line is not None and abs(line[0] * x + line[1] - y) <= near else None
            for line, x, y in ((target.left, low, ends[0]), (target.right, high, ends[1]))
        ]
        in_u = [None if line is None else (line[0] * sign * size, line[1]) for line in lines]
        if sign < 0:
            low, high, in_u = -high, -low, in_u[::-1]
        return cls(sign, size, low / size, high / size, in_u[0], in_u[1])

    def mirror_points(self, x: Floats) -> Floats:
        """Return points in u, ascending."""
        return np.sort(self.sign * x / self.size)

    def mirror(self, samples: Samples) -> Samples:
        """Return samples in u, ascending."""
        step = int(self.sign)
        return Samples(self.sign * samples.x[::step] / self.size, samples.y[::step], samples.weights[::step])

    def list_shares(self, neurons: int) -> NDArray[np.float64]:
        """Return how much of the density lies left of each knot, in x: the first knot is the end without a line."""
        if self.left is not None:
            return np.arange(1, neurons + 1) / (neurons + 1)
        shares = np.arange(neurons) / neurons
        return shares if self.sign > 0 else 1.0 - shares

    def find_end(self, neurons: int) -> Line | None:
        """Return the line right of the knots, where there is one and enough neurons to bend into it."""
        return self.right if neurons >= 3 else None

    def start(self, samples: Samples, knots: Floats) -> Layer:
        """Return the layer with these knots that is closest to samples by least squares."""
        fixed: dict[int, float] = {}
        if self.left is not None:
            fixed[0] = self.left[0] * knots[0] + self.left[1]
        points, end = knots, self.find_end(len(knots))
        if end is not None:
            fixed[len(knots) - 1] = end[0] * knots[-1] + end[1]
        else:
            points = np.append(knots, max(self.high, knots[-1] + 1e-6))
        values = solve_values(samples, points, fixed)
        slopes = np.diff(values) / np.maximum(np.diff(points), 1e-12)
        first = 0.0 if self.left is None else self.left[0]
        turns = np.diff(slopes, prepend=first, append=() if end is None else end[0])
        constant = float(values[0]) if self.left is None else self.left[1]
        return Layer.at_knots(knots, turns, points, first, constant, self.left is None)

    def finish(self, layer: Layer) -> LutTable:
        """Return the layer as a table of x."""
        network = ReluNetwork(layer.m, layer.n * (self.sign / self.size), layer.b)
        table = network.to_table()
        slope = layer.slope * self.sign / self.size
        return replace(table, slopes=table.slopes + slope, intercepts=table.intercepts + layer.constant)
