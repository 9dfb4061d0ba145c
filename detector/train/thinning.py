"""thinning.py: drops beams, azimuth steps and points of a training scan, as if another sensor had seen the scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .augment import Augmentation, LabelledScan

LARGEST_STEP = 5  # of 64 beams every fifth: 13 are left
FEWEST_BEAMS = 10  # that sparse beams leave, about
_SMALLEST_SHARE, _LARGEST_SHARE = 0.15, 0.6  # of the beams in a random subset
_LARGEST_FACTOR = 4.0  # of 64 beams and 2,083 azimuth steps: 16 and 521
_BORDERS = (8.0, 35.0)  # [m] beyond or within which a scan is resampled
_SHORTEST_STEP = 5e-4  # [rad] between two azimuth steps: 12,566 a turn


def thin_scan(scan: LabelledScan, settings: Augmentation, rng: np.random.Generator) -> LabelledScan:
    """Drop beams, azimuth steps and points, as a sparser or dirtier sensor would.

    Of sparse beams, resampling and the milder thinning of beams and steps a scan gets one at most, in this order: two
    patterns of beams together could leave nothing.
    """
    # Chances of 0 draw nothing: seeds of runs that do without give what they always gave.
    if settings.sparse_beams and rng.random() < settings.sparse_beams:
        keep = choose_beams(count_beams(scan), rng)[scan.rings]
    elif settings.resample and rng.random() < settings.resample:
        keep = resample(scan, rng)
    else:
        keep = _thin_mildly(scan, settings, rng)
    if rng.random() < settings.drop_points:
        keep &= rng.random(len(scan.points)) < rng.uniform(0.6, 1.0)
    return scan.keep(keep)


def _thin_mildly(scan: LabelledScan, settings: Augmentation, rng: np.random.Generator) -> NDArray[np.bool_]:
    keep = np.ones(len(scan.points), bool)
    if rng.random() < settings.thin_beams:
        beams = count_beams(scan)
        if rng.random() < 0.5:
            step = int(rng.choice([2, 2, 3])) if beams >= 48 else 2
            keep &= scan.rings % step == rng.integers(step)
        else:
            keep &= (rng.random(beams) < rng.uniform(0.35, 0.95))[scan.rings]
    if rng.random() < settings.thin_azimuth:
        step = int(rng.integers(2, 4))
        azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0])
        keep &= np.floor(azimuth / 0.003).astype(np.int64) % step == 0
    return keep


def count_beams(scan: LabelledScan) -> int:
    """Return how many beams the numbers of a scan's rings allow for."""
    return int(scan.rings.max(initial=0)) + 1


def choose_beams(beams: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which of `beams` beams (B,) a far sparser sensor has.

    Each as often: every k-th, k up to 5; two to four blocks of neighbours, each with a spacing of its own; a random
    subset of 15 to 60 %. Where beams are few, so are those dropped: about `FEWEST_BEAMS` are left at least.
    """
    largest = min(LARGEST_STEP, beams // FEWEST_BEAMS)
    way = rng.integers(3)
    if way == 2 or largest < 2:
        return _draw_subset(beams, rng)
    blocks = 1 if way == 0 else int(rng.integers(2, 5))
    steps = rng.integers(1, largest + 1, blocks)
    steps[rng.integers(blocks)] = rng.integers(2, largest + 1)  # one block at least is thinned
    borders = np.sort(rng.choice(np.arange(1, beams), blocks - 1, replace=False))
    keep = np.zeros(beams, bool)
    for block, step in zip(np.split(np.arange(beams), borders), steps, strict=True):
        keep[block[int(rng.integers(step)) :: step]] = True
    return keep


def _draw_subset(beams: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask (B,) of a random share of the beams."""
    smallest = min(1.0, max(_SMALLEST_SHARE, FEWEST_BEAMS / beams))
    share = rng.uniform(smallest, max(smallest, _LARGEST_SHARE))
    keep = np.zeros(beams, bool)
    keep[rng.permutation(beams)[: round(share * beams)]] = True
    return keep


def resample(scan: LabelledScan, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points (N,) a sensor of lower angular resolution would have.

    With beams Δel and azimuth steps Δaz apart, neighbouring points at range r are r·Δel and r·Δaz apart. Both angles
    become f times as large, so an object at r is sampled as one at r·f was: density falls as 1/r (DDFE, arXiv
    2312.12098). f is drawn per scan, 1 to 4, evenly on a logarithmic scale. In a quarter of the cases only what lies
    beyond a drawn range changes, in a quarter only what lies within it: sensors that are denser in some directions,
    towards the horizon mostly, are denser at some ranges.
    """
    factor = float(np.exp(rng.uniform(0.0, np.log(_LARGEST_FACTOR))))
    rings, columns = scan.rings.astype(np.float64), _find_columns(scan)
    keep = _take_every(rings, factor, rng.random()) & _take_every(columns, factor, rng.random())
    where, border = rng.random(), rng.uniform(*_BORDERS)
    distance = np.hypot(scan.points[:, 0], scan.points[:, 1])
    if where < 0.25:
        keep |= distance < border
    elif where < 0.5:
        keep |= distance > border
    return keep


def _take_every(index: NDArray[np.float64], factor: float, phase: float) -> NDArray[np.bool_]:
    """Return a mask with one of `factor` (>= 1, any number) neighbouring whole indices; `phase` 0..1 is the first."""
    return np.asarray((index / factor + phase) % 1.0 < 1.0 / factor)


def _find_columns(scan: LabelledScan) -> NDArray[np.float64]:
    """Return each point's azimuth in azimuth steps (N,), the step being the median one of the fullest ring."""
    azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0]).astype(np.float64)
    if not len(azimuth):
        return azimuth
    fullest = np.bincount(scan.rings).argmax()
    steps = np.diff(np.sort(azimuth[scan.rings == fullest]))
    step = float(np.median(steps)) if len(steps) else _SHORTEST_STEP
    return np.asarray(azimuth / max(step, _SHORTEST_STEP))
