"""precision_loss.py: how far an int8 model is from the float32 one: layer by layer, and box by box."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ModelError
from ..runtime.quant import quantise_unsigned
from ..runtime.sparse import PillarGrid
from ..runtime.threads import resolve_threads, thread_budget
from .boxes import bev_iou
from .checkpoints import Checkpoint
from .detections import Detections
from .detector import Detector
from .network import Network
from .quantise import Steps, check_float, encode_points

SAME_OBJECT = 0.5  # IoU from above from which two boxes of one class are the same


@dataclass(frozen=True)
class LayerLoss:
    """Error of one layer's output, all layers before it in integers, too.

    Attributes:
        name: of the layer.
        sqnr_db: signal to quantisation noise, 10 log10(sum x^2 / sum (x - x_int8)^2) over all frames; infinite without
            error, NaN without a signal.
    """

    name: str
    sqnr_db: float


@dataclass(frozen=True)
class PrecisionLoss:
    """What the integers change on some frames.

    Attributes:
        frames: how many.
        layers: in order.
        float_boxes, integer_boxes: found at the model's default score.
        matched: pairs of one class that overlap by SAME_OBJECT or more.
        mean_score, largest_score: absolute difference of the scores of a pair; NaN where there is none.
    """

    frames: int
    layers: tuple[LayerLoss, ...]
    float_boxes: int
    integer_boxes: int
    matched: int
    mean_score: float
    largest_score: float


def measure_loss(
    reference: Checkpoint,
    quantised: Checkpoint,
    steps: Steps,
    frames: Iterable[NDArray[np.floating]],
    *,
    threads: int | None = None,
) -> PrecisionLoss:
    """Run both models over frames of points (N, >=3) and compare them.

    Args:
        reference: a float32 model.
        quantised: `apply_steps(reference, steps, ...)`.
        steps: of the activations.
        frames: read once, one at a time.
        threads: Numba threads; None for all available.

    Raises:
        ModelError: `reference` is not float32, or `quantised` is not int8.
    """
    comparison = _Comparison(reference, quantised, steps, threads)
    for points in frames:
        comparison.observe(points)
    return comparison.conclude()


class _Comparison:
    """Adds up errors over frames."""

    def __init__(
        self, reference: Checkpoint, quantised: Checkpoint, steps: Steps, threads: int | None
    ) -> None:
        if quantised.manifest.precision != "int8":
            raise ModelError(f"the model '{quantised.manifest.name}' is not int8")
        self._threads = resolve_threads(threads)
        self._reference, self._steps = reference, steps
        architecture = reference.manifest.architecture
        self._networks = (
            Network(architecture, check_float(reference)),
            Network(quantised.manifest.architecture, quantised.layers),
        )
        self._detectors = tuple(Detector(model, threads=threads) for model in (reference, quantised))
        self._signal = np.zeros(len(architecture.layers))
        self._noise = np.zeros(len(architecture.layers))
        self._boxes = np.zeros(2, np.int64)
        self._differences: list[NDArray[np.float64]] = []
        self._frames = 0

    def observe(self, points: NDArray[np.floating]) -> None:
        with thread_budget(self._threads):
            self._observe_layers(points)
        ours, theirs = (detector.detect(points) for detector in self._detectors)
        self._boxes += len(ours), len(theirs)
        self._differences.append(compare_scores(ours, theirs))
        self._frames += 1

    def _observe_layers(self, points: NDArray[np.floating]) -> None:
        manifest = self._reference.manifest
        grid = encode_points(points, manifest.geometry, self._reference.encoder)
        whole = grid.with_features(quantise_unsigned(grid.features, self._steps.encoder))
        pairs = zip(self._networks[0].outputs(grid), self._networks[1].outputs(whole), strict=True)
        for index, ((_, expected), (_, found)) in enumerate(pairs):
            wanted, got = _common_features(expected, found)
            self._signal[index] += float((wanted**2).sum())
            self._noise[index] += float(((got * self._steps.layers[index] - wanted) ** 2).sum())

    def conclude(self) -> PrecisionLoss:
        layers = self._reference.manifest.architecture.layers
        losses = tuple(
            LayerLoss(layer.name, _to_decibel(signal, noise))
            for layer, signal, noise in zip(layers, self._signal, self._noise, strict=True)
        )
        differences = np.concatenate([np.zeros(0), *self._differences])
        return PrecisionLoss(
            self._frames,
            losses,
            int(self._boxes[0]),
            int(self._boxes[1]),
            differences.size,
            float(differences.mean()) if differences.size else math.nan,
            float(differences.max()) if differences.size else math.nan,
        )


def _common_features(a: PillarGrid, b: PillarGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the features of the cells that are active in both: pruning may choose others in integers."""
    keys_a, keys_b = (grid.coords.astype(np.int64) @ (grid.shape[1], 1) for grid in (a, b))
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return a.features[rows_a].astype(np.float64), b.features[rows_b].astype(np.float64)


def _to_decibel(signal: float, noise: float) -> float:
    if signal == 0.0:
        return math.nan
    return math.inf if noise == 0.0 else 10.0 * math.log10(signal / noise)


def compare_scores(ours: Detections, theirs: Detections) -> NDArray[np.float64]:
    """Return the absolute score differences (M,) of the boxes that both found, best overlaps first."""
    overlap = bev_iou(ours.boxes, theirs.boxes)
    overlap[ours.labels[:, None] != theirs.labels[None]] = 0.0
    differences = []
    while overlap.size and overlap.max() >= SAME_OBJECT:
        a, b = np.unravel_index(int(overlap.argmax()), overlap.shape)
        differences.append(abs(float(ours.scores[a]) - float(theirs.scores[b])))
        overlap[a], overlap[:, b] = 0.0, 0.0
    return np.array(differences)
