"""detections.py: the boxes found in one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame, sorted by descending score.

    Attributes:
        boxes: (M, 7) float32: x, y, z of the box centre, length, width, height [m], yaw about +z from +x [rad].
        scores: (M,) float32 in 0..1.
        labels: (M,) int32 index into `classes`.
        classes: names of the model's classes, such as ("car", "pedestrian", "cyclist").
        ground: height of the ground under the sensor that the boxes were found with [m]; None where it is unknown.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    ground: float | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Return the detections at `mask` (boolean mask or indices)."""
        return replace(self, boxes=self.boxes[mask], scores=self.scores[mask], labels=self.labels[mask])

    @classmethod
    def empty(cls, classes: tuple[str, ...]) -> Detections:
        """Return no detections of `classes`."""
        return cls(np.zeros((0, 7), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), classes)
