"""thresholds.py: thresholds of importance in the place of the shares of a pruned model, found on calibration frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.sparse import PillarGrid
from ..runtime.threads import thread_budget
from .architecture import Architecture, Layer
from .checkpoints import Checkpoint
from .network import LayerWeights, Network, weigh_channels
from .pruning import measure_importance
from .quantise import check_float, encode_points


def calibrate_thresholds(
    checkpoint: Checkpoint, frames: Iterable[NDArray[np.floating]], *, threads: int | None = None
) -> Checkpoint:
    """Return the model with thresholds where it had shares, so that nothing need be sorted.

    The threshold of a layer is the importance above which there are, on all frames together, as many pillars as the
    shares keep. Layer is calibrated after layer: those before prune by their thresholds already. So the mean work
    stays, but a frame with much in it keeps more pillars than an empty one.

    Args:
        checkpoint: a float32 model whose layers have `keep`.
        frames: points (N, >=3) of each calibration frame: x forward, y left, z up [m]. Read once; their encoded pillars
            are held, about 2 MB a frame.
        threads: Numba threads; None for all available.

    Raises:
        ModelError: the model is int8.
        UsageError: no layer has a share, no frame has a point in the model's range, or a frame is not (N, >=3).

    Source: the project's own; SPADE / PillarAcc (arXiv 2305.07522) does not tell how it chooses pillars.
    """
    manifest, weights = checkpoint.manifest, check_float(checkpoint)
    architecture = manifest.architecture
    if all(layer.keep is None for layer in architecture.layers):
        raise UsageError(
            f"the model '{manifest.name}' keeps no shares of its pillars to find thresholds for; give it shares (keep)"
        )
    with thread_budget(threads):
        encoded = (encode_points(points, manifest.geometry, checkpoint.encoder) for points in frames)
        grids = [grid for grid in encoded if len(grid)]
        if not grids:
            raise UsageError(
                "no frame to calibrate on has a point in the model's range; give frames like those to come"
            )
        kept = _count_kept(Network(architecture, weights), grids)
        for index, count in enumerate(kept):
            if architecture.layers[index].keep is not None:
                architecture = _calibrate_layer(architecture, weights, index, count, grids)
    return replace(checkpoint, manifest=replace(manifest, architecture=architecture))


def _count_kept(network: Network, grids: list[PillarGrid]) -> list[int]:
    """Return how many pillars every layer hands on, over all frames."""
    counts = np.zeros(len(network.architecture.layers), np.int64)
    for grid in grids:
        counts += [len(output) for _, output in network.outputs(grid)]
    return [int(count) for count in counts]


def _calibrate_layer(
    architecture: Architecture,
    weights: tuple[LayerWeights, ...],
    index: int,
    count: int,
    grids: list[PillarGrid],
) -> Architecture:
    """Return the network with a threshold at one layer that leaves `count` of its pillars on the frames."""
    layer = architecture.layers[index]
    network = Network(_exchange(architecture, index, replace(layer, keep=None)), weights)
    channels = weigh_channels(layer, weights[index])
    found = [measure_importance(_run_until(network, index, grid), channels) for grid in grids]
    threshold = find_threshold(np.concatenate(found), count)
    return _exchange(architecture, index, replace(layer, keep=None, threshold=threshold))


def find_threshold(importance: NDArray[np.float64], count: int) -> float:
    """Return the number between the `count`-th largest importance and the next, or the least one if there is none.

    Args:
        importance: (N,) with N >= 1.
        count: >= 1.
    """
    ordered = np.sort(importance)[::-1]
    if count >= ordered.size:
        return float(ordered[-1])
    return float((ordered[count - 1] + ordered[count]) / 2)


def _exchange(architecture: Architecture, index: int, layer: Layer) -> Architecture:
    layers = architecture.layers
    return replace(architecture, layers=(*layers[:index], layer, *layers[index + 1 :]))


def _run_until(network: Network, index: int, grid: PillarGrid) -> PillarGrid:
    """Return the output of layer `index`; the layers behind it do not run."""
    return next(output for number, (_, output) in enumerate(network.outputs(grid)) if number == index)
