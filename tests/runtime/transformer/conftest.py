"""conftest.py: the example helpers on the path, and the places of the example models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="transformers need onnx: pip install 'colonnade[transformer]'")

EXAMPLES = Path(__file__).parents[3] / "examples" / "transformers"
sys.path[:0] = [str(EXAMPLES), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("COLONNADE_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no data in {folder}; set COLONNADE_DATA to the folder of real data")
    return folder


@pytest.fixture(scope="session")
def model_folder(data_folder: Path) -> Path:
    folder = Path(os.environ.get("COLONNADE_MODELS", data_folder.parent / "models")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no models in {folder}; set COLONNADE_MODELS to the folder of example models")
    return folder
