"""test_wrong_calls.py: arguments of another kind than documented end in one typed error that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colonnade.detector.detector import Detector, load
from colonnade.detector.frames import Frame
from colonnade.detector.io import open_recording, write_recording
from colonnade.detector.standard import draw_pillars, standard_checkpoint, standard_network
from colonnade.runtime.errors import ColonnadeError, ModelError, UsageError

POINTS = np.zeros((10, 4), np.float32)
RAGGED = [[1, 2, 3], [4]]


def detect(points: Any = POINTS, **options: Any) -> Callable[[], object]:
    return lambda: load("synthetic", precision="fp32", threads=1).detect(points, **options)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "load: a number": (lambda: load(123), r"the model must be text or a path, got 123 \(int\)"),
    "load: nothing": (lambda: load(None), "the model must be"),
    "load: bytes": (lambda: load(b"default"), "the model must be"),
    "load: precision": (lambda: load(precision=3), "precision must be one of fp32, int8, got 3"),
    "load: precisions": (lambda: load(precision=["int8"]), "precision must be one of"),
    "load: half a thread": (lambda: load(threads=1.5), "threads must be a whole number, got 1.5"),
    "load: text": (lambda: load(threads="2"), "threads must be a whole number, got '2'"),
    "load: keep": (lambda: load("synthetic", keep="1"), "keep is for models with vector pruning"),
    "Detector": (lambda: Detector(None), "checkpoint must be a Checkpoint, got None"),
    "detect: nothing": (detect(None), "points must be an array of numbers, got None"),
    "detect: objects": (detect(POINTS.astype(object)), "points must be .* got object"),
    "detect: complex": (detect(POINTS.astype(complex)), "points must be .* got complex128"),
    "detect: text": (detect(np.full((3, 4), "a")), "points must be .* got <U1"),
    "detect: ragged": (detect(RAGGED), "points must be an array of numbers"),
    "detect: score": (detect(score="a"), "score must be a number, got 'a'"),
    "detect: scores": (detect(score=np.ones(3)), r"score must be a number, got float64 of shape \(3,\)"),
    "detect: ground": (detect(ground="a"), "ground must be a number, got 'a'"),
    "detect: depth": (detect(ground=-(10**400)), "ground must be a number that a float can hold"),
    "standard: seed": (lambda: standard_network(seed=-1), "seed must be 0 or more, got -1"),
    "standard: no seed": (lambda: standard_network(seed=None), "seed must be a whole number"),
    "standard: keep": (lambda: standard_network("pruned", keep="a"), "keep must be a number"),
    "standard: variant": (lambda: standard_network(["dense"]), "variant must be one of dense"),
    "standard: precision": (lambda: standard_network(precision=[1]), "precision must be one of"),
    "standard: weights": (lambda: standard_network(weights=5), r"weights must be 20 layers, got 5 \(int\)"),
    "standard: threads": (lambda: standard_network(threads="2"), "threads must be a whole number"),
    "standard: run": (lambda: standard_network().run(None), "grid must be a PillarGrid, got None"),
    "standard: trace": (lambda: standard_network().trace(POINTS), "grid must be a PillarGrid, got float32"),
    "checkpoint: seed": (lambda: standard_checkpoint(seed=-1), "seed must be 0 or more"),
    "pillars: coords": (lambda: draw_pillars(None), "coords must be an array of numbers"),
    "pillars: number": (lambda: draw_pillars(3), "coords must be"),
    "pillars: seed": (lambda: draw_pillars([(0, 1)], seed=-1), "seed must be 0 or more"),
    "open: nothing": (lambda: open_recording(None), "the recording must be text or a path, got None"),
    "open: bytes": (lambda: open_recording(b"a"), "the recording must be text or a path"),
    "open: format": (lambda: open_recording(".", format=["kitti"]), "format must be a str"),
    "open: topic": (lambda: open_recording(".", topic=5), "topic must be a str"),
    "open: columns": (lambda: open_recording(".", columns=1.5), "columns must be a whole number or"),
    "open: names": (lambda: open_recording(".", columns=["x", 3]), "columns must be"),
    "open: scale": (lambda: open_recording(".", intensity_scale=[1]), "intensity-scale"),
    "open: limit": (lambda: open_recording(".", limit="a"), "limit must be a whole number, got 'a'"),
    "open: callback": (lambda: open_recording(".", on_corrupt=5), "on_corrupt must be None or"),
    "write: nowhere": (lambda: write_recording(None, []), "the recording must be text or a path"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_told_in_one_line(name: str) -> None:
    call, complaint = CALLS[name]
    with pytest.raises(UsageError, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frames", [None, [None], [Frame(POINTS, 0, "a", "b"), 1]])
def test_only_frames_are_written(tmp_path: Path, frames: Any) -> None:
    for name in ("new/a.bin", "new/a.mcap", "new/a"):
        with pytest.raises(ColonnadeError, match=r"must be (an iterable of|a) Frame"):
            write_recording(tmp_path / name, frames)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_no_model_is_called_so(name: str) -> None:
    with pytest.raises(ModelError, match="no model"):
        load(name)
