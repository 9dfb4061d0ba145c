"""targets.py: what the head should say at each output cell: centre heatmaps, boxes, and where the loss is silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.jit import kernel
from ..pillars import PillarGeometry

# Objects that resemble a class so much that neither answer is punished (KITTI's Van, Person_sitting and the like).
LOOKALIKES = {
    "van": ("car",),
    "truck": ("car",),
    "bus": ("car",),
    "motorcyclist": ("cyclist", "pedestrian"),
    "sitting": ("pedestrian",),
}
MIN_POINTS = 5  # an object with fewer points is neither demanded nor punished
BOX_TARGETS = 9  # offset x, y [cells], z [m], log l, w, h, sin 2 yaw, cos 2 yaw, direction


@dataclass(frozen=True)
class Targets:
    """Targets of one sample over its active output cells.

    Attributes:
        heatmap: (A, classes) float32, 1 at the cell of a centre, Gaussian around it.
        weight: (A, classes) float32, 0 where the loss is silent.
        cells: (B,) int64 index of the active cells that regress a box.
        boxes: (B, BOX_TARGETS) float32.
        share: (B,) float32 weight of each of them: 1 at the centre, less beside it.
    """

    heatmap: NDArray[np.float32]
    weight: NDArray[np.float32]
    cells: NDArray[np.int64]
    boxes: NDArray[np.float32]
    share: NDArray[np.float32]


@kernel
def _draw_object(
    box: NDArray[np.float64],
    heat: NDArray[np.float32],
    taken: NDArray[np.float32],
    rank: NDArray[np.int64],
    x_min: float,
    y_min: float,
    cell: float,
    out_cells: NDArray[np.int64],
    out_boxes: NDArray[np.float32],
    out_share: NDArray[np.float32],
) -> int:
    """Draw one object into heat (H, W); return how many regression cells were written to the out arrays.

    `taken` holds the Gaussian height of the object that owns a cell's regression so far.
    """
    rows, columns = heat.shape
    x, y, z, length, width, height, yaw = box
    u, v = (x - x_min) / cell - 0.5, (y - y_min) / cell - 0.5
    if u < -0.5 or v < -0.5 or u > columns - 0.5 or v > rows - 0.5:
        return 0
    c, s = np.cos(yaw), np.sin(yaw)
    sigma_l, sigma_w = max(length * 0.16, 0.35), max(width * 0.2, 0.35)
    reach = int(np.ceil(max(length, width) / cell)) + 2
    top, bottom = max(int(v) - reach, 0), min(int(v) + reach + 2, rows)
    left, right = max(int(u) - reach, 0), min(int(u) + reach + 2, columns)
    best, best_row, best_column = 1.2 / cell, -1, -1
    for i in range(top, bottom):
        for j in range(left, right):
            if rank[i, j] < 0:
                continue
            p, q = ((j - u) * c + (i - v) * s) * cell, (-(j - u) * s + (i - v) * c) * cell
            g = np.exp(-0.5 * ((p / sigma_l) ** 2 + (q / sigma_w) ** 2))
            heat[i, j] = max(heat[i, j], g)
            distance = np.sqrt((j - u) ** 2 + (i - v) ** 2)
            if distance < best:
                best, best_row, best_column = distance, i, j
    if best_row < 0:  # no active cell near the centre: the object cannot be found
        return 0
    heat[best_row, best_column] = 1.0
    written = 0
    for i in range(max(best_row - 1, 0), min(best_row + 2, rows)):
        for j in range(max(best_column - 1, 0), min(best_column + 2, columns)):
            centre = i == best_row and j == best_column
            p, q = ((j - u) * c + (i - v) * s) * cell, (-(j - u) * s + (i - v) * c) * cell
            inside = abs(p) < 0.4 * length and abs(q) < 0.45 * width
            g = np.exp(-0.5 * ((p / sigma_l) ** 2 + (q / sigma_w) ** 2))
            if rank[i, j] < 0 or not (centre or (inside and g > taken[i, j])):
                continue
            taken[i, j] = 2.0 if centre else g
            out_cells[written] = rank[i, j]
            out_share[written] = 1.0 if centre else 0.5
            out_boxes[written, 0], out_boxes[written, 1], out_boxes[written, 2] = u - j, v - i, z
            out_boxes[written, 3], out_boxes[written, 4] = np.log(length), np.log(width)
            out_boxes[written, 5] = np.log(height)
            out_boxes[written, 6], out_boxes[written, 7] = np.sin(2 * yaw), np.cos(2 * yaw)
            out_boxes[written, 8] = 1.0 if (c > 0) else 0.0
            written += 1
    return written


@kernel
def _silence_box(
    box: NDArray[np.float64], weight: NDArray[np.float32], x_min: float, y_min: float, cell: float
) -> None:
    """Set weight (H, W) to 0 inside the footprint of `box`, grown by half a cell."""
    rows, columns = weight.shape
    x, y, _, length, width, _, yaw = box
    u, v = (x - x_min) / cell - 0.5, (y - y_min) / cell - 0.5
    c, s = np.cos(yaw), np.sin(yaw)
    reach = int(np.ceil(max(length, width) / cell)) + 2
    for i in range(max(int(v) - reach, 0), min(int(v) + reach + 2, rows)):
        for j in range(max(int(u) - reach, 0), min(int(u) + reach + 2, columns)):
            p, q = ((j - u) * c + (i - v) * s) * cell, (-(j - u) * s + (i - v) * c) * cell
            if abs(p) < length / 2 + 0.5 * cell and abs(q) < width / 2 + 0.5 * cell:
                weight[i, j] = 0.0


def build_targets(
    boxes: NDArray[np.float64],
    labels: tuple[str, ...],
    num_points: NDArray[np.integer],
    coords: NDArray[np.int32],
    shape: tuple[int, int],
    geometry: PillarGeometry,
    cell: float,
    classes: tuple[str, ...],
) -> Targets:
    """Build the targets of one sample.

    Args:
        boxes: (K, 7) x, y, z of the centre above the ground, l, w, h, yaw.
        labels: K names; those in `classes` are demanded, LOOKALIKES silence the loss.
        num_points: (K,) points on each object after augmentation.
        coords: (A, 2) row, column of the active output cells, row-major.
        shape: rows and columns of the output grid.
        geometry: of the pillar grid (its origin counts).
        cell: side of an output cell [m].
        classes: names in the order of the heatmaps.
    """
    rank = np.full(shape, -1, np.int64)
    rank[coords[:, 0], coords[:, 1]] = np.arange(len(coords))
    heat = np.zeros((len(classes), *shape), np.float32)
    weight = np.ones((len(classes), *shape), np.float32)
    taken = np.zeros(shape, np.float32)
    origin = (geometry.x_min, geometry.y_min, cell)
    cells, targets, shares = [], [], []
    for box, label, count in zip(boxes, labels, num_points, strict=True):
        if label in classes and count >= MIN_POINTS:
            k = classes.index(label)
            out = np.empty(9, np.int64), np.empty((9, BOX_TARGETS), np.float32), np.empty(9, np.float32)
            n = _draw_object(box, heat[k], taken, rank, *origin, *out)
            cells.append(out[0][:n])
            targets.append(out[1][:n])
            shares.append(out[2][:n])
        elif count > 0:
            for name in (label,) if label in classes else LOOKALIKES.get(label, ()):
                if name in classes:
                    _silence_box(box, weight[classes.index(name)], *origin)
    weight[heat == 1.0] = 1.0
    at = coords[:, 0], coords[:, 1]
    return Targets(
        np.ascontiguousarray(heat[:, at[0], at[1]].T),
        np.ascontiguousarray(weight[:, at[0], at[1]].T),
        np.concatenate(cells) if cells else np.zeros(0, np.int64),
        np.concatenate(targets) if targets else np.zeros((0, BOX_TARGETS), np.float32),
        np.concatenate(shares) if shares else np.zeros(0, np.float32),
    )
