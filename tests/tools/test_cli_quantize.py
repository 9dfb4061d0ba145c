"""test_cli_quantize.py: `colonnade quantize`: a twin that is found and runs, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from colonnade.detector.checkpoints import MANIFEST, WEIGHTS
from colonnade.detector.detector import load

DEMO = Path(__file__).parents[2] / "demo" / "street.mcap"


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny model, beside which a twin may be put."""
    return Path(shutil.copytree(tiny_model, tmp_path / "models" / "tiny"))


def test_the_twin_is_written_and_found(colonnade, model: Path, recording: Path) -> None:
    twin = model.with_name("tiny-int8")
    outcome = colonnade(
        "quantize", model, "--frames", recording, "-o", twin, "--limit", 2, "--source", "a road"
    )
    assert outcome.code == 0, outcome.err
    for word in ("written", "float32", "SQNR", "block1.0", "head", "2, method percentile"):
        assert word in outcome.out
    assert {path.name for path in twin.iterdir()} == {MANIFEST, WEIGHTS}
    assert [path.name for path in sorted(model.parent.iterdir())] == ["tiny", "tiny-int8"]
    calibration = yaml.safe_load((twin / MANIFEST).read_text(encoding="utf-8"))["calibration"]
    assert (calibration["frames"], calibration["source"]) == (2, "a road")
    assert load(model, precision="int8").precision == "int8"
    outcome = colonnade("detect", recording, "-m", model, "--precision", "int8", "-q", "-o", "found")
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load(Path("found/config.yaml").read_text(encoding="utf-8"))["precision"] == "int8"


def test_the_demo_and_several_recordings(colonnade, recording: Path) -> None:
    pytest.importorskip("rosbags", reason="ROS bags need rosbags: pip install 'colonnade[bags]'")
    outcome = colonnade(
        "quantize", "synthetic", "--frames", DEMO, "--frames", recording, "-o", "twin", "--limit", 1, "-q",
        "--method", "mse",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "2, method mse" in outcome.out
    assert load("twin").manifest.name == "synthetic-int8"


def test_only_an_int8_model_is_replaced_and_only_when_told(colonnade, model: Path, recording: Path) -> None:
    call = ("quantize", model, "--frames", recording, "--limit", 1, "-q", "-o")
    assert colonnade(*call, "twin").code == 0
    before = (Path("twin") / WEIGHTS).read_bytes()
    (Path("twin") / "notes.txt").write_text("mine")
    outcome = colonnade(*call, "twin", "--method", "mse")
    assert (outcome.code, "--overwrite" in outcome.err) == (2, True)
    assert (Path("twin") / WEIGHTS).read_bytes() == before
    assert colonnade(*call, "twin", "--method", "mse", "--overwrite").code == 0
    assert (Path("twin") / WEIGHTS).read_bytes() != before
    assert (Path("twin") / "notes.txt").read_text() == "mine"
    for folder in (model, Path("other")):
        if folder != model:
            folder.mkdir()
            (folder / "file").touch()
        outcome = colonnade(*call, folder, "--overwrite")
        assert outcome.code == 2
        assert "error: --output" in outcome.err
    Path("a-file").touch()
    assert colonnade(*call, "a-file").code == 2
    assert colonnade(*call, recording / "inside").code == 2


def test_what_cannot_be_quantised_is_told(colonnade, model: Path, recording: Path) -> None:
    new = Path("new/place/twin")
    cases = (
        (("nonsense", "--frames", recording, "-o", new), 1, "no model 'nonsense'"),
        ((model, "--frames", "nowhere", "-o", new), 1, "nowhere"),
        (("default-int8", "--frames", recording, "-o", new), 1, "int8 already"),
        (("gpt.onnx", "--frames", recording, "-o", "twin"), 2, "recordings are for detectors"),
        (("nonsense", "--frames", recording, "-o", "twin"), 1, "no model 'nonsense'"),
        ((model, "--frames", recording, "-o", "twin", "--method", "guess"), 2, "percentile"),
        ((model, "--frames", "nowhere", "-o", "twin"), 1, "nowhere"),
        (("default-int8", "--frames", recording, "-o", "twin"), 1, "int8 already"),
    )
    for arguments, code, complaint in cases:
        outcome = colonnade("quantize", *arguments)
        assert outcome.code == code, outcome.err
        assert complaint in outcome.err
        assert "Traceback" not in outcome.err
        assert not list(Path().iterdir())  # neither the folder nor those that it was to lie in


def test_a_twin_that_cannot_be_written_leaves_no_folder(
    colonnade, model: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("colonnade.detector.checkpoints.replace_file", fail)
    outcome = colonnade("quantize", model, "--frames", recording, "-o", "new/place/twin", "--limit", 1, "-q")
    assert outcome.code == 1
    assert "No space left" in outcome.err
    assert not list(Path().iterdir())
    monkeypatch.undo()


def test_missing_folders_are_made(colonnade, model: Path, recording: Path) -> None:
    outcome = colonnade("quantize", model, "--frames", recording, "-o", "new/place/twin", "--limit", 1, "-q")
    assert outcome.code == 0, outcome.err
    assert {path.name for path in Path("new/place/twin").iterdir()} == {MANIFEST, WEIGHTS}


def test_corrupt_frames_are_left_out(colonnade, model: Path, recording: Path) -> None:
    (recording / "000001.bin").write_bytes(b"xyz")
    outcome = colonnade("quantize", model, "--frames", recording, "-o", "twin", "-q")
    assert outcome.code == 3
    assert outcome.err.count("frame skipped") == 1
    assert "5, method" in outcome.out


def test_a_precision_that_there_is_not_is_told(colonnade, tiny_model: Path, recording: Path) -> None:
    outcome = colonnade("detect", recording, "-m", tiny_model, "--precision", "int8", "-q", "-o", "found")
    assert outcome.code == 1
    assert "colonnade quantize" in outcome.err
    assert not Path("found").exists()
