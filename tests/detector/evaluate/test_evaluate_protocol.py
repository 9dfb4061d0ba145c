"""test_evaluate_protocol.py: the recording protocol: what counts, what is ignored, and the report of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from colonnade.detector.detections import Detections
from colonnade.detector.evaluate import (
    CameraView,
    ClassRule,
    EvaluationProtocol,
    EvaluationReport,
    FrameResult,
    GroundTruth,
    LabelledFrame,
    analyse_errors,
    evaluate_detector,
    score_results,
)
from colonnade.detector.frames import Frame
from colonnade.runtime.errors import UsageError

CLASSES = ("car", "pedestrian", "cyclist")
Object = tuple[str, float, float, int]  # label, x, y, points


def box_at(x: float, y: float) -> list[float]:
    return [x, y, 0.0, 4.0, 2.0, 1.5, 0.0]


def truth(*objects: Object) -> GroundTruth:
    boxes = np.array([box_at(x, y) for _, x, y, _ in objects]).reshape(-1, 7)
    return GroundTruth(boxes, tuple(o[0] for o in objects), np.array([o[3] for o in objects], np.int32))


def found(*detections: tuple[str, float, float, float]) -> Detections:
    boxes = np.array([box_at(x, y) for _, x, y, _ in detections], np.float32).reshape(-1, 7)
    scores = np.array([d[3] for d in detections], np.float32)
    return Detections(boxes, scores, np.array([CLASSES.index(d[0]) for d in detections], np.int32), CLASSES)


def score(
    labels: GroundTruth, detections: Detections, view: CameraView | None = None, **options: object
) -> EvaluationReport:
    protocol = EvaluationProtocol(**options)  # type: ignore[arg-type]
    return score_results([FrameResult("000000", detections, labels, view)], protocol, 0.3)


def counts(report: EvaluationReport, label: str = "car") -> tuple[int, int, int]:
    """Return hits, false alarms and misses of a class over the whole range."""
    point = next(p for p in report.operating_points if p.label == label)
    return point.hits, point.alarms, point.misses


CAR: Object = ("car", 10.0, 0.0, 50)
HIT = ("car", 10.0, 0.0, 0.9)


def test_one_hit_is_perfect() -> None:
    report = score(truth(CAR), found(HIT))
    for metric, threshold in (("BEV AP|R40", 0.7), ("3D AP|R40", 0.5), ("centre AP", 0.5)):
        figure = report.figure("car", metric, threshold)
        assert (figure.value, figure.objects) == (pytest.approx(100.0), 1)
    assert counts(report) == (1, 0, 0)


@pytest.mark.parametrize(
    ("neighbour", "alarms"),
    [
        (("van", 30.0, 0.0, 50), 0),
        (("truck", 30.0, 0.0, 50), 0),
        (("bus", 30.0, 0.0, 50), 0),
        (("car", 30.0, 0.0, 4), 0),  # too few points
        (("cyclist", 30.0, 0.0, 50), 1),
        (("other", 30.0, 0.0, 50), 1),
        (("car", 30.0, 40.0, 50), 1),  # elsewhere, and missed as well
    ],
)
def test_detections_on_ignored_objects_count_neither_way(neighbour: Object, alarms: int) -> None:
    report = score(truth(CAR, neighbour), found(HIT, ("car", 30.0, 0.0, 0.9)))
    assert counts(report)[:2] == (1, alarms)


def test_ignored_objects_are_no_misses() -> None:
    labels = truth(CAR, ("van", 30, 0, 50), ("car", 20, 5, 4), ("car", 60, 0, 50))
    assert counts(score(labels, found(HIT))) == (1, 0, 0)
    assert counts(score(labels, found(HIT), min_points=4)) == (1, 0, 1)
    assert counts(score(labels, found(HIT), max_range=70.0)) == (1, 0, 1)


def test_a_badly_placed_detection_on_a_van_is_excused() -> None:
    labels = truth(CAR, ("van", 30.0, 0.0, 50))
    assert counts(score(labels, found(HIT, ("car", 32.0, 0.0, 0.9)))) == (1, 0, 0)  # IoU 1/3
    assert counts(score(labels, found(HIT, ("car", 32.6, 0.0, 0.9)))) == (1, 1, 0)  # IoU 0.21


def test_the_border_of_the_range_excuses_detections_beyond_it() -> None:
    assert counts(score(truth(CAR, ("car", 49.4, 0, 50)), found(HIT, ("car", 50.2, 0.0, 0.9)))) == (2, 0, 0)
    assert counts(score(truth(CAR), found(HIT, ("car", 50.5, 0.0, 0.9)))) == (1, 0, 0)
    assert counts(score(truth(CAR), found(HIT, ("car", 49.5, 0.0, 0.9)))) == (1, 1, 0)


def test_bands_split_the_objects() -> None:
    labels = truth(CAR, ("car", 25, 0, 50), ("car", 45, 0, 50))
    report = score(labels, found(HIT, ("car", 25.0, 0.0, 0.8), ("car", 40.0, 3.0, 0.9)))
    bands = {
        (p.near, p.far): (p.hits, p.alarms, p.misses) for p in report.operating_points if p.label == "car"
    }
    assert bands == {(0, 50): (2, 1, 1), (0, 20): (1, 0, 0), (20, 35): (1, 0, 0), (35, 50): (0, 1, 1)}
    assert report.figure("car", "BEV AP|R40", 0.5, near=35, far=50).value == 0.0
    assert sum(f.objects for f in report.figures if f.name == "BEV AP|R40 @0.50" and f.label == "car") == 6


def test_a_second_detection_of_an_object_is_a_false_alarm() -> None:
    report = score(truth(CAR), found(HIT, ("car", 10.2, 0.0, 0.8)))
    assert counts(report) == (1, 1, 0)
    assert [o.cause for o in report.outcomes if o.kind == "false alarm"] == ["duplicate"]


def test_the_higher_score_takes_the_object_even_if_it_fits_worse() -> None:
    report = score(truth(CAR), found(("car", 10.0, 0.0, 0.5), ("car", 10.4, 0.0, 0.9)))
    hit = next(o for o in report.outcomes if o.kind == "hit")
    assert hit.score == pytest.approx(0.9)


def camera() -> CameraView:
    projection = np.array([[600.0, -700, 0, 0], [180, 0, -700, 0], [1, 0, 0, 0]])
    return CameraView(projection, (1242, 375), np.array([[590.0, 170, 610, 190]]))


def test_outside_the_camera_nothing_counts() -> None:
    labels = truth(("car", 10, 3, 50), ("car", -10, 0, 50))
    detections = found(("car", 10.0, 3.0, 0.9), ("car", -10.0, 0.0, 0.9), ("car", -30.0, 0.0, 0.9))
    assert counts(score(labels, detections, camera())) == (1, 0, 0)
    assert counts(score(labels, detections)) == (2, 1, 0)


def test_dontcare_regions_excuse_on_request_only() -> None:
    detections = found(("car", 40.0, 0.0, 0.9))
    assert counts(score(truth(), detections, camera())) == (0, 1, 0)
    assert counts(score(truth(), detections, camera(), excuse_unlabelled=True)) == (0, 0, 0)
    assert "DontCare" in " ".join(score(truth(), detections, camera()).conditions)


def test_an_object_labelled_twice_is_found_once() -> None:
    labels = truth(CAR, ("car", 10.2, 0.0, 40), ("car", 20.0, 0.0, 40))
    detections = found(HIT, ("car", 20.0, 0.0, 0.8))
    report = score(labels, detections)
    assert counts(report) == (2, 0, 1)
    assert [o.cause for o in report.outcomes if o.kind == "miss"] == ["on a neighbour"]
    assert "1 car labels are second labels of an object, counted" in " ".join(report.conditions)
    once = score(labels, detections, ignore_twins=True)
    assert counts(once) == (2, 0, 0)
    assert "1 car labels are second labels of an object, ignored" in once.conditions


def test_precision_is_taken_at_the_default_score_and_ap_below_it() -> None:
    report = score(
        truth(CAR, ("car", 20, 0, 50)), found(HIT, ("car", 20.0, 0.0, 0.1), ("car", 30.0, 9.0, 0.2))
    )
    assert counts(report) == (1, 0, 1)
    assert report.figure("car", "BEV AP|R40", 0.5).value == pytest.approx(100 * (20 + 20 * 2 / 3) / 40)
    assert [o.cause for o in report.outcomes if o.kind == "miss"] == ["low score"]


def test_outcomes_name_the_cause() -> None:
    labels = truth(CAR, ("car", 20, 10, 6), ("car", 30, 0, 40), ("cyclist", 30, 20, 40))
    detections = found(HIT, ("car", 32.2, 0.0, 0.9), ("car", 30.0, 20.0, 0.9), ("car", 5.0, -20.0, 0.9))
    report = score(labels, detections)
    car = [o for o in report.outcomes if o.label == "car"]
    assert sorted((o.kind, o.cause) for o in car) == [
        ("false alarm", "background"),
        ("false alarm", "misplaced"),
        ("false alarm", "on a cyclist"),
        ("hit", ""),
        ("miss", "misplaced"),
        ("miss", "not seen"),
    ]
    assert counts(report) == (1, 3, 2)
    analysis = analyse_errors(report)
    near = next(b for b in analysis.by_range if b.label == "car" and b.low == 20)
    assert (near.high, near.objects, near.misses, near.alarms) == (30, 1, 1, 1)
    few = next(b for b in analysis.by_points if b.label == "car" and b.low == 5)
    assert (few.objects, few.misses) == (1, 1)
    assert sum(c.count for c in analysis.causes if c.label == "car") == 5


def test_misses_are_sorted_by_what_hides_them() -> None:
    labels = truth(CAR, ("car", 20, 10, 6), ("car", 30, 0, 40))
    result = FrameResult("0", found(HIT), labels, None, np.array([0.0, 0.95, np.nan]))
    bins = analyse_errors(score_results([result], EvaluationProtocol(), 0.3)).by_occlusion
    cars = {b.low: (b.objects, b.misses) for b in bins if b.label == "car" and b.objects}
    assert cars == {0.0: (1, 0), 0.9: (1, 1)}  # the third cannot be told


@pytest.mark.parametrize(("sensor", "told"), [((0.0, 0.0, 0.0), 1), (None, 0)])
def test_occlusion_is_told_only_where_the_sensor_is_known(
    sensor: tuple[float, float, float] | None, told: int
) -> None:
    class Blind:
        classes = CLASSES
        default_score = 0.3

        def detect(self, points: NDArray[np.float32], *, score: float) -> Detections:
            return found()

    points = (
        np.random.default_rng(0).uniform((8.0, -1.0, -0.4, 0), (8.4, 1.0, 0.7, 1), (50, 4)).astype(np.float32)
    )
    frame = LabelledFrame(Frame(points, 0, "0", "drawn"), truth(CAR), sensor=sensor)
    bins = analyse_errors(evaluate_detector(Blind(), [frame])).by_occlusion
    assert sum(b.objects for b in bins if b.label == "car") == told


def test_the_report_names_conditions_and_survives_json(tmp_path: Path) -> None:
    report = score(truth(CAR), found(HIT))
    assert "objects with >= 5 points" in report.title
    assert "0-50 m" in report.title
    assert "ignored for car: van, truck, bus" in report.conditions
    report.save(tmp_path / "report.json", outcomes=True)
    content = json.loads((tmp_path / "report.json").read_text())
    first = content["figures"][0]
    assert first == {
        "label": "car",
        "metric": "BEV AP|R40",
        "threshold": 0.5,
        "unit": "IoU",
        "near": 0.0,
        "far": 50.0,
        "min_points": 5,
        "value": pytest.approx(100.0),
        "objects": 1,
    }
    assert content["outcomes"][0]["kind"] == "hit"
    assert next(f for f in content["figures"] if f["label"] == "cyclist")["value"] is None
    assert "outcomes" not in json.loads(report.to_json())
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


def test_every_row_of_the_table_has_the_headers_columns() -> None:
    report = score(truth(CAR), found(HIT))
    assert report.header == ("class", "metric", "0-50 m", "0-20 m", "20-35 m", "35-50 m")
    table = report.rows()
    assert all(len(row) == len(report.header) for row in table)
    assert ("car", "objects", "1", "1", "0", "0") in table
    assert ("car", "BEV AP|R40 @0.70", "100.0", "100.0", "-", "-") in table
    assert ("car", "centre AP @0.50 m", "100.0", "100.0", "-", "-") in table
    with pytest.raises(KeyError):
        report.figure("car", "BEV AP|R40", 0.6)


class Oracle:
    """Finds a car at every point."""

    classes = CLASSES
    default_score = 0.3

    def __init__(self) -> None:
        self.asked: list[float] = []

    def detect(self, points: NDArray[np.float32], *, score: float) -> Detections:
        self.asked.append(score)
        return found(*(("car", float(x), float(y), 0.9) for x, y in points[:, :2]))


def test_a_detector_is_run_over_a_dataset() -> None:
    frames = [
        LabelledFrame(
            Frame(np.array([[x, 0, 0, 0]], np.float32), 0, f"{i:06d}", "memory"), truth(("car", x, 0, 9))
        )
        for i, x in enumerate((10.0, 20.0, 30.0))
    ]
    oracle, done = Oracle(), []
    report = evaluate_detector(oracle, frames, progress=done.append)
    assert report.frames == 3
    assert report.figure("car", "3D AP|R40", 0.7).value == pytest.approx(100.0)
    assert report.figure("car", "3D AP|R40", 0.7).objects == 3
    assert oracle.asked == [0.05] * 3
    assert done == [1, 2, 3]
    assert [outcome.frame_id for outcome in report.outcomes] == ["000000", "000001", "000002"]


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(UsageError, match="no labelled frame"):
        evaluate_detector(Oracle(), [])
    with pytest.raises(UsageError, match="none of the protocol's"):
        score(truth(CAR), found(HIT), rules=(ClassRule("tram"),))
    for wrong in (
        {"max_range": 0.0},
        {"min_points": -1},
        {"rules": (ClassRule("car", overlaps=(1.5,)),)},
        {"bands": ((5.0, 5.0),)},
        {"distances": (0.0,)},
        {"score_floor": 2.0},
    ):
        with pytest.raises(UsageError):
            EvaluationProtocol(**wrong)  # type: ignore[arg-type]
