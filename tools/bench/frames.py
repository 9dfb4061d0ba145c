"""frames.py: the frames that the engine is measured on: the occupied pillars of a recording, or a drawn street."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...detector.evaluate.kitti_labels import read_kitti_calibration
from ...detector.io import open_recording
from ...detector.standard import GEOMETRY, SHAPE
from ...runtime.errors import RecordingError, UsageError

Points = npt.NDArray[np.floating[Any]]
_KITTI_IMAGE = (1242, 375)  # [px] of the left colour camera
_SENSOR_HEIGHT = 1.73  # [m] above the ground, from which the geometry measures; the KITTI car's


@dataclass(frozen=True, eq=False)
class EngineFrame:
    """The occupied pillars of one frame on the grid of the standard network.

    Attributes:
        name: such as "000000".
        points: how many points the frame has; None for a drawn one.
        coords: (P, 2) int32 row, column.
    """

    name: str
    points: int | None
    coords: npt.NDArray[np.int32]


def read_frames(
    recording: Path,
    *,
    names: Collection[str] = (),
    limit: int = 1,
    crop: Callable[[str, Points], Points] | None = None,
    **options: Any,
) -> tuple[EngineFrame, ...]:
    """Return frames of a recording: those that are named, or the first `limit`.

    Args:
        recording: file or folder.
        names: frame ids; empty for the first frames.
        limit: how many, where none are named.
        crop: keeps the points of a frame that count, given its id and its points; all without it.
        options: what to know of the recording, as `open_recording` takes it.

    Raises:
        RecordingError: it cannot be read, has no frames, or a frame has no points in range.
        UsageError: a named frame is not in it.
    """
    found = []
    missing = set(names)
    with open_recording(recording, limit=None if names else limit, **options) as opened:
        for frame in opened:
            if names and frame.frame_id not in missing:
                continue
            points = frame.points if crop is None else crop(frame.frame_id, frame.points)
            coords = find_pillars(points)
            if not len(coords):
                raise RecordingError(
                    f"{recording}: frame {frame.frame_id} has no points in the range of the standard network, "
                    f"x {GEOMETRY.x_min} to {GEOMETRY.x_max} m, y {GEOMETRY.y_min} to {GEOMETRY.y_max} m"
                )
            found.append(EngineFrame(frame.frame_id, len(points), coords))
            missing.discard(frame.frame_id)
            if names and not missing:
                break
    if missing:
        raise UsageError(f"--frame: {recording} has no frame {', '.join(sorted(missing))}")
    if not found:
        raise RecordingError(f"{recording}: no frames to measure on")
    return tuple(found)


def find_pillars(points: Points) -> npt.NDArray[np.int32]:
    """Return the (P, 2) int32 row, column of the pillars that hold a point of the (N, >=3) points, row-major."""
    low = np.array([GEOMETRY.x_min, GEOMETRY.y_min, GEOMETRY.z_min - _SENSOR_HEIGHT])
    high = np.array([GEOMETRY.x_max, GEOMETRY.y_max, GEOMETRY.z_max - _SENSOR_HEIGHT])
    inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)  # NaN is outside
    columns, rows = ((points[inside, :2] - low[:2]) / GEOMETRY.size).astype(np.int64).T
    occupied = np.zeros(SHAPE, bool)
    occupied[np.minimum(rows, SHAPE[0] - 1), np.minimum(columns, SHAPE[1] - 1)] = True
    return np.argwhere(occupied).astype(np.int32)


def crop_to_camera(calibrations: Path) -> Callable[[str, Points], Points]:
    """Return a crop of KITTI frames to what the left colour camera sees, as published figures are taken.

    Args:
        calibrations: folder with a calibration FRAME.txt per frame.

    Raises (when it is called):
        DatasetError: there is no calibration of a frame, or it is malformed.
    """

    def crop(name: str, points: Points) -> Points:
        calibration = read_kitti_calibration(calibrations / f"{name}.txt")
        places = np.column_stack([points[:, :3], np.ones(len(points))])
        u, v, depth = calibration.lidar_to_image @ places.T
        seen = (
            (depth > 0) & (u >= 0) & (u < _KITTI_IMAGE[0] * depth) & (v >= 0) & (v < _KITTI_IMAGE[1] * depth)
        )
        cropped: Points = points[seen]
        return cropped

    return crop


def draw_street(seed: int = 0) -> EngineFrame:
    """Return a frame whose pillars cluster as those of a street do, about as many as a real one has."""
    return EngineFrame("drawn street", None, draw_street_sites(SHAPE, seed))


def draw_street_sites(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.int32]:
    """Return (P, 2) sites that cluster as pillars of a street do: walls and cars as thick line segments."""
    rng = np.random.default_rng(seed)
    height, width = shape
    occupied = np.zeros(shape, bool)
    for _ in range(height * width // 1600):
        row, col = rng.uniform(0, height), rng.uniform(0, width)
        heading, length, thickness = rng.uniform(0, np.pi), rng.uniform(4, 50), rng.uniform(0.5, 2.5)
        along = np.arange(0, length, 0.5)[:, None]
        across = np.arange(-thickness, thickness, 0.5)[None, :]
        rows = (row + along * np.sin(heading) + across * np.cos(heading)).astype(int)
        cols = (col + along * np.cos(heading) - across * np.sin(heading)).astype(int)
        inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
        occupied[rows[inside], cols[inside]] = True
    return np.argwhere(occupied & (rng.random(shape) < 0.8)).astype(np.int32)
