"""conftest.py: frames of the real recordings, from the folder that COLONNADE_DATA names."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real data."""
    folder = Path(
        os.environ.get("COLONNADE_DATA", Path(__file__).parents[2].parent / "shared" / "data")
    ).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set COLONNADE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def kitti_points(data_folder: Path) -> np.ndarray:
    """Return a full KITTI frame, (N, 4) float32."""
    return np.fromfile(
        data_folder / "kitti_object" / "training" / "velodyne" / "000002.bin", np.float32
    ).reshape(-1, 4)


@pytest.fixture(scope="session")
def pandaset_points(data_folder: Path) -> np.ndarray:
    """Return a PandaSet frame, (N, 4) float32."""
    return np.fromfile(data_folder / "pandaset_002" / "lidar" / "000030.bin", np.float32).reshape(-1, 4)
