"""samples.py: from scans to batches: augmentation, pillars, beam density, and what is to be found."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.sparse import PillarGrid
from ..architecture import Architecture
from ..density import measure_density
from ..ground import estimate_ground, split_columns
from ..pillars import PillarGeometry, Pillars, pillarise
from .augment import (
    Augmentation,
    LabelledScan,
    Snippet,
    add_carrier,
    cut_snippets,
    hide_parts,
    move_scan,
    paste_objects,
)
from .losses import TargetBatch
from .mixing import mix_scans
from .network import Batch
from .targets import build_targets
from .thinning import thin_scan

_PASTED = ("pedestrian", "pedestrian", "cyclist")  # classes that streets show too seldom


@dataclass(frozen=True)
class Truth:
    """What is to be found in one sample.

    Attributes:
        boxes: (K, 7) float64, z above the ground.
        labels: K names.
        num_points: (K,) points on each object, in the grid.
    """

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    num_points: NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One training sample; `density` (P, 4), or (P, 0) for a network without density gates."""

    pillars: Pillars
    density: NDArray[np.float32]
    truth: Truth


def build_sample(scan: LabelledScan, architecture: Architecture, geometry: PillarGeometry) -> Sample | None:
    """Turn a scan into a sample; None when hardly a point falls into the grid."""
    ground = estimate_ground(scan.points)
    pillars = pillarise(scan.points, ground, geometry)
    if len(pillars) < 16:
        return None
    density = np.zeros((len(pillars), 0), np.float32)
    if architecture.gate_channels:
        density = measure_density(split_columns(scan.points), ground, pillars, geometry).at_pillars
    boxes = scan.boxes.copy()
    boxes[:, 2] -= ground.at(boxes[:, :2].astype(np.float32))
    inside = scan.owners[pillars.order]
    counts = np.bincount(inside[inside >= 0], minlength=len(boxes))
    return Sample(pillars, density, Truth(boxes, scan.labels, counts))


def sample_density(scans: Iterable[LabelledScan], geometry: PillarGeometry) -> Tensor:
    """Return the beam density (P, SCALES) at the pillars of all scans."""
    found = []
    for scan in scans:
        ground = estimate_ground(scan.points)
        pillars = pillarise(scan.points, ground, geometry)
        found.append(measure_density(split_columns(scan.points), ground, pillars, geometry).at_pillars)
    return torch.from_numpy(np.concatenate(found))


def place_pillars(pillars: Pillars) -> PillarGrid:
    """Return the active set of the pillars."""
    nothing = np.zeros((len(pillars), 1), np.float32)
    return PillarGrid.assemble(pillars.row_ptr, pillars.cols, nothing, pillars.shape)


def collate_samples(samples: Sequence[Sample]) -> tuple[Batch, tuple[Truth, ...]]:
    """Join samples to a batch."""
    pillars = [s.pillars for s in samples]
    first = np.cumsum([0] + [len(p.point_features) for p in pillars])
    starts = [p.starts[:-1] + f for p, f in zip(pillars, first, strict=False)] + [first[-1:]]

    def join(parts: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts))

    batch = Batch(
        join([p.point_features for p in pillars]),
        join([p.pillar_features for p in pillars]),
        join([s.density for s in samples]),
        torch.from_numpy(np.concatenate(starts).astype(np.int32)),
        tuple(map(place_pillars, pillars)),
    )
    return batch, tuple(s.truth for s in samples)


def aim_targets(
    truths: Sequence[Truth],
    cells: Sequence[PillarGrid],
    geometry: PillarGeometry,
    cell: float,
    classes: tuple[str, ...],
) -> TargetBatch:
    """Return what the head should say at its active cells of each sample.

    Args:
        truths, cells: one of each per sample.
        geometry: of the pillar grid.
        cell: side of an output cell [m].
        classes: names in the order of the heatmaps.
    """
    parts = [
        build_targets(t.boxes, t.labels, t.num_points, grid.coords, grid.shape, geometry, cell, classes)
        for t, grid in zip(truths, cells, strict=True)
    ]
    first = np.cumsum([0] + [len(part.heatmap) for part in parts])

    def join(arrays: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays))

    return TargetBatch(
        join([part.heatmap for part in parts]),
        join([part.weight for part in parts]),
        torch.from_numpy(np.concatenate([part.cells + f for part, f in zip(parts, first, strict=False)])),
        join([part.boxes for part in parts]),
        join([part.share for part in parts]),
    )


class SnippetBank:
    """Recent people and cyclists of other scans, to be pasted, and the last scan, to be mixed in.

    Attributes:
        last: the scan that was learnt last; None before the first.
    """

    def __init__(self, size: int = 400) -> None:
        self._bank = {label: deque[Snippet](maxlen=size) for label in set(_PASTED)}
        self.last: LabelledScan | None = None

    def learn(self, scan: LabelledScan) -> None:
        """Remember `scan` and its objects."""
        self.last = scan
        for snippet in cut_snippets(scan, _PASTED):
            self._bank[snippet.label].append(snippet)

    def draw(self, mean: float, rng: np.random.Generator) -> list[Snippet]:
        """Return a Poisson number of snippets."""
        drawn = []
        for _ in range(rng.poisson(mean)):
            shelf = self._bank[_PASTED[rng.integers(len(_PASTED))]]
            if shelf:
                drawn.append(shelf[rng.integers(len(shelf))])
        return drawn


def augment_scan(
    scan: LabelledScan, bank: SnippetBank, settings: Augmentation, rng: np.random.Generator
) -> LabelledScan:
    """Mix a scan with the last one, paste into it, hide parts of it, thin and move it; the bank learns the scan.

    An augmentation that is left out (chance 0) draws nothing, so that runs without it see what they always saw.
    """
    mixed = scan
    if settings.mix and rng.random() < settings.mix and bank.last is not None:
        mixed = mix_scans(scan, bank.last, rng)
    pasted = paste_objects(mixed, bank.draw(settings.paste, rng), rng)
    bank.learn(scan)
    if rng.random() < settings.hide:
        pasted = hide_parts(pasted, rng)
    if rng.random() < settings.carrier:
        pasted = add_carrier(pasted, rng)
    return move_scan(thin_scan(pasted, settings, rng), settings, rng)


def stream_batches(
    scans: Iterator[tuple[LabelledScan, np.random.Generator]],
    architecture: Architecture,
    geometry: PillarGeometry,
    settings: Augmentation,
    batch_size: int,
) -> Iterator[tuple[Batch, tuple[Truth, ...]]]:
    """Yield batches for ever, or until the scans end."""
    bank = SnippetBank()
    waiting: list[Sample] = []
    for scan, rng in scans:
        sample = build_sample(augment_scan(scan, bank, settings, rng), architecture, geometry)
        if sample is not None:
            waiting.append(sample)
        if len(waiting) == batch_size:
            yield collate_samples(waiting)
            waiting = []
