"""test_recording_writing.py: what is written where, under which names, and what is left when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recording_cases import make_frames, make_points

from colonnade.detector.frames import Frame
from colonnade.detector.io import open_recording, write_recording
from colonnade.runtime.errors import CorruptFrameError, RecordingError, UsageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_single_frame_becomes_a_file_and_several_a_folder(tmp_path: Path) -> None:
    for suffix in (".bin", ".pcd", ".npy"):
        write_recording(tmp_path / f"one{suffix}", make_frames((7,)))
        assert (tmp_path / f"one{suffix}").is_file()
        write_recording(tmp_path / f"many{suffix}", make_frames((7, 8)))
        assert names(tmp_path / f"many{suffix}") == [f"000000{suffix}", f"000001{suffix}"]
        for name in ("one", "many"):
            first = next(iter(open_recording(tmp_path / f"{name}{suffix}")))
            np.testing.assert_array_equal(first.points, make_points(7))
    write_recording(tmp_path / "folder", make_frames((7,)))
    assert names(tmp_path / "folder") == ["000000.bin"]


def test_files_keep_the_frame_ids_if_these_keep_the_order(tmp_path: Path) -> None:
    def write(*ids: str) -> list[str]:
        folder = tmp_path / str(len(names(tmp_path)))
        write_recording(folder, [Frame(make_points(3), 0, name, "made") for name in ids])
        return names(folder)

    numbered = ["000000.bin", "000001.bin"]
    assert write("90", "100") == ["100.bin", "90.bin"]  # natural order, in which they are read
    assert write("b", "a") == numbered
    assert write("a", "a") == numbered
    assert write("a", "../../etc/x") == numbered
    assert write("", "a") == numbered
    assert write(".hidden", "x") == numbered
    assert write("a", "A") == numbered  # one file on some systems


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    for name in ("a.mcap", "a.db3", "a.bag", "folder", "a.bin"):
        write_recording(tmp_path / name, make_frames((5,)))
        with pytest.raises(RecordingError, match="exists already"):
            write_recording(tmp_path / name, make_frames((6,)))
        assert len(next(iter(open_recording(tmp_path / name))).points) == 5
        write_recording(tmp_path / name, make_frames((6,)), overwrite=True)
        assert len(next(iter(open_recording(tmp_path / name))).points) == 6
    assert names(tmp_path) == ["a.bag", "a.bin", "a.db3", "a.mcap", "folder"]


def test_a_recording_can_be_written_onto_itself(tmp_path: Path) -> None:
    write_recording(tmp_path / "a.mcap", make_frames())
    write_recording(tmp_path / "a.mcap", open_recording(tmp_path / "a.mcap"), overwrite=True)
    assert [len(frame.points) for frame in open_recording(tmp_path / "a.mcap")] == [200, 150, 180]


def test_a_file_is_not_read_as_another_format(tmp_path: Path) -> None:
    for name in ("a.mcap", "a.bag", "a.pcd", "a.npy"):
        write_recording(tmp_path / name, make_frames((64,)))
        with pytest.raises(RecordingError, match=r"begins like .* leave out --format"):
            open_recording(tmp_path / name, format="kitti")
        assert open_recording(tmp_path / name, format=name[2:]).format == name[2:]


def test_a_recording_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    def break_off() -> Iterator[Frame]:
        yield from make_frames()
        raise CorruptFrameError("the rest cannot be read")

    for name in ("a.mcap", "a.bin", "a"):
        with pytest.raises(CorruptFrameError):
            write_recording(tmp_path / "new" / "place" / name, break_off())
        assert names(tmp_path) == []


def test_only_recordings_are_overwritten(tmp_path: Path) -> None:
    dataset = tmp_path / "data"
    write_recording(dataset / "velodyne", make_frames())
    write_recording(dataset / "outer.mcap", make_frames())
    (dataset / "label_2").mkdir()
    (dataset / "label_2" / "000000.txt").write_text("Car")
    (tmp_path / "thesis.mcap").write_text("precious")
    write_recording(tmp_path / "mixed", make_frames())
    (tmp_path / "mixed" / "000000.npy").write_bytes(b"of another")
    write_recording(tmp_path / "linked", make_frames())
    (tmp_path / "linked" / "more.bin").symlink_to(dataset / "velodyne" / "000000.bin")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    velodyne = open_recording(dataset / "velodyne")
    for target, words in (
        (dataset, "holds what is read"),
        (dataset / "velodyne", "is what is read"),
        (dataset / "velodyne" / "000001.bin", "lies in what is read"),
        (tmp_path / "thesis.mcap", "it is no recording"),
        (tmp_path / "mixed", "000000.npy in it is not of a recording"),
        (tmp_path / "linked", "more.bin in it is not of a recording"),
    ):
        with pytest.raises(RecordingError, match=words):
            write_recording(target, velodyne, overwrite=True, format="kitti")
    with pytest.raises(RecordingError, match="label_2 in it is not of a recording"):
        write_recording(dataset, make_frames(), overwrite=True)
    with pytest.raises(RecordingError, match="lies in what is read"):
        write_recording(dataset / "outer.mcap", make_frames(), overwrite=True, source=dataset)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    write_recording(dataset / "velodyne", make_frames((9,)), overwrite=True)
    assert names(dataset / "velodyne") == ["000000.bin"]


def test_what_cannot_be_replaced_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recording(tmp_path / "folder", make_frames())
    rename = Path.rename

    def fail_once(path: Path, target: Path) -> Path:
        if path.name == "folder" and path.parent != tmp_path:
            raise OSError(28, "no space left")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(RecordingError, match="no space left"):
        write_recording(tmp_path / "folder", make_frames((7,)), overwrite=True)
    assert len(open_recording(tmp_path / "folder")) == 3


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag", "folder", "a.npy"])
def test_a_failure_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    def failing() -> Iterator[Frame]:
        yield from make_frames()
        raise CorruptFrameError("the fourth frame is bad")

    with pytest.raises(CorruptFrameError, match="fourth"):
        write_recording(tmp_path / name, failing())
    assert names(tmp_path) == []


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.las"):
        write_recording(tmp_path / "a.las", make_frames())
    with pytest.raises(UsageError, match="cannot be written"):
        write_recording(tmp_path / "a", make_frames(), format="ply")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be written"):
        write_recording(tmp_path / "file" / "a.mcap", make_frames())
    write_recording(tmp_path / "new" / "deep" / "a.mcap", make_frames((3,)))
    assert len(open_recording(tmp_path / "new" / "deep" / "a.mcap")) == 1


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag", "folder"])
def test_a_recording_without_frames(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no frames"):
        write_recording(tmp_path / name, [])
    assert names(tmp_path) == []


def test_mcap_is_compressed(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    frames = make_frames((20_000,))
    smooth = [Frame(np.round(frame.points), frame.stamp_ns, frame.frame_id, "made") for frame in frames]
    write_recording(tmp_path / "a.mcap", smooth)
    assert (tmp_path / "a.mcap").stat().st_size < 0.5 * smooth[0].points.nbytes
    np.testing.assert_array_equal(next(iter(open_recording(tmp_path / "a.mcap"))).points, smooth[0].points)
