"""test_bench_detect.py: `colonnade bench detect` measures precisions and threads in turns."""

import json
import re
from pathlib import Path

import pytest

from colonnade.runtime.errors import ModelError, UsageError
from colonnade.tools.bench.detect import StageTime, compute_other_share, open_detectors


def test_the_report_has_every_run(colonnade, recording: Path, tiny_model: Path) -> None:
    outcome = colonnade(
        "bench", "detect", recording, "-m", tiny_model, "--rounds", 2, "--threads", 1, "--json", "s.json"
    )
    assert outcome.code == 0, outcome.err
    report = json.loads(Path("s.json").read_text())
    assert (report["schema"], report["frames"], report["rounds"]) == ("colonnade-bench-detect", 6, 2)
    (run,) = report["runs"]
    assert (run["model"], run["precision"], run["threads"]) == ("tiny", "fp32", 1)
    assert run["slowest_round"] <= run["frames_per_second"] <= run["fastest_round"]
    stages = {stage["name"]: stage["median_ms"] for stage in run["stages"]}
    assert 0 < stages["network"] < stages["all stages"]
    assert run["rules_ms"] > 0
    assert 0 < run["other_share"] < 1
    assert report["scalings"] == []
    (missing,) = report["missing"]
    assert missing.startswith("int8: ")
    assert "no int8 twin" in missing
    assert report["hardware"]["cpu"]
    assert re.search(r"fp32, 1 thread +\d+\.\d frames/s", outcome.out)
    assert "not measured: int8" in outcome.err


def test_the_standard_network_comes_in_both_precisions(colonnade, recording: Path) -> None:
    options = (
        "--model",
        "standard-submanifold",
        "--limit",
        1,
        "--rounds",
        1,
        "--threads",
        1,
        "--json",
        "s.json",
    )
    outcome = colonnade("bench", "detect", recording, *options)
    assert outcome.code == 0, outcome.err
    report = json.loads(Path("s.json").read_text())
    assert [run["precision"] for run in report["runs"]] == ["fp32", "int8"]
    assert all(run["model"].startswith("standard-submanifold") for run in report["runs"])


def test_the_share_that_is_not_convolution() -> None:
    stages = [
        StageTime("pillars", 2.0, 9.0),
        StageTime("network", 8.0, 9.0),
        StageTime("all stages", 10.0, 18.0),
    ]
    assert compute_other_share(stages, 1.0) == pytest.approx(0.3)
    assert compute_other_share(stages, None) == pytest.approx(0.2)


def test_detectors_that_there_are_not(tiny_model: Path) -> None:
    with pytest.raises(ModelError):
        open_detectors("absent")
    with pytest.raises(ModelError):
        open_detectors(str(tiny_model), "int8", 1)
    with pytest.raises(UsageError, match="fp8"):
        open_detectors("standard-submanifold", "fp8", 1)
    with pytest.raises(UsageError, match="dense"):
        open_detectors("standard-dense", "fp32", 1)
