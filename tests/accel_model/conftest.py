"""conftest.py: lets the tests of this folder import what they share; pillars of real frames for them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

FRAMES = ("000000", "000002", "000004")
SHAPE = (496, 432)


@pytest.fixture(scope="session")
def real_maps() -> list[np.ndarray]:
    """Return the (496, 432) maps of active pillars of three KITTI frames, as OpenPCDet cuts them."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = (
        Path(os.environ.get("COLONNADE_DATA", default)).resolve() / "kitti_object" / "training" / "velodyne"
    )
    if not folder.is_dir():
        pytest.skip(f"no KITTI frames in {folder}; set COLONNADE_DATA to the folder of real data")
    return [map_pillars(np.fromfile(folder / f"{name}.bin", np.float32).reshape(-1, 4)) for name in FRAMES]


def map_pillars(points: np.ndarray) -> np.ndarray:
    """Return the map of cells of 0.16 m that hold a point."""
    low, high = np.array([0, -39.68, -3], np.float32), np.array([69.12, 39.68, 1], np.float32)
    inside = points[((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)]
    cells = ((inside[:, :2] - low[:2]) / np.float32(0.16)).astype(np.int32)
    active = np.zeros(SHAPE, np.bool_)
    active[cells[:, 1], cells[:, 0]] = True
    return active
