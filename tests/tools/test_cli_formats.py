"""test_cli_formats.py: one recording in every format gives the same boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.export import read_json_lines

CLASSES = ("car", "pedestrian", "cyclist")
FORMATS = (("out", "pcd"), ("out", "npy"), ("out.mcap", None), ("out.db3", None), ("out.bag", None))


def detect(colonnade: Callable, recording: Path, model: Path) -> list:
    outcome = colonnade("detect", recording, "-m", model, "-q", "-o", "results", "--score", 0.4)
    assert outcome.code == 0, outcome.err
    return [result.detections for result in read_json_lines("results/detections.jsonl", CLASSES)]


def assert_same_in_every_format(colonnade: Callable, recording: Path, model: Path, limit: int) -> None:
    pytest.importorskip("rosbags", reason="ROS bags need rosbags: pip install 'colonnade[bags]'")
    assert colonnade("convert", recording, "first", "--to", "kitti", "--limit", limit, "-q").code == 0
    expected = detect(colonnade, Path("first"), model)
    assert len(expected) == limit
    assert sum(map(len, expected)) > 10
    for name, form in FORMATS:
        place = Path(form or "bags") / name
        place.parent.mkdir(exist_ok=True)
        outcome = colonnade("convert", "first", place, "-q", *(("--to", form) if form else ()))
        assert outcome.code == 0, outcome.err
        for ours, theirs in zip(detect(colonnade, place, model), expected, strict=True):
            np.testing.assert_array_equal(ours.boxes, theirs.boxes, err_msg=str(place))
            np.testing.assert_array_equal(ours.scores, theirs.scores, err_msg=str(place))
            np.testing.assert_array_equal(ours.labels, theirs.labels, err_msg=str(place))


def test_a_drawn_recording(colonnade, recording: Path, tiny_model: Path) -> None:
    assert_same_in_every_format(colonnade, recording, tiny_model, 4)


def test_a_real_drive(colonnade, data_folder: Path, tiny_model: Path) -> None:
    assert_same_in_every_format(colonnade, data_folder / "kitti_drive_0005", tiny_model, 3)
