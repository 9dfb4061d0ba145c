"""test_evaluate_examples.py: the errors that are shown are the surprising ones, and not one error many times."""

from __future__ import annotations

import numpy as np

from colonnade.detector.detections import Detections
from colonnade.detector.evaluate import (
    ClassRule,
    ErrorExamples,
    EvaluationProtocol,
    FrameResult,
    GroundTruth,
    choose_examples,
    score_results,
)

CLASSES = ("car", "pedestrian")
PROTOCOL = EvaluationProtocol(rules=(ClassRule("car"), ClassRule("pedestrian")))
Car = tuple[float, int]  # x [m], LiDAR points
Find = tuple[float, float]  # x [m], score


def frame(number: int, cars: list[Car] = (), finds: list[Find] = ()) -> FrameResult:
    """Return a frame of cars, and of cars found, all 20 m to the left of the sensor's way."""
    truth = GroundTruth(
        np.array([[x, 20.0, 0.0, 4.0, 2.0, 1.5, 0.0] for x, _ in cars]).reshape(-1, 7),
        ("car",) * len(cars),
        np.array([points for _, points in cars], np.int32),
    )
    found = Detections(
        np.array([[x, 20.0, 0.0, 4.0, 2.0, 1.5, 0.0] for x, _ in finds], np.float32).reshape(-1, 7),
        np.array([score for _, score in finds], np.float32),
        np.zeros(len(finds), np.int32),
        CLASSES,
    )
    return FrameResult(f"{number:06d}", found, truth)


def choose(frames: list[FrameResult]) -> list[ErrorExamples]:
    return list(choose_examples(score_results(frames, PROTOCOL, 0.5, dataset="street")))


def test_misses_come_by_points_and_false_alarms_by_score() -> None:
    misses, alarms, no_misses, no_alarms = choose(
        [
            frame(0, cars=[(5.0, 30), (-5.0, 90)], finds=[(20.0, 0.6), (30.0, 0.8), (-20.0, 0.3)]),
            frame(1, cars=[(5.0, 60)], finds=[(5.0, 0.9), (20.0, 0.7)]),
        ]
    )
    assert (misses.label, misses.kind, misses.total, misses.dataset) == ("car", "miss", 2, "street")
    assert [o.num_points for o in misses.outcomes] == [90, 30]
    assert (alarms.label, alarms.kind, alarms.total, alarms.score) == ("car", "false alarm", 3, 0.5)
    np.testing.assert_allclose([o.score for o in alarms.outcomes], [0.8, 0.7, 0.6], atol=1e-6)
    assert (no_misses.label, no_misses.total, no_misses.outcomes) == ("pedestrian", 0, ())
    assert (no_alarms.kind, no_alarms.total) == ("false alarm", 0)


def test_a_car_that_is_missed_in_every_frame_leaves_room_for_others() -> None:
    frames = [frame(number, cars=[(0.0, 500 - number)]) for number in range(60)]
    frames[7] = frame(7, cars=[(0.0, 493), (30.0, 6)])  # at another range
    frames[8] = frame(8, cars=[(0.0, 492)], finds=[(0.0, 0.2)])  # of another cause
    misses = choose(frames)[0]
    assert misses.total == 61
    assert len(misses.outcomes) == 20
    points = [o.num_points for o in misses.outcomes]
    assert points == sorted(points, reverse=True)
    assert points[0] == 500
    assert points[-1] == 6
    assert 492 in points
    tenths = {int(o.frame_id) // 6 for o in misses.outcomes}
    assert tenths == set(range(10))


def test_few_errors_are_all_shown() -> None:
    frames = [frame(number, cars=[(0.0, 50), (4.5, 50)]) for number in range(10)]
    misses = choose(frames)[0]
    assert len(misses.outcomes) == misses.total == 20
    assert [o.frame_id for o in misses.outcomes[:3]] == ["000000", "000001", "000002"]
