"""bags.py: ROS 1 `.bag`, ROS 2 `.db3` and `.mcap` recordings of sensor_msgs/PointCloud2, through rosbags."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.errors import ColonnadeError, CorruptFrameError, MissingExtraError, RecordingError, UsageError
from .clouds import RawCloud
from .pointcloud2 import PointBlock, StoredField, decode_points
from .sources import Entry, Format, Guess, OpenOptions, Source, decode_safely, list_frames

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

if sys.platform == "win32":
    from pathlib import WindowsPath as _NativePath
else:
    from pathlib import PosixPath as _NativePath

POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
# PointCloud2 is laid out alike in every ROS 2 distribution, so any of them serves a bag without definitions.
_USUAL_DISTRO = "humble"
_REPAIRS = {
    ".bag": "if the recorder was stopped hard, `rosbag reindex` may repair it",
    ".db3": "if the recorder was stopped hard, sqlite3's `.recover` may repair it",
    ".mcap": "if the recorder was stopped hard, `mcap recover` may repair it",
}


class _BoundedFile(io.BufferedReader):
    """A file that never sets memory aside for more bytes than it has, whatever a damaged header asks for."""

    def __init__(self, path: Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


class _BagPath(_NativePath):
    """A path that opens as a bounded file and has the suffix of its content, by which rosbags goes."""

    content_suffix: str | None = None

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode == "rb":
            return _BoundedFile(self)
        return super().open(mode, *args, **kwargs)

    @property
    def suffix(self) -> str:
        return self.content_suffix or super().suffix


def import_rosbags() -> None:
    """Import rosbags.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import rosbags.highlevel  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("rosbags", "bags", "reading and writing ROS bags and MCAP files") from error


class BagSource(Source):
    """The PointCloud2 messages of one topic, in the order of their recording."""

    def __init__(self, paths: Sequence[Path], options: OpenOptions, suffix: str) -> None:
        import_rosbags()
        self._paths = tuple(paths)
        self._columns = options.columns
        self._suffix = suffix
        self._distro = options.ros_distro or _USUAL_DISTRO
        self._where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} files)"
        _find_typestore(self._distro)
        with self._reading() as reader:
            self.topic, several = self._choose_topic(reader, options.topic)
            counts = [connection.msgcount for connection in self._connections(reader)]
        self.length = self._plausible_count(sum(counts))
        self.guesses = _list_guesses(self.topic if options.topic is None else None, several)

    @contextmanager
    def _reading(self) -> Iterator[AnyReader]:
        """Open the bag; whatever rosbags, SQLite or a decompressor raises becomes a RecordingError."""
        from rosbags.highlevel import AnyReader

        paths = []
        for path in self._paths:
            bag = _BagPath(path)
            bag.content_suffix = None if path.is_dir() else self._suffix
            paths.append(bag)
        try:
            reader = AnyReader(paths, default_typestore=_find_typestore(self._distro))
            reader.open()
        except ColonnadeError:
            raise
        except Exception as error:
            raise RecordingError(
                f"{self._where}: cannot be opened as a bag: {_reason(error)}; {_REPAIRS[self._suffix]}"
            ) from error
        try:
            yield reader
        finally:
            with suppress(Exception):
                reader.close()

    def _choose_topic(self, reader: AnyReader, wanted: str | None) -> tuple[str, bool]:
        """Return the topic to read and whether there were others to choose from."""
        counts: dict[str, int] = {}
        for connection in reader.connections:
            if connection.msgtype == POINT_CLOUD:
                counts[connection.topic] = counts.get(connection.topic, 0) + connection.msgcount
        if not counts:
            others = (
                ", ".join(sorted({f"{item.topic} ({item.msgtype})" for item in reader.connections})) or "none"
            )
            raise RecordingError(
                f"{self._where}: no topic of type sensor_msgs/PointCloud2; topics: {others}. "
                "Record the point cloud that the sensor's driver publishes"
            )
        if wanted is not None:
            for topic in (wanted, "/" + wanted):
                if topic in counts:
                    return topic, False
            raise RecordingError(
                f"{self._where}: no PointCloud2 topic {wanted!r}; there are:\n{_topic_lines(counts)}"
            )
        filled = [topic for topic, count in counts.items() if count > 0]
        if len(counts) == 1 or len(filled) == 1:
            return (filled or list(counts))[0], len(counts) > 1
        raise RecordingError(
            f"{self._where}: {len(counts)} PointCloud2 topics; choose one with:\n{_topic_lines(counts)}"
        )

    def _connections(self, reader: AnyReader) -> list[Connection]:
        return [
            item for item in reader.connections if item.topic == self.topic and item.msgtype == POINT_CLOUD
        ]

    def _plausible_count(self, count: int) -> int | None:
        """Return the number of messages that the bag claims, or None if it has not even that many bytes."""
        files = [path for item in self._paths for path in (item.iterdir() if item.is_dir() else [item])]
        return count if 0 <= count <= sum(path.stat().st_size for path in files) else None

    def entries(self) -> Iterator[Entry]:
        """Yield the messages of the topic, not decoded yet."""
        index = -1
        source = f"{self._where} {self.topic}"
        with self._reading() as reader:
            messages = reader.messages(self._connections(reader))
            while True:
                index += 1
                try:
                    connection, log_time, data = next(messages)
                except StopIteration:
                    return
                except Exception as error:
                    raise CorruptFrameError(
                        f"{source}: frame {index:06d} and all after it cannot be read: {_reason(error)}; "
                        f"{_REPAIRS[self._suffix]}"
                    ) from error
                message = partial(reader.deserialize, data, connection.msgtype)
                decode = partial(_decode_message, message, self._columns)
                where = f"{source}: frame {index:06d}"
                yield Entry(f"{index:06d}", source, log_time, partial(decode_safely, where, decode))


def _decode_message(deserialize: Any, columns: int | tuple[str, ...] | None) -> RawCloud:
    """Return the cloud of one message; its time is the header's, not that of the recording."""
    message = deserialize()
    stamp = message.header.stamp
    block = PointBlock(
        fields=tuple(
            StoredField(field.name, int(field.datatype), int(field.offset)) for field in message.fields
        ),
        width=int(message.width),
        height=int(message.height),
        point_step=int(message.point_step),
        row_step=int(message.row_step),
        big_endian=bool(message.is_bigendian),
        data=np.asarray(message.data, np.uint8),
    )
    return decode_points(block, columns, int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec))


def _topic_lines(counts: dict[str, int]) -> str:
    return "\n".join(f"  --topic {topic}" for topic in sorted(counts))


@cache
def _find_typestore(distro: str) -> Any:
    """Return the message definitions of a ROS distribution.

    Raises:
        UsageError: rosbags does not know it.
    """
    from rosbags.typesys import Stores, get_typestore

    known = {store.name.split("_")[1].lower(): store for store in Stores if "_" in store.name}
    if distro.lower() not in known:
        raise UsageError(f"--ros-distro {distro}: unknown; rosbags knows {', '.join(known)}")
    return get_typestore(known[distro.lower()])


def _list_guesses(topic: str | None, several: bool) -> tuple[Guess, ...]:
    if topic is None:
        return ()
    return (Guess("topic", topic + (" (the only one with messages)" if several else ""), "--topic"),)


def _reason(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _matches(magic: bytes, path: Path, head: bytes) -> bool:
    return head.startswith(magic)


def _find(suffix: str, folder: Path) -> list[Path]:
    """Return the folder itself if rosbag2 wrote it, else the bag files in it (a recording cut in pieces)."""
    files = list_frames(folder, suffix)
    if files and suffix != ".bag" and (folder / "metadata.yaml").is_file():
        return [folder]
    if suffix == ".db3" and not files and list_frames(folder, ".db3.zstd"):
        return [folder]
    return files


def _open(suffix: str, paths: Sequence[Path], options: OpenOptions) -> BagSource:
    return BagSource(paths, options, suffix)


def _bag_format(name: str, title: str, magic: bytes) -> Format:
    suffix = f".{name}"
    return Format(name, title, partial(_matches, magic), partial(_find, suffix), partial(_open, suffix))


BAG = _bag_format("bag", "ROS 1 bag", b"#ROSBAG V")
DB3 = _bag_format("db3", "ROS 2 bag (SQLite)", b"SQLite format 3\0")
MCAP = _bag_format("mcap", "MCAP (ROS 2)", b"\x89MCAP0\r\n")
