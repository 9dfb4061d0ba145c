"""kitti.py: KITTI frames: float32 rows x, y, z, intensity in `.bin` files, loose or in KITTI's layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .float_rows import look_like_coordinates, read_float_rows, sample_floats, settle_columns
from .sources import FileSource, Format, OpenOptions, list_frames, natural_key

# Where KITTI's object, tracking and raw data keep their frames, seen from the folder that a user points at.
_LAYOUTS = ("velodyne", "training/velodyne", "testing/velodyne", "velodyne_points/data", "data")


def matches(path: Path, head: bytes) -> bool:
    """Return whether the file holds float32 numbers that could be points."""
    return (
        path.suffix.lower() == ".bin" and len(head) % 4 == 0 and look_like_coordinates(sample_floats([path]))
    )


def find(folder: Path) -> list[Path]:
    """Return the `.bin` files of a folder: its own, or those of the KITTI layout in it.

    `velodyne_reduced` (crops to the camera view) only adds the frames that `velodyne` does not have.
    """
    own = list_frames(folder, ".bin")
    if own:
        return own
    for layout in _LAYOUTS:
        whole = list_frames(folder / layout, ".bin")
        reduced = list_frames((folder / layout).with_name("velodyne_reduced"), ".bin")
        known = {path.name for path in whole}
        frames = whole + [path for path in reduced if path.name not in known]
        if frames:
            return sorted(frames, key=lambda path: natural_key(path.name))
    return []


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open `.bin` files; the number of columns is found from their content unless given."""
    names, guesses = settle_columns(paths, options.columns)
    return FileSource(paths, partial(read_float_rows, names=names), guesses=guesses)


KITTI = Format("kitti", "KITTI .bin: float32 rows, 3 to 6 columns", matches, find, open_source)
