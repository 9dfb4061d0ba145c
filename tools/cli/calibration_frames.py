"""calibration_frames.py: the frames of recordings that a detector is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...detector.io import Recording
    from ...runtime.errors import CorruptFrameError


@dataclass(frozen=True)
class CalibrationOptions:
    """What the options tell of the frames.

    Attributes:
        paths: of recordings, one or more.
        limit: most frames of each recording, or None.
        format, topic, columns: of the recordings, or None; see `open_recording`.
    """

    paths: tuple[Path, ...]
    limit: int | None
    format: str | None
    topic: str | None
    columns: str | None


def open_recordings(
    stack: ExitStack, options: CalibrationOptions, on_corrupt: Callable[[CorruptFrameError], None]
) -> list[Recording]:
    """Return the recordings, which `stack` closes; `on_corrupt` is told of every frame that cannot be read."""
    from ...detector.io import open_recording

    return [
        stack.enter_context(
            open_recording(
                path,
                format=options.format,
                topic=options.topic,
                columns=options.columns,
                limit=options.limit,
                on_corrupt=on_corrupt,
            )
        )
        for path in options.paths
    ]


def count_frames(recordings: list[Recording]) -> int | None:
    """Return how many frames the recordings hold, or None where one of them does not tell."""
    lengths = [recording.length for recording in recordings]
    return None if None in lengths else sum(length for length in lengths if length is not None)


def read_points(
    recordings: list[Recording], progress: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    """Yield the points (N, >=3) of every frame; `progress` is told how many are done."""
    done = 0
    for recording in recordings:
        for frame in recording:
            yield frame.points
            done += 1
            progress(done)
