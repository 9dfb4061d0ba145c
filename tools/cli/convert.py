"""convert.py: `colonnade convert`: a recording of any readable format into one of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...detector.frames import Frame
    from ...runtime.errors import CorruptFrameError

EXIT_SKIPPED = 3


def convert(
    recording: options.RecordingArgument,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Where to; the suffix says what: .mcap, .db3, .bag, ...")
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="Format to write: mcap, db3, bag, kitti, pcd or npy."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the recording at OUT.")] = False,
    limit: options.LimitOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    intensity_scale: options.IntensityScaleOption = None,
    ros_distro: options.RosDistroOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a corrupt frame instead of skipping it.")
    ] = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a recording in another format.

    \b
    Examples:
      colonnade convert kitti/velodyne drive.mcap      for ROS 2 and Foxglove
      colonnade convert drive.bag frames/ --to pcd     one .pcd per frame

    Exit codes: as of `colonnade detect`; 3 = written, but corrupt frames were left out.
    """
    from ...detector.io import describe, open_recording, write_recording

    skipped: list[CorruptFrameError] = []

    def skip(error: CorruptFrameError) -> None:
        skipped.append(error)
        terminal.show_warning(f"frame skipped: {error}")

    with open_recording(
        recording,
        format=format,
        topic=topic,
        columns=columns,
        intensity_scale=intensity_scale,
        ros_distro=ros_distro,
        limit=limit,
        on_corrupt=None if strict else skip,
    ) as frames:
        if not quiet:
            terminal.show_note(describe(frames.info))
        written = _Counter()
        with terminal.progress_bar("converting", frames.length, quiet=quiet) as progress:
            write_recording(
                out, written.count(frames, progress), format=to, overwrite=overwrite, source=recording
            )
    terminal.show_facts(
        [("frames", f"{written.frames:,}"), ("points", f"{written.points:,}"), ("written", str(out))]
    )
    if skipped:
        raise typer.Exit(EXIT_SKIPPED)


class _Counter:
    """Counts the frames and points that pass."""

    def __init__(self) -> None:
        self.frames, self.points = 0, 0

    def count(self, frames: Iterable[Frame], progress: Callable[[int], None]) -> Iterator[Frame]:
        for frame in frames:
            yield frame
            self.frames += 1
            self.points += len(frame.points)
            progress(self.frames)
