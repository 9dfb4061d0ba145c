"""test_cli_quantize_onnx.py: `colonnade quantize MODEL.onnx`: what is written, shown and refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="transformers need onnx: pip install 'colonnade[transformer]'")

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "examples" / "transformers"), str(ROOT / "tests" / "runtime" / "transformer")]

from conftest_models import build_small, draw_samples  # noqa: E402


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, data = tmp_path / "small.onnx", tmp_path / "data.npz"
    onnx.save(build_small(), model)
    np.savez(data, **draw_samples().arrays)
    return model, data


def test_written_and_shown(colonnade, files, tmp_path: Path) -> None:
    model, data = files
    call = (
        "quantize",
        model,
        "--calibrate",
        data,
        "-o",
        tmp_path / "out.onnx",
        "--calibration-length",
        10,
        "--threads",
        1,
    )
    outcome = colonnade(*call, "--reuse-attention", "1-2")
    assert outcome.code == 0, outcome.err
    for word in (
        "error of its output",
        "uint8 x int8",
        "SQNR",
        "MB, float",
        "times",
        "on this processor",
        "4 norms, 2 curves",
    ):
        assert word in outcome.out
    assert "left as they are" in outcome.err
    operators = [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node]
    assert operators.count("SoftmaxU8") == 1
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["out.onnx", "small.onnx"]
    outcome = colonnade(*call)
    assert (outcome.code, "--overwrite replaces it" in outcome.err) == (2, True)
    outcome = colonnade(*call, "--overwrite", "--scheme", "float", "--lut", 8, "--method", "min-max")
    assert outcome.code == 0, outcome.err
    assert "0 of 11 products" in outcome.out or "0 of 13 products" in outcome.out


def test_slower_is_said(colonnade, files, tmp_path: Path, monkeypatch) -> None:
    from colonnade.runtime.transformer import report

    monkeypatch.setattr(report, "_measure_speed", lambda sessions, sample: (1.0, 2.0))
    model, data = files
    outcome = colonnade(
        "quantize", model, "--calibrate", data, "-o", tmp_path / "out.onnx", "--scheme", "float"
    )
    assert outcome.code == 0
    assert "2.00 times SLOWER" in outcome.out
    assert "slower than the float one" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--calibrate is missing"),
        (("--calibrate", "data.npz", "--scheme", "w9"), "a scheme is named such as w8a8"),
        (("--calibrate", "data.npz", "--lut", 1), "2..256"),
        (("--calibrate", "data.npz", "--method", "best"), "min-max, percentile, mse"),
        (("--calibrate", "data.npz", "--method", ""), "min-max, percentile, mse"),
        (("--calibrate", "data.npz", "--reuse-attention", "1-9"), "layer 9 cannot share attention"),
        (("--calibrate", "data.npz", "--reuse-attention", ""), "are given such as 1-2,3-6; got ''"),
        (
            ("--calibrate", "data.npz", "--reuse-attention", "1-9", "-o", "new/deep/out.onnx"),
            "layer 9 cannot",
        ),
        (("--calibrate", "data.npz", "--frames", "street"), "recordings are for detectors"),
        (("--calibrate", "none.npz"), "cannot be read as .npz"),
        (("--calibrate", "data.npz", "-o", "folder"), "written as an .onnx file"),
    ],
)
def test_wrong_usage(colonnade, files, tmp_path: Path, monkeypatch, options, message) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = colonnade("quantize", "small.onnx", "-o", "out.onnx", *options)
    assert outcome.code == 2, outcome.err
    assert message in " ".join(outcome.err.split())
    assert not [*tmp_path.rglob("*out.onnx*"), *tmp_path.glob("new")]


def test_folders_are_made(colonnade, files, tmp_path: Path) -> None:
    model, data = files
    output = tmp_path / "new" / "deep" / "out.onnx"
    outcome = colonnade(
        "quantize", model, "--calibrate", data, "-o", output, "--scheme", "float", "--threads", 1
    )
    assert outcome.code == 0, outcome.err
    assert [path.name for path in output.parent.iterdir()] == ["out.onnx"]


def test_no_model(colonnade, files, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.onnx").write_bytes(b"not a model")
    outcome = colonnade("quantize", "bad.onnx", "--calibrate", "data.npz", "-o", "out.onnx")
    assert (outcome.code, "no ONNX file" in outcome.err) == (1, True)
