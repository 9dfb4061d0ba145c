"""test_evaluate_datasets.py: labelled datasets of every layout, written small, damaged, and the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from colonnade.detector.evaluate import open_dataset
from colonnade.detector.evaluate.truth import CameraView
from colonnade.runtime.errors import DatasetError, RecordingError

BOX = [10.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.1]
CALIBRATION = """P2: 700 0 600 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
CAR = "Car 0 0 0 500 150 700 250 1.5 1.8 4.2 0 0.75 20 -1.5708"  # 20 m ahead, on the sensor's height
DONTCARE = "DontCare -1 -1 -10 0 0 100 100 -1 -1 -1 -1000 -1000 -1000 -10"


def write_points(path: Path, *positions: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scattered = np.random.default_rng(0).uniform((-40, -40, -2, 0), (40, -30, 2, 1), (200, 4))
    rows = [*scattered, *((*position, 0.5) for position in positions)]
    np.array(rows, np.float32).tofile(path)


def make_synthetic(folder: Path, *lines: str) -> Path:
    write_points(folder / "frames" / "000000.bin", (10, 1, 0))
    write_points(folder / "frames" / "000001.bin")
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "dataset.yaml").write_text("kind: colonnade-synthetic\nsensor: hdl64e\nseed: 7\n")
    return folder


def synthetic_line(frame: str, **changes: object) -> str:
    return json.dumps(
        {"frame": frame, "objects": [{"label": "car", "box": BOX, "num_points": 12, **changes}]}
    )


def make_kitti_object(folder: Path, label: str = CAR) -> Path:
    root = folder / "training"
    write_points(root / "velodyne" / "000007.bin", (20, 0, 0), (20, 0.5, 0.1))
    for name, text in (("label_2", f"{label}\n{DONTCARE}\n"), ("calib", CALIBRATION)):
        (root / name).mkdir(exist_ok=True)
        (root / name / "000007.txt").write_text(text)
    return folder


def test_synthetic_labels_and_points_come_together(tmp_path: Path) -> None:
    dataset = open_dataset(
        make_synthetic(tmp_path, synthetic_line("000000"), synthetic_line("000001", label="van"))
    )
    assert (dataset.kind, len(dataset), dataset.notes) == ("synthetic", 2, ("sensor: hdl64e", "seed: 7"))
    first, second = dataset
    assert first.frame.points.shape == (201, 4)
    assert first.objects.boxes.tolist() == [BOX]
    assert (first.objects.labels, second.objects.labels) == (("car",), ("van",))
    assert first.objects.num_points.tolist() == [12]
    assert first.view is None
    assert [frame.frame.frame_id for frame in dataset] == ["000000", "000001"]  # once more


def test_a_frame_that_is_not_labelled_yet_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(make_synthetic(tmp_path, synthetic_line("000001")))
    assert [frame.frame.frame_id for frame in dataset] == ["000001"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "needs frame and objects"),
        ("[]", "needs frame and objects"),
        (json.dumps({"frame": "000001"}), "'objects'"),
        (synthetic_line("000000"), "occurs twice"),
        (synthetic_line("000001", box=BOX[:6]), "7 finite numbers"),
        (synthetic_line("000001", box=[*BOX[:6], "left"]), "must hold numbers"),
        (synthetic_line("000001", box=[*BOX[:3], 0, 2, 2, 0]), "above zero"),
        (synthetic_line("000001", box=[float("nan"), *BOX[1:]]), "finite"),
        (synthetic_line("000001", box=5), "must hold numbers"),
        (synthetic_line("000001", label=3), "must be a name"),
        (synthetic_line("000001", num_points=-1), "whole number"),
    ],
)
def test_a_malformed_synthetic_label_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    make_synthetic(tmp_path, synthetic_line("000000"), line)
    with pytest.raises(DatasetError, match=message) as caught:
        list(open_dataset(tmp_path))
    assert "labels.jsonl:2" in str(caught.value)


def test_kitti_boxes_arrive_in_the_lidar_frame_with_their_points(tmp_path: Path) -> None:
    dataset = open_dataset(make_kitti_object(tmp_path))
    (frame,) = dataset
    np.testing.assert_allclose(frame.objects.boxes, [[20, 0, 0, 4.2, 1.8, 1.5, 0]], atol=1e-4)
    assert frame.objects.labels == ("car",)
    assert frame.objects.num_points.tolist() == [2]
    assert frame.view is not None
    assert frame.view.contains(np.array([[20.0, 0, 0], [-20, 0, 0], [20, 30, 0]])).tolist() == [
        True,
        False,
        False,
    ]
    assert frame.view.is_unlabelled(np.array([[7.0, 6.0, 1.0], [7.0, 0.0, 0.0]])).tolist() == [True, False]


def test_kitti_names_are_mapped(tmp_path: Path) -> None:
    for name, label in {
        "Van": "van",
        "Person_sitting": "sitting",
        "Tram": "truck",
        "Unicycle": "other",
    }.items():
        (frame,) = open_dataset(make_kitti_object(tmp_path, CAR.replace("Car", name)))
        assert frame.objects.labels == (label,)


def test_kitti_labels_that_are_missing_or_malformed_are_named(tmp_path: Path) -> None:
    dataset = open_dataset(make_kitti_object(tmp_path, CAR + " 1 2 3"))
    with pytest.raises(DatasetError, match=r"000007\.txt:1"):
        list(dataset)
    (tmp_path / "training" / "label_2" / "000007.txt").unlink()
    with pytest.raises(DatasetError, match=r"000007\.txt: cannot be read"):
        list(dataset)


def test_a_drive_leaves_out_frames_outside_its_labels(tmp_path: Path) -> None:
    for number in range(4):
        write_points(tmp_path / "velodyne" / f"{number:010d}.bin")
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    (tmp_path / "label_02.txt").write_text(f"1 0 {CAR}\n3 0 {CAR}\n")
    frames = {int(frame.frame.frame_id): len(frame.objects) for frame in open_dataset(tmp_path)}
    assert frames == {1: 1, 2: 0, 3: 1}
    (tmp_path / "label_02.txt").write_text("")
    with pytest.raises(DatasetError, match="holds no labels"):
        open_dataset(tmp_path)


def make_pandaset(folder: Path, text: str) -> Path:
    write_points(folder / "lidar" / "000003.bin")
    (folder / "boxes").mkdir()
    (folder / "boxes" / "000003.json").write_text(text)
    (folder / "poses.json").write_text('[{"frame": 3, "timestamp": 5.0, "sensor_to_world": []}]')
    return folder


def test_pandaset_labels_are_mapped(tmp_path: Path) -> None:
    rows = [
        {"label": label, "center": BOX[:3], "size_lwh": BOX[3:6], "yaw": 0.1, "num_points": 9}
        for label in ("Car", "Pickup Truck", "Pedestrian with Object", "Cones", "Bus")
    ]
    (frame,) = open_dataset(make_pandaset(tmp_path, json.dumps({"boxes": rows})))
    assert frame.objects.labels == ("car", "car", "pedestrian", "other", "bus")
    assert frame.objects.boxes[0].tolist() == BOX
    assert frame.frame.stamp_ns == 5_000_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"boxes": [}', r"000003\.json:2"),
        ("[]", "a list 'boxes'"),
        ('{"boxes": [{"label": "Car"}]}', "box 0: needs label"),
        ('{"boxes": [7]}', "box 0: needs label"),
    ],
)
def test_a_malformed_pandaset_label_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(open_dataset(make_pandaset(tmp_path, text)))


def test_argoverse_annotations_are_matched_by_time(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    points = {name: np.linspace(1, 50, 40, dtype=np.float16) for name in "xyz"}
    stamps = [315973157959879000, 315973157959979000]
    for stamp in stamps:
        (tmp_path / "lidar").mkdir(exist_ok=True)
        table = pyarrow.table({**points, "intensity": np.zeros(40, np.uint8)})
        feather.write_feather(table, tmp_path / "lidar" / f"{stamp}.feather")
    columns = {name: [value] for name, value in zip(("tx_m", "ty_m", "tz_m"), BOX[:3], strict=True)}
    columns |= {
        name: [value] for name, value in zip(("length_m", "width_m", "height_m"), BOX[3:6], strict=True)
    }
    columns |= {"qw": [np.cos(0.05)], "qx": [0.0], "qy": [0.0], "qz": [np.sin(0.05)]}
    columns |= {"timestamp_ns": [stamps[1]], "category": ["REGULAR_VEHICLE"], "num_interior_pts": [31]}
    feather.write_feather(pyarrow.table(columns), tmp_path / "annotations.feather")
    (frame,) = open_dataset(tmp_path)
    assert frame.frame.frame_id == str(stamps[1])
    np.testing.assert_allclose(frame.objects.boxes, [BOX], atol=1e-9)
    assert (frame.objects.labels, frame.objects.num_points.tolist()) == (("car",), [31])

    feather.write_feather(pyarrow.table(columns | {"width_m": [0.0]}), tmp_path / "annotations.feather")
    with pytest.raises(DatasetError, match="row 0"):
        open_dataset(tmp_path)
    (tmp_path / "annotations.feather").write_bytes(b"ARROW1 but not really")
    with pytest.raises(DatasetError, match="is not a table"):
        open_dataset(tmp_path)


def test_a_folder_without_labels_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="kitti-object: label_2/"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="layout 'coco' is unknown"):
        open_dataset(tmp_path, layout="coco")
    (tmp_path / "label_2").mkdir()
    with pytest.raises(RecordingError):
        open_dataset(tmp_path)


def test_what_lies_behind_the_camera_is_out_of_view() -> None:
    projection = np.array([[600.0, -700, 0, 0], [180, 0, -700, 0], [1, 0, 0, 0]])  # camera looks along +x
    view = CameraView(projection, (1242, 375), np.zeros((0, 4)))
    assert view.contains(np.array([[10.0, 0, 0], [0, 0, 0], [-10, 0, 0]])).tolist() == [True, False, False]
    assert view.is_unlabelled(np.array([[10.0, 0, 0]])).tolist() == [False]
    near = np.array(
        [[4.0, 0, 0, 4, 2, 1.5, 0], [4.0, 0, 0, 4, 2, 3.0, 0]]
    )  # the image ends 1.11 m below at 4 m
    assert view.contains_boxes(near).tolist() == [True, False]


@pytest.mark.parametrize(
    ("folder", "kind", "frames", "expected"),
    [
        ("kitti_object", "kitti-object", 8, {"car": 10, "pedestrian": 9}),
        ("kitti_drive_0005", "kitti-drive", 40, {"car": 66, "cyclist": 40}),
        ("formats/av2/adcf7d18", "argoverse", 1, {"car": 15, "pedestrian": 5}),
        ("pandaset_002", "pandaset", 57, {"car": 2247, "pedestrian": 106}),
    ],
)
def test_real_datasets_hold_the_known_numbers_of_objects(
    data_folder: Path, folder: str, kind: str, frames: int, expected: dict[str, int]
) -> None:
    dataset = open_dataset(data_folder / folder)
    assert (dataset.kind, len(dataset)) == (kind, frames)
    counts = dict.fromkeys(expected, 0)
    for labelled in dataset:
        objects = labelled.objects
        near = (objects.ranges < 50) & (objects.num_points >= 5)
        if labelled.view is not None:
            near &= labelled.view.contains_boxes(objects.boxes)
        for label in np.array(objects.labels, dtype=object)[near]:
            if label in counts:
                counts[label] += 1
    assert counts == expected
