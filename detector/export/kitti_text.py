"""kitti_text.py: detections as KITTI label text, one file per frame, with or without a camera calibration.

A line has KITTI's 16 columns: type, truncated, occluded, alpha, image box (left, top, right, bottom), height,
width, length [m], x, y, z of the box's bottom centre in the camera frame [m], rotation_y, score. Truncated
and occluded are not estimated and written as -1.

Without a calibration the LiDAR itself is taken for the camera ("LiDAR as camera"): the camera sits at the
sensor's origin and looks along its x axis, so x_camera = -y, y_camera = -z, z_camera = x, and
rotation_y = -yaw - pi/2. There is no image, so the image box is `-1 -1 -1 -1`. All boxes are written, also
those behind the sensor; tools that expect a camera view drop z_camera <= 0 themselves.

With a calibration the boxes are turned into KITTI's rectified camera frame, projected into the image, and
those outside the image are left out, as KITTI's evaluation wants it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DatasetError
from ...runtime.file_names import readable_name
from ...runtime.files import replace_file
from ..detections import Detections
from ..frames import Frame

_LIDAR_AS_CAMERA = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
_NEAREST = 0.1  # [m] corners closer to the image plane than this are moved there before they are projected
KITTI_IMAGE = (1242, 375)


@dataclass(frozen=True)
class KittiCamera:
    """Where the camera is and how it projects.

    Attributes:
        from_lidar: (3, 4) LiDAR coordinates to the rectified camera frame: R0_rect @ Tr_velo_to_cam.
        projection: (3, 4) rectified camera frame to the image (P2); None where there is no image.
        image_size: width and height [pixels].
    """

    from_lidar: NDArray[np.float64] = field(default_factory=_LIDAR_AS_CAMERA.copy)
    projection: NDArray[np.float64] | None = None
    image_size: tuple[int, int] = KITTI_IMAGE


def read_kitti_camera(path: str | Path, *, image_size: tuple[int, int] = KITTI_IMAGE) -> KittiCamera:
    """Read the left colour camera from a KITTI calibration file (object or tracking layout).

    Raises:
        DatasetError: the file cannot be read, or lacks P2, R0_rect or Tr_velo_to_cam.
    """
    from ..evaluate.kitti_labels import read_kitti_calibration

    calibration = read_kitti_calibration(path)
    return KittiCamera(calibration.lidar_to_camera[:3], calibration.camera_to_image, image_size)


class KittiTextWriter:
    """Writes `folder`/<frame_id>.txt for every frame, also for those without boxes."""

    def __init__(self, folder: str | Path, camera: KittiCamera | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._camera = camera or KittiCamera()

    def write(self, frame: Frame, detections: Detections) -> Path:
        """Write the file of one frame and return its path."""
        path = self.folder / f"{file_stem(frame.frame_id)}.txt"
        replace_file(path, "".join(format_lines(detections, self._camera)))
        return path


def file_stem(frame_id: str) -> str:
    """Return a frame's name with everything replaced that a file name should not hold."""
    encoding = sys.getfilesystemencoding()
    name = readable_name(frame_id).encode(encoding, "replace").decode(encoding)
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"


def format_lines(detections: Detections, camera: KittiCamera) -> list[str]:
    """Return one line per box that the camera sees."""
    lines = []
    for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True):
        length, width, height = (float(value) for value in box[3:6])
        bottom = np.array([box[0], box[1], box[2] - box[5] / 2, 1.0], dtype=np.float64)
        x, y, z = camera.from_lidar @ bottom
        rotation = _rotation_in_camera(float(box[6]), camera)
        window = _project_box(np.array([x, y, z]), (length, width, height), rotation, camera)
        if window is None:
            continue
        alpha = _wrap(rotation - float(np.arctan2(x, z)))
        name = detections.classes[label]
        numbers = [alpha, *window, height, width, length, x, y, z, rotation]
        lines.append(
            f"{name[:1].upper()}{name[1:]} -1 -1 {' '.join(f'{n:.4f}' for n in numbers)} {score:.6f}\n"
        )
    return lines


def read_kitti_text(
    path: str | Path, classes: tuple[str, ...], camera: KittiCamera | None = None
) -> Detections:
    """Read boxes back into the LiDAR frame.

    Args:
        classes: class names, in the order that the labels shall count; compared without regard to case.
        camera: the calibration that they were written with.

    Raises:
        DatasetError: a line does not have 16 columns of the documented kind.
    """
    camera = camera or KittiCamera()
    turn, shift = camera.from_lidar[:, :3], camera.from_lidar[:, 3]
    boxes, scores, labels = [], [], []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            name, *columns = line.split()
            height, width, length, x, y, z, rotation, score = (float(column) for column in columns[7:15])
            label = [known.lower() for known in classes].index(name.lower())
        except ValueError as error:
            raise DatasetError(
                f"{path}, line {number}: not a KITTI result line of 16 columns: {error}"
            ) from error
        bottom = np.linalg.solve(turn, np.array([x, y, z]) - shift)
        heading = np.linalg.solve(turn, np.array([np.cos(rotation), 0.0, -np.sin(rotation)]))
        yaw = float(np.arctan2(heading[1], heading[0]))
        boxes.append([bottom[0], bottom[1], bottom[2] + height / 2, length, width, height, yaw])
        scores.append(score)
        labels.append(label)
    return Detections(
        np.array(boxes, dtype=np.float32).reshape(-1, 7),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int32),
        classes,
    )


def _rotation_in_camera(yaw: float, camera: KittiCamera) -> float:
    """Return rotation_y: the box's heading about the camera's y axis (down), 0 along the camera's x axis."""
    heading = camera.from_lidar[:, :3] @ np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return float(np.arctan2(-heading[2], heading[0]))


def _project_box(
    bottom: NDArray[np.float64], size: tuple[float, float, float], rotation: float, camera: KittiCamera
) -> tuple[float, float, float, float] | None:
    """Return the image box of a box given in the camera frame; None when no part of it is in the image."""
    if camera.projection is None:
        return -1.0, -1.0, -1.0, -1.0
    if bottom[2] <= 0:
        return None
    length, width, height = size
    signs = np.array([(u, v, w) for w in (0.0, -1.0) for u in (-0.5, 0.5) for v in (-0.5, 0.5)])
    cos, sin = np.cos(rotation), np.sin(rotation)
    along, across = signs[:, 0] * length, signs[:, 1] * width
    corners = bottom + np.stack(
        [along * cos + across * sin, signs[:, 2] * height, across * cos - along * sin], axis=1
    )
    corners[:, 2] = np.maximum(corners[:, 2], _NEAREST)
    u, v, depth = camera.projection @ np.vstack([corners.T, np.ones(8)])
    last_column, last_row = camera.image_size[0] - 1, camera.image_size[1] - 1
    left, right = np.clip([(u / depth).min(), (u / depth).max()], 0, last_column)
    top, lower = np.clip([(v / depth).min(), (v / depth).max()], 0, last_row)
    if right <= left or lower <= top:
        return None
    return float(left), float(top), float(right), float(lower)


def _wrap(angle: float) -> float:
    """Return the angle in -pi..pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
