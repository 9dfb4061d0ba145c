"""recording.py: one way to open whatever a LiDAR was recorded to, and to iterate its frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ...runtime.checks import check_instance, check_path, check_whole, show
from ...runtime.errors import CorruptFrameError, RecordingError, UsageError
from ..frames import Frame
from .clouds import RawCloud, parse_columns
from .info import RecordingInfo
from .intensity import IntensityScale, guess_intensity_scale, parse_intensity_scale
from .sniffing import open_source
from .sources import Entry, Guess, OpenOptions, Source

_PROBED_FRAMES = 3  # good frames looked at to find the intensity scale and the ground
_PROBED_ENTRIES = 10  # entries tried for them, should the first be corrupt

OnCorrupt = Callable[[CorruptFrameError], None]


class Recording:
    """The frames of a recording, decoded one at a time while it is iterated, as often as wanted.

    Attributes:
        path: the recording.
        format: name of its format.
        length: number of frames (corrupt ones included), or None when it is not known before the end.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        source: Source,
        *,
        intensity_scale: IntensityScale | None,
        limit: int | None,
        on_corrupt: OnCorrupt | None,
        guesses: tuple[Guess, ...],
    ) -> None:
        self.path, self.format = path, format
        self._source, self._limit, self._on_corrupt = source, limit, on_corrupt
        self.length = source.length if limit is None or source.length is None else min(limit, source.length)
        first = _probe(source)
        self._fields = next((cloud.fields for cloud in first if cloud.fields), ())
        self._used = next((cloud.used for cloud in first if cloud.used), ())
        self._scale = intensity_scale or guess_intensity_scale(first)
        if intensity_scale is None:
            guesses = (*guesses, Guess("intensity scale", str(self._scale), "--intensity-scale"))
        self._guesses = (*guesses, *source.guesses)
        self._closed = False
        self._info: RecordingInfo | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            CorruptFrameError: a frame cannot be decoded and no `on_corrupt` was given.
            UsageError: the recording was closed.
        """
        if self._closed:
            raise UsageError(f"{self.path}: the recording is closed")
        entries = islice(self._source.entries(), self._limit)
        while True:
            try:
                entry = next(entries, None)
                if entry is None:
                    return
                frame = self._decode(entry)
            except CorruptFrameError as error:
                if self._on_corrupt is None:
                    raise
                self._on_corrupt(error)
                continue
            yield frame

    def __len__(self) -> int:
        """Return the number of frames.

        Raises:
            TypeError: it is not known before the end; see `length`.
        """
        if self.length is None:
            raise TypeError(f"{self.path}: the number of frames is not known before the end")
        return self.length

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the use of the recording; files are open only while a frame is being read."""
        self._closed = True

    @property
    def info(self) -> RecordingInfo:
        """What is known and what was guessed about the recording."""
        if self._info is None:
            self._info = self._collect_info()
        return self._info

    def _decode(self, entry: Entry) -> Frame:
        cloud = entry.decode()
        return Frame(
            points=_clean_points(cloud, self._scale),
            stamp_ns=entry.stamp_ns if cloud.stamp_ns is None else cloud.stamp_ns,
            frame_id=entry.frame_id,
            source=entry.source,
        )

    def _collect_info(self) -> RecordingInfo:
        from ..ground import estimate_ground_height

        clouds = _probe(self._source)
        frames = [_clean_points(cloud, self._scale) for cloud in clouds]
        heights = [estimate_ground_height(points) for points in frames if len(points)]
        height = float(np.median(heights)) if heights else None
        ground = () if height is None else (Guess("ground height", f"{height:.2f}", "--ground"),)
        return RecordingInfo(
            path=str(self.path),
            format=self.format,
            topic=self._source.topic,
            fields=self._fields,
            columns=self._used,
            intensity_scale=self._scale.full,
            frames=self.length,
            points_per_frame=tuple(len(points) for points in frames),
            unusable_points=sum(len(cloud.xyz) for cloud in clouds) - sum(len(points) for points in frames),
            ground_height=height,
            guesses=(*self._guesses, *ground),
        )


def _clean_points(cloud: RawCloud, scale: IntensityScale) -> NDArray[np.float32]:
    """Return (N, 4) float32 points with finite positions and intensities in 0..1."""
    points = np.column_stack([cloud.xyz, scale.normalise(cloud)])
    usable = np.isfinite(cloud.xyz).all(axis=1)
    return points if usable.all() else points[usable]


def _probe(source: Source) -> list[RawCloud]:
    """Return the first few good frames.

    Raises:
        CorruptFrameError: there are frames, and none of those tried is good.
    """
    clouds: list[RawCloud] = []
    problem: CorruptFrameError | None = None
    entries = islice(source.entries(), _PROBED_ENTRIES)
    while len(clouds) < _PROBED_FRAMES:
        try:
            entry = next(entries, None)
            if entry is None:
                break
            clouds.append(entry.decode())
        except CorruptFrameError as error:
            problem = problem or error
    if problem is not None and not clouds:
        raise problem
    return clouds


def open_recording(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    topic: str | None = None,
    columns: int | str | Sequence[str] | None = None,
    intensity_scale: float | str | None = None,
    ros_distro: str | None = None,
    limit: int | None = None,
    on_corrupt: OnCorrupt | None = None,
) -> Recording:
    """Open a recording: a file or folder of any supported format, recognised by its content.

    Args:
        path: the recording.
        format: name of the format ("kitti", "mcap", ...); None = look at the content.
        topic: PointCloud2 topic of a bag that has several.
        columns: for `.bin` and `.npy` the number of columns or their names in order ("x,y,z,_,intensity");
            for formats with named fields the names that serve as x, y, z and intensity.
        intensity_scale: stored value of full intensity, or "none"; None = look at the first frames.
        ros_distro: distribution whose definitions serve a bag that holds none.
        limit: read at most so many frames.
        on_corrupt: called with each CorruptFrameError, the frame is skipped; None = the error is raised.

    Raises:
        UsageError: an argument is outside its domain.
        RecordingError: the path is missing, unreadable, of no known format, or holds no frames.
        MissingExtraError: the format needs a package that is not installed.
    """
    if limit is not None and check_whole("limit", limit) < 0:
        raise UsageError(f"--limit {limit}: a number of frames is not negative")
    for name, text in (("format", format), ("topic", topic), ("ros_distro", ros_distro)):
        if text is not None:
            check_instance(name, text, str)
    if not (on_corrupt is None or callable(on_corrupt)):
        raise UsageError(f"on_corrupt must be None or a function of one error, got {show(on_corrupt)}")
    scale = parse_intensity_scale(intensity_scale)
    options = OpenOptions(topic, parse_columns(columns), ros_distro)
    place = check_path("the recording", path)
    chosen, source = open_source(place, format, options)
    if topic is not None and source.topic is None:
        raise RecordingError(
            f"{place}: --topic {topic} was given, but a recording of format {chosen.name} has no topics"
        )
    guesses = () if format else (Guess("format", chosen.name, "--format"),)
    return Recording(
        place, chosen.name, source, intensity_scale=scale, limit=limit, on_corrupt=on_corrupt, guesses=guesses
    )
