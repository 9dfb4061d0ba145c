"""bag_writing.py: frames into ROS 1 `.bag`, ROS 2 `.db3` folders and `.mcap` files, through rosbags."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...runtime.errors import RecordingError
from ..frames import Frame
from .bags import POINT_CLOUD, import_rosbags
from .pointcloud2 import encode_points

TOPIC = "/points"
COORDINATE_FRAME = "lidar"  # header.frame_id: the name of the coordinate frame, not of the sweep


def write_bag(path: Path, frames: Iterable[Frame]) -> None:
    """Write a ROS 1 bag.

    Raises:
        MissingExtraError: rosbags is not installed.
        RecordingError: a time does not fit ROS 1.
    """
    import_rosbags()
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer(path) as writer:
        connection = writer.add_connection(TOPIC, POINT_CLOUD, typestore=store)
        _write_messages(writer, connection, frames, store, store.serialize_ros1, lowest_second=0)


def write_db3(path: Path, frames: Iterable[Frame]) -> None:
    """Write a ROS 2 bag: the folder `path` with `metadata.yaml` and an SQLite file (as `write_bag`)."""
    _write_ros2(path, frames, "SQLITE3")


def write_mcap(path: Path, frames: Iterable[Frame]) -> None:
    """Write one MCAP file, which needs no folder and no `metadata.yaml` beside it (raises as `write_bag`).

    Its chunks are compressed with Zstandard, as ROS 2's own recorder can; every MCAP reader knows it.
    """
    folder = path.with_name(path.stem)
    _write_ros2(folder, frames, "MCAP")
    (folder / f"{folder.name}.mcap").rename(path)
    (folder / "metadata.yaml").unlink()
    folder.rmdir()


def _write_ros2(folder: Path, frames: Iterable[Frame], storage: str) -> None:
    import_rosbags()
    from rosbags import rosbag2
    from rosbags.typesys import Stores, get_typestore

    options: dict[str, Any] = {}
    known = inspect.signature(rosbag2.Writer.__init__).parameters
    if "version" in known:
        options["version"] = 8
    if "storage_plugin" in known:
        options["storage_plugin"] = rosbag2.StoragePlugin[storage]
    elif storage != "SQLITE3":
        raise RecordingError("this version of rosbags cannot write MCAP; install rosbags 0.11, or write .db3")
    store = get_typestore(Stores.ROS2_HUMBLE)
    writer = rosbag2.Writer(folder, **options)
    if storage == "MCAP":
        # Within the file's own chunks; the other modes compress around the file, which needs metadata.yaml.
        writer.set_compression(rosbag2.CompressionMode.STORAGE, rosbag2.CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(TOPIC, POINT_CLOUD, typestore=store)
        _write_messages(writer, connection, frames, store, store.serialize_cdr, lowest_second=-(2**31))


def _write_messages(
    writer: Any, connection: Any, frames: Iterable[Frame], store: Any, serialize: Any, lowest_second: int
) -> None:
    """Write each frame as a message.

    The header carries the frame's time. The log time, by which players and readers order the messages, is the
    same where it can be, and otherwise the next nanosecond, so that the order of the frames survives.
    """
    log_time = -1
    for index, frame in enumerate(frames):
        seconds, nanoseconds = divmod(frame.stamp_ns, 1_000_000_000)
        if not lowest_second <= seconds < 2**31:
            raise RecordingError(
                f"frame {frame.frame_id} of {frame.source}: time {frame.stamp_ns} ns does not fit ROS"
            )
        log_time = max(log_time + 1, frame.stamp_ns)
        message = _build_message(store, frame, index, seconds, nanoseconds)
        writer.write(connection, log_time, serialize(message, POINT_CLOUD))


def _build_message(store: Any, frame: Frame, index: int, seconds: int, nanoseconds: int) -> Any:
    types = store.types
    header = types["std_msgs/msg/Header"]
    names = {"stamp": types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)}
    if "seq" in header.__dataclass_fields__:  # ROS 1
        names["seq"] = index
    block = encode_points(frame.points)
    field = types["sensor_msgs/msg/PointField"]
    return types[POINT_CLOUD](
        header=header(frame_id=COORDINATE_FRAME, **names),
        height=block.height,
        width=block.width,
        fields=[field(name=f.name, offset=f.offset, datatype=f.datatype, count=1) for f in block.fields],
        is_bigendian=block.big_endian,
        point_step=block.point_step,
        row_step=block.row_step,
        data=block.data,
        is_dense=True,
    )
