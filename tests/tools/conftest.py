"""conftest.py: a tiny model, a small recording, and a way to call the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.architecture import Sparsity, Widths, build_architecture
from colonnade.detector.checkpoints import Checkpoint, Manifest, load_checkpoint, save_checkpoint
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.network import LayerWeights
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry
from colonnade.tools.cli.app import main

CLASSES = ("car", "pedestrian", "cyclist")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it showed."""

    code: int
    out: str
    err: str


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
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with few, random weights: it finds something, but nothing that is there."""
    rng = np.random.default_rng(7)
    widths = Widths(encoder=8, blocks=(8, 8, 8), depths=(1, 1, 1), dilating=1, ups=(8, 8), shared=8)
    architecture = build_architecture(widths, len(CLASSES))

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = [
        LayerWeights(
            draw(layer.out_channels, layer.in_channels, layer.kernel, layer.kernel), draw(layer.out_channels)
        )
        for layer in architecture.layers
    ]
    head = layers.pop()
    bias = np.zeros_like(head.bias)
    bias[: len(CLASSES)] = -1.5
    layers.append(LayerWeights(head.weight * np.float32(0.12), bias))
    encoder = EncoderWeights(draw(POINT_FEATURES, 8), draw(8), draw(PILLAR_FEATURES, 8), draw(8))
    geometry = PillarGeometry(-25.6, -25.6, 25.6, 25.6, -1.0, 4.0, 0.32)
    manifest = Manifest(
        "tiny", CLASSES, geometry, architecture, 0.45, "nothing", "Apache-2.0", "", ((0.85, 0.15),) * 3
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(Checkpoint(manifest, encoder, tuple(layers)), folder)
    return folder


@pytest.fixture(scope="session")
def pruned_model(tiny_model: Path) -> Path:
    """Return the folder of the same model with vector pruning behind its three blocks."""
    tiny = load_checkpoint(tiny_model)
    widths = Widths(encoder=8, blocks=(8, 8, 8), depths=(1, 1, 1), dilating=1, ups=(8, 8), shared=8)
    architecture = build_architecture(widths, len(CLASSES), Sparsity("pruned", (1.0, 0.6, 0.5)))
    folder = tiny_model.with_name("pruned")
    manifest = replace(tiny.manifest, name="pruned", architecture=architecture)
    save_checkpoint(replace(tiny, manifest=manifest), folder)
    return folder


def draw_street(seed: int) -> np.ndarray:
    """Return a flat road with a few upright clusters, (N, 4) float32."""
    rng = np.random.default_rng(seed)
    road = rng.uniform((-30, -30, -1.75, 0), (30, 30, -1.65, 1), (6000, 4))
    things = [
        rng.normal((x, y, -0.9, 0.5), (0.9, 0.4, 0.4, 0.1), (150, 4))
        for x, y in rng.uniform(-20, 20, (12, 2))
    ]
    points = np.vstack([road, *things])
    points[:, 3] = np.clip(points[:, 3], 0, 1)
    return points.astype(np.float32)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a folder of six KITTI frames."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for index in range(6):
        draw_street(index).tofile(folder / f"{index:06d}.bin")
    return folder


@pytest.fixture
def colonnade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Return a function that calls the command line in an empty folder."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["colonnade", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code
        else:
            code = 0
        captured = capfd.readouterr()
        return Outcome(0 if code is None else int(code), captured.out, captured.err)

    return call
