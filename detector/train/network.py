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
from ..architecture import INPUT, Architecture, Layer
from ..pillars import PILLAR_FEATURES, POINT_FEATURES


@dataclass(frozen=True)
class LayerTable:
    """The rules of one layer over a batch, padded to `round_rows` with rows of none.

    Attributes:
        forward: (>= P_out, taps) int32 input row of each tap; P_in means none.
        backward: (>= P_in, taps) int32 output row that each tap of an input feeds; P_out means none.
        inputs, outputs: P_in and P_out.
        merges: for a layer with several inputs, one (P_in,) int32 row index into each; past the last means none.
    """

    forward: Tensor
    backward: Tensor
    inputs: int
    outputs: int
    merges: tuple[Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """The network's input: points grouped by pillar, and the rules of every layer.

    Attributes:
        point_features: (N, POINT_FEATURES) float32.
        pillar_features: (P, PILLAR_FEATURES) float32.
        starts: (P + 1,) int32; the points of pillar p are starts[p] to starts[p + 1].
        tables: one per layer of the architecture.
    """

    point_features: Tensor
    pillar_features: Tensor
    starts: Tensor
    tables: tuple[LayerTable, ...]


def round_rows(rows: int) -> int:
    """Return `rows` + 1 rounded up to one of eight sizes per octave.

    The matrix library compiles a kernel for every new shape; few shapes keep it from compiling all the time.
    """
    step = max(64, 1 << (max(rows, 1).bit_length() - 4))
    return (rows // step + 1) * step


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


class Encoder(nn.Module):
    """Pillar feature net: linear over point and pillar features, maximum over the points, batch norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(POINT_FEATURES, channels) * (2.0 / POINT_FEATURES) ** 0.5)
        self.pillar = nn.Linear(PILLAR_FEATURES, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.02)

    def forward(self, batch: Batch) -> Tensor:
        # What a pillar's points share is added after the maximum: it cannot change which point is the highest.
        highest = PillarMaximum.apply(self.point, batch)  # type: ignore[no-untyped-call]
        summed = highest + self.pillar(batch.pillar_features)
        return functional.relu(self.norm(summed))


class SparseNetwork(nn.Module):
    """The whole network; returns (A, classes + REGRESSION) over the head's active cells."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture.encoder_channels)
        self.layers = nn.ModuleList(SparseLayer(layer) for layer in architecture.layers)

    def forward(self, batch: Batch, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        rows: Tensor = self.encoder(batch)
        outputs = {INPUT: rows}
        for spec, module, table in zip(self.architecture.layers, self.layers, batch.tables, strict=True):
            if len(spec.inputs) == 1:
                rows = outputs[spec.inputs[0]]
            else:
                parts = [
                    _pad(outputs[name]).index_select(0, merge)
                    for name, merge in zip(spec.inputs, table.merges, strict=True)
                ]
                rows = torch.cat(parts, 1)
            kind = torch.float32 if not spec.relu else dtype
            outputs[spec.name] = rows = module(rows, table, kind)
        return rows
