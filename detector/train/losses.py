"""losses.py: what training minimises: focal loss on the heatmaps, box regression, overlap, direction and quality."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from .targets import BOX_TARGETS

_BOX_WEIGHTS = (1.0, 1.0, 1.5, 1.5, 1.5, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class TargetBatch:
    """`Targets` of several samples as tensors, cells counted over the whole batch."""

    heatmap: Tensor
    weight: Tensor
    cells: Tensor
    boxes: Tensor
    share: Tensor


@dataclass(frozen=True)
class Losses:
    """The terms of one step; `total` is what is minimised."""

    heatmap: Tensor
    box: Tensor
    overlap: Tensor
    direction: Tensor
    quality: Tensor

    def detach(self) -> Losses:
        """Return the values without the graph behind them."""
        return Losses(*(getattr(self, f.name).detach() for f in fields(self)))

    @property
    def total(self) -> Tensor:
        """Weighted sum of the terms."""
        return self.heatmap + self.box + 0.6 * self.overlap + 0.15 * self.direction + 0.3 * self.quality


def _focal(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Centre-point focal loss (CornerNet, eq. 1), normalised by the number of centres."""
    probability = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    centre = (target == 1).float()
    hit = centre * (1 - probability) ** 2 * torch.log(probability)
    miss = (1 - centre) * weight * (1 - target) ** 4 * probability**2 * torch.log(1 - probability)
    return -(hit + miss).sum() / centre.sum().clamp(min=1)


def _aligned_overlap(predicted: Tensor, target: Tensor, cell: float) -> Tensor:
    """Return the overlap (IoU) of footprints, (B,), with centres compared along the target's axes.

    The predicted box takes the target's yaw, so this is exact where the yaw is right and smooth everywhere.
    """
    yaw = torch.atan2(target[:, 6], target[:, 7]) / 2
    c, s = torch.cos(yaw), torch.sin(yaw)
    dx, dy = (predicted[:, 0] - target[:, 0]) * cell, (predicted[:, 1] - target[:, 1]) * cell
    along, across = dx * c + dy * s, -dx * s + dy * c
    size, true = predicted[:, 3:5].clamp(-2, 4).exp(), target[:, 3:5].exp()
    shift = torch.stack([along, across], 1).abs()
    shared = (torch.minimum(size, true)).minimum((size + true) / 2 - shift).clamp(min=0)
    inter = shared[:, 0] * shared[:, 1]
    return inter / (size.prod(1) + true.prod(1) - inter).clamp(min=1e-6)


def compute_losses(output: Tensor, target: TargetBatch, cell: float) -> Losses:
    """Compare the head's output (A, classes + REGRESSION) with the targets; `cell` is an output cell's side [m]."""
    classes = target.heatmap.shape[1]
    heatmap = _focal(output[:, :classes], target.heatmap, target.weight)
    at = output.index_select(0, target.cells)[:, classes:]
    share, total = target.share, target.share.sum().clamp(min=1)
    if not len(at):
        zero = output.sum() * 0.0
        return Losses(heatmap, zero, zero, zero, zero)
    box = functional.smooth_l1_loss(at[:, :8], target.boxes[:, :8], reduction="none", beta=0.05)
    box = (box * torch.tensor(_BOX_WEIGHTS)).sum(1)
    overlap = _aligned_overlap(at, target.boxes, cell)
    direction = functional.binary_cross_entropy_with_logits(at[:, 8], target.boxes[:, 8], reduction="none")
    with torch.no_grad():
        turn = torch.atan2(at[:, 6], at[:, 7]) - torch.atan2(target.boxes[:, 6], target.boxes[:, 7])
        truth = overlap.detach() * (0.5 + 0.5 * torch.cos(turn))  # a wrong yaw lowers the true overlap
    quality = functional.binary_cross_entropy_with_logits(at[:, BOX_TARGETS], truth, reduction="none")
    return Losses(
        heatmap,
        (box * share).sum() / total,
        ((1 - overlap) * share).sum() / total,
        (direction * share).sum() / total,
        (quality * share).sum() / total,
    )
