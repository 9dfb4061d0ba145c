"""conftest.py: pillars of real frames, from the folder that COLONNADE_DATA names."""

import os
from pathlib import Path

import numpy as np
import pytest

GRID_SHAPE = (496, 432)
PILLAR_SIZE = np.float32(0.16)  # [m]
RANGE_LOW = np.array([0, -39.68, -3], np.float32)  # x, y, z [m]
RANGE_HIGH = np.array([69.12, 39.68, 1], np.float32)


def find_pillars(path: Path) -> np.ndarray:
    """Return the (P, 2) int32 row (y), col (x) of a KITTI frame's pillars, as OpenPCDet cuts them."""
    points = np.fromfile(path, np.float32).reshape(-1, 4)[:, :3]
    points = points[((points >= RANGE_LOW) & (points < RANGE_HIGH)).all(axis=1)]
    cells = ((points[:, :2] - RANGE_LOW[:2]) / PILLAR_SIZE).astype(np.int32)
    return np.unique(cells[:, ::-1], axis=0)


@pytest.fixture(scope="session")
def kitti_pillars() -> dict[str, np.ndarray]:
    """Pillars of two full frames (front half) and of two camera-view crops, by name, on GRID_SHAPE."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("COLONNADE_DATA", default)).resolve() / "kitti_object" / "training"
    if not folder.is_dir():
        pytest.skip(f"no KITTI frames in {folder}; set COLONNADE_DATA to the folder of real data")
    names = ("velodyne/000000", "velodyne/000004", "velodyne_reduced/000008", "velodyne_reduced/000134")
    return {name: find_pillars(folder / f"{name}.bin") for name in names}
