"""nuscenes.py: nuScenes sweeps: `.pcd.bin` files of five float32 columns x, y, z, intensity 0..255, ring."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from .float_rows import guess_stride, read_float_rows, sample_floats, settle_columns
from .sources import FRAME_PERIOD_NS, FileSource, Format, OpenOptions, list_frames

_LAYOUTS = ("", "LIDAR_TOP", "samples/LIDAR_TOP", "sweeps/LIDAR_TOP")
_NAMES = ("x", "y", "z", "intensity", "ring")
_STAMP = re.compile(r"__(\d{16})\.pcd\.bin$")  # microseconds, as nuScenes names its files


def matches(path: Path, head: bytes) -> bool:
    """Return whether there are five columns, the fourth whole numbers to 255 and the fifth a ring number."""
    if path.suffix.lower() != ".bin" or len(head) < 20:
        return False
    floats = sample_floats([path])
    if guess_stride(floats) != 5:
        return False
    intensity_and_ring = floats[: len(floats) // 5 * 5].reshape(-1, 5)[:, 3:]
    # Almost all: a damaged number does not make it another format.
    return bool(np.isin(intensity_and_ring, np.arange(256, dtype=np.float32)).all(axis=1).mean() > 0.95)


def find(folder: Path) -> list[Path]:
    """Return the `.pcd.bin` files of a folder, or of the LIDAR_TOP folder in it."""
    for layout in _LAYOUTS:
        frames = list_frames(folder / layout, ".pcd.bin")
        if frames:
            return frames
    return []


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open `.pcd.bin` files as rows of five columns unless others are given."""
    names, guesses = settle_columns(paths, options.columns, usual=5)
    names = _NAMES if options.columns is None else names
    return FileSource(paths, partial(read_float_rows, names=names), stamp_ns=_stamp_ns, guesses=guesses)


def _stamp_ns(path: Path, index: int) -> int:
    match = _STAMP.search(path.name)
    return int(match[1]) * 1000 if match else index * FRAME_PERIOD_NS


NUSCENES = Format("nuscenes", "nuScenes .pcd.bin: five float32 columns", matches, find, open_source)
