"""spconv_peer.py: a submanifold network by spconv and torch on the CPU; the one module that imports them here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...detector.architecture import INPUT, Architecture, Layer
from ...detector.network import LayerWeights
from ...runtime.errors import MissingExtraError, UsageError
from ...runtime.sparse import PillarGrid


class SpconvNetwork:
    """The layers of a network: 3 × 3 and strided ones by spconv, the others, which find no neighbours, by matmul.

    Submanifold layers over the same sites share their indices, as spconv's `indice_key` is meant for. The last layer
    reads its inputs at their own sites and adds up over the union of these, as the engine does.

    Args:
        architecture: submanifold, strided and transposed layers; several inputs in the last layer only.
        weights: one per layer, float32: spconv has no integers on the CPU.
        threads: torch threads of one call.

    Raises:
        MissingExtraError: spconv or torch is not installed.
        UsageError: a dilating layer, whose sites `SparseConv2d` would find anew in every layer.
    """

    def __init__(self, architecture: Architecture, weights: Sequence[LayerWeights], threads: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import spconv
                import spconv.pytorch
                import torch
        except ImportError as error:
            raise MissingExtraError("spconv", "peers", "the comparison with spconv") from error
        # It has a note about its own future for whoever traces modules, as spconv's do.
        logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
        if any(layer.kind == "dilating" for layer in architecture.layers):
            raise UsageError("the comparison with spconv needs a submanifold network")
        self._spconv, self._torch = spconv.pytorch, torch
        self.version, self.threads = str(spconv.__version__), threads
        self._layers = architecture.layers
        sites = _name_sites(architecture)
        self._modules = [
            self._build_module(layer, part, name)
            for layer, part, name in zip(self._layers, weights, sites, strict=True)
        ]
        self._biases = [torch.from_numpy(part.bias) for part in weights]

    def run(self, grid: PillarGrid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return the last layer's active cells, as row · columns + column (A,), and its output (A, Cout)."""
        torch = self._torch
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            known = {INPUT: self._open(grid)}
            parts = zip(self._layers[:-1], self._modules, self._biases, strict=False)
            for layer, module, bias in parts:
                known[layer.name] = self._run_layer(layer, module, bias, known[layer.inputs[0]])
            last = [known[name] for name in self._layers[-1].inputs]
            cells, sums = self._join(last, self._modules[-1], self._biases[-1])
        return cells.numpy(), sums.numpy()

    def find_indices(self, grid: PillarGrid) -> None:
        """Find the indices of all layers that need some, each once, and nothing else."""
        torch, ops = self._torch, self._spconv.ops
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            sites, shape, found = self._find_sites(grid), list(grid.shape), set()
            for layer, module in zip(self._layers, self._modules, strict=True):
                if isinstance(module, torch.Tensor) or module.indice_key in found:
                    continue
                found.add(module.indice_key)
                sites, _, _ = ops.get_indice_pairs(
                    sites,
                    1,
                    shape,
                    module.algo,
                    module.kernel_size,
                    module.stride,
                    module.padding,
                    module.dilation,
                    module.output_padding,
                    module.subm,
                    module.transposed,
                )
                if layer.kind == "strided":
                    shape = list(_find_strided_shape(layer, shape))

    def _find_sites(self, grid: PillarGrid) -> Any:
        batch = np.zeros((len(grid), 1), np.int32)
        return self._torch.from_numpy(np.concatenate([batch, grid.coords], axis=1))

    def _open(self, grid: PillarGrid) -> Any:
        features = self._torch.from_numpy(grid.features)
        return self._spconv.SparseConvTensor(features, self._find_sites(grid), list(grid.shape), 1)

    def _run_layer(self, layer: Layer, module: Any, bias: Any, tensor: Any) -> Any:
        """Run a layer with one input; a transposed one gives (cells, features, columns) in place of a tensor."""
        if not isinstance(module, self._torch.Tensor):
            tensor = module(tensor)
            features = tensor.features.add_(bias)
            return tensor.replace_feature(features.relu_() if layer.relu else features)
        features = tensor.features @ module
        features = features.view(-1, layer.stride**2, layer.out_channels).add_(bias)
        if layer.relu:
            features.relu_()
        rows, cols = (tensor.indices[:, axis].long() * layer.stride for axis in (1, 2))
        steps = self._torch.arange(layer.stride)
        columns = int(tensor.spatial_shape[1]) * layer.stride
        cells = ((rows[:, None, None] + steps[:, None]) * columns + cols[:, None, None] + steps).view(-1)
        return (
            cells,
            features.view(-1, layer.out_channels),
            int(tensor.spatial_shape[0]) * layer.stride * columns,
        )

    def _join(self, inputs: list[Any], weight: Any, bias: Any) -> tuple[Any, Any]:
        """Return the union of the inputs' cells, and the sum of their products with their parts of the weight."""
        torch = self._torch
        active = torch.zeros(inputs[0][2], dtype=torch.bool)
        for cells, _, _ in inputs:
            active[cells] = True
        ranks = torch.cumsum(active, 0) - 1
        union = torch.nonzero(active).view(-1)
        sums = bias.repeat(len(union), 1)
        first = 0
        for cells, features, _ in inputs:
            part = weight[first : first + features.shape[1]]
            sums.index_add_(0, ranks[cells], features @ part)
            first += features.shape[1]
        return union, sums

    def _build_module(self, layer: Layer, part: LayerWeights, sites: str) -> Any:
        """Return spconv's layer without bias, which its inference on the CPU cannot add, or a matrix (Cin, k² Cout)."""
        weight = part.weight
        if layer.kernel == 1 or layer.kind == "transposed":
            return self._torch.from_numpy(weight.transpose(1, 2, 3, 0).reshape(layer.in_channels, -1).copy())
        pad = 0 if layer.kernel == 2 else layer.kernel // 2
        channels = layer.in_channels, layer.out_channels, layer.kernel
        if layer.kind == "submanifold":
            key = f"{sites} submanifold {layer.kernel}"
            module = self._spconv.SubMConv2d(*channels, padding=pad, bias=False, indice_key=key)
        else:
            module = self._spconv.SparseConv2d(
                *channels, stride=layer.stride, padding=pad, bias=False, indice_key=layer.name
            )
        ordered = self._torch.from_numpy(weight.transpose(0, 2, 3, 1).copy())  # (Cout, k, k, Cin)
        with self._torch.no_grad():
            module.weight.copy_(ordered.reshape(module.weight.shape))
        return module.eval()


def _find_strided_shape(layer: Layer, shape: list[int]) -> tuple[int, int]:
    pad = 0 if layer.kernel == 2 else layer.kernel // 2
    rows, cols = ((side + 2 * pad - layer.kernel) // layer.stride + 1 for side in shape)
    return rows, cols


def _name_sites(architecture: Architecture) -> list[str]:
    """Return for every layer a name of its input's active sites; layers over the same sites have the same."""
    made = {INPUT: INPUT}
    names = []
    for layer in architecture.layers:
        names.append(made[layer.inputs[0]])
        made[layer.name] = names[-1] if layer.kind == "submanifold" else layer.name
    return names
