"""sources.py: what a format module must offer, and the folder of files that most of them share."""

from __future__ import annotations

import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...runtime.errors import ColonnadeError, CorruptFrameError
from .clouds import RawCloud

FRAME_PERIOD_NS = 100_000_000  # a spinning LiDAR turns at 10 Hz unless it says otherwise


@dataclass(frozen=True)
class Guess:
    """Something that was not given but found out: shown to the user with the flag that overrides it."""

    name: str
    value: str
    flag: str


@dataclass(frozen=True)
class OpenOptions:
    """What the user fixed; None = find out.

    Attributes:
        topic: PointCloud2 topic of a bag.
        columns: number of columns of unnamed rows, or names of the columns or fields.
        ros_distro: ROS distribution whose message definitions serve a bag that holds none.
    """

    topic: str | None = None
    columns: int | tuple[str, ...] | None = None
    ros_distro: str | None = None


@dataclass(frozen=True)
class Entry:
    """One frame that is not decoded yet.

    Attributes:
        frame_id: file stem or message index.
        source: file (and topic), for messages.
        stamp_ns: time known without decoding [ns]; the decoded cloud may know better.
        decode: returns the cloud, or raises CorruptFrameError.
    """

    frame_id: str
    source: str
    stamp_ns: int
    decode: Callable[[], RawCloud]


class Source(ABC):
    """A recording of one format, iterated as undecoded entries, as often as wanted.

    Attributes:
        topic: the topic read from a bag, else None.
        length: number of frames, or None when it is not known before the end.
        guesses: what the source had to find out.
    """

    topic: str | None = None
    length: int | None = None
    guesses: tuple[Guess, ...] = ()

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yield the frames in order; a CorruptFrameError raised here ends the recording."""


@dataclass(frozen=True)
class Format:
    """One file format or folder layout.

    Attributes:
        name: what `--format` calls it.
        title: what it is, in a few words.
        matches: whether a file (path, its first bytes) is of this format.
        find: the frame files of a folder in this layout, in order; none when it is not so laid out.
        open: makes the source from those files.
    """

    name: str
    title: str
    matches: Callable[[Path, bytes], bool]
    find: Callable[[Path], list[Path]]
    open: Callable[[Sequence[Path], OpenOptions], Source]


def decode_safely(where: str, decode: Callable[[], RawCloud]) -> RawCloud:
    """Return what `decode` returns; whatever else goes wrong in there becomes a CorruptFrameError at `where`.

    This is the one place where an error of another library (or of NumPy) is turned into ours.
    """
    try:
        return decode()
    except ColonnadeError:
        raise
    except MemoryError as error:
        raise CorruptFrameError(f"{where}: claims more points than fit into memory") from error
    except OSError as error:
        raise CorruptFrameError(f"{where}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise CorruptFrameError(f"{where}: {reason}") from error


class FileSource(Source):
    """A recording with one file per frame."""

    def __init__(
        self,
        paths: Sequence[Path],
        decode: Callable[[Path], RawCloud],
        *,
        stamp_ns: Callable[[Path, int], int] = lambda _, index: index * FRAME_PERIOD_NS,
        guesses: tuple[Guess, ...] = (),
    ) -> None:
        self.paths = tuple(paths)
        self.length = len(self.paths)
        self.guesses = guesses
        self._decode = decode
        self._stamp_ns = stamp_ns

    def entries(self) -> Iterator[Entry]:
        """Yield one entry per file."""
        for index, path in enumerate(self.paths):
            frame_id = path.name.removesuffix(".pcd.bin") if path.name.endswith(".pcd.bin") else path.stem
            where = f"{path}: frame {frame_id}"
            decode = partial(decode_safely, where, partial(self._decode, path))
            yield Entry(frame_id, str(path), self._stamp_ns(path, index), decode)


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part)) if part.isdecimal() and part.isascii() else (1, part) for part in parts)


def list_frames(folder: Path, suffix: str) -> list[Path]:
    """Return the regular, not hidden files of `folder` ending in `suffix`, in natural order ([] if none).

    Raises:
        OSError: the folder cannot be listed.
    """
    if not folder.is_dir():
        return []
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.name.lower().endswith(suffix) and not path.name.startswith(".") and is_regular(path)
        ),
        key=lambda path: natural_key(path.name),
    )


def is_regular(path: Path) -> bool:
    """Return whether `path` is a plain file: a pipe or a device could block for ever."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def read_whole(path: Path) -> bytes:
    """Return the bytes of a frame file.

    Raises:
        ValueError: it is not a regular file any more.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(2, "the file is gone")
    if not is_regular(path):
        raise ValueError("not a regular file")
    return path.read_bytes()
