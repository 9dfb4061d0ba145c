"""kitti_datasets.py: KITTI's object benchmark and drives with tracking labels, as labelled LiDAR frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.errors import DatasetError
from ..boxes import count_points
from ..frames import Frame
from ..io import open_recording
from .kitti_labels import (
    KittiCalibration,
    KittiObjects,
    read_kitti_calibration,
    read_kitti_objects,
    read_kitti_tracking,
)
from .truth import CameraView, Dataset, GroundTruth, LabelledFrame, name_dataset

LABELS = {
    "Car": "car",
    "Van": "van",
    "Truck": "truck",
    "Tram": "truck",
    "Pedestrian": "pedestrian",
    "Person_sitting": "sitting",
    "Person": "sitting",  # what the tracking benchmark calls it
    "Cyclist": "cyclist",
    "Misc": "other",
}
IMAGE_SIZE = (1242, 375)  # [px] of most drives; the others differ by less than 20 px
_NOTE = "labelled in the camera image only: what stands outside it (bottom face's centre) counts neither way"


def is_kitti_object(folder: Path) -> bool:
    """Return whether `folder` is laid out as the object benchmark (or holds its `training`)."""
    return any((root / "label_2").is_dir() for root in (folder, folder / "training"))


def open_kitti_object(folder: Path, limit: int | None = None) -> Dataset:
    """Open `label_2`, `calib` and `velodyne` (with `velodyne_reduced` for the frames it lacks).

    Raises:
        RecordingError: there are no frames.
    """
    root = folder if (folder / "label_2").is_dir() else folder / "training"

    def label(frame: Frame) -> LabelledFrame:
        objects = read_kitti_objects(root / "label_2" / f"{frame.frame_id}.txt")
        calibration = read_kitti_calibration(root / "calib" / f"{frame.frame_id}.txt")
        return label_frame(
            frame, objects, calibration, _image_size(root / "image_2" / f"{frame.frame_id}.png")
        )

    recording = open_recording(root, format="kitti", columns=4, limit=limit)
    return Dataset(name_dataset(folder), "kitti-object", recording, label, (_NOTE,))


def is_kitti_drive(folder: Path) -> bool:
    """Return whether `folder` is one drive with tracking labels."""
    return (folder / "label_02.txt").is_file() and (folder / "calib.txt").is_file()


def open_kitti_drive(folder: Path, limit: int | None = None) -> Dataset:
    """Open `label_02.txt` (tracking format), `calib.txt` and `velodyne`, whose file names are frame numbers.

    Raises:
        DatasetError: labels or calibration are malformed.
        RecordingError: there are no frames.
    """
    frames = read_kitti_tracking(folder / "label_02.txt")
    calibration = read_kitti_calibration(folder / "calib.txt")
    if not frames:
        raise DatasetError(f"{folder / 'label_02.txt'}: holds no labels")

    def label(frame: Frame) -> LabelledFrame | None:
        number = int(frame.frame_id) if frame.frame_id.isdecimal() else -1
        if not min(frames) <= number <= max(frames):
            return None  # a frame without objects has no line; one outside the numbers was not labelled
        objects = frames.get(number)
        if objects is None:
            objects = next(iter(frames.values())).select(np.zeros(len(next(iter(frames.values()))), bool))
        return label_frame(frame, objects, calibration, IMAGE_SIZE)

    recording = open_recording(folder, format="kitti", columns=4, limit=limit)
    return Dataset(name_dataset(folder), "kitti-drive", recording, label, (_NOTE,))


def label_frame(
    frame: Frame, objects: KittiObjects, calibration: KittiCalibration, image_size: tuple[int, int]
) -> LabelledFrame:
    """Return `frame` with KITTI labels in the LiDAR's frame; the points in each box are counted."""
    regions = np.array([name == "DontCare" for name in objects.names], bool)
    solid = objects.select(~regions)
    boxes = calibration.lidar_boxes(solid)
    labels = tuple(LABELS.get(name, "other") for name in solid.names)
    truth = GroundTruth(boxes, labels, count_points(frame.points, boxes))
    view = CameraView(calibration.lidar_to_image, image_size, objects.image_boxes[regions])
    return LabelledFrame(frame, truth, view)


def _image_size(path: Path) -> tuple[int, int]:
    """Return the size of the frame's image where the benchmark's images are at hand."""
    if not path.is_file():
        return IMAGE_SIZE
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{path}: is not an image: {error}; mend or remove it") from error
