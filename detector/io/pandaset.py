"""pandaset.py: PandaSet sequences: `lidar/NNNNNN.bin` (float32 x, y, z, intensity) beside `poses.json`.

The points are in the vehicle frame (x forward, y left, z up); its origin is near the ground (at z = -0.25 m).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...runtime.errors import RecordingError
from .float_rows import read_float_rows, settle_columns
from .sources import FRAME_PERIOD_NS, FileSource, Format, OpenOptions, list_frames


def find(folder: Path) -> list[Path]:
    """Return the frames of a PandaSet sequence."""
    return list_frames(folder / "lidar", ".bin") if (folder / "poses.json").is_file() else []


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open the frames of one sequence, with the times that its poses give.

    Raises:
        RecordingError: `poses.json` is not a list of frames with their times.
    """
    names, guesses = settle_columns(paths, options.columns, usual=4)
    poses = paths[0].parent.parent / "poses.json"
    stamps = _read_stamps(poses) if poses.is_file() else {}

    def stamp_ns(path: Path, index: int) -> int:
        return stamps.get(path.stem, index * FRAME_PERIOD_NS)

    return FileSource(paths, partial(read_float_rows, names=names), stamp_ns=stamp_ns, guesses=guesses)


def _read_stamps(poses: Path) -> dict[str, int]:
    try:
        listed = json.loads(poses.read_text("utf-8"))
        # Microseconds: a double holds no more of a present-day time.
        return {f"{int(pose['frame']):06d}": round(float(pose["timestamp"]) * 1e6) * 1000 for pose in listed}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RecordingError(
            f"{poses}: not a list of {{frame, timestamp, ...}}: {error}; repair it, or "
            f"read {poses.parent / 'lidar'} with --format kitti"
        ) from error


PANDASET = Format(
    "pandaset", "PandaSet: lidar/*.bin beside poses.json", lambda path, head: False, find, open_source
)
