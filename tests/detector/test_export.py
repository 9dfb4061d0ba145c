"""test_export.py: JSON lines and KITTI text say what the detector found, and can be read back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector.detections import Detections
from colonnade.detector.export import (
    JsonLinesWriter,
    KittiCamera,
    KittiTextWriter,
    read_json_lines,
    read_kitti_camera,
    read_kitti_text,
)
from colonnade.detector.export.kitti_text import file_stem, format_lines
from colonnade.detector.frames import Frame
from colonnade.runtime.errors import DatasetError

CLASSES = ("car", "pedestrian", "cyclist")
DATA = Path(os.environ.get("COLONNADE_DATA", Path(__file__).parents[2].parent / "shared" / "data")).resolve()


def make_detections(count: int, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    boxes = np.column_stack(
        [
            rng.uniform(-50, 50, (count, 2)),
            rng.uniform(-2, 1, count),
            rng.uniform(0.4, 6, (count, 3)),
            rng.uniform(-np.pi, np.pi, count),
        ]
    ).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, count))[::-1].astype(np.float32)
    return Detections(boxes, scores, rng.integers(0, 3, count).astype(np.int32), CLASSES)


def make_frame(name: str = "000017") -> Frame:
    return Frame(np.zeros((0, 4), np.float32), 1_700_000_000_123_456_789, name, "drive/ünï.bin")


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 12), seed=st.integers(0, 10_000))
def test_json_lines_give_back_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("export") / "detections.jsonl"
    detections = make_detections(count, seed)
    with JsonLinesWriter(path) as writer:
        writer.write(make_frame("a"), replace(detections, ground=-1.73))
        writer.write(make_frame("b"), Detections.empty(CLASSES))
    first, second = read_json_lines(path, CLASSES)
    assert (first.frame_id, first.detections.ground, second.frame_id, second.detections.ground) == (
        "a",
        -1.73,
        "b",
        None,
    )
    assert first.stamp_ns == 1_700_000_000_123_456_789
    assert first.source == "drive/ünï.bin"
    np.testing.assert_array_equal(first.detections.boxes, detections.boxes)
    np.testing.assert_array_equal(first.detections.scores, detections.scores)
    np.testing.assert_array_equal(first.detections.labels, detections.labels)
    assert len(second.detections) == 0


def test_every_line_is_on_disk_as_soon_as_its_frame_is_done(tmp_path: Path) -> None:
    writer = JsonLinesWriter(tmp_path / "out" / "detections.jsonl")
    for count in (1, 2):
        writer.write(make_frame(), make_detections(3))
        text = writer.path.read_text(encoding="utf-8")
        assert text.endswith("}\n")
        assert [len(json.loads(line)["boxes"]) for line in text.splitlines()] == [3] * count
    writer.close()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"frame_id": "a", "stamp_ns": 0, "source": "", "ground": null, "boxes": [{"class": "tram"}]}',
        '{"frame_id": "a", "stamp_ns": 0, "source": "", "ground": null, "boxes": '
        '[{"class": "car", "score": 1, "centre": [1, 2], "size": [1, 2, 3], "yaw": 0}]}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "detections.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"line 1: .*frame_id"):
        list(read_json_lines(path, CLASSES))


def assert_same_boxes(found: Detections, expected: Detections, tolerance: float) -> None:
    np.testing.assert_allclose(found.boxes[:, :6], expected.boxes[:, :6], atol=tolerance)
    turn = (found.boxes[:, 6] - expected.boxes[:, 6] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turn).max(initial=0.0) < tolerance
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 12), seed=st.integers(0, 10_000))
def test_kitti_text_without_a_camera_round_trips(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int
) -> None:
    detections = make_detections(count, seed)
    path = KittiTextWriter(tmp_path_factory.mktemp("kitti")).write(make_frame(), detections)
    assert path.name == "000017.txt"
    assert_same_boxes(read_kitti_text(path, CLASSES), detections, 3e-4)


def test_lidar_as_camera_is_the_documented_turn() -> None:
    box = np.array([[10, 2, -1, 4, 1.8, 1.5, 0.3]], np.float32)
    (line,) = format_lines(
        Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), CLASSES), KittiCamera()
    )
    columns = line.split()
    assert columns[0] == "Car"
    assert len(columns) == 16
    numbers = [float(column) for column in columns[1:]]
    assert numbers[3:7] == [-1, -1, -1, -1]
    assert numbers[7:10] == pytest.approx([1.5, 1.8, 4])
    assert numbers[10:13] == pytest.approx([-2, 1 + 0.75, 10])
    assert numbers[13] == pytest.approx(-0.3 - np.pi / 2, abs=1e-4)
    assert numbers[2] == pytest.approx(numbers[13] - np.arctan2(-2, 10), abs=1e-3)


@pytest.mark.parametrize("frame_id", ["../../etc/x", "a b/c", ".hidden", ""])
def test_frame_names_cannot_leave_the_folder(tmp_path: Path, frame_id: str) -> None:
    path = KittiTextWriter(tmp_path / "kitti").write(make_frame(frame_id), make_detections(1))
    assert path.parent == tmp_path / "kitti"
    assert path.resolve().parent == (tmp_path / "kitti").resolve()
    assert file_stem("000017") == "000017"


@pytest.mark.parametrize("text", ["Car 1 2 3", "Tram" + " 0" * 15, "Car" + " x" * 15])
def test_a_damaged_kitti_line_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "000001.txt"
    path.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 1"):
        read_kitti_text(path, CLASSES)


def test_a_calibration_without_matrices_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    path.write_text("P2: 1 2 3\n", encoding="utf-8")
    for absent in (path, tmp_path / "absent.txt"):
        with pytest.raises(DatasetError, match=absent.name):
            read_kitti_camera(absent)


@pytest.mark.parametrize("name", ["000001", "000003", "000008"])
def test_kitti_labels_survive_the_way_through_our_boxes(tmp_path: Path, name: str) -> None:
    """Label -> LiDAR box -> label gives KITTI's own location, size, rotation and (nearly) image box."""
    folder = DATA / "kitti_object" / "training"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set COLONNADE_DATA")
    camera = read_kitti_camera(folder / "calib" / f"{name}.txt")
    labels = (folder / "label_2" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    cars = [
        line
        for line in labels
        if line.startswith(("Car ", "Cyclist ", "Pedestrian ")) and line.split()[1] == "0.00"
    ]
    assert cars
    source = tmp_path / "labels.txt"
    source.write_text("".join(f"{line} 0.5\n" for line in cars), encoding="utf-8")
    detections = read_kitti_text(source, CLASSES, camera)
    assert (detections.boxes[:, 0] > 0).all()
    written = KittiTextWriter(tmp_path / "out", camera).write(make_frame(name), detections)
    lines = written.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(cars)
    for line, car in zip(lines, cars, strict=True):
        ours, theirs = ([float(column) for column in text.split()[1:15]] for text in (line, car))
        assert ours[7:13] == pytest.approx(theirs[7:13], abs=0.02)
        assert abs((ours[13] - theirs[13] + np.pi) % (2 * np.pi) - np.pi) < 0.02
        assert ours[2] == pytest.approx(theirs[2], abs=0.03)
        assert ours[3:7] == pytest.approx(theirs[3:7], abs=8.0)


def test_boxes_outside_the_image_are_left_out_with_a_camera() -> None:
    projection = np.array([[700.0, 0, 600, 0], [0, 700.0, 180, 0], [0, 0, 1, 0]])
    camera = KittiCamera(projection=projection)
    boxes = np.array(
        [[20, 0, 0, 4, 2, 1.5, 0], [-20, 0, 0, 4, 2, 1.5, 0], [5, 40, 0, 4, 2, 1.5, 0]], np.float32
    )
    detections = Detections(boxes, np.ones(3, np.float32), np.zeros(3, np.int32), CLASSES)
    (line,) = format_lines(detections, camera)
    left, top, right, lower = (float(column) for column in line.split()[4:8])
    assert left == pytest.approx(600 - 700 / 18, abs=0.1)
    assert right == pytest.approx(600 + 700 / 18, abs=0.1)
    assert top == pytest.approx(180 - 700 * 0.75 / 18, abs=0.1)
    assert lower == pytest.approx(180 + 700 * 0.75 / 18, abs=0.1)
