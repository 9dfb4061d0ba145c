"""test_model_document.py: docs/detector.md says what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from colonnade.detector import decoding, ground, pillars
from colonnade.detector.architecture import INPUT, REGRESSION, Widths, build_architecture
from colonnade.detector.checkpoints import (
    MODELS,
    SCORE_EXPONENTS,
    Checkpoint,
    Manifest,
    read_manifest,
    save_checkpoint,
)
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.ground import estimate_ground
from colonnade.detector.io import open_recording
from colonnade.detector.network import LayerWeights, RuleCache
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry, pillarise
from colonnade.runtime.sparse import PillarGrid, concatenate

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "detector.md").read_text(encoding="utf-8")
GRID = PillarGeometry(-51.2, -51.2, 51.2, 51.2, -1.0, 4.0, 0.32)
ARCHITECTURE = build_architecture(Widths(), 3)


def list_layers() -> list[str]:
    """Return the rows of the table of layers, with the cells and rules of the demo's first frame."""
    points = next(iter(open_recording(ROOT / "demo" / "street.mcap"))).points
    occupied = pillarise(points, estimate_ground(points), GRID)
    blank = np.zeros((len(occupied), 1), np.float32)
    sites = {INPUT: PillarGrid.from_coords(occupied.coords, blank, occupied.shape)}
    cache = RuleCache()
    rows = []
    for layer in ARCHITECTURE.layers:
        inputs = [sites[name] for name in layer.inputs]
        book = cache.find(inputs[0] if len(inputs) == 1 else concatenate(inputs), layer)
        cells, rules = len(book.cols), int((book.neighbours >= 0).sum())
        sites[layer.name] = PillarGrid(book.row_ptr, book.cols, np.zeros((cells, 1), np.float32), book.shape)
        parameters = layer.out_channels * (layer.in_channels * layer.kernel**2 + 1)
        rows.append(
            f"| `{layer.name}` | {layer.kind} | {', '.join(layer.inputs)} | {layer.in_channels} → "
            f"{layer.out_channels} | {layer.kernel} | {layer.stride} | {book.shape[0]}² | {cells:,} | {rules:,} "
            f"| {parameters:,} |"
        )
    return rows


def test_the_table_of_layers_is_that_of_the_network() -> None:
    pytest.importorskip("rosbags")
    written = [line for line in DOCUMENT.splitlines() if re.match(r"\| `(block|up|shared|head)", line)]
    assert written == list_layers()


def test_the_parameters_are_counted() -> None:
    encoder = (POINT_FEATURES + PILLAR_FEATURES + 2) * ARCHITECTURE.encoder_channels
    layers = sum(n.out_channels * (n.in_channels * n.kernel**2 + 1) for n in ARCHITECTURE.layers)
    assert f"has {encoder + layers:,} parameters" in DOCUMENT
    assert f"{ARCHITECTURE.layers[-1].out_channels} channels" in DOCUMENT
    assert ARCHITECTURE.layers[-1].out_channels == 3 + REGRESSION


def test_the_constants_are_those_of_the_code() -> None:
    for name in ("synthetic", "default"):
        pairs = read_manifest(MODELS / name).score_exponents
        assert f"`{name}`: {'; '.join(f'{heat:g}, {quality:g}' for heat, quality in pairs)}" in DOCUMENT
    assert f"else {SCORE_EXPONENTS[0]:g}, {SCORE_EXPONENTS[1]:g}" in DOCUMENT
    assert f"by more than {decoding.OVERLAP:g} (IoU" in DOCUMENT
    assert f"at most {decoding.MOST} boxes" in DOCUMENT
    assert f"slice of {pillars.BIN_HEIGHT:g} m occupied, from −{-pillars.BIN_FLOOR:g} m to" in DOCUMENT
    assert f"a {ground.CELL:g} m cell" in DOCUMENT
    assert f"outwards to ±{ground.HALF:g} m" in DOCUMENT


def test_the_manifest_has_the_fields_that_are_described(tmp_path: Path) -> None:
    layers = tuple(
        LayerWeights(
            np.zeros((n.out_channels, n.in_channels, n.kernel, n.kernel), np.float32),
            np.zeros(n.out_channels, np.float32),
        )
        for n in ARCHITECTURE.layers
    )
    blank = np.zeros((1, 1), np.float32)
    manifest = Manifest(
        "blank",
        ("car", "pedestrian", "cyclist"),
        GRID,
        ARCHITECTURE,
        0.4,
        "none",
        "none",
        "",
        ((1.0, 0.5), (1.0, 0.1), (1.0, 0.0)),
    )
    save_checkpoint(Checkpoint(manifest, EncoderWeights(blank, blank, blank, blank), layers), tmp_path)
    written = yaml.safe_load((tmp_path / "manifest.yaml").read_text(encoding="utf-8"))
    described = DOCUMENT[DOCUMENT.index("## A model folder") :]
    names = [*written, *written["geometry"], *written["encoder"], *written["layers"][0]]
    assert [name for name in names if f"`{name}`" not in described] == []
