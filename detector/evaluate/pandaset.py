"""pandaset.py: a PandaSet sequence with `boxes/NNNNNN.json`, labelled all around."""

from __future__ import annotations

import json
from pathlib import Path

from ...runtime.errors import DatasetError
from ..frames import Frame
from ..io import open_recording
from .truth import Dataset, LabelledFrame, check_label, gather_truth, name_dataset

LABELS = {
    "Car": "car",
    "Pickup Truck": "car",  # the other datasets label a pickup as a car
    "Medium-sized Truck": "truck",
    "Semi-truck": "truck",
    "Towed Object": "truck",
    "Other Vehicle - Construction Vehicle": "truck",
    "Other Vehicle - Uncommon": "truck",
    "Emergency Vehicle": "truck",
    "Tram / Subway": "truck",
    "Train": "truck",
    "Bus": "bus",
    "Pedestrian": "pedestrian",
    "Pedestrian with Object": "pedestrian",
    "Motorcycle": "motorcyclist",
    "Motorized Scooter": "motorcyclist",
    "Bicycle": "bicycle",  # ridden or parked: the label does not tell
}

# Position of the Pandar64 in the vehicle's frame [m]. No file tells it, so it was measured: the point from which the
# returns of sequence 002 (frames 0, 20 and 40) fall into the fewest elevations; good to about 0.1 m.
SENSOR = (1.4, 0.0, 1.75)


def is_pandaset(folder: Path) -> bool:
    """Return whether `folder` is a sequence with boxes."""
    return (folder / "boxes").is_dir() and (folder / "lidar").is_dir()


def open_pandaset(folder: Path, limit: int | None = None) -> Dataset:
    """Open `lidar/NNNNNN.bin` and `boxes/NNNNNN.json`.

    Raises:
        RecordingError: there are no frames.
    """

    def label(frame: Frame) -> LabelledFrame:
        return _read_boxes(frame, folder / "boxes" / f"{frame.frame_id}.json")

    name = "pandaset" if (folder / "poses.json").is_file() else None
    recording = open_recording(folder if name else folder / "lidar", format=name or "kitti", limit=limit)
    return Dataset(name_dataset(folder), "pandaset", recording, label, ("Car and Pickup Truck are cars",))


def _read_boxes(frame: Frame, path: Path) -> LabelledFrame:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: is not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    rows = listed.get("boxes") if isinstance(listed, dict) else None
    if not isinstance(rows, list):
        raise DatasetError(f"{path}: must be an object with a list 'boxes'")
    labels = []
    for number, row in enumerate(rows):
        where = f"{path}: box {number}"
        try:
            box = [*row["center"], *row["size_lwh"], row["yaw"]]
            label, points = row["label"], row["num_points"]
        except (TypeError, KeyError) as error:
            raise DatasetError(
                f"{where}: needs label, center, size_lwh, yaw and num_points ({error})"
            ) from error
        known = LABELS.get(label, "other") if isinstance(label, str) else label
        labels.append(check_label(known, box, points, where))
    return LabelledFrame(frame, gather_truth(labels), sensor=SENSOR)
