"""test_thresholds.py: thresholds that keep as many pillars as shares do, and how far the work of a model varies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.detector.detector import Detector
from colonnade.detector.quantise import apply_steps, calibrate, quantise
from colonnade.detector.thresholds import calibrate_thresholds, find_threshold
from colonnade.detector.work import measure_work
from colonnade.runtime.errors import ModelError, UsageError

NOTHING = np.zeros((0, 3), np.float32)


def count_pillars(checkpoint, frames) -> np.ndarray:
    """Return (frames, layers) how many pillars every pruned layer hands on."""
    detector = Detector(checkpoint)
    names = {layer.name for layer in checkpoint.manifest.architecture.layers if layer.pruned}
    traces = [detector.trace(points)[1] for points in frames]
    return np.array([[x.kept_outputs for x in trace.layers if x.name in names] for trace in traces])


@pytest.mark.parametrize("importance", ["l2", "l1", "learned"])
def test_as_many_pillars_stay_in_all_but_not_in_each_frame(make_pruned, small_frames, importance) -> None:
    shares = make_pruned(importance=importance)
    bound = calibrate_thresholds(shares, (*small_frames, NOTHING))
    layers = bound.manifest.architecture.layers
    assert [layer.name for layer in layers if layer.threshold is not None] == [
        layer.name for layer in shares.manifest.architecture.layers if layer.keep is not None
    ]
    assert all(layer.keep is None for layer in layers)
    kept = [count_pillars(model, small_frames) for model in (shares, bound)]
    np.testing.assert_array_equal(kept[0].sum(axis=0), kept[1].sum(axis=0))
    assert (kept[0] != kept[1]).any(axis=0).all()


def test_the_order_of_frames_and_threads_does_not_matter(make_pruned, small_frames) -> None:
    first = calibrate_thresholds(make_pruned(), small_frames, threads=1)
    assert first.manifest == calibrate_thresholds(make_pruned(), small_frames[::-1]).manifest


def test_only_what_has_shares_gets_thresholds(make_pruned, small_frames) -> None:
    bound = calibrate_thresholds(make_pruned(), small_frames)
    with pytest.raises(UsageError, match="keeps no shares"):
        calibrate_thresholds(bound, small_frames)
    with pytest.raises(ModelError, match="int8 already"):
        calibrate_thresholds(quantise(make_pruned(), small_frames), small_frames)
    for frames in ((), (NOTHING,)):
        with pytest.raises(UsageError, match="no frame to calibrate on"):
            calibrate_thresholds(make_pruned(), frames)
    with pytest.raises(UsageError, match="points must have shape"):
        calibrate_thresholds(make_pruned(), [np.zeros(3)])


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.integers(1, 40))
def test_the_threshold_lies_under_the_count_th_largest(values, count) -> None:
    importance = np.array(values, np.float64)
    threshold = find_threshold(importance, count)
    kept = (importance >= threshold).sum()
    ordered = np.sort(importance)[::-1]
    if count >= len(values):
        assert kept == len(values)
    elif ordered[count - 1] > ordered[count]:
        assert kept == count
    else:  # of equals all stay
        assert kept == (importance >= ordered[count]).sum()


@pytest.mark.parametrize("importance", ["l2", "l1", "learned"])
@pytest.mark.parametrize("form", ["shares", "thresholds"])
def test_the_integer_model_keeps_nearly_the_same_pillars(make_pruned, small_frames, importance, form) -> None:
    model = make_pruned(importance=importance)
    if form == "thresholds":
        model = calibrate_thresholds(model, small_frames)
    steps = calibrate(model, small_frames)
    twin = apply_steps(model, steps, "drawn")
    for ours, theirs, step in zip(
        model.manifest.architecture.layers, twin.manifest.architecture.layers, steps.layers, strict=True
    ):
        assert ours.keep == theirs.keep
        if ours.threshold is not None:
            assert theirs.threshold == pytest.approx(ours.threshold / np.max(step))
    for part, other in zip(model.layers, twin.layers, strict=True):
        assert part.importance is other.importance
    detectors = Detector(model), Detector(twin)
    common, either = np.zeros(len(steps.layers)), np.zeros(len(steps.layers))
    for points in small_frames:
        traces = [detector.trace(points)[1] for detector in detectors]
        for index, pair in enumerate(zip(*(trace.layers for trace in traces), strict=True)):
            one, two = (layer.kept_sites.cells for layer in pair)
            common[index] += (one & two).sum()
            either[index] += (one | two).sum()
    assert (common[:2] > 0.95 * either[:2]).all()  # later layers add what those before chose otherwise
    assert (common > 0.8 * either).all()


def test_thresholds_need_one_step(make_pruned, small_frames) -> None:
    from dataclasses import replace

    model = calibrate_thresholds(make_pruned(), small_frames)
    steps = calibrate(model, small_frames)
    uneven = (np.linspace(1, 2, 8), *steps.layers[1:])
    with pytest.raises(ModelError, match=r"'block1.0'.*one step"):
        apply_steps(model, replace(steps, layers=uneven), "drawn")


def test_the_work_is_that_of_the_traces(make_pruned, small_frames) -> None:
    detector = Detector(make_pruned())
    macs = [detector.trace(points)[1].macs for points in small_frames]
    work = measure_work(detector, small_frames)
    assert (work.frames, work.least, work.most) == (3, min(macs), max(macs))
    assert work.mean == pytest.approx(np.mean(macs))
    assert work.deviation == pytest.approx(np.std(macs))
    with pytest.raises(UsageError, match="no frame"):
        measure_work(detector, ())
