"""test_bag_recordings.py: PointCloud2 in every layout, topics, distributions, and how others see our bags."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from recording_cases import make_frames, make_points

from colonnade.detector.frames import Frame
from colonnade.detector.io import describe, open_recording, write_recording
from colonnade.detector.io.pointcloud2 import PointBlock, StoredField, decode_points
from colonnade.runtime.errors import CorruptFrameError, RecordingError, UsageError

rosbags = pytest.importorskip("rosbags")

CODES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"


def build_block(
    columns: dict[str, NDArray[np.float64]],
    datatypes: dict[str, int],
    order: list[str],
    gaps: list[int],
    height: int,
    row_gap: int,
    big_endian: bool,
) -> PointBlock:
    """Return a block of the columns, written number by number: slow and independent of the reader."""
    fields, offset = [], 0
    for name, gap in zip(order, gaps, strict=False):
        offset += gap
        fields.append(StoredField(name, datatypes[name], offset))
        offset += np.dtype(CODES[datatypes[name]]).itemsize
    step = offset + gaps[-1]
    count = len(columns[order[0]])
    width = count // height
    row_step = width * step + row_gap
    data = bytearray(b"\xff" * (row_step * height))  # padding that would be NaN
    for index in range(count):
        row, column = divmod(index, width)
        for field in fields:
            code = np.dtype((">" if big_endian else "<") + CODES[field.datatype])
            number = np.array(columns[field.name][index]).astype(code).tobytes()
            start = row * row_step + column * step + field.offset
            data[start : start + len(number)] = number
    return PointBlock(tuple(fields), width, height, step, row_step, big_endian, np.frombuffer(data, np.uint8))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[PointBlock, dict[str, NDArray[np.float64]]]:
    """Draw a block with any field order, types, padding, rows, byte order and per-point times."""
    names = draw(st.permutations(["x", "y", "z", "intensity", "t", "ring"]))
    datatypes = {name: draw(st.sampled_from(list(CODES))) for name in names}
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Whole numbers 0..100 fit every type.
    columns = {name: rng.integers(0, 101, height * width).astype(np.float64) for name in names}
    gaps = draw(st.lists(st.integers(0, 5), min_size=7, max_size=7))
    row_gap = draw(st.integers(0, 9)) if height > 1 else 0
    return build_block(columns, datatypes, names, gaps, height, row_gap, draw(st.booleans())), columns


@given(blocks())
@settings(max_examples=150, deadline=None)
def test_every_layout_of_a_point_is_read(case: tuple[PointBlock, dict[str, NDArray[np.float64]]]) -> None:
    block, columns = case
    cloud = decode_points(block, None)
    assert cloud.used == ("x", "y", "z", "intensity")
    assert cloud.intensity is not None
    np.testing.assert_array_equal(
        cloud.xyz, np.column_stack([columns[axis] for axis in "xyz"]).astype(np.float32)
    )
    np.testing.assert_array_equal(cloud.intensity, columns["intensity"].astype(np.float32))
    chosen = decode_points(block, ("z", "y", "x", "ring"))
    np.testing.assert_array_equal(chosen.xyz[:, 0], columns["z"].astype(np.float32))
    np.testing.assert_array_equal(np.asarray(chosen.intensity), columns["ring"].astype(np.float32))


def simple_block(**changes: Any) -> PointBlock:
    fields = tuple(StoredField(name, 7, 4 * index) for index, name in enumerate(("x", "y", "z")))
    settings = {
        "fields": fields,
        "width": 2,
        "height": 2,
        "point_step": 12,
        "row_step": 24,
        "big_endian": False,
    }
    settings["data"] = np.arange(12, dtype="<f4").view(np.uint8)
    return PointBlock(**(settings | changes))  # type: ignore[arg-type]


def test_wrong_row_steps_of_known_drivers_are_tolerated() -> None:
    wanted = decode_points(simple_block(), None).xyz
    for changes in ({"row_step": 0}, {"row_step": 48}, {"width": 4, "height": 1, "row_step": 7}):
        np.testing.assert_array_equal(decode_points(simple_block(**changes), None).xyz, wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 10**9}, "claims 2 x 1000000000 points"),
        ({"height": 2**32 - 1, "width": 2**32 - 1}, "claims"),
        ({"point_step": 0}, "points of 0 bytes"),
        ({"row_step": 20, "data": np.zeros(50, np.uint8)}, "row_step 20"),
        (
            {"fields": (StoredField("x", 7, 10), StoredField("y", 7, 0), StoredField("z", 7, 0))},
            "outside a point",
        ),
        ({"fields": (StoredField("x", 9, 0), StoredField("y", 7, 0), StoredField("z", 7, 0))}, "datatype 9"),
        ({"fields": (StoredField("x", 7, 0), StoredField("y", 7, 4))}, "no field 'z'"),
        ({"fields": ()}, "no field 'x'"),
    ],
)
def test_absurd_messages_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_points(simple_block(**changes), None)


def write_topics(path: Path, topics: dict[str, list[Frame]], kind: str = POINT_CLOUD) -> None:
    """Write a ROS 2 bag folder with several topics; the log times are an hour after the header stamps."""
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    from colonnade.detector.io.bag_writing import _build_message

    store = get_typestore(Stores.ROS2_HUMBLE)
    options: Any = {"version": 8} if "version" in Writer.__init__.__annotations__ else {}
    with Writer(path, **options) as writer:
        for topic, frames in topics.items():
            connection = writer.add_connection(topic, kind, typestore=store)
            for index, frame in enumerate(frames):
                if kind == POINT_CLOUD:
                    seconds, nanoseconds = divmod(frame.stamp_ns, 10**9)
                    message = _build_message(store, frame, index, seconds, nanoseconds)
                else:
                    message = store.types[kind](data="hello")
                log_time = frame.stamp_ns + 3600 * 10**9
                writer.write(connection, log_time, store.serialize_cdr(message, kind))


def test_several_topics_are_listed_as_flags_to_paste(tmp_path: Path) -> None:
    frames = make_frames()
    write_topics(tmp_path / "two", {"/rear/points": frames, "/front/points": frames[:1], "/idle": []})
    with pytest.raises(RecordingError) as caught:
        open_recording(tmp_path / "two")
    assert str(caught.value).endswith("\n  --topic /front/points\n  --topic /idle\n  --topic /rear/points")
    for name in ("/front/points", "front/points"):
        recording = open_recording(tmp_path / "two", topic=name)
        assert (recording.info.topic, len(recording)) == ("/front/points", 1)
        assert recording.info.flag("topic") is None
    with pytest.raises(RecordingError, match="no PointCloud2 topic '/left'"):
        open_recording(tmp_path / "two", topic="/left")


def test_the_only_topic_with_messages_is_taken_and_named_as_a_guess(tmp_path: Path) -> None:
    write_topics(tmp_path / "r", {"/idle": [], "/points": make_frames()})
    recording = open_recording(tmp_path / "r")
    assert recording.info.topic == "/points"
    assert "--topic" in describe(recording.info)
    assert len(recording) == 3


def test_a_bag_without_point_clouds_names_its_topics(tmp_path: Path) -> None:
    write_topics(tmp_path / "r", {"/chatter": make_frames()}, "std_msgs/msg/String")
    with pytest.raises(RecordingError, match=r"/chatter \(std_msgs/msg/String\)"):
        open_recording(tmp_path / "r")


def test_the_header_stamp_counts_not_the_time_of_recording(tmp_path: Path) -> None:
    write_topics(tmp_path / "r", {"/points": make_frames()})
    assert [frame.stamp_ns for frame in open_recording(tmp_path / "r")] == [0, 10**8, 2 * 10**8]


def test_order_survives_equal_and_falling_stamps(tmp_path: Path) -> None:
    stamps = [5, 5, 3, 10**18, 7]
    frames = [Frame(make_points(4, index), stamp, "f", "made") for index, stamp in enumerate(stamps)]
    for name in ("a.mcap", "a.db3", "a.bag"):
        write_recording(tmp_path / name, frames)
        got = list(open_recording(tmp_path / name))
        assert [frame.stamp_ns for frame in got] == stamps
        assert [frame.frame_id for frame in got] == [f"{index:06d}" for index in range(5)]
        for wanted, frame in zip(frames, got, strict=True):
            np.testing.assert_array_equal(frame.points, wanted.points)
    past = [Frame(make_points(4), -1, "f", "made")]
    write_recording(tmp_path / "past.mcap", past)
    assert next(iter(open_recording(tmp_path / "past.mcap"))).stamp_ns == -1
    with pytest.raises(RecordingError, match="does not fit ROS"):
        write_recording(tmp_path / "past.bag", past)
    assert not (tmp_path / "past.bag").exists()


def test_a_bag_without_type_definitions(tmp_path: Path) -> None:
    write_recording(tmp_path / "r", make_frames(), format="db3")
    for file in (tmp_path / "r").glob("*.db3"):
        with sqlite3.connect(file) as database:
            tables = [
                row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            if "message_definitions" in tables:
                database.execute("DELETE FROM message_definitions")
        database.close()
    assert [len(frame.points) for frame in open_recording(tmp_path / "r")] == [200, 150, 180]
    assert len(list(open_recording(tmp_path / "r", ros_distro="foxy"))) == 3
    with pytest.raises(UsageError, match="humble"):
        open_recording(tmp_path / "r", ros_distro="hydro")


def test_a_recording_cut_into_several_files_is_one(tmp_path: Path) -> None:
    frames = make_frames((10, 20, 30, 40))
    for name in ("mcap", "bag"):
        folder = tmp_path / name
        write_recording(folder / f"part_1.{name}", frames[2:])
        write_recording(folder / f"part_0.{name}", frames[:2])
        assert [len(frame.points) for frame in open_recording(folder)] == [10, 20, 30, 40]


def test_a_truncated_message_is_one_corrupt_frame(tmp_path: Path) -> None:
    write_recording(tmp_path / "r", make_frames(), format="db3")
    file = next((tmp_path / "r").glob("*.db3"))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET data = substr(data, 1, 900) WHERE id = 2")
    database.close()
    seen: list[CorruptFrameError] = []
    recording = open_recording(tmp_path / "r", on_corrupt=seen.append)
    assert [frame.frame_id for frame in recording] == ["000000", "000002"]
    assert "frame 000001" in str(seen[0])
    assert str(tmp_path / "r") in str(seen[0])


def test_truncated_bags_name_the_remedy(tmp_path: Path) -> None:
    for name, tool in (("a.mcap", "mcap recover"), ("a.bag", "rosbag reindex")):
        write_recording(tmp_path / name, make_frames())
        os.truncate(tmp_path / name, (tmp_path / name).stat().st_size * 2 // 3)
        with pytest.raises(RecordingError, match=tool):
            list(open_recording(tmp_path / name))


def test_a_claimed_number_of_messages_is_not_trusted(tmp_path: Path) -> None:
    write_recording(tmp_path / "r", make_frames(), format="db3")
    metadata = tmp_path / "r" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 3", "message_count: 3000000000000"))
    recording = open_recording(tmp_path / "r")
    assert recording.length is None
    assert len(list(recording)) == 3
    assert "unknown until the end" in describe(recording.info)
    with pytest.raises(TypeError):
        len(recording)
    for damaged in (
        "",
        "- a\n",
        "\0",
        "rosbag2_bagfile_information: 3\n",
        "rosbag2_bagfile_information: {version: x}\n",
    ):
        metadata.write_text(damaged)
        with pytest.raises(RecordingError, match="cannot be opened"):
            open_recording(tmp_path / "r")
    metadata.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(RecordingError, match="cannot be opened"):
        open_recording(tmp_path / "r")


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
def test_our_bags_are_bags_to_rosbags(name: str, tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader

    frames = make_frames()
    write_recording(tmp_path / name, frames)
    with AnyReader([tmp_path / name]) as reader:
        messages: list[Any] = [
            reader.deserialize(data, connection.msgtype) for connection, _, data in reader.messages()
        ]
        assert [connection.topic for connection in reader.connections] == ["/points"]
    for wanted, message in zip(frames, messages, strict=True):
        assert [field.name for field in message.fields] == ["x", "y", "z", "intensity"]
        assert (message.width, message.height, message.point_step) == (len(wanted.points), 1, 16)
        assert message.data.tobytes() == wanted.points.tobytes()
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == wanted.stamp_ns


def test_without_rosbags_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from colonnade.runtime.errors import MissingExtraError

    write_recording(tmp_path / "a.mcap", make_frames())
    monkeypatch.setitem(sys.modules, "rosbags", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    for action in (
        lambda: open_recording(tmp_path / "a.mcap"),
        lambda: write_recording(tmp_path / "b.mcap", make_frames()),
    ):
        with pytest.raises(MissingExtraError, match=r"colonnade\[bags\]"):
            action()
