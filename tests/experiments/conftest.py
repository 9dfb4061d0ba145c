"""conftest.py: the experiments' modules on the path, and runs that cost nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="experiments train models: pip install 'colonnade[train]'")

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

from runs import Options  # noqa: E402


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Two seeds, one frame per sensor."""
    return Options(
        output=tmp_path,
        jobs=2,
        samples=40,
        seeds=(1, 2),
        only=(),
        frames=1,
        datasets=(),
        quick=False,
    )
