"""spconv_peer.py: the same convolutions by spconv on the CPU; the one module that imports it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...runtime.errors import MissingExtraError
from ...runtime.sparse import Kind, PillarGrid


class SpconvPeer:
    """Runs spconv layers without bias on `threads` torch threads.

    Raises:
        MissingExtraError: spconv or torch is not installed.
    """

    def __init__(self, threads: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import spconv
                import spconv.pytorch as layers
                import torch
        except ImportError as error:
            raise MissingExtraError("spconv", "peers", "the comparison with spconv") from error
        self._layers, self._torch = layers, torch
        self.version = str(spconv.__version__)
        torch.set_num_threads(threads)

    def prepare(
        self, grid: PillarGrid, weight: np.ndarray[Any, np.dtype[np.float32]], kind: Kind, stride: int
    ) -> tuple[Callable[[], Any], Callable[[], Any] | None]:
        """Return calls of the layer: one that finds its rules, one with rules kept (submanifold only)."""
        torch = self._torch
        layer = self._build_layer(weight, kind, stride)
        features = torch.from_numpy(grid.features)
        batch = np.zeros((len(grid), 1), np.int32)
        indices = torch.from_numpy(np.concatenate([batch, grid.coords], axis=1))

        def run(known: dict[str, Any]) -> Any:
            tensor = self._layers.SparseConvTensor(features, indices, list(grid.shape), 1)
            tensor.indice_dict = known
            with torch.no_grad():
                return layer(tensor)

        rules = run({}).indice_dict
        if kind == "submanifold":
            return lambda: run({}), lambda: run(rules)
        return lambda: run({}), None

    def to_grid(self, output: Any) -> PillarGrid:
        """Return spconv's result, which is in no fixed order, as a pillar grid."""
        shape = (int(output.spatial_shape[0]), int(output.spatial_shape[1]))
        return PillarGrid.from_coords(output.indices.numpy()[:, 1:], output.features.numpy(), shape)

    def _build_layer(self, weight: np.ndarray[Any, np.dtype[np.float32]], kind: Kind, stride: int) -> Any:
        """Return the layer for inference; spconv orders weights (Cout, k, k, Cin), at k = 1 (Cin, Cout)."""
        out_channels, in_channels, kernel, _ = weight.shape
        pad = 0 if kernel == 2 else kernel // 2
        options: dict[str, Any] = {"bias": False, "indice_key": "rules"}
        if kind == "submanifold":
            layer = self._layers.SubMConv2d(in_channels, out_channels, kernel, padding=pad, **options)
        elif kind == "transposed":
            layer = self._layers.SparseConvTranspose2d(in_channels, out_channels, kernel, stride, **options)
        else:
            layer = self._layers.SparseConv2d(
                in_channels, out_channels, kernel, stride=stride, padding=pad, **options
            )
        ordered = weight[:, :, 0, 0].T if kernel == 1 else weight.transpose(0, 2, 3, 1)
        with self._torch.no_grad():
            layer.weight.copy_(self._torch.from_numpy(ordered.copy()).reshape(layer.weight.shape))
        return layer.eval()
