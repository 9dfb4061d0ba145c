"""test_evaluate_kitti.py: KITTI's average precision against mmdetection3d's results and hand-made frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.evaluate.kitti import Overlap, image_overlap, kitti_ap
from colonnade.detector.evaluate.kitti_labels import (
    KittiCalibration,
    KittiObjects,
    read_kitti_calibration,
    read_kitti_objects,
    read_kitti_tracking,
)
from colonnade.runtime.errors import DatasetError, UsageError

REFERENCE_TOLERANCE = 0.01  # points


def write_lines(path: Path, *lines: str) -> KittiObjects:
    path.write_text("\n".join(lines) + "\n")
    return read_kitti_objects(path)


def car_line(
    x: float, *, name: str = "Car", top: float = 100, occlusion: int = 0, score: float | None = None
) -> str:
    tail = "" if score is None else f" {score}"
    return f"{name} 0 {occlusion} 0 {x * 20} {top} {x * 20 + 60} 200 1.5 1.8 4.2 {x} 1.6 20 0{tail}"


@pytest.fixture(scope="module")
def reference(data_folder: Path) -> tuple[list[KittiObjects], list[KittiObjects], dict[str, dict]]:
    folder = data_folder / "reference" / "kitti_eval"
    truth = [read_kitti_objects(path) for path in sorted((folder / "label_2").glob("*.txt"))]
    found = [read_kitti_objects(path) for path in sorted((folder / "pred").glob("*.txt"))]
    assert len(truth) == len(found) == 150
    return truth, found, json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("overlap", ["2d", "bev", "3d"])
@pytest.mark.parametrize(
    ("kind", "min_overlap"),
    [
        ("Car", 0.7),
        ("Car", 0.5),
        ("Pedestrian", 0.5),
        ("Pedestrian", 0.25),
        ("Cyclist", 0.5),
        ("Cyclist", 0.25),
    ],
)
def test_ap_equals_the_reference_implementation(
    reference: tuple[list[KittiObjects], list[KittiObjects], dict[str, dict]],
    kind: str,
    min_overlap: float,
    overlap: Overlap,
) -> None:
    truth, found, expected = reference
    result = kitti_ap(truth, found, kind, overlap=overlap, min_overlap=min_overlap)
    wanted = expected[kind][f"IoU {min_overlap:.2f}"][overlap.upper()]
    assert result.r40 == pytest.approx(wanted["R40 easy/moderate/hard"], abs=REFERENCE_TOLERANCE)
    assert result.r11 == pytest.approx(wanted["R11 easy/moderate/hard"], abs=REFERENCE_TOLERANCE)


def many(count: int, **options: object) -> list[str]:
    return [car_line(5.0 * i, **options) for i in range(count)]  # type: ignore[arg-type]


def test_perfect_detections_score_100_at_every_recall(tmp_path: Path) -> None:
    truth = write_lines(tmp_path / "t", *many(41))
    found = write_lines(tmp_path / "f", *(line + f" {0.9 - 0.01 * i}" for i, line in enumerate(many(41))))
    for overlap in ("2d", "bev", "3d"):
        result = kitti_ap([truth], [found], "car", overlap=overlap)  # type: ignore[arg-type]
        assert result.r40 == pytest.approx((100.0, 100.0, 100.0))
        assert result.r11 == pytest.approx((100.0, 100.0, 100.0))
        assert result.objects == (41, 41, 41)


def test_a_single_hit_is_sampled_only_at_recall_0(tmp_path: Path) -> None:
    # The benchmark's own quirk, gone with R40 for any set of more than 40 objects.
    truth = write_lines(tmp_path / "t", car_line(0))
    found = write_lines(tmp_path / "f", car_line(0, score=0.9))
    result = kitti_ap([truth], [found], "Car")
    assert result.r40[0] == 0.0
    assert result.r11[0] == pytest.approx(100 / 11)


def half_as_many_alarms(tmp_path: Path, *extra_truth: str) -> float:
    """Return AP|R40 of 41 hits and 41 detections elsewhere of higher scores, where `extra_truth` lies."""
    truth = write_lines(tmp_path / "t", *many(41), *extra_truth)
    alarms = [car_line(300.0 + 5 * i, score=0.95) for i in range(41)]
    found = write_lines(tmp_path / "f", *alarms, *(line + " 0.5" for line in many(41)))
    return kitti_ap([truth], [found], "Car").r40[1]


def test_false_alarms_halve_the_precision(tmp_path: Path) -> None:
    assert half_as_many_alarms(tmp_path) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("options", "ap"),
    [
        ({"name": "Van"}, 100.0),  # similar: neither way
        ({"occlusion": 3}, 100.0),  # too hard: neither way
        ({"top": 180}, 100.0),  # too small: neither way
        ({"name": "Truck"}, 50.0),  # not similar: a false alarm
    ],
)
def test_detections_on_what_is_ignored_count_neither_way(
    tmp_path: Path, options: dict[str, object], ap: float
) -> None:
    extra = [car_line(300.0 + 5 * i, **options) for i in range(41)]  # type: ignore[arg-type]
    assert half_as_many_alarms(tmp_path, *extra) == pytest.approx(ap)


def test_small_detections_are_no_false_alarms(tmp_path: Path) -> None:
    truth = write_lines(tmp_path / "t", *many(41))
    alarms = [car_line(300.0 + 5 * i, top=180, score=0.95) for i in range(41)]
    found = write_lines(tmp_path / "f", *alarms, *(line + " 0.5" for line in many(41)))
    assert kitti_ap([truth], [found], "Car").r40[1] == pytest.approx(100.0)


def test_dontcare_regions_excuse_only_in_2d(tmp_path: Path) -> None:
    region = "DontCare -1 -1 -10 5000 0 90000 400 -1 -1 -1 -1000 -1000 -1000 -10"
    truth = write_lines(tmp_path / "t", *many(41), region)
    alarms = [car_line(300.0 + 5 * i, score=0.95) for i in range(41)]
    found = write_lines(tmp_path / "f", *alarms, *(line + " 0.5" for line in many(41)))
    assert kitti_ap([truth], [found], "Car", overlap="2d", min_overlap=0.5).r40[1] == pytest.approx(100.0)
    assert kitti_ap([truth], [found], "Car", overlap="bev").r40[1] == pytest.approx(50.0)


def test_image_overlap_of_hand_computed_boxes() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 9]])
    assert image_overlap(a, b)[0].tolist() == pytest.approx([50 / 150, 0, 0])
    assert image_overlap(a, b, of_first=True)[0].tolist() == pytest.approx([0.5, 0, 0])


def test_an_empty_set_scores_nothing() -> None:
    result = kitti_ap([], [], "Car")
    assert result.objects == (0, 0, 0)
    assert result.r40 == (0, 0, 0)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    labels = write_lines(tmp_path / "t", car_line(0))
    with pytest.raises(UsageError, match="1 frames of labels but 0"):
        kitti_ap([labels], [], "Car")
    with pytest.raises(UsageError, match="no score"):
        kitti_ap([labels], [labels], "Car")
    with pytest.raises(UsageError, match="2d, bev or 3d"):
        kitti_ap([labels], [labels], "Car", overlap="4d")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car 0 0 0 1 2 3", "has 7 columns"),
        (car_line(0).replace("1.5", "tall"), "could not convert"),
        (car_line(0).replace("1.5", "nan"), "not finite"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        write_lines(tmp_path / "labels.txt", car_line(0), line)
    assert "labels.txt:2" in str(caught.value)


def test_tracking_labels_are_grouped_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "label_02.txt"
    path.write_text(f"3 0 {car_line(0)}\n1 4 {car_line(1)}\n3 1 {car_line(2)}\n")
    frames = read_kitti_tracking(path)
    assert {number: len(objects) for number, objects in frames.items()} == {1: 1, 3: 2}
    path.write_text(f"first 0 {car_line(0)}\n")
    with pytest.raises(DatasetError, match=r"label_02.txt:1.*frame number"):
        read_kitti_tracking(path)


def test_calibration_must_be_complete(tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    path.write_text("P2: " + "1 " * 12)
    with pytest.raises(DatasetError, match="no line R0_rect, Tr_velo_to_cam"):
        read_kitti_calibration(path)
    path.write_text("P2: 1 2 3")
    with pytest.raises(DatasetError, match="P2 has 3 numbers, expected 12"):
        read_kitti_calibration(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_kitti_calibration(tmp_path / "absent.txt")


def test_boxes_turn_from_the_camera_into_the_lidar_frame(tmp_path: Path) -> None:
    axes = np.array(
        [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    )  # x right, y down, z forward
    calibration = KittiCalibration(axes, np.eye(3, 4))
    # 10 m ahead, 2 m to the right, bottom 1.7 m below the camera; ry = -pi/2 faces forward.
    objects = write_lines(tmp_path / "t", "Car 0 0 0 0 0 9 9 1.5 1.8 4.2 2 1.7 10 -1.5707963267948966")
    np.testing.assert_allclose(
        calibration.lidar_boxes(objects), [[10, -2, -1.7 + 0.75, 4.2, 1.8, 1.5, 0]], atol=1e-12
    )
