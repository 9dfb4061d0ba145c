"""test_losses.py: each term of the loss says what it is meant to say."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import REGRESSION  # noqa: E402
from colonnade.detector.boxes import bev_iou  # noqa: E402
from colonnade.detector.train.losses import Losses, TargetBatch, compute_losses  # noqa: E402


def measure(output: torch.Tensor, target: TargetBatch) -> Losses:
    return compute_losses(output, target, 0.64)


def one_car(yaw: float = 0.4, share: float = 1.0) -> tuple[torch.Tensor, TargetBatch]:
    """Return the right answer for one car at cell 3 of 6, and its target."""
    box = torch.tensor(
        [[0.1, -0.2, 0.8, 1.4, 0.6, 0.4, np.sin(2 * yaw), np.cos(2 * yaw), 1.0]], dtype=torch.float32
    )
    heatmap = torch.zeros(6, 3)
    heatmap[3, 0] = 1.0
    target = TargetBatch(heatmap, torch.ones(6, 3), torch.tensor([3]), box, torch.tensor([share]))
    output = torch.full((6, 3 + REGRESSION), -9.0)
    output[3, 0] = 9.0
    output[3, 3:11], output[3, 11], output[3, 12] = box[0, :8], 9.0, 9.0
    return output, target


def test_the_total_is_the_weighted_sum():
    terms = [torch.tensor(float(10**k)) for k in range(5)]
    assert float(Losses(*terms).total) == pytest.approx(1 + 10 + 0.6 * 100 + 0.15 * 1000 + 0.3 * 10000)


def test_a_false_alarm_costs_less_near_a_centre_and_nothing_where_the_loss_is_silent():
    output, target = one_car()
    output[1, 0] = 2.0
    plain = float(measure(output, target).heatmap)
    target.heatmap[1, 0] = 0.8
    near = float(measure(output, target).heatmap)
    target.weight[1, 0] = 0.0
    silent = float(measure(output, target).heatmap)
    assert plain > 100 * near > 100 * silent
    assert near == pytest.approx(plain * 0.2**4, rel=0.2, abs=1e-3)
    assert silent < 1e-3


def test_the_heatmap_loss_is_per_centre():
    output, target = one_car()
    output[3, 0] = -1.0
    twice = TargetBatch(
        target.heatmap.repeat(2, 1), target.weight.repeat(2, 1), target.cells, target.boxes, target.share
    )
    assert float(measure(output.repeat(2, 1), twice).heatmap) == pytest.approx(
        float(measure(output, target).heatmap)
    )


@pytest.mark.parametrize("yaw", [0.4, -1.2])
def test_the_overlap_term_is_one_minus_the_overlap(yaw):
    output, target = one_car(yaw)
    output[3, 3:5] += torch.tensor([0.9, 0.4])  # cells of 0.64 m
    output[3, 6:8] += torch.tensor([0.2, -0.1])
    length, width = np.exp(1.4), np.exp(0.6)
    true = [[0.1 * 0.64, -0.2 * 0.64, 0, length, width, 1, yaw]]
    found = [[1.0 * 0.64, 0.2 * 0.64, 0, length * np.exp(0.2), width * np.exp(-0.1), 1, yaw]]
    overlap = float(bev_iou(np.array(true), np.array(found))[0, 0])
    assert float(measure(output, target).overlap) == pytest.approx(1 - overlap, abs=0.02)


def test_quality_is_taught_the_overlap_and_a_wrong_yaw_lowers_it():
    output, target = one_car()
    at_ease = [-4.0, 0.0, 4.0]

    def best_answer(output: torch.Tensor) -> float:
        losses = []
        for answer in at_ease:
            output[3, 12] = answer
            losses.append(float(measure(output, target).quality))
        return at_ease[int(np.argmin(losses))]

    assert best_answer(output) == 4.0
    output[3, 9:11] *= -1  # a quarter turn
    assert best_answer(output) == -4.0


def test_small_errors_of_a_box_count_in_full_and_by_share():
    output, target = one_car()
    output[3, 5] += 0.3
    whole = float(measure(output, target).box)
    assert whole == pytest.approx(1.5 * (0.3 - 0.025), rel=1e-3)
    many = TargetBatch(
        target.heatmap,
        target.weight,
        torch.tensor([3, 2]),
        target.boxes.repeat(2, 1),
        torch.tensor([1.0, 0.5]),
    )
    output[2, 3:] = output[3, 3:]
    output[2, 5] = target.boxes[0, 2] + 0.6
    assert float(measure(output, many).box) == pytest.approx(
        (whole + 0.5 * 1.5 * (0.6 - 0.025)) / 1.5, rel=1e-3
    )


def test_no_object_at_all_gives_finite_losses():
    output, target = one_car()
    nothing = TargetBatch(
        torch.zeros(6, 3), target.weight, target.cells[:0], target.boxes[:0], target.share[:0]
    )
    output = output.requires_grad_()
    total = measure(output, nothing).total
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(output.grad).all()
