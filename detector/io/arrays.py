"""arrays.py: NumPy `.npy` frames: (N, 3 or more) numbers, or records with fields x, y, z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .clouds import MAX_COLUMNS, RawCloud, choose_fields, cloud_from_columns, name_row_columns
from .float_rows import cloud_from_rows
from .sources import FileSource, Format, OpenOptions, list_frames, read_whole

_MAGIC = b"\x93NUMPY"


def decode_array(path: Path, columns: int | tuple[str, ...] | None) -> RawCloud:
    """Read one `.npy` file; nothing in it is ever unpickled.

    Raises:
        ValueError: it is not an array of points, or shorter than its header claims.
        OSError: it cannot be read.
    """
    array = _parse_array(read_whole(path))
    if array.dtype.names is not None:
        table: Any = array.reshape(-1)  # an array of records
        used = choose_fields(array.dtype.names, columns)
        return cloud_from_columns([table[name] for name in used], array.dtype.names, used)
    if array.ndim != 2 or not 3 <= array.shape[1] <= MAX_COLUMNS:
        raise ValueError(
            f"shape {array.shape} is not (points, columns) with 3 to {MAX_COLUMNS} columns; save one frame per file"
        )
    width = columns if isinstance(columns, int) else len(columns) if columns else array.shape[1]
    if width != array.shape[1]:
        raise ValueError(f"{array.shape[1]} columns where --columns gives {width}")
    return cloud_from_rows(array, name_row_columns(columns or array.shape[1]))


def _parse_array(data: bytes) -> NDArray[np.generic]:
    """Return the array in `data`, checked against its size before anything is allocated."""
    stream = BytesIO(data)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    if version not in ((1, 0), (2, 0)):
        raise ValueError(
            f"version {version} of the .npy format is not supported; save it again with numpy.save"
        )
    shape, column_major, dtype = read_header(stream)
    if dtype.hasobject or dtype.itemsize == 0 or (dtype.names is None and dtype.kind not in "fiu"):
        raise ValueError(f"element type {dtype} is not a number")
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape} has a negative length")
    count = math.prod(shape)
    available = len(data) - stream.tell()
    if count * dtype.itemsize > available:
        raise ValueError(
            f"the header claims {count * dtype.itemsize} bytes of points, the file holds {available}"
        )
    flat = np.frombuffer(data, dtype, count, stream.tell())
    return flat.reshape(shape, order="F" if column_major else "C")


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open `.npy` files, one frame each."""
    return FileSource(paths, partial(decode_array, columns=options.columns))


NPY = Format(
    "npy",
    "NumPy .npy: (N, 3 or more) numbers, or records",
    lambda path, head: head.startswith(_MAGIC),
    lambda folder: list_frames(folder, ".npy"),
    open_source,
)
