"""network.py: the network in torch, trained as sparse as it will run.

Each layer gathers the rows that its rules name and multiplies them by the taps' weights (implicit GEMM), so the
trained function is the sparse one, not a dense one that is cut afterwards. torch is imported here and in the
modules beside it only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...runtime.jit import kernel
from ...runtime.sparse import PillarGrid
from ..architecture import INPUT, Architecture, Layer
from ..density import SCALES
from ..pillars import PILLAR_FEATURES, POINT_FEATURES
from ..pruning import count_kept
from .rules import BatchRules, LayerTable, Sites, prune_sites

_SHARPNESS = 4.0  # of the soft mask around the importance of the last pillar that stays


@dataclass(frozen=True)
class Batch:
    """The network's input: points grouped by pillar, and where the pillars are.

    Attributes:
        point_features: (N, POINT_FEATURES) float32.
        pillar_features: (P, PILLAR_FEATURES) float32.
        density: (P, SCALES) float32 beam density at each pillar [points per m]; (P, 0) for a network without gates.
        starts: (P + 1,) int32; the points of pillar p are starts[p] to starts[p + 1].
        pillars: the active set of each sample.
    """

    point_features: Tensor
    pillar_features: Tensor
    density: Tensor
    starts: Tensor
    pillars: tuple[PillarGrid, ...]


@dataclass(frozen=True)
class Output:
    """What the network computes.

    Attributes:
        rows: (A, classes + REGRESSION) over the head's active cells of all samples.
        cells: the active set of each sample.
        lasso: mean L2 norm of the pillars in front of each pruning, summed over the prunings: the group lasso.
    """

    rows: Tensor
    cells: tuple[PillarGrid, ...]
    lasso: Tensor


def _pad(rows: Tensor, more: int = 1) -> Tensor:
    return functional.pad(rows, (0, 0, 0, more))


class GatherMultiply(torch.autograd.Function):
    """out[o] = sum over taps of rows[forward[o, tap]] @ weight[tap], with gathers in both directions."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, table: LayerTable) -> Tensor:
        taps, width, out = weight.shape
        columns = _pad(rows).index_select(0, table.forward.reshape(-1)).view(-1, taps * width)
        ctx.save_for_backward(columns, weight)
        ctx.table = table
        return (columns @ weight.view(taps * width, out))[: table.outputs]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        columns, weight = ctx.saved_tensors
        taps, width, out = weight.shape
        table: LayerTable = ctx.table
        grad = _pad(grads[0], len(columns) - table.outputs)
        weight_grad = (grad.t() @ columns).t().reshape(taps, width, out)
        fed = grad.index_select(0, table.backward.reshape(-1)).view(-1, taps * out)
        return (fed @ weight.transpose(1, 2).reshape(taps * out, width))[: table.inputs], weight_grad, None


class SparseLayer(nn.Module):
    """One layer of the architecture: convolution, batch norm over the active rows, ReLU; the head's last has bias."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        taps = layer.kernel**2
        fan = layer.in_channels * (1 if layer.kind == "transposed" else taps)
        self.weight = nn.Parameter(
            torch.randn(taps, layer.in_channels, layer.out_channels) * (2.0 / fan) ** 0.5
        )
        self.norm = nn.BatchNorm1d(layer.out_channels, eps=1e-3, momentum=0.02) if layer.relu else None
        self.bias = None if layer.relu else nn.Parameter(torch.zeros(layer.out_channels))
        learned = layer.pruned and layer.importance == "learned"
        self.importance = nn.Parameter(torch.full((layer.out_channels,), 1.0)) if learned else None

    def forward(self, rows: Tensor, table: LayerTable, dtype: torch.dtype) -> Tensor:
        out = GatherMultiply.apply(  # type: ignore[no-untyped-call]
            rows.to(dtype), self.weight.to(dtype), table
        ).float()
        if self.norm is None:
            assert self.bias is not None
            return out + self.bias  # type: ignore[no-any-return]
        return functional.relu(self.norm(out))


@kernel
def _find_highest(
    starts: NDArray[np.int32], points: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return (P, C) maxima of points @ weight over each pillar's points, and the points that reach them."""
    channels = weight.shape[1]
    highest = np.full((len(starts) - 1, channels), -np.inf, np.float32)
    chosen = np.zeros((len(starts) - 1, channels), np.int32)
    for p in range(len(starts) - 1):
        for n in range(starts[p], starts[p + 1]):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            for c in range(channels):
                value = x * weight[0, c] + y * weight[1, c] + z * weight[2, c]
                if value > highest[p, c]:
                    highest[p, c] = value
                    chosen[p, c] = n
    return highest, chosen


@kernel
def _sum_chosen(
    points: NDArray[np.float32], chosen: NDArray[np.int32], grad: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the gradient of `_find_highest`'s weight, (POINT_FEATURES, C)."""
    out = np.zeros((points.shape[1], grad.shape[1]), np.float32)
    for p in range(len(grad)):
        for c in range(grad.shape[1]):
            n = chosen[p, c]
            for f in range(points.shape[1]):
                out[f, c] += grad[p, c] * points[n, f]
    return out


class PillarMaximum(torch.autograd.Function):
    """Maximum over a pillar's points of points @ weight, without the (points, channels) array between."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, batch: Batch) -> Tensor:
        points, starts = batch.point_features.numpy(), batch.starts.numpy()
        highest, chosen = _find_highest(starts, points, weight.detach().contiguous().numpy())
        ctx.points, ctx.chosen = points, chosen
        return torch.from_numpy(highest)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(_sum_chosen(ctx.points, ctx.chosen, grads[0].contiguous().numpy())), None


class Gates(nn.Module):
    """Density gates: from the clipped beam density of a pillar two factors in 0..1 for each channel.

    Source: DDFE (arXiv 2312.12098), eq. 6 to 8; see `detector.density` for what pillars change.
    """

    middle: Tensor
    reach: Tensor

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(SCALES, 2 * hidden)
        self.point, self.pillar = nn.Linear(hidden, channels), nn.Linear(hidden, channels)
        for last in (self.point, self.pillar):
            nn.init.constant_(last.bias, 2.0)  # begins nearly open
        self.register_buffer("middle", torch.full((SCALES,), torch.nan))  # until `fit`
        self.register_buffer("reach", torch.full((SCALES,), torch.nan))

    def fit(self, density: Tensor) -> None:
        """Set the clip from densities (P, SCALES) of training data: their 10th and 90th percentiles."""
        low, high = torch.quantile(density, torch.tensor([0.1, 0.9]), dim=0)
        self.middle.copy_((high + low) / 2)
        self.reach.copy_(((high - low) / 2).clamp(min=1e-3))

    def forward(self, density: Tensor) -> tuple[Tensor, Tensor]:
        clipped = torch.tanh((density - self.middle) / self.reach)
        of_points, of_pillars = functional.relu(self.hidden(clipped)).chunk(2, 1)
        return torch.sigmoid(self.point(of_points)), torch.sigmoid(self.pillar(of_pillars))


class Encoder(nn.Module):
    """Pillar feature net: linear over point and pillar features, maximum over the points, batch norm, ReLU."""

    def __init__(self, channels: int, gates: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(POINT_FEATURES, channels) * (2.0 / POINT_FEATURES) ** 0.5)
        self.pillar = nn.Linear(PILLAR_FEATURES, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.02)
        self.gates = Gates(gates, channels) if gates else None

    def forward(self, batch: Batch) -> Tensor:
        # What a pillar's points share is added after the maximum: it cannot change which point is the highest.
        highest = PillarMaximum.apply(self.point, batch)  # type: ignore[no-untyped-call]
        shared = self.pillar(batch.pillar_features)
        if self.gates is not None:
            of_points, of_pillars = self.gates(batch.density)
            highest, shared = of_points * highest, of_pillars * shared
        return functional.relu(self.norm(highest + shared))


class SparseNetwork(nn.Module):
    """The whole network.

    Attributes:
        opening: factor of the shares that pruning keeps, 1 at inference; training begins with more.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.opening = 1.0
        self.encoder = Encoder(architecture.encoder_channels, architecture.gate_channels)
        self.layers = nn.ModuleList(SparseLayer(layer) for layer in architecture.layers)

    def forward(self, batch: Batch, dtype: torch.dtype = torch.bfloat16) -> Output:
        rules = BatchRules(len(batch.pillars))
        outputs: dict[str, Tensor] = {INPUT: self.encoder(batch)}
        places = {INPUT: Sites.whole(batch.pillars)}
        lasso = torch.zeros(())
        for spec, module in zip(self.architecture.layers, self.layers, strict=True):
            table, sites = rules.find(spec, tuple(places[name] for name in spec.inputs))
            rows = outputs[spec.inputs[0]]
            if len(spec.inputs) > 1:
                parts = [
                    _pad(outputs[name]).index_select(0, merge)
                    for name, merge in zip(spec.inputs, table.merges, strict=True)
                ]
                rows = torch.cat(parts, 1)
            rows = module(rows, table, torch.float32 if not spec.relu else dtype)
            if spec.keep is not None:
                norms = torch.sqrt((rows * rows).sum(1) + 1e-12)
                lasso = lasso + norms.mean()
                rows, sites = self._prune(spec, module, rows, norms, sites)
            outputs[spec.name], places[spec.name] = rows, sites
        return Output(rows, sites.every, lasso)

    def _prune(
        self, spec: Layer, module: nn.Module, rows: Tensor, norms: Tensor, sites: Sites
    ) -> tuple[Tensor, Sites]:
        """Set the rows that pruning drops to zero; return them and the sites that are left.

        The mask is straight-through: forwards it is 0 or 1, backwards the slope of a sigmoid of the importance, so
        that a pillar learns to matter more or less.
        """
        assert spec.keep is not None
        counts = tuple(count_kept(spec.keep * self.opening, entered) for entered in sites.entered)
        if all(count >= len(grid) for count, grid in zip(counts, sites.every, strict=True)):
            return rows, sites
        importance, weights = norms, module.importance
        if spec.importance == "l1":
            importance = rows.sum(1)
        elif isinstance(weights, Tensor):
            importance = rows @ weights
        exact = importance.detach() if spec.importance == "learned" else _measure(rows.detach(), spec)
        sites, stays, level = prune_sites(sites, exact.double().numpy(), counts)
        least = torch.from_numpy(level).sqrt() if spec.importance == "l2" else torch.from_numpy(level)
        soft = torch.sigmoid(_SHARPNESS * (importance / least.abs().clamp(min=1e-6) - least.sign()))
        mask = torch.from_numpy(stays).float() + soft - soft.detach()
        return rows * mask[:, None], sites


def _measure(rows: Tensor, spec: Layer) -> Tensor:
    """Return the importance of rows (R, C) as the engine sums it, in float64: for l2 the square."""
    exact = rows.double()
    return exact.sum(1) if spec.importance == "l1" else (exact * exact).sum(1)
