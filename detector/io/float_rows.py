"""float_rows.py: files of bare float32 rows, and how many columns their rows have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from .clouds import RawCloud, cloud_from_columns, empty_cloud, name_row_columns
from .sources import Guess, read_whole

_STRIDES = (4, 5, 3, 6)  # most usual first: the order decides when the content does not
_SAMPLE_FLOATS = 120_000
_BINS = 24


def read_float_rows(path: Path, names: tuple[str, ...]) -> RawCloud:
    """Read a file of little-endian float32 rows whose columns are `names`.

    Raises:
        ValueError: the size of the file is not a whole number of rows.
        OSError: it cannot be read.
    """
    data = read_whole(path)
    row_bytes = 4 * len(names)
    if len(data) % row_bytes:
        raise ValueError(
            f"{len(data)} bytes are not a whole number of rows of {len(names)} float32 ({row_bytes} bytes): "
            "the file is cut off, or its rows have another width; give it with --columns"
        )
    rows = np.frombuffer(data, "<f4").reshape(-1, len(names))
    return cloud_from_rows(rows, names)


def cloud_from_rows(rows: NDArray[np.generic], names: tuple[str, ...]) -> RawCloud:
    """Return the cloud of `rows` (N, C), C >= 3, whose columns are `names` (C names with x, y, z among them).

    Raises:
        UsageError: the names do not hold x, y and z.
    """
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise UsageError(f"--columns {','.join(names)}: no column is called {missing[0]!r}")
    if not len(rows):
        return empty_cloud(names)
    used = ("x", "y", "z", "intensity") if "intensity" in names else ("x", "y", "z")
    return cloud_from_columns([rows[:, names.index(name)] for name in used], names, used)


def settle_columns(
    paths: Sequence[Path], columns: int | tuple[str, ...] | None, usual: int | None = None
) -> tuple[tuple[str, ...], tuple[Guess, ...]]:
    """Return the names of the columns of the files `paths`, and the guess that this needed.

    Args:
        paths: the frame files.
        columns: what the user said, or None.
        usual: number of columns that the format prescribes, or None to look at the content.
    """
    if columns is not None:
        return name_row_columns(columns), ()
    stride = usual or guess_stride(sample_floats(paths), [path.stat().st_size for path in paths[:20]])
    names = name_row_columns(stride)
    return names, (Guess("columns", f"{stride} ({' '.join(names)})", "--columns"),)


def sample_floats(paths: Sequence[Path]) -> NDArray[np.float32]:
    """Return (M,) float32 from the beginning of the first few files that hold any."""
    parts: list[NDArray[np.float32]] = []
    missing = _SAMPLE_FLOATS
    for path in paths[:20]:
        # Every part starts at a row; 60 floats are a whole number of rows of 3, 4, 5 or 6.
        with path.open("rb") as file:
            part = np.frombuffer(_whole_floats(file.read(4 * missing)), "<f4")
        part = part[: len(part) // 60 * 60] if len(part) >= 60 else part
        parts.append(part)
        missing -= len(part)
        if missing < 60 or len(parts) == 3:
            break
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _whole_floats(data: bytes) -> bytes:
    return data[: len(data) // 4 * 4]


def look_like_coordinates(floats: NDArray[np.float32]) -> bool:
    """Return whether `floats` could be metres and intensities: bytes of another kind give wild exponents."""
    if not len(floats):
        return True
    with np.errstate(all="ignore"):
        size = np.abs(floats)
        sane = ~np.isfinite(floats) | (size == 0) | ((size > 1e-6) & (size < 1e6))
        return bool(sane.mean() > 0.7 and np.isfinite(floats).mean() > 0.2)


def guess_stride(floats: NDArray[np.float32], sizes: Sequence[int] = ()) -> int:
    """Return how many columns the rows have: 3, 4, 5 or 6.

    With the right width each column has its own distribution: heights are flatter than ranges, intensities
    are never negative. With a wrong one all columns are the same mixture. So the right width is the one with
    which the column's number tells most about the value (mutual information), however the points are ordered.
    Among widths that do equally well, one that divides the file `sizes` [bytes] wins, then the usual one.
    """
    information = {stride: column_information(floats, stride) for stride in _STRIDES}
    best = max(information.values())
    # A width of 6 explains 3-column rows as well as 3 does; short samples are noisy.
    tolerance = 0.02 + 8.0 / max(len(floats), 1)
    good = [stride for stride in _STRIDES if information[stride] >= best - tolerance]
    fitting = [stride for stride in good if all(size % (4 * stride) == 0 for size in sizes)]
    return (fitting or good)[0]


def column_information(floats: NDArray[np.float32], stride: int) -> float:
    """Return the mutual information [nats] of column number and value, for rows of `stride` columns."""
    count = len(floats) // stride * stride
    if count == 0:
        return 0.0
    with np.errstate(invalid="ignore"):  # signalling NaNs in damaged files
        values = floats[:count].astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0
    edges = np.unique(np.quantile(values[finite], np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right")
    # A lump of equal values (intensity zero) sits on an edge: give it a bin of its own.
    bins = 2 * bins - np.isin(values, edges)
    bins[~finite] = 2 * _BINS + 2
    table = np.zeros((stride, 2 * _BINS + 3))
    np.add.at(table, (np.tile(np.arange(stride), count // stride), bins), 1.0)
    joint = table[:, table.any(axis=0)] / count
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    bias = (stride - 1) * (joint.shape[1] - 1) / (2.0 * count)  # Miller-Madow
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])) - bias)
