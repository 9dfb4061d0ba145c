"""truth.py: labelled frames: what a dataset says is in a frame, in the sensor's frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DatasetError
from ...runtime.file_names import readable_name
from ..frames import Frame
from ..io import Recording


@dataclass(frozen=True)
class GroundTruth:
    """The labelled objects of one frame.

    Attributes:
        boxes: (K, 7) float64: x, y, z of the centre, length, width, height [m], yaw about +z from +x [rad].
        labels: K names: "car", "pedestrian", "cyclist" and what must not be mistaken for them ("van", "truck",
            "bus", "sitting", ...). The mapping from a dataset's own names is in that dataset's module.
        num_points: (K,) int32 LiDAR points in each box.
    """

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]
    num_points: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def ranges(self) -> NDArray[np.float64]:
        """Horizontal distances (K,) of the centres from the sensor [m]."""
        return np.asarray(np.hypot(self.boxes[:, 0], self.boxes[:, 1]))


@dataclass(frozen=True)
class CameraView:
    """The part of space that a camera sees; labels made in its images exist only there.

    Attributes:
        projection: (3, 4) from homogeneous LiDAR coordinates to homogeneous pixels.
        size: width and height of the image [px].
        unlabelled: (R, 4) left, top, right, bottom [px] of the regions that nobody labelled ("DontCare").
    """

    projection: NDArray[np.float64]
    size: tuple[int, int]
    unlabelled: NDArray[np.float64]

    def _project(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return u, v [px], NaN behind the camera, as (N, 2)."""
        homogeneous = (
            np.asarray(positions, np.float64)[:, :3] @ self.projection[:, :3].T + self.projection[:, 3]
        )
        depth = np.where(homogeneous[:, 2:] > 0, homogeneous[:, 2:], np.nan)
        return np.asarray(homogeneous[:, :2] / depth)

    def contains(self, positions: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which positions (N, >=3) project into the image from before the camera."""
        pixels = self._project(positions)
        return np.asarray(((pixels >= 0) & (pixels < self.size)).all(axis=1))

    def contains_boxes(self, boxes: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which boxes (N, 7) stand in the view: by the centre of the bottom face, KITTI's own label point."""
        feet = np.array(boxes[:, :3], np.float64)
        feet[:, 2] -= boxes[:, 5] / 2
        return self.contains(feet)

    def is_unlabelled(self, positions: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which positions (N, >=3) project into a region that nobody labelled."""
        pixels = self._project(positions)[:, None]
        low, high = self.unlabelled[None, :, :2], self.unlabelled[None, :, 2:]
        inside = np.all((pixels >= low) & (pixels <= high), axis=2)  # (N, R)
        return np.asarray(np.any(inside, axis=1))


@dataclass(frozen=True)
class LabelledFrame:
    """One frame with its labels.

    Attributes:
        frame: the points.
        objects: the labels.
        view: the part of the frame that was labelled; None for all of it.
        sensor: x, y, z of the sensor in the frame [m], to tell what hides an object; None where it is not known.
    """

    frame: Frame
    objects: GroundTruth
    view: CameraView | None = None
    sensor: tuple[float, float, float] | None = (0.0, 0.0, 0.0)


def name_dataset(folder: Path) -> str:
    """Return what the dataset in a folder is called, also where the folder is given as `.` or `..`."""
    named = folder.name not in ("", "..")
    return readable_name(folder.name if named else folder.resolve().name)


class Dataset:
    """Labelled frames, read one at a time while it is iterated, as often as wanted.

    Args:
        name: what to call it in a report.
        kind: its layout, such as "kitti-object".
        recording: the frames.
        label: adds the labels to a frame; None for a frame that was never labelled, which is left out.
        notes: what was guessed or decided while reading it, for the report.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        recording: Recording,
        label: Callable[[Frame], LabelledFrame | None],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name, self.kind, self.notes = name, kind, notes
        self._recording, self._label = recording, label

    def __len__(self) -> int:
        """Return the number of frames, those without labels included."""
        return len(self._recording)

    def __iter__(self) -> Iterator[LabelledFrame]:
        """Yield the labelled frames in order.

        Raises:
            CorruptFrameError: the points of a frame cannot be decoded.
            DatasetError: the labels of a frame are malformed.
        """
        for frame in self._recording:
            labelled = self._label(frame)
            if labelled is not None:
                yield labelled


@dataclass(frozen=True)
class LabelledBox:
    """One label as read: name, the 7 numbers of the box, points in it."""

    label: str
    box: tuple[float, ...]
    num_points: int


def gather_truth(labels: Sequence[LabelledBox]) -> GroundTruth:
    """Return the ground truth made of `labels`."""
    return GroundTruth(
        boxes=np.array([label.box for label in labels], np.float64).reshape(-1, 7),
        labels=tuple(label.label for label in labels),
        num_points=np.array([label.num_points for label in labels], np.int32),
    )


def check_label(label: object, box: Sequence[object], num_points: object, where: str) -> LabelledBox:
    """Return a label, checked.

    Raises:
        DatasetError: a name that is no text, a box without 7 finite numbers and positive sides, or a count that is
            no whole number; the message begins with `where`.
    """
    if not isinstance(label, str):
        raise DatasetError(f"{where}: the label must be a name, got {label!r}")
    try:
        numbers = tuple(float(value) for value in box)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DatasetError(f"{where}: the box must hold numbers, got {box!r}") from None
    if len(numbers) != 7 or not np.isfinite(numbers).all():
        raise DatasetError(f"{where}: the box must hold 7 finite numbers x, y, z, l, w, h, yaw; got {box!r}")
    if min(numbers[3:6]) <= 0:
        raise DatasetError(f"{where}: length, width and height must be above zero, got {numbers[3:6]}")
    if not isinstance(num_points, int) or not 0 <= num_points < 2**31:
        raise DatasetError(f"{where}: the number of points must be a whole number, got {num_points!r}")
    return LabelledBox(label, numbers, num_points)
