"""training.py: Adam on the mean absolute error of one hidden ReLU layer, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .functions import Line
from .splines import Floats, Samples

_RATE = 1e-3  # the paper's, of which each decay leaves a tenth
_DECAYS = (0.5, 0.8)  # shares of the steps
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-12  # Adam's memories, and what keeps it from dividing by 0
_CHECKS = 40  # comparisons with the best so far


@dataclass(frozen=True, eq=False)
class Layer:
    """y = slope * u + constant + sum of m * max(n * u + b, 0), n > 0.

    Attributes:
        m, n, b: (H,) float64.
        slope, constant: what is left of the first knot.
        free: whether the constant is trained.
    """

    m: Floats
    n: Floats
    b: Floats
    slope: float
    constant: float
    free: bool

    @classmethod
    def at_knots(
        cls, knots: Floats, turns: Floats, points: Floats, slope: float, constant: float, free: bool
    ) -> Layer:
        """Return the layer that turns by `turns` at `knots`; each n is 1 / (distance to the next of `points`)."""
        gaps = np.diff(points)
        widths = np.append(gaps, gaps[-1:] if len(gaps) else 1.0)[: len(knots)]
        n = 1.0 / np.maximum(widths, 1e-9)
        return cls(turns / n, n, -knots * n, slope, constant, free)

    def __call__(self, u: Floats) -> Floats:
        """Return the layer at (P,) points."""
        return np.maximum(u[:, None] * self.n + self.b, 0.0) @ self.m + (self.slope * u + self.constant)

    def bend_into(self, end: Line | None) -> Layer:
        """Return the layer with the least change of m that makes its last segment the line `end`."""
        if end is None:
            return self
        rows = np.stack([self.n, self.b])
        miss = np.array([end[0] - self.slope, end[1] - self.constant]) - rows @ self.m
        return replace(self, m=self.m + rows.T @ np.linalg.lstsq(rows @ rows.T, miss, rcond=None)[0])


def train(start: Layer, batches: list[Samples], judge: Samples, steps: int, end: Line | None) -> Layer:
    """Return the layer after `steps` of Adam on L1, or the best on the judge's samples that was met on the way.

    Args:
        start: the first layer.
        batches: samples of the steps, in turns.
        judge: samples that decide.
        steps: how many.
        end: the line that the last segment must stay, or None.
    """
    layer = best = start.bend_into(end)
    least = judge.measure_error(best(judge.x))
    size = float(np.sqrt((start.m**2).mean())) or 1.0  # of a neuron: steps of m are in its units
    first = [np.zeros_like(start.m) for _ in range(3)] + [np.zeros(1)]
    second = [np.zeros_like(array) for array in first]
    for step in range(1, steps + 1):
        gradients = _find_gradients(layer, batches[step % len(batches)], end)
        rate = _RATE * 0.1 ** sum(step > share * steps for share in _DECAYS)
        moves = []
        for place, gradient in enumerate(gradients):
            first[place] = _FIRST * first[place] + (1.0 - _FIRST) * gradient
            second[place] = _SECOND * second[place] + (1.0 - _SECOND) * gradient**2
            mean = first[place] / (1.0 - _FIRST**step)
            spread = np.sqrt(second[place] / (1.0 - _SECOND**step))
            moves.append(rate * mean / (spread + _TINY))
        layer = replace(
            layer,
            m=layer.m - size * moves[0],
            n=np.maximum(layer.n - moves[1], 1e-3 * start.n),
            b=layer.b - moves[2],
            constant=layer.constant - size * float(moves[3][0]) * layer.free,
        ).bend_into(end)
        if step % max(steps // _CHECKS, 1) == 0:
            error = judge.measure_error(layer(judge.x))
            if error < least:
                best, least = layer, error
    return best


def _find_gradients(
    layer: Layer, samples: Samples, end: Line | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the gradients of the mean absolute error by m, n, b and the constant.

    Where the last segment is bound to a line, what `bend_into` will do to m after the step is part of them.
    """
    before = samples.x[:, None] * layer.n + layer.b
    after = np.maximum(before, 0.0)
    side = np.sign(after @ layer.m + (layer.slope * samples.x + layer.constant) - samples.y) * samples.weights
    active = before > 0.0
    by_m = side @ after
    by_b = layer.m * (side @ active)
    by_n = layer.m * ((side * samples.x) @ active)
    if end is not None:
        rows = np.stack([layer.n, layer.b])
        pull = np.linalg.lstsq(rows @ rows.T, rows @ by_m, rcond=None)[0]
        by_m, by_n, by_b = by_m - pull @ rows, by_n - pull[0] * layer.m, by_b - pull[1] * layer.m
    return by_m, by_n, by_b, np.array([side.sum()])
