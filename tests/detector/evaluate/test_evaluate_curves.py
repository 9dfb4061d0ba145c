"""test_evaluate_curves.py: average precision: hand-computed curves, invariants, and the nuScenes reference."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector.evaluate.curves import (
    PrecisionRecall,
    average_precision,
    interpolated_precision,
    trace_curve,
)
from colonnade.detector.evaluate.nuscenes import CentreFrame, nuscenes_ap
from colonnade.runtime.errors import UsageError

REFERENCE_TOLERANCE = 1e-6
detections = st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=60)


def curve_of(rows: list[tuple[int, bool]], missed: int) -> PrecisionRecall:
    scores = np.array([score / 1000 for score, _ in rows])
    hits = np.array([hit for _, hit in rows], bool)
    return trace_curve(scores, hits, int(hits.sum()) + missed)


def test_ap_of_a_hand_computed_curve() -> None:
    # hit, alarm, hit, miss: precision 1 up to recall 1/3, 2/3 up to 2/3, 0 beyond
    curve = trace_curve(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 3)
    assert average_precision(curve) == pytest.approx((13 * 1 + 13 * 2 / 3) / 40)  # 1/40..13/40, 14/40..26/40
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])


def test_ap_without_objects_is_undefined_and_without_detections_zero() -> None:
    nothing = np.zeros(0), np.zeros(0, bool)
    for measure in (average_precision, interpolated_precision):
        assert math.isnan(measure(trace_curve(*nothing, 0)))
        assert measure(trace_curve(*nothing, 3)) == 0.0
        assert measure(trace_curve(np.ones(2), np.zeros(2, bool), 3)) == 0.0


@given(detections, st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_ap_lies_between_0_and_the_final_recall(rows: list[tuple[int, bool]], missed: int) -> None:
    curve = curve_of(rows, missed)
    if curve.objects:
        reached = curve.recall[-1] if len(rows) else 0.0
        assert 0 <= average_precision(curve) <= reached + 1e-9
        assert 0 <= interpolated_precision(curve) <= 1


@given(detections, st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_ap_depends_on_the_order_of_scores_only(rows: list[tuple[int, bool]], missed: int) -> None:
    squeezed = [(score // 2 * 2, hit) for score, hit in rows]
    stretched = [(score // 2, hit) for score, hit in rows]
    for measure in (average_precision, interpolated_precision):
        before, after = measure(curve_of(squeezed, missed)), measure(curve_of(stretched, missed))
        assert before == pytest.approx(after, nan_ok=True)


@given(detections, st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_a_further_false_alarm_never_raises_ap(rows: list[tuple[int, bool]], missed: int, score: int) -> None:
    alarmed = average_precision(curve_of([*rows, (score, False)], missed))
    assert alarmed <= average_precision(curve_of(rows, missed)) + 1e-12


@given(detections, st.integers(1, 20))
@settings(max_examples=80, deadline=None)
def test_perfect_ranking_is_the_best(rows: list[tuple[int, bool]], missed: int) -> None:
    ranked = [(1000 if hit else 0, hit) for _, hit in rows]
    best, recall = average_precision(curve_of(ranked, missed)), sum(h for _, h in rows)
    assert average_precision(curve_of(rows, missed)) <= best + 1e-12
    assert best == pytest.approx(math.floor(40 * recall / (recall + missed) + 1e-9) / 40)


def test_impossible_input_is_refused() -> None:
    with pytest.raises(UsageError, match="2 hits but only 1"):
        trace_curve(np.ones(2), np.ones(2, bool), 1)
    with pytest.raises(UsageError, match="finite score"):
        trace_curve(np.array([np.nan]), np.ones(1, bool), 1)
    with pytest.raises(UsageError, match="frame 0"):
        nuscenes_ap([CentreFrame(np.zeros((1, 2)), np.zeros((2, 2)), np.zeros(1))])


def test_centre_ap_equals_the_nuscenes_devkit(data_folder: Path) -> None:
    folder = data_folder / "reference" / "nuscenes_ap"
    frames = []
    for row in json.loads((folder / "frames.json").read_text()):
        found = np.array(row["detections"]).reshape(-1, 3)
        frames.append(CentreFrame(np.array(row["gt"]).reshape(-1, 2), found[:, :2], found[:, 2]))
    expected = json.loads((folder / "expected.json").read_text())
    distances = [float(distance) for distance in expected]
    assert distances == [0.5, 1.0, 2.0, 4.0]
    assert nuscenes_ap(frames, distances) == pytest.approx(list(expected.values()), abs=REFERENCE_TOLERANCE)


def test_centre_ap_gives_an_object_to_the_highest_score() -> None:
    truth, found = np.array([[0.0, 0.0]]), np.array([[0.1, 0.0], [0.4, 0.0]])
    first = nuscenes_ap([CentreFrame(truth, found, np.array([0.9, 0.8]))], [0.5])[0]
    assert first == pytest.approx(
        (89 + 0.4 / 0.9) / 90
    )  # the false alarm lowers precision at full recall only
    beyond = nuscenes_ap([CentreFrame(truth, found, np.array([0.9, 0.8]))], [0.05])[0]
    assert beyond == 0.0
