"""test_recording_formats.py: every format is recognised by content and gives back its points."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_cases import (
    DATA,
    LOSSY,
    WRITERS,
    compress_lzf,
    make_frames,
    make_points,
    needs_data,
    nuscenes_rows,
    pcd_bytes,
)

from colonnade.detector.frames import Frame
from colonnade.detector.io import FORMATS, describe, open_recording, write_recording
from colonnade.detector.io.float_rows import guess_stride
from colonnade.detector.io.lzf import decompress, decompress_reference
from colonnade.detector.io.sources import natural_key
from colonnade.runtime.errors import ColonnadeError, CorruptFrameError, RecordingError, UsageError


@pytest.mark.parametrize("case", WRITERS)
def test_every_format_gives_back_its_points(case: str, tmp_path: Path) -> None:
    frames = make_frames()
    WRITERS[case](tmp_path / "recording", frames)
    with open_recording(tmp_path / "recording") as recording:
        assert recording.format == case.split("-")[0]
        assert len(recording) == len(frames)
        for _ in range(2):  # re-iterable
            got = list(recording)
            assert [frame.frame_id for frame in got] == [frame.frame_id for frame in frames]
            for wanted, frame in zip(frames, got, strict=True):
                assert frame.points.dtype == np.float32
                if case in LOSSY:
                    np.testing.assert_allclose(frame.points, wanted.points, atol=LOSSY[case])
                else:
                    np.testing.assert_array_equal(frame.points, wanted.points)
    info = recording.info
    assert info.format in FORMATS
    assert info.frames == 3
    assert info.columns == ("x", "y", "z", "intensity")
    assert info.points_per_frame == (200, 150, 180)
    assert info.ground_height == pytest.approx(-1.73, abs=0.3)
    for word in (info.format, "--format", "--intensity-scale", "--ground", "177 per frame"):
        assert word in describe(info)


@pytest.mark.parametrize("case", [case for case in WRITERS if case.split("-")[0] not in ("pandaset", "db3")])
def test_a_single_file_is_recognised_whatever_its_suffix(case: str, tmp_path: Path) -> None:
    WRITERS[case](tmp_path / "recording", make_frames())
    file = sorted(path for path in (tmp_path / "recording").iterdir())[0]
    name = case.split("-")[0]
    # Bare floats have no magic number: only there the suffix takes part.
    other = file.rename(tmp_path / ("frame.bin" if name in ("kitti", "nuscenes") else "frame.dat"))
    recording = open_recording(other)
    assert recording.format == name
    assert len(next(iter(recording)).points) == 200


def test_rosbag2_file_in_a_folder_without_metadata_and_with_a_foreign_suffix(tmp_path: Path) -> None:
    WRITERS["db3"](tmp_path / "recording", make_frames())
    assert open_recording(tmp_path / "recording" / "only.db3").format == "db3"
    renamed = (tmp_path / "recording" / "only.db3").rename(tmp_path / "recording" / "drive.rosbag")
    assert [len(frame.points) for frame in open_recording(renamed)] == [200, 150, 180]


@pytest.mark.parametrize("case", ["kitti", "npy", "pcd-ascii", "pcd-binary", "mcap", "db3-folder", "bag"])
def test_empty_clouds_are_frames(case: str, tmp_path: Path) -> None:
    WRITERS[case](tmp_path / "recording", make_frames((0, 5, 0)))
    recording = open_recording(tmp_path / "recording")
    assert [frame.points.shape for frame in recording] == [(0, 4), (5, 4), (0, 4)]
    describe(recording.info)


@pytest.mark.parametrize("case", ["kitti", "npy", "mcap"])
def test_a_recording_of_nothing_but_empty_clouds(case: str, tmp_path: Path) -> None:
    WRITERS[case](tmp_path / "recording", make_frames((0, 0)))
    recording = open_recording(tmp_path / "recording")
    assert [len(frame.points) for frame in recording] == [0, 0]
    assert recording.info.ground_height is None
    assert "unknown (no points)" in describe(recording.info)


def test_limit_and_closing(tmp_path: Path) -> None:
    write_recording(tmp_path / "r", make_frames())
    recording = open_recording(tmp_path / "r", limit=2)
    assert len(recording) == len(list(recording)) == recording.info.frames == 2
    assert list(open_recording(tmp_path / "r", limit=0)) == []
    recording.close()
    with pytest.raises(UsageError, match="closed"):
        list(recording)


@pytest.mark.parametrize("stride", [3, 4, 5, 6])
@pytest.mark.parametrize("shuffled", [False, True])
def test_stride_is_found_from_the_content(stride: int, shuffled: bool, tmp_path: Path) -> None:
    points = make_points(6000)  # divisible by every stride
    ring = np.arange(6000) % 64
    rows = np.column_stack([points, ring, np.linspace(0, 0.1, 6000)]).astype(np.float32)[:, :stride]
    if shuffled:
        rows = np.random.default_rng(1).permutation(rows)
    assert guess_stride(rows.ravel(), [rows.nbytes]) == stride
    (tmp_path / "a.bin").write_bytes(rows.tobytes())
    frame = next(iter(open_recording(tmp_path / "a.bin")))
    np.testing.assert_array_equal(frame.points[:, :3], rows[:, :3])


def test_stride_of_few_or_featureless_points_is_four_where_that_fits() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    assert guess_stride(noise.ravel(), [noise.nbytes]) == 4
    assert guess_stride(np.empty(0, np.float32)) == 4
    assert guess_stride(noise.ravel()[:10], [40]) == 5


def test_columns_can_be_given(tmp_path: Path) -> None:
    points = make_points(100)
    rows = np.column_stack([points[:, 3], points[:, :3], points[:, 3]])[:, [0, 3, 1, 2, 4]].astype(np.float32)
    (tmp_path / "a.bin").write_bytes(rows.tobytes())
    recording = open_recording(tmp_path / "a.bin", columns="_,z,x,y,intensity")
    np.testing.assert_array_equal(next(iter(recording)).points, points)
    assert "--columns" not in describe(recording.info)
    (tmp_path / "a.pcd").write_bytes(pcd_bytes(points, "binary"))
    swapped = next(iter(open_recording(tmp_path / "a.pcd", columns="y,x,z"))).points
    np.testing.assert_array_equal(swapped[:, :3], points[:, [1, 0, 2]])
    assert not swapped[:, 3].any()
    with pytest.raises(UsageError, match="named fields"):
        list(open_recording(tmp_path / "a.pcd", columns=4))
    with pytest.raises(CorruptFrameError, match="no field 'range'"):
        open_recording(tmp_path / "a.pcd", columns="x,y,range")
    for wrong in (2, "x,y", "x,x,z", 1000):
        with pytest.raises(UsageError, match="--columns"):
            open_recording(tmp_path / "a.bin", columns=wrong)
    with pytest.raises(UsageError, match="no column is called 'z'"):
        open_recording(tmp_path / "a.bin", columns="x,y,w,intensity,ring")


@pytest.mark.parametrize(("full", "scale"), [(1, 1), (255, 255), (4000, 65535)])
def test_intensity_scale_is_found_and_can_be_given(full: float, scale: float, tmp_path: Path) -> None:
    points = make_points(500)
    stored = points * np.array([1, 1, 1, full], np.float32)
    np.save(tmp_path / "a.npy", stored)
    recording = open_recording(tmp_path / "a.npy")
    assert recording.info.intensity_scale == scale
    np.testing.assert_allclose(next(iter(recording)).points[:, 3], points[:, 3] * full / scale, rtol=1e-6)
    given_scale = open_recording(tmp_path / "a.npy", intensity_scale=full)
    np.testing.assert_allclose(next(iter(given_scale)).points[:, 3], points[:, 3], rtol=1e-6)
    assert given_scale.info.flag("intensity scale") is None
    none = open_recording(tmp_path / "a.npy", intensity_scale="none")
    assert not next(iter(none)).points[:, 3].any()
    for wrong in ("loud", -1, "nan"):
        with pytest.raises(UsageError, match="--intensity-scale"):
            open_recording(tmp_path / "a.npy", intensity_scale=wrong)


def test_points_without_a_position_are_left_out_together_with_their_intensity(tmp_path: Path) -> None:
    points = make_points(50)
    points[3, 0], points[7, 1], points[9, 2] = np.nan, np.inf, -np.inf
    points[11, 3] = np.nan  # a position without an intensity is still an echo
    points[12, 3] = np.inf
    np.save(tmp_path / "a.npy", points.astype(np.float64))
    recording = open_recording(tmp_path / "a.npy")
    got = next(iter(recording)).points
    kept = np.delete(points, [3, 7, 9], axis=0)
    np.testing.assert_array_equal(got[:, :3], kept[:, :3])
    assert np.isfinite(got).all()
    assert got[8, 3] == 0.0
    assert got[9, 3] == 1.0
    assert recording.info.unusable_points == 3


def test_npy_variants_and_what_is_refused(tmp_path: Path) -> None:
    points = make_points(30)
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(points.astype(">f8")))
    np.testing.assert_array_equal(next(iter(open_recording(path))).points, points)
    np.save(path, (points * 100).astype(np.int16))
    np.testing.assert_array_equal(
        next(iter(open_recording(path))).points[:, 0], (points[:, 0] * 100).astype(np.int16)
    )
    for bad in (
        points[:, :2],
        points[0],
        np.zeros((2, 3, 4)),
        np.zeros((3, 4), complex),
        np.zeros((3, 4), bool),
        np.zeros((0, 10**9)),
    ):
        np.save(path, bad)
        with pytest.raises(CorruptFrameError, match=r"a\.npy: frame a"):
            open_recording(path)
    np.save(path, np.array([{"x": 1}, None, 3, 4], object), allow_pickle=True)
    with pytest.raises(CorruptFrameError, match="not a number"):
        open_recording(path)


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_organised_pcd(encoding: str, tmp_path: Path) -> None:
    points = make_points(60)
    (tmp_path / "a.pcd").write_bytes(pcd_bytes(points, encoding, height=4))
    np.testing.assert_array_equal(next(iter(open_recording(tmp_path / "a.pcd"))).points, points)


@given(st.binary(max_size=600), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_lzf_kernel_equals_its_reference(data: bytes, repeat: int) -> None:
    plain = data * repeat
    packed = compress_lzf(plain)
    assert decompress_reference(packed) == plain
    assert decompress(packed, len(plain)) == plain


def test_lzf_refuses_damage() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        decompress(b"\0a", 10**9)
    for damaged in (b"\x05ab", b"\x20\x05", b"\xe0", b"\xe0\x01"):
        with pytest.raises(ValueError, match="compressed data"):
            decompress(damaged, 8)


@given(st.lists(st.text(max_size=6), max_size=6))
def test_natural_order_is_total(names: list[str]) -> None:
    sorted(names, key=natural_key)  # comparing text with numbers would raise
    assert sorted(["f10", "f2", "f1"], key=natural_key) == ["f1", "f2", "f10"]


def test_kitti_layouts(tmp_path: Path) -> None:
    for name in ("000001", "000000"):
        (tmp_path / "training" / "velodyne").mkdir(parents=True, exist_ok=True)
        (tmp_path / "training" / "velodyne" / f"{name}.bin").write_bytes(make_points(10).tobytes())
    reduced = tmp_path / "training" / "velodyne_reduced"
    reduced.mkdir()
    (reduced / "000001.bin").write_bytes(make_points(3).tobytes())
    (reduced / "000007.bin").write_bytes(make_points(4).tobytes())
    (tmp_path / "training" / "velodyne" / "._000000.bin").write_bytes(b"made by a Mac")
    for folder in (tmp_path, tmp_path / "training"):
        got = {frame.frame_id: len(frame.points) for frame in open_recording(folder)}
        assert list(got.items()) == [("000000", 10), ("000001", 10), ("000007", 4)]
    assert [len(frame.points) for frame in open_recording(reduced)] == [3, 4]


def test_nuscenes_is_told_from_kitti_by_content(tmp_path: Path) -> None:
    points = make_points(3000)
    (tmp_path / "five.bin").write_bytes(nuscenes_rows(points).tobytes())
    assert open_recording(tmp_path / "five.bin").format == "nuscenes"
    folder = tmp_path / "four"
    folder.mkdir()
    (folder / "a.pcd.bin").write_bytes(points.tobytes())
    recording = open_recording(folder)
    assert recording.format == "kitti"
    frame = next(iter(recording))
    assert frame.frame_id == "a"
    np.testing.assert_array_equal(frame.points, points)


def test_pandaset_times_come_from_its_poses(tmp_path: Path) -> None:
    WRITERS["pandaset"](tmp_path / "p", make_frames())
    assert [frame.stamp_ns for frame in open_recording(tmp_path / "p")] == [
        1557539956_500000000,
        1557539956_600000000,
        1557539956_700000000,
    ]
    (tmp_path / "p" / "poses.json").write_text('{"frame": 1')
    with pytest.raises(RecordingError, match=r"poses\.json"):
        open_recording(tmp_path / "p")


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer" / "velodyne_points" / "data").mkdir(parents=True)
    (tmp_path / "outer" / "velodyne_points" / "data" / "0.bin").write_bytes(make_points(9).tobytes())
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(4000))
    (tmp_path / "x.mcap").write_bytes(b"")
    (tmp_path / "y.mcap").write_bytes(b"hello")
    (tmp_path / "z.pcap").write_bytes(b"\xd4\xc3\xb2\xa1 packets")
    (tmp_path / "z.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe.bin")
    mixed = tmp_path / "mixed"
    write_recording(mixed, make_frames(), format="npy")
    shutil.copy(mixed / "000000.npy", mixed / "000000.pcd")
    for name, words in {
        "absent": "no such file",
        "empty": "no frames of any known format",
        "noise.bin": "not float32 coordinates",
        "x.mcap": "empty",
        "y.mcap": "does not begin like",
        "z.pcap": "driver",
        "z.json": "unknown format",
        "pipe.bin": "neither a file nor a folder",
        "mixed": "--format npy\n  --format pcd",
        "nul\0": "path",
    }.items():
        with pytest.raises(RecordingError, match=words):
            open_recording(tmp_path / name)
    assert len(open_recording(tmp_path / "outer")) == 1
    assert len(open_recording(mixed, format="npy")) == 3
    with pytest.raises(UsageError, match="formats are"):
        open_recording(mixed, format="jpeg")
    with pytest.raises(UsageError, match="--limit"):
        open_recording(mixed, format="npy", limit=-1)
    with pytest.raises(RecordingError, match="has no topics"):
        open_recording(mixed, format="npy", topic="/points")
    with pytest.raises(RecordingError, match="no frames of format ply"):
        open_recording(mixed, format="ply")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_missing_permission(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"")
    (tmp_path / "a.npy").chmod(0)
    with pytest.raises(RecordingError, match="Permission denied"):
        open_recording(tmp_path / "a.npy")


def test_a_corrupt_frame_is_raised_or_reported_and_skipped(tmp_path: Path) -> None:
    write_recording(tmp_path / "r", make_frames())
    (tmp_path / "r" / "000001.bin").write_bytes(b"x" * 30)
    with pytest.raises(CorruptFrameError, match=r"000001\.bin: frame 000001: 30 bytes"):
        list(open_recording(tmp_path / "r"))
    seen: list[CorruptFrameError] = []
    recording = open_recording(tmp_path / "r", on_corrupt=seen.append)
    assert [frame.frame_id for frame in recording] == ["000000", "000002"]
    assert len(seen) == 1
    # A file that goes away or turns into a pipe while the recording is open.
    (tmp_path / "r" / "000000.bin").unlink()
    (tmp_path / "r" / "000002.bin").unlink()
    os.mkfifo(tmp_path / "r" / "000002.bin")
    assert list(recording) == []
    assert len(seen) == 4


def test_memory_is_constant_over_a_long_recording(tmp_path: Path) -> None:
    import tracemalloc

    write_recording(tmp_path / "r.mcap", (frame for _ in range(30) for frame in make_frames((20_000,))))
    recording = open_recording(tmp_path / "r.mcap")
    tracemalloc.start()
    try:
        peaks = []
        for index, _ in enumerate(recording):
            if index % 10 == 9:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert peaks[-1] < peaks[0] * 1.1 < 20e6


@needs_data
def test_real_files_of_every_dataset_open() -> None:
    expected = {
        "kitti_object": ("kitti", 8, -1.73, 1.0),
        "kitti_object/training/velodyne_reduced": ("kitti", 2, -1.73, 1.0),
        "kitti_drive_0005": ("kitti", 40, -1.73, 1.0),
        "pandaset_002": ("pandaset", 57, -0.25, 1.0),
        "formats/nuscenes": ("nuscenes", 1, -1.84, 255.0),
        "formats/av2/adcf7d18": ("argoverse", 1, -0.35, 255.0),
        "formats/pcd/vls128_outdoor.pcd": ("pcd", 1, -1.9, 0.0),
    }
    for name, (kind, length, ground, scale) in expected.items():
        recording = open_recording(DATA / name)
        info = recording.info
        assert (info.format, info.frames, info.intensity_scale) == (kind, length, scale), name
        assert info.ground_height == pytest.approx(ground, abs=0.25), name
        frame = next(iter(recording))
        assert np.isfinite(frame.points).all()
        assert 0 <= frame.points[:, 3].min() <= frame.points[:, 3].max() <= 1
    stamp = next(iter(open_recording(DATA / "formats/nuscenes"))).stamp_ns
    assert stamp == 1533151603597909_000
    assert next(iter(open_recording(DATA / "formats/av2/adcf7d18"))).stamp_ns == 315973157959879000
    with pytest.raises(ColonnadeError):
        open_recording(DATA / "formats" / "ouster")


@needs_data
def test_one_drive_has_the_same_bits_in_every_container(tmp_path: Path) -> None:
    drive = open_recording(DATA / "kitti_drive_0005", limit=5)
    frames = list(drive)
    raw = np.fromfile(DATA / "kitti_drive_0005" / "velodyne" / "000090.bin", np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(frames[0].points, raw)
    for name, kind in [("kitti", None), ("pcds", "pcd"), ("a.mcap", None), ("a.db3", None), ("a.bag", None)]:
        write_recording(tmp_path / name, drive, format=kind)
        got: list[Frame] = list(open_recording(tmp_path / name))
        assert len(got) == 5
        for wanted, frame in zip(frames, got, strict=True):
            assert frame.points.tobytes() == wanted.points.tobytes()
            assert frame.stamp_ns == wanted.stamp_ns
            if kind == "pcd" or name == "kitti":
                assert frame.frame_id == wanted.frame_id
