"""argoverse.py: an Argoverse 2 log: feather sweeps and `annotations.feather`, labelled all around.

Sweeps and annotations are both in the vehicle's frame (x forward, y left, z up, origin at the rear axle).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DatasetError, MissingExtraError
from ..frames import Frame
from ..io import open_recording
from .truth import Dataset, GroundTruth, LabelledFrame, name_dataset

LABELS = {
    "REGULAR_VEHICLE": "car",  # pickups and passenger vans are among them
    "LARGE_VEHICLE": "truck",
    "BOX_TRUCK": "truck",
    "TRUCK": "truck",
    "TRUCK_CAB": "truck",
    "VEHICULAR_TRAILER": "truck",
    "RAILED_VEHICLE": "truck",
    "BUS": "bus",
    "SCHOOL_BUS": "bus",
    "ARTICULATED_BUS": "bus",
    "PEDESTRIAN": "pedestrian",
    "OFFICIAL_SIGNALER": "pedestrian",
    "BICYCLIST": "cyclist",
    "BICYCLE": "bicycle",
    "MOTORCYCLIST": "motorcyclist",
    "MOTORCYCLE": "motorcyclist",
    "WHEELED_RIDER": "motorcyclist",
}
_SIZES = ("length_m", "width_m", "height_m")
_CENTRE = ("tx_m", "ty_m", "tz_m")
_TURN = ("qw", "qx", "qy", "qz")
_COLUMNS = ("timestamp_ns", "category", "num_interior_pts", *_SIZES, *_CENTRE, *_TURN)


@dataclass(frozen=True)
class _Annotations:
    """The annotations of a whole log, one row each."""

    stamps: NDArray[np.int64]
    truth: GroundTruth

    def at(self, stamp: int) -> GroundTruth | None:
        rows = np.flatnonzero(self.stamps == stamp)
        if not len(rows):
            return None
        labels = tuple(self.truth.labels[row] for row in rows)
        return GroundTruth(self.truth.boxes[rows], labels, self.truth.num_points[rows])


def is_argoverse(folder: Path) -> bool:
    """Return whether `folder` is a log with annotations."""
    return (folder / "annotations.feather").is_file()


def open_argoverse(folder: Path, limit: int | None = None) -> Dataset:
    """Open the sweeps (`lidar` or `sensors/lidar`) whose time, their file name, was annotated.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DatasetError: the annotations are malformed.
        RecordingError: there are no sweeps.
    """
    annotations = _read_annotations(folder / "annotations.feather")

    def label(frame: Frame) -> LabelledFrame | None:
        truth = annotations.at(int(frame.frame_id)) if frame.frame_id.isdecimal() else None
        return None if truth is None else LabelledFrame(frame, truth, sensor=None)

    recording = open_recording(folder, format="argoverse", limit=limit)
    return Dataset(
        name_dataset(folder), "argoverse", recording, label, ("sweeps without annotations are left out",)
    )


def _read_annotations(path: Path) -> _Annotations:
    try:
        import pyarrow
        from pyarrow import feather
    except ImportError as error:
        raise MissingExtraError("pyarrow", "formats", "reading Argoverse 2 annotations") from error
    try:
        table = feather.read_table(pyarrow.BufferReader(path.read_bytes()), memory_map=False)
        table.validate(full=True)
        columns = {name: table.column(name).to_numpy() for name in _COLUMNS}
        numbers = {name: values.astype(np.float64) for name, values in columns.items() if name != "category"}
    except (OSError, KeyError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise DatasetError(
            f"{path}: is not a table with the columns {', '.join(_COLUMNS)}: {error}"
        ) from error
    w, x, y, z = (numbers[name] for name in _TURN)
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    boxes = np.column_stack([*(numbers[name] for name in (*_CENTRE, *_SIZES)), yaw])
    wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | (boxes[:, 3:6] <= 0).any(axis=1))
    if len(wrong):
        raise DatasetError(f"{path}: row {wrong[0]}: the box must hold finite numbers and sides above zero")
    labels = tuple(LABELS.get(str(category), "other") for category in columns["category"])
    truth = GroundTruth(boxes, labels, numbers["num_interior_pts"].astype(np.int32))
    return _Annotations(columns["timestamp_ns"].astype(np.int64), truth)
