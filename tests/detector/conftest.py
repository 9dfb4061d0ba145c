"""conftest.py: frames of the real recordings, from the folder that COLONNADE_DATA names, and a small pruned model."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.architecture import Importance, Sparsity, Widths, build_architecture
from colonnade.detector.checkpoints import Checkpoint, Manifest
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.network import LayerWeights
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry


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


@pytest.fixture(scope="session")
def make_pruned() -> Callable[..., Checkpoint]:
    """Return a function that makes a small model with vector pruning and random weights."""

    def make(keep: tuple[float, ...] = (1.0, 0.6, 0.5), importance: Importance = "l2") -> Checkpoint:
        rng = np.random.default_rng(5)
        widths = Widths(8, (8, 16, 16), (2, 2, 2), 1, (8, 8), 8)
        architecture = build_architecture(widths, 3, Sparsity("pruned", keep, importance))
        layers = []
        for layer in architecture.layers:
            shape = layer.out_channels, layer.in_channels, layer.kernel, layer.kernel
            weight = rng.normal(0, (2 / (layer.in_channels * layer.kernel**2)) ** 0.5, shape)
            learned = rng.uniform(-0.2, 1, layer.out_channels).astype(np.float32)
            wanted = layer.pruned and importance == "learned"
            bias = np.zeros(layer.out_channels, np.float32)
            layers.append(LayerWeights(weight.astype(np.float32), bias, learned if wanted else None))

        def draw(*shape: int) -> np.ndarray:
            return rng.normal(0, 1, shape).astype(np.float32)

        encoder = EncoderWeights(
            draw(POINT_FEATURES, 8), np.ones(8, np.float32), draw(PILLAR_FEATURES, 8), draw(8)
        )
        manifest = Manifest(
            "pruned",
            ("car", "pedestrian", "cyclist"),
            PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32),
            architecture,
            0.3,
            "nothing",
            "Apache-2.0",
            "5eed",
            ((1.0, 0.0),) * 3,
        )
        return Checkpoint(manifest, encoder, tuple(layers))

    return make


@pytest.fixture(scope="session")
def small_frames() -> tuple[np.ndarray, ...]:
    """Return three frames of a road with a few things on it, the last with more of them, (N, 3) float32."""
    frames = []
    for seed, things in enumerate((2, 4, 12)):
        rng = np.random.default_rng(seed)
        road = rng.uniform((-12, -12, -1.75), (12, 12, -1.65), (800 * (seed + 1), 3))
        places = rng.uniform(-10, 10, (things, 2))
        parts = [rng.normal((x, y, -0.9), (0.9, 0.4, 0.4), (150, 3)) for x, y in places]
        frames.append(np.vstack([road, *parts]).astype(np.float32))
    return tuple(frames)
