"""clouds.py: one decoded frame in its sensor's own scale, and which stored fields become its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.checks import show
from ...runtime.errors import UsageError

# What vendors call the strength of the return, best first.
INTENSITY_NAMES = ("intensity", "i", "intensities", "reflectivity", "reflectance", "remission", "signal")

MAX_COLUMNS = 64

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class RawCloud:
    """One decoded frame before it is cleaned and normalised.

    Attributes:
        xyz: (N, 3) float32 [m], may hold NaN and infinities.
        intensity: (N,) float32 in the sensor's own scale, or None when nothing of the kind is stored.
        fields: names of all stored fields.
        used: names of the fields that became x, y, z and, where there is one, intensity.
        byte_intensity: whether the intensity is stored as a byte, so that its full scale is 255 for certain.
        stamp_ns: time that the frame itself carries [ns], or None.
    """

    xyz: F32
    intensity: F32 | None
    fields: tuple[str, ...]
    used: tuple[str, ...]
    byte_intensity: bool = False
    stamp_ns: int | None = None


def parse_columns(columns: int | str | Sequence[str] | None) -> int | tuple[str, ...] | None:
    """Return `columns` as a count, as names, or None; text is "4" or "x,y,z,intensity".

    Raises:
        UsageError: the count is outside 3..MAX_COLUMNS, or the names do not hold x, y, z or repeat themselves.
    """
    if columns is None:
        return None
    if isinstance(columns, str):
        text = columns.strip()
        columns = int(text) if text.isdigit() else [name.strip() for name in text.split(",")]
    if isinstance(columns, int):
        if not 3 <= columns <= MAX_COLUMNS:
            raise UsageError(f"--columns {columns}: a point has 3 to {MAX_COLUMNS} columns")
        return columns
    names = tuple(columns) if isinstance(columns, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UsageError(f"columns must be a whole number or a sequence of names, got {show(columns)}")
    real = [name for name in names if name not in ("", "_")]
    if len(names) < 3 or len(set(real)) != len(real):
        raise UsageError(
            f"--columns {','.join(names)}: give a number, or at least three different names (x,y,z,intensity)"
        )
    return names


def choose_fields(names: Sequence[str], columns: int | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return which of the stored fields `names` are x, y, z and, if there is one, intensity.

    Args:
        names: the names that the file stores.
        columns: three or four field names given by the user (x, y, z[, intensity]), or None.

    Raises:
        UsageError: `columns` is a number: these points have named fields.
        ValueError: a wanted field is not stored.
    """
    if isinstance(columns, int):
        raise UsageError(
            f"--columns {columns}: the points have named fields ({' '.join(names)}); "
            "give the names to use as --columns X,Y,Z,INTENSITY"
        )
    listing = " ".join(repr(name) for name in names) or "none"
    if columns is not None:
        missing = [name for name in columns[:4] if name not in names]
        if missing:
            raise ValueError(f"no field {missing[0]!r} as asked for by --columns; the fields are {listing}")
        return columns[:4]
    by_lower = {name.lower(): name for name in reversed(names)}
    missing = [axis for axis in "xyz" if axis not in by_lower]
    if missing:
        raise ValueError(
            f"no field {missing[0]!r}; the fields are {listing}; choose with --columns X,Y,Z,INTENSITY"
        )
    found = [by_lower[name] for name in INTENSITY_NAMES if name in by_lower]
    return (by_lower["x"], by_lower["y"], by_lower["z"], *found[:1])


def name_row_columns(columns: int | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns of unnamed rows: x y z intensity, then column5, column6, ..."""
    if isinstance(columns, int):
        known = ("x", "y", "z", "intensity")[:columns]
        return known + tuple(f"column{number}" for number in range(5, columns + 1))
    return columns


def cloud_from_columns(
    values: Sequence[NDArray[np.generic]],
    fields: Sequence[str],
    used: Sequence[str],
    stamp_ns: int | None = None,
) -> RawCloud:
    """Return the cloud whose x, y, z[, intensity] are `values` (3 or 4 arrays of N numbers of any type).

    Raises:
        ValueError: a column is not made of real numbers.
    """
    for name, value in zip(used, values, strict=True):
        if value.dtype.kind not in "fiu":
            raise ValueError(f"field {name!r} holds {value.dtype}, not numbers")
    count = values[0].size
    xyz = np.empty((count, 3), np.float32)
    with np.errstate(all="ignore"):  # a double beyond float32 becomes infinite and is dropped later
        for axis in range(3):
            xyz[:, axis] = values[axis].reshape(-1)
        intensity = values[3].reshape(-1).astype(np.float32) if len(values) > 3 else None
    return RawCloud(
        xyz=xyz,
        intensity=intensity,
        fields=tuple(fields),
        used=tuple(used),
        byte_intensity=len(values) > 3 and values[3].dtype == np.uint8,
        stamp_ns=stamp_ns,
    )


def empty_cloud(fields: Sequence[str]) -> RawCloud:
    """Return a cloud without points, whose stored `fields` may be unknown."""
    return RawCloud(np.empty((0, 3), np.float32), None, tuple(fields), ())
