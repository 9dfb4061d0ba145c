"""kitti_labels.py: KITTI's text labels (object and tracking) and calibration, and the way to LiDAR boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DatasetError

_OBJECT_NUMBERS = 14  # after the name: truncation, occlusion, alpha, 4 of the image box, 7 of the box
_LAYOUT = "name truncation occlusion alpha x1 y1 x2 y2 height width length x y z yaw [score]"


@dataclass(frozen=True)
class KittiObjects:
    """The labels or the detections of one KITTI frame, in the rectified camera frame.

    Attributes:
        names: N type names as in the file ("Car", "Van", "DontCare", ...).
        truncation: (N,) share outside the image.
        occlusion: (N,) int64 0 visible .. 3 unknown.
        image_boxes: (N, 4) left, top, right, bottom [px].
        boxes: (N, 7) height, width, length, x, y, z of the bottom face's centre [m], yaw about the camera's y axis.
        scores: (N,); NaN in labels.
    """

    names: tuple[str, ...]
    truncation: NDArray[np.float64]
    occlusion: NDArray[np.int64]
    image_boxes: NDArray[np.float64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, mask: NDArray[np.bool_]) -> KittiObjects:
        """Return the objects at the boolean `mask` (N,)."""
        names = tuple(name for name, kept in zip(self.names, mask, strict=True) if kept)
        return KittiObjects(
            names,
            self.truncation[mask],
            self.occlusion[mask],
            self.image_boxes[mask],
            self.boxes[mask],
            self.scores[mask],
        )

    def upright_boxes(self) -> NDArray[np.float64]:
        """Return boxes (N, 7) centre, length, width, height, yaw in a z-up frame: x right, y forward, z up."""
        height, width, length, x, y, z, yaw = self.boxes.T
        return np.stack([x, z, height / 2 - y, length, width, height, -yaw], axis=1)


@dataclass(frozen=True)
class KittiCalibration:
    """How LiDAR and camera stand to each other.

    Attributes:
        lidar_to_camera: (4, 4) from LiDAR to rectified camera coordinates.
        camera_to_image: (3, 4) from rectified camera coordinates to pixels of the left colour camera.
    """

    lidar_to_camera: NDArray[np.float64]
    camera_to_image: NDArray[np.float64]

    @property
    def lidar_to_image(self) -> NDArray[np.float64]:
        """(3, 4) from LiDAR coordinates to homogeneous pixels."""
        return self.camera_to_image @ self.lidar_to_camera

    def lidar_boxes(self, objects: KittiObjects) -> NDArray[np.float64]:
        """Return the boxes (N, 7) of `objects` in the LiDAR's frame: centre, length, width, height, yaw."""
        height, width, length, x, y, z, yaw = objects.boxes.T
        back = np.linalg.inv(self.lidar_to_camera)
        centres = np.stack([x, y - height / 2, z], axis=1) @ back[:3, :3].T + back[:3, 3]
        heading = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=1) @ back[:3, :3].T
        return np.column_stack([centres, length, width, height, np.arctan2(heading[:, 1], heading[:, 0])])


def read_kitti_objects(path: str | Path) -> KittiObjects:
    """Read a file of the object benchmark: `label_2` (15 columns) or detections (16, the last is the score).

    Raises:
        DatasetError: the file cannot be read, or a line is malformed (named with its number).
    """
    return _gather(_parse_object(words, where) for words, where in _lines(Path(path)))


def read_kitti_tracking(path: str | Path) -> dict[int, KittiObjects]:
    """Read a label file of the tracking benchmark: the objects of each frame number that has any.

    Raises:
        DatasetError: the file cannot be read, or a line is malformed (named with its number).
    """
    frames: dict[int, list[tuple[str, NDArray[np.float64]]]] = {}
    for words, where in _lines(Path(path)):
        try:
            number = int(words[0])
        except ValueError:
            raise DatasetError(
                f"{where}: begins with {words[0]!r}; a tracking label begins with a frame number"
            ) from None
        frames.setdefault(number, []).append(_parse_object(words[2:], where))
    return {number: _gather(rows) for number, rows in sorted(frames.items())}


def read_kitti_calibration(path: str | Path) -> KittiCalibration:
    """Read a calibration file of the object or tracking benchmark.

    Raises:
        DatasetError: the file cannot be read, or lacks P2, R0_rect or Tr_velo_to_cam.
    """
    path = Path(path)
    matrices: dict[str, NDArray[np.float64]] = {}
    for words, where in _lines(path):
        name = words[0].rstrip(":").replace("R_rect", "R0_rect").replace("Tr_velo_cam", "Tr_velo_to_cam")
        if name in ("P2", "R0_rect", "Tr_velo_to_cam"):
            matrices[name] = _numbers(words[1:], where)
            wanted = 9 if name == "R0_rect" else 12
            if len(matrices[name]) != wanted:
                raise DatasetError(f"{where}: {name} has {len(matrices[name])} numbers, expected {wanted}")
    missing = [name for name in ("P2", "R0_rect", "Tr_velo_to_cam") if name not in matrices]
    if missing:
        raise DatasetError(f"{path}: no line {', '.join(missing)}; a KITTI calibration needs them")
    rectify, mount = np.eye(4), np.eye(4)
    rectify[:3, :3] = matrices["R0_rect"].reshape(3, 3)
    mount[:3] = matrices["Tr_velo_to_cam"].reshape(3, 4)
    if abs(np.linalg.det(rectify @ mount)) < 1e-6:
        raise DatasetError(f"{path}: R0_rect and Tr_velo_to_cam cannot be inverted, so they are no rotation")
    return KittiCalibration(rectify @ mount, matrices["P2"].reshape(3, 4))


def _lines(path: Path) -> Iterator[tuple[list[str], str]]:
    """Yield the words of each line that is not blank, with its place for messages."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if words := line.split():
            yield words, f"{path}:{number}"


def _numbers(words: list[str], where: str) -> NDArray[np.float64]:
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from None
    if not np.isfinite(values).all():
        raise DatasetError(f"{where}: holds a number that is not finite")
    return values


def _parse_object(words: list[str], where: str) -> tuple[str, NDArray[np.float64]]:
    if len(words) not in (_OBJECT_NUMBERS + 1, _OBJECT_NUMBERS + 2):
        raise DatasetError(f"{where}: has {len(words)} columns for an object, expected 15 or 16: {_LAYOUT}")
    numbers = _numbers(words[1:], where)
    return words[0], numbers if len(numbers) > _OBJECT_NUMBERS else np.append(numbers, np.nan)


def _gather(rows: Iterable[tuple[str, NDArray[np.float64]]]) -> KittiObjects:
    listed = list(rows)
    table = np.array([numbers for _, numbers in listed]).reshape(-1, _OBJECT_NUMBERS + 1)
    return KittiObjects(
        names=tuple(name for name, _ in listed),
        truncation=table[:, 0],
        occlusion=table[:, 1].astype(np.int64),
        image_boxes=table[:, 3:7],
        boxes=table[:, 7:14],
        scores=table[:, 14],
    )
