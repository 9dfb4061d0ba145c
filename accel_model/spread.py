"""spread.py: what the frames of a recording cost, as percentiles and means, and how two designs compare on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.errors import UsageError
from .report import Band, Report


@dataclass(frozen=True)
class Quantiles:
    """Percentiles of a figure over frames (linear between neighbours), mean, and extremes."""

    p50: float
    p95: float
    p99: float
    mean: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Spread:
    """The cost of several frames on one design.

    Attributes:
        frames: how many.
        cycles, milliseconds, millijoules: per frame; energies are nominal.
        frames_per_second: 1 / the same percentile of the latency, so P99 is the rate that 99 % of the frames reach; the
            mean is frames over their total time; smallest and largest are of single frames.
        energy_mj: mean energy of a frame with its band [mJ].
    """

    frames: int
    cycles: Quantiles
    milliseconds: Quantiles
    frames_per_second: Quantiles
    millijoules: Quantiles
    energy_mj: Band


@dataclass(frozen=True)
class Comparison:
    """How much faster and more frugal one design is than another on the same frames; above 1 it is.

    Attributes:
        design, other: names.
        speed_up: ratio of sums: the other's time for all frames over the design's.
        mean_speed_up: mean of ratios: the mean over the frames of the other's time over the design's.
        energy_saving, mean_energy_saving: the same of nominal energies.
    """

    design: str
    other: str
    speed_up: float
    mean_speed_up: float
    energy_saving: float
    mean_energy_saving: float


def summarise(values: Sequence[float]) -> Quantiles:
    """Return the quantiles of a figure; the same bits in any order of the values.

    Raises:
        UsageError: there are none.
    """
    if not values:
        raise UsageError("there is no frame to summarise; give at least one")
    p50, p95, p99 = (float(p) for p in np.percentile(np.sort(values), (50, 95, 99)))
    return Quantiles(p50, p95, p99, math.fsum(values) / len(values), float(min(values)), float(max(values)))


def measure_spread(reports: Sequence[Report]) -> Spread:
    """Return the cost of frames on one design; the same bits in any order of the frames.

    Raises:
        UsageError: there are none.
    """
    times = summarise([report.seconds * 1e3 for report in reports])
    bands = [report.energy_band_mj for report in reports]
    low, nominal, high = (
        math.fsum(parts) / len(bands) for parts in zip(*map(_list_band, bands), strict=True)
    )
    return Spread(
        frames=len(reports),
        cycles=summarise([report.cycles for report in reports]),
        milliseconds=times,
        frames_per_second=_invert(times),
        millijoules=summarise([band.nominal for band in bands]),
        energy_mj=Band(low, nominal, high),
    )


def find_median(reports: Sequence[Report]) -> int:
    """Return the index of the median frame by cycles, the faster of the middle two.

    Raises:
        UsageError: there are none.
    """
    if not reports:
        raise UsageError("there is no frame to summarise; give at least one")
    order = sorted(range(len(reports)), key=lambda i: (reports[i].cycles, reports[i].energy_mj, i))
    return order[(len(reports) - 1) // 2]


def compare(design: Sequence[Report], other: Sequence[Report]) -> Comparison:
    """Return how much faster and more frugal `design` is than `other`, frame by frame in the same order.

    Raises:
        UsageError: there are no frames, or not the same number.
    """
    if not design or len(design) != len(other):
        raise UsageError(f"both designs need the same frames, got {len(design)} and {len(other)}")
    times = [(ours.seconds, theirs.seconds) for ours, theirs in zip(design, other, strict=True)]
    energies = [(ours.energy_mj, theirs.energy_mj) for ours, theirs in zip(design, other, strict=True)]
    names = design[0].spec.name, other[0].spec.name
    return Comparison(
        *names, _divide_sums(times), _average_ratios(times), _divide_sums(energies), _average_ratios(energies)
    )


def _list_band(band: Band) -> tuple[float, float, float]:
    return band.low, band.nominal, band.high


def _invert(times: Quantiles) -> Quantiles:
    """Return frames per second for times in milliseconds."""
    p50, p95, p99, mean = (_divide(1e3, t) for t in (times.p50, times.p95, times.p99, times.mean))
    return Quantiles(p50, p95, p99, mean, _divide(1e3, times.largest), _divide(1e3, times.smallest))


def _divide_sums(pairs: Sequence[tuple[float, float]]) -> float:
    ours, theirs = (math.fsum(column) for column in zip(*pairs, strict=True))
    return _divide(theirs, ours)


def _average_ratios(pairs: Sequence[tuple[float, float]]) -> float:
    ratios = [_divide(theirs, ours) for ours, theirs in pairs]
    return math.fsum(ratios) / len(ratios)


def _divide(top: float, bottom: float) -> float:
    """Return top / bottom; infinite over nothing, 1 for nothing over nothing."""
    if bottom:
        return top / bottom
    return math.inf if top else 1.0
