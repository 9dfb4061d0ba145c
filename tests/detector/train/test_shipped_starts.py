"""The starting points in training/: they are the shipped models, before batch norm is folded in."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.checkpoints import load_checkpoint
from colonnade.detector.train.config import read_config
from colonnade.detector.train.loop import _Run

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["synthetic", "default"])
def test_a_start_folds_to_the_shipped_model(name, tmp_path):
    run = _Run(read_config(ROOT / "training" / f"{name}.yaml"), tmp_path)
    run.restore(ROOT / "training" / f"{name}.pt", whole=False)
    shipped = load_checkpoint(ROOT / "detector" / "models" / name)
    folded = run.fold()
    np.testing.assert_array_equal(folded.encoder.point, shipped.encoder.point)
    for found, expected in zip(folded.layers, shipped.layers, strict=True):
        np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.bias, expected.bias, rtol=1e-5, atol=1e-7)
