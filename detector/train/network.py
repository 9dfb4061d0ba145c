"""network.py: the network in torch, trained as sparse as it will run.

Each layer gathers the rows that its rules name and multiplies them by the taps' weights (implicit GEMM), so the
trained function is the sparse one, not a dense one that is cut afterwards. torch is imported here and in the
modules beside it only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..architecture import INPUT, Architecture, Layer
from ..pillars import PILLAR_FEATURES, POINT_FEATURES


@dataclass(frozen=True)
class LayerTable:
    """The rules of one layer over a batch.

    Attributes:
        forward: (P_out, taps) int32 input row of each tap; the row past the last one means none.
        backward: (P_in, taps) int32 output row that each tap of an input feeds; past the last one means none.
        merges: for a layer with several inputs, one (P_in,) int32 row index into each; past the last means none.
    """

    forward: Tensor
    backward: Tensor
    merges: tuple[Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """The network's input: points grouped by pillar, and the rules of every layer.

    Attributes:
        point_features: (N, POINT_FEATURES) float32.
        pillar_features: (P, PILLAR_FEATURES) float32.
        pillar_of_point: (N,) int64, ascending.
        tables: one per layer of the architecture.
    """

    point_features: Tensor
    pillar_features: Tensor
    pillar_of_point: Tensor
    tables: tuple[LayerTable, ...]


def _pad(rows: Tensor) -> Tensor:
    return functional.pad(rows, (0, 0, 0, 1))


class GatherMultiply(torch.autograd.Function):
    """out[o] = sum over taps of rows[forward[o, tap]] @ weight[tap], with gathers in both directions."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, table: LayerTable) -> Tensor:
        taps, width, out = weight.shape
        columns = _pad(rows).index_select(0, table.forward.reshape(-1)).view(-1, taps * width)
        ctx.save_for_backward(columns, weight)
        ctx.table = table
        return columns @ weight.view(taps * width, out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        columns, weight = ctx.saved_tensors
        taps, width, out = weight.shape
        grad = grads[0].contiguous()
        weight_grad = (grad.t() @ columns).t().reshape(taps, width, out)
        fed = _pad(grad).index_select(0, ctx.table.backward.reshape(-1)).view(-1, taps * out)
        return fed @ weight.transpose(1, 2).reshape(taps * out, width), weight_grad, None


class SparseLayer(nn.Module):
    """One layer of the architecture: convolution, batch norm over the active rows, ReLU; the head's last has bias."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        taps = layer.kernel**2
        fan = layer.in_channels * (1 if layer.kind == "transposed" else taps)
        self.weight = nn.Parameter(torch.randn(taps, layer.in_channels, layer.out_channels) * (2.0 / fan) ** 0.5)
        self.norm = nn.BatchNorm1d(layer.out_channels, eps=1e-3, momentum=0.02) if layer.relu else None
        self.bias = None if layer.relu else nn.Parameter(torch.zeros(layer.out_channels))

    def forward(self, rows: Tensor, table: LayerTable, dtype: torch.dtype) -> Tensor:
        out = GatherMultiply.apply(rows.to(dtype), self.weight.to(dtype), table).float()
        if self.norm is None:
            assert self.bias is not None
            return out + self.bias  # type: ignore[no-any-return]
        return functional.relu(self.norm(out))


class Encoder(nn.Module):
    """Pillar feature net: a linear layer over point and pillar features, batch norm, max over the points, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point = nn.Linear(POINT_FEATURES, channels, bias=False)
        self.pillar = nn.Linear(PILLAR_FEATURES, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.02)

    def forward(self, batch: Batch) -> Tensor:
        # ReLU and batch norm (with its positive or negative slope) act on the sum; the sum's pillar part is the
        # same for all points of a pillar, so only the point part is computed per point.
        own = self.pillar(batch.pillar_features)
        summed = self.point(batch.point_features) + own.index_select(0, batch.pillar_of_point)
        normed = functional.relu(self.norm(summed))
        index = batch.pillar_of_point[:, None].expand_as(normed)
        return torch.zeros_like(own).scatter_reduce(0, index, normed, "amax", include_self=False)


class SparseNetwork(nn.Module):
    """The whole network; returns (A, classes + REGRESSION) over the head's active cells."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture.encoder_channels)
        self.layers = nn.ModuleList(SparseLayer(layer) for layer in architecture.layers)

    def forward(self, batch: Batch, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        outputs = {INPUT: self.encoder(batch)}
        rows = outputs[INPUT]
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
