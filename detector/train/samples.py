"""samples.py: from scans to batches: augmentation, pillars, the rules of every layer, and targets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.sparse import PillarGrid, Rulebook, concatenate
from ..architecture import INPUT, Architecture
from ..ground import estimate_ground
from ..network import RuleCache
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
from .network import Batch, LayerTable, round_rows
from .targets import Targets, build_targets
from .thinning import thin_scan

_PASTED = ("pedestrian", "pedestrian", "cyclist")  # classes that streets show too seldom


@dataclass(frozen=True)
class LayerRules:
    """The rules of one layer in one sample; `merges` as in LayerTable, with -1 for none."""

    rulebook: Rulebook
    merges: tuple[NDArray[np.int32], ...]


@dataclass(frozen=True)
class Sample:
    """One training sample."""

    pillars: Pillars
    rules: tuple[LayerRules, ...]
    targets: Targets


def trace_rules(
    architecture: Architecture, coords: NDArray[np.int32], shape: tuple[int, int]
) -> list[LayerRules]:
    """Return the rules of every layer for the active pillars `coords` (P, 2), row-major."""
    sites = {INPUT: PillarGrid.from_coords(coords, np.zeros((len(coords), 1), np.float32), shape)}
    cache = RuleCache()
    rules = []
    for layer in architecture.layers:
        merges: tuple[NDArray[np.int32], ...] = ()
        grid = sites[layer.inputs[0]]
        if len(layer.inputs) > 1:
            # The engine's own concatenation tells where each input's rows go: ranks ride along as a channel.
            ranked = [
                sites[name].with_features(np.arange(1, len(sites[name]) + 1, dtype=np.float32)[:, None])
                for name in layer.inputs
            ]
            grid = concatenate(ranked)
            merges = tuple(grid.features[:, k].astype(np.int32) - 1 for k in range(len(layer.inputs)))
        book = cache.find(grid, layer)
        sites[layer.name] = PillarGrid.assemble(
            book.row_ptr, book.cols, np.zeros((len(book.cols), 1), np.float32), book.shape
        )
        rules.append(LayerRules(book, merges))
    return rules


def _coords_of(book: Rulebook) -> NDArray[np.int32]:
    rows = np.repeat(np.arange(book.shape[0], dtype=np.int32), np.diff(book.row_ptr))
    return np.stack([rows, book.cols], 1)


def build_sample(
    scan: LabelledScan, architecture: Architecture, geometry: PillarGeometry, classes: tuple[str, ...]
) -> Sample | None:
    """Turn a scan into a sample; None when no point falls into the grid."""
    ground = estimate_ground(scan.points)
    pillars = pillarise(scan.points, ground, geometry)
    if len(pillars) < 16:
        return None
    rules = trace_rules(architecture, pillars.coords, pillars.shape)
    boxes = scan.boxes.copy()
    boxes[:, 2] -= ground.at(boxes[:, :2].astype(np.float32))
    inside = scan.owners[pillars.order]
    counts = np.bincount(inside[inside >= 0], minlength=len(boxes))
    head = rules[-1].rulebook
    cell = geometry.size * architecture.output_stride
    targets = build_targets(boxes, scan.labels, counts, _coords_of(head), head.shape, geometry, cell, classes)
    return Sample(pillars, tuple(rules), targets)


def _collate_layer(parts: Sequence[LayerRules]) -> LayerTable:
    inputs = np.cumsum([0] + [len(p.rulebook.in_cols) for p in parts])
    outputs = np.cumsum([0] + [len(p.rulebook.cols) for p in parts])
    taps = parts[0].rulebook.taps
    total_in, total_out = int(inputs[-1]), int(outputs[-1])
    forward = np.full((round_rows(total_out), taps), total_in, np.int32)
    for p, first_in, first_out in zip(parts, inputs, outputs, strict=False):
        near = p.rulebook.neighbours
        forward[first_out : first_out + len(near)] = np.where(near >= 0, near + first_in, total_in)
    backward = np.full((round_rows(total_in), taps), total_out, np.int32)
    backward[forward[:total_out], np.arange(taps)] = np.arange(total_out, dtype=np.int32)[:, None]
    backward[total_in] = total_out  # where the rules of none ended up
    merges = []
    for k in range(len(parts[0].merges)):
        sizes = [int(p.merges[k].max(initial=-1)) + 1 for p in parts]
        firsts = np.cumsum([0, *sizes])
        rows = [
            np.where(p.merges[k] >= 0, p.merges[k] + f, firsts[-1])
            for p, f in zip(parts, firsts, strict=False)
        ]
        merges.append(torch.from_numpy(np.concatenate(rows).astype(np.int32)))
    return LayerTable(
        torch.from_numpy(forward), torch.from_numpy(backward), total_in, total_out, tuple(merges)
    )


def collate_inputs(pillars: Sequence[Pillars], rules: Sequence[Sequence[LayerRules]]) -> Batch:
    """Join the pillars and rules of several samples."""
    points = [torch.from_numpy(p.point_features) for p in pillars]
    features = [torch.from_numpy(p.pillar_features) for p in pillars]
    first = np.cumsum([0] + [len(p.point_features) for p in pillars])
    starts = [p.starts[:-1] + f for p, f in zip(pillars, first, strict=False)] + [first[-1:]]
    tables = tuple(_collate_layer(layer) for layer in zip(*rules, strict=True))
    return Batch(
        torch.cat(points),
        torch.cat(features),
        torch.from_numpy(np.concatenate(starts).astype(np.int32)),
        tables,
    )


def collate_samples(samples: Sequence[Sample]) -> tuple[Batch, TargetBatch]:
    """Join samples to a batch."""
    batch = collate_inputs([s.pillars for s in samples], [s.rules for s in samples])
    active = np.cumsum([0] + [len(s.targets.heatmap) for s in samples])
    cells = [s.targets.cells + first for s, first in zip(samples, active, strict=False)]

    def join(parts: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts))

    return batch, TargetBatch(
        join([s.targets.heatmap for s in samples]),
        join([s.targets.weight for s in samples]),
        torch.from_numpy(np.concatenate(cells)),
        join([s.targets.boxes for s in samples]),
        join([s.targets.share for s in samples]),
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
    classes: tuple[str, ...],
    settings: Augmentation,
    batch_size: int,
) -> Iterator[tuple[Batch, TargetBatch]]:
    """Yield batches for ever, or until the scans end."""
    bank = SnippetBank()
    waiting: list[Sample] = []
    for scan, rng in scans:
        sample = build_sample(augment_scan(scan, bank, settings, rng), architecture, geometry, classes)
        if sample is not None:
            waiting.append(sample)
        if len(waiting) == batch_size:
            yield collate_samples(waiting)
            waiting = []
