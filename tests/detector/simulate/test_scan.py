"""test_scan.py: the sensor model, on scenes whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from colonnade.detector.evaluate.datasets import open_dataset
from colonnade.detector.evaluate.truth import GroundTruth, LabelledFrame
from colonnade.detector.frames import Frame
from colonnade.detector.simulate.datasets import (
    COORDINATE_STEP,
    load_scan,
    save_scan,
    simulate_frames,
    write_dataset,
)
from colonnade.detector.simulate.mesh import Material, Mesh, box_mesh, build_mesh, grid_faces, merge_meshes
from colonnade.detector.simulate.realism import measure_sweeps
from colonnade.detector.simulate.reflectance import detection_probability, received_power, wet_loss
from colonnade.detector.simulate.scan import Scan, ground_height_at, scan_scene
from colonnade.detector.simulate.scene import Scene, build_scene
from colonnade.detector.simulate.sensors import SENSORS
from colonnade.runtime.errors import DatasetError, UsageError

SMALL = replace(SENSORS["vlp16"], azimuth_steps=900)
CARS = [(12.0, 3.0, 0.3), (-15.0, -6.0, 2.0), (4.0, -18.0, -1.2)]  # x, y, yaw
CAR_SIZE = (4.2, 1.8, 1.5)


def flat_ground(slope: float = 0.0) -> Mesh:
    x, y = np.meshgrid(np.linspace(-80, 80, 41), np.linspace(-80, 80, 41), indexing="ij")
    return build_mesh(np.stack([x, y, slope * x], -1).reshape(-1, 3), grid_faces(41, 41), Material.GROUND)


def scene_of(parts: list[tuple[Mesh, int]], boxes: NDArray[np.float64], reflectivity: float = 0.5) -> Scene:
    """Return a scene of meshes, each with its owner."""
    template = build_scene(0)
    return replace(
        template,
        mesh=merge_meshes([mesh for mesh, _ in parts]),
        owners=np.concatenate([np.full(len(mesh.faces), owner) for mesh, owner in parts]).astype(np.int32),
        boxes=boxes,
        labels=("car",) * len(boxes),
        reflectivity=np.full(len(boxes), reflectivity),
    )


@pytest.fixture(scope="module")
def three_cars() -> Scene:
    car = box_mesh(*CAR_SIZE, Material.PAINT)
    parts = [(flat_ground(), -1)]
    parts += [(car.placed(x, y, 0.0, yaw), index) for index, (x, y, yaw) in enumerate(CARS)]
    boxes = np.array([[x, y, 0.75, *CAR_SIZE, yaw] for x, y, yaw in CARS])
    return scene_of(parts, boxes)


def distance_outside(points: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each point lies outside `box` [m], 0 inside."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    x, y, z = (points[:, :3] - box[:3]).T
    local = np.abs(np.stack([x * cos + y * sin, y * cos - x * sin, z], 1)) - box[3:6] / 2
    return np.asarray(np.linalg.norm(np.maximum(local, 0), axis=1), np.float64)


def test_arrays_are_as_documented(three_cars: Scene) -> None:
    scan = scan_scene(three_cars, SMALL, 5)
    count = len(scan.points)
    assert scan.points.dtype == np.float32
    assert scan.points.shape == (count, 4)
    assert scan.rings.dtype == np.uint8
    assert scan.owners.dtype == np.int16
    assert scan.boxes.dtype == np.float32
    assert len(scan.rings) == len(scan.owners) == count
    assert np.all(np.isfinite(scan.points))
    assert np.all((scan.points[:, 3] >= 0) & (scan.points[:, 3] <= 1))
    assert np.all(np.diff(scan.rings.astype(int)) >= 0)
    assert scan.rings.max() < SMALL.beams
    assert scan.num_points.tolist() == [int(np.sum(scan.owners == k)) for k in range(3)]
    assert scan.num_points.min() > 20


@pytest.mark.parametrize("pose", [None, (10.0, -4.0, 0.8), (-3.0, 5.0, -2.5, 0.4)])
def test_points_of_a_car_lie_in_its_box(three_cars: Scene, pose: tuple[float, ...] | None) -> None:
    scan = scan_scene(three_cars, SMALL, 9, pose=pose, mount_height=1.8)
    for index, box in enumerate(scan.boxes):
        own = scan.points[scan.owners == index]
        assert len(own) > 20
        # Noise, ring bias, and the tilt that an upright box does not follow (1 degree over 2 m).
        assert np.quantile(distance_outside(own, box), 0.99) < 0.12


def test_ground_lies_one_mount_height_below(three_cars: Scene) -> None:
    scan = scan_scene(three_cars, SENSORS["hdl64e"], 1, mount_height=1.7)
    near = (scan.owners == -1) & (np.hypot(scan.points[:, 0], scan.points[:, 1]) < 8)
    assert scan.mount_height == 1.7
    assert np.median(scan.points[near, 2]) == pytest.approx(-1.7, abs=0.05)


def test_same_seed_same_bits_and_other_seed_other_noise(three_cars: Scene) -> None:
    first, again, other = (scan_scene(three_cars, SMALL, seed) for seed in (3, 3, 4))
    assert first.points.tobytes() == again.points.tobytes()
    assert first.boxes.tobytes() == again.boxes.tobytes()
    assert first.points.shape != other.points.shape or not np.array_equal(first.points, other.points)


def test_one_unit_keeps_its_mounting_over_a_drive(three_cars: Scene) -> None:
    scans = [scan_scene(three_cars, SMALL, seed, unit=7) for seed in range(4)]
    assert len({scan.mount_height for scan in scans}) == 1
    assert all(np.array_equal(scan.boxes, scans[0].boxes) for scan in scans)
    assert len({scan_scene(three_cars, SMALL, seed).mount_height for seed in range(4)}) == 4


def test_pose_is_the_cars_place_in_the_scene(three_cars: Scene) -> None:
    scan = scan_scene(three_cars, SMALL, 2, pose=(12.0, 3.0 - 10.0, np.pi / 2), mount_height=1.7)
    assert scan.boxes[0, :2] == pytest.approx([10.0, 0.0], abs=0.05)
    assert scan.boxes[0, 6] == pytest.approx(0.3 - np.pi / 2, abs=1e-6)


def test_height_of_the_road_is_looked_up_on_a_slope() -> None:
    ground = flat_ground(slope=0.1)
    assert ground_height_at(ground, 20.0, 3.3) == pytest.approx(2.0)
    assert ground_height_at(ground, 500.0, 0.0) == 0.0
    scene = scene_of([(ground, -1)], np.zeros((0, 7)))
    scan = scan_scene(scene, SMALL, 0, pose=(20.0, 0.0, 0.0), mount_height=1.5)
    beside = np.abs(np.arctan2(scan.points[:, 1], scan.points[:, 0])) - np.pi / 2
    level = (np.abs(beside) < 0.05) & (np.abs(scan.points[:, 1]) < 10)
    assert np.median(scan.points[level, 2]) == pytest.approx(-1.5, abs=0.1)


def test_refuses_a_pose_of_two_numbers(three_cars: Scene) -> None:
    with pytest.raises(UsageError, match=r"\(x, y, yaw\)"):
        scan_scene(three_cars, SMALL, 0, pose=(1.0, 2.0))


def wall_at(distance: float, material: Material, owner: int) -> list[tuple[Mesh, int]]:
    return [(box_mesh(0.1, 8.0, 8.0, material, x=distance, z=-3.0), owner)]


def share_returned(
    parts: list[tuple[Mesh, int]], reflectivity: float, nearest: float, farthest: float
) -> float:
    """Return the mean number of points between two ranges over seeds, per ray of a bright wall at 10 m."""
    boxes = np.array([[10.0, 0, 1, 0.1, 8, 8, 0]])
    bright = scene_of(wall_at(10.0, Material.WALL, -1), boxes)
    counts = []
    for scene in (scene_of(parts, boxes, reflectivity), bright):
        total = 0
        for seed in range(6):
            x = scan_scene(scene, SMALL, seed, mount_height=1.7).points[:, 0]
            low, high = (nearest, farthest) if scene is not bright else (9.0, 11.0)
            total += int(np.sum((x > low) & (x < high)))
        counts.append(total)
    return counts[0] / counts[1]


def test_glass_lets_most_pulses_through_and_loses_some() -> None:
    parts = wall_at(10.0, Material.GLASS, -1) + wall_at(14.0, Material.WALL, -1)
    stopped = share_returned(parts, 0.5, 9.8, 11.6)
    behind = share_returned(parts, 0.5, 13.5, 14.5)
    assert 0.15 < stopped < 0.45
    assert 0.15 < behind < 0.55
    assert stopped + behind < 0.95


def test_fence_is_half_transparent() -> None:
    parts = wall_at(10.0, Material.FENCE, -1) + wall_at(14.0, Material.WALL, -1)
    assert 0.3 < share_returned(parts, 0.5, 9.8, 10.2) < 0.7
    assert 0.3 < share_returned(parts, 0.5, 13.5, 14.5) < 0.9


def test_dark_cars_vanish_with_distance_and_bright_ones_do_not() -> None:
    def visible(reflectivity: float) -> int:
        wall = [(box_mesh(0.1, 20.0, 20.0, Material.PAINT, x=70.0, z=-8.0), 0)]
        scene = scene_of(wall, np.array([[70.0, 0, 2, 0.1, 20, 20, 0]]), reflectivity)
        return sum(int(scan_scene(scene, SMALL, seed).num_points[0]) for seed in range(6))

    assert visible(0.02) < 0.6 * visible(0.8)


def test_edges_return_some_ranges_in_between() -> None:
    # A picket fence of thin posts 3 m before a wall: every post has two edges.
    posts = [
        (box_mesh(0.15, 0.15, 6.0, Material.METAL, x=12.0, y=y, z=-1.0), 0) for y in np.arange(-6, 6, 0.6)
    ]
    scene = scene_of([*wall_at(15.0, Material.WALL, -1), *posts], np.array([[12.0, 0, 2, 1, 12, 6, 0]]))
    between, total = 0, 0
    for seed in range(6):
        scan = scan_scene(scene, SMALL, seed)
        x = scan.points[:, 0]
        hit = np.abs(scan.points[:, 1]) < 3
        inside = hit & (x > 12.4) & (x < 14.6)
        assert np.all(scan.owners[inside] == -1)
        between, total = between + int(inside.sum()), total + int(hit.sum())
    assert 0.002 < between / total < 0.1


def test_ego_car_hides_the_ground_next_to_it_but_not_ahead() -> None:
    scene = scene_of([(flat_ground(), -1)], np.zeros((0, 7)))
    steep = replace(SENSORS["os0-32"], azimuth_steps=900)
    scan = scan_scene(scene, steep, 4, mount_height=1.8)
    ground = scan.points[scan.points[:, 2] < -1.4]
    ahead = ground[(np.abs(ground[:, 1]) < 0.3) & (ground[:, 0] > 0)]
    beside = ground[np.abs(ground[:, 0]) < 0.3]
    assert ahead[:, 0].min() > np.abs(beside[:, 1]).min()
    assert np.linalg.norm(scan.points[:, :3], axis=1).min() >= steep.min_range - 0.05
    hdl = scan_scene(scene, SENSORS["hdl64e"], 4, mount_height=1.75).points
    assert hdl[(np.abs(hdl[:, 1]) < 0.5) & (hdl[:, 0] > 0), 0].min() < 7.5


def test_power_law() -> None:
    one = np.ones(1, np.float32)
    assert received_power(0.1 * one, one, 60 * one, 60.0)[0] == pytest.approx(1.0)
    assert received_power(0.1 * one, one, 120 * one, 60.0)[0] == pytest.approx(0.25)
    assert received_power(0.1 * one, 0 * one, 60 * one, 60.0)[0] == pytest.approx(0.15)
    assert detection_probability(one)[0] == pytest.approx(0.5)
    assert detection_probability(0 * one)[0] < 1e-6
    assert detection_probability(1e6 * one)[0] > 0.999
    assert wet_loss(0 * one, 0.8)[0] == pytest.approx(0.2)
    assert wet_loss(one, 0.8)[0] == pytest.approx(1.0)


def assert_scans_alike(scan: Scan, expected: Scan) -> None:
    assert np.max(np.abs(scan.points[:, :3] - expected.points[:, :3])) <= COORDINATE_STEP / 2 + 1e-5
    assert np.max(np.abs(scan.points[:, 3] - expected.points[:, 3])) <= 0.5 / 255 + 1e-6
    for name in ("rings", "owners", "boxes", "num_points"):
        assert np.array_equal(getattr(scan, name), getattr(expected, name))
        assert getattr(scan, name).dtype == getattr(expected, name).dtype
    assert scan.labels == expected.labels
    assert scan.sensor == expected.sensor
    assert scan.mount_height == pytest.approx(expected.mount_height)


def test_compact_scan_comes_back(tmp_path: Path) -> None:
    scan = scan_scene(build_scene(2), SMALL, 2)
    scan = replace(scan, labels=(*scan.labels[:-1], "sitting"))
    save_scan(tmp_path / "a.npz", scan)
    assert_scans_alike(load_scan(tmp_path / "a.npz"), scan)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_compact_scan_leaves_far_points_out(three_cars: Scene, tmp_path: Path) -> None:
    scan = scan_scene(three_cars, SMALL, 2)
    far = replace(scan, points=scan.points.copy())
    far.points[0, 0] = 99.0
    save_scan(tmp_path / "a.npz", far)
    assert len(load_scan(tmp_path / "a.npz").points) == len(scan.points) - 1


@pytest.mark.parametrize("damage", ["missing", "cut", "noise", "other"])
def test_damaged_compact_scan_is_refused(three_cars: Scene, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    save_scan(path, scan_scene(three_cars, SMALL, 2))
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "noise":
        path.write_bytes(b"nothing like a zip")
    else:
        np.savez(path, coordinates=np.zeros((3, 1), np.int16))
    with pytest.raises(DatasetError, match="is not a compact scan"):
        load_scan(path)


def test_unknown_label_is_refused(three_cars: Scene, tmp_path: Path) -> None:
    scan = replace(scan_scene(three_cars, SMALL, 2), labels=("car", "tram", "car"))
    with pytest.raises(DatasetError, match="tram"):
        save_scan(tmp_path / "a.npz", scan)


def test_frame_depends_on_its_index_only() -> None:
    run = list(simulate_frames("vlp16", 3, 11))
    alone = next(iter(simulate_frames("vlp16", 1, 11, start=2)))
    assert run[2].frame.points.tobytes() == alone.frame.points.tobytes()
    assert run[2].frame.frame_id == alone.frame.frame_id == "000002"
    assert not np.array_equal(run[0].scan.boxes, run[1].scan.boxes)


def test_unknown_sensor_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known are hdl64e"):
        write_dataset(tmp_path / "out", "hdl65", 1, 0)
    assert not (tmp_path / "out").exists()


def test_dataset_is_read_back_by_the_evaluation(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_dataset(tmp_path, "vlp16", 2, 5, progress=lambda done, count: seen.append((done, count)))
    frames = list(open_dataset(tmp_path))
    expected = list(simulate_frames("vlp16", 2, 5))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert len(frames) == 2
    for read, simulated in zip(frames, expected, strict=True):
        assert np.array_equal(read.frame.points, simulated.frame.points)
        assert read.objects.labels == simulated.scan.labels
        assert np.allclose(read.objects.boxes, simulated.scan.boxes, atol=1e-3)
        assert np.array_equal(read.objects.num_points, simulated.scan.num_points)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_interrupted_dataset_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_dataset(whole, "vlp16", 3, 5)

    def interrupt(done: int, count: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(cut, "vlp16", 3, 5, progress=interrupt)
    with (cut / "labels.jsonl").open("a") as labels:
        labels.write('{"frame": "0000')  # a line that a power cut left half written
    write_dataset(cut, "vlp16", 3, 5)
    assert contents(cut) == contents(whole)
    write_dataset(cut, "vlp16", 2, 5)  # fewer frames than there are: nothing is thrown away
    assert contents(cut) == contents(whole)


def test_another_dataset_is_not_overwritten(tmp_path: Path) -> None:
    write_dataset(tmp_path, "vlp16", 1, 5)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="seed is 5"):
        write_dataset(tmp_path, "vlp16", 1, 6)
    assert contents(tmp_path) == before
    assert yaml.safe_load((tmp_path / "dataset.yaml").read_text())["kind"] == "colonnade-synthetic"


def test_statistics_follow_the_rays_to_a_car(three_cars: Scene) -> None:
    sensor = SENSORS["hdl64e"]
    scan = scan_scene(three_cars, sensor, 1, mount_height=1.75)
    frame = Frame(scan.points, 0, "000000", "test")
    truth = GroundTruth(scan.boxes.astype(np.float64), scan.labels, scan.num_points)
    statistics = measure_sweeps([LabelledFrame(frame, truth)], sensor)
    assert statistics.frames == 1
    assert statistics.points == np.sum(np.all(np.abs(scan.points[:, :2]) < 51.2, axis=1))
    assert {(fate.nearest, fate.cars) for fate in statistics.rays} == {(10, 1), (15, 2)}
    for fate in statistics.rays:  # these cars are solid boxes: nothing passes, the clear coat loses some
        assert fate.inside > 0.6
        assert fate.behind < 0.05
        assert fate.inside + fate.behind + fate.lost <= 1.0 + 1e-9
    assert sum(statistics.heights) == pytest.approx(1.0)
    assert statistics.ground[0] > statistics.ground[-1]
