"""pointcloud2.py: the points of a sensor_msgs/PointCloud2: any field order, type, padding and byte order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clouds import RawCloud, choose_fields, cloud_from_columns, empty_cloud

# sensor_msgs/PointField: INT8 = 1 ... FLOAT64 = 8
_DATATYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
FLOAT32 = 7


@dataclass(frozen=True)
class StoredField:
    """One field of a point: its name, its PointField datatype (1..8) and its offset in the point [bytes]."""

    name: str
    datatype: int
    offset: int


@dataclass(frozen=True)
class PointBlock:
    """What a PointCloud2 message says about its points.

    Attributes:
        fields: the fields of a point, padding not included.
        width, height: points per row, rows (1 for a cloud that is not organised).
        point_step, row_step: bytes from one point, one row, to the next.
        big_endian: whether numbers have their highest byte first.
        data: (bytes,) uint8.
    """

    fields: tuple[StoredField, ...]
    width: int
    height: int
    point_step: int
    row_step: int
    big_endian: bool
    data: NDArray[np.uint8]


def decode_points(
    block: PointBlock, columns: int | tuple[str, ...] | None, stamp_ns: int | None = None
) -> RawCloud:
    """Return the cloud in `block`.

    Raises:
        ValueError: the counts and steps do not fit each other or the data, a field lies outside its point,
            has an unknown type, or x, y or z is missing.
    """
    names = tuple(field.name for field in block.fields)
    count = block.width * block.height
    if count == 0:
        return empty_cloud(names)
    row_step = _check_extent(block)
    used = choose_fields(names, columns)
    by_name = {field.name: field for field in reversed(block.fields)}
    values = [_strided_field(block, by_name[name], row_step) for name in used]
    return cloud_from_columns(values, names, used, stamp_ns)


def _check_extent(block: PointBlock) -> int:
    """Return the real distance of two rows [bytes], once the data is known to hold all points."""
    size = block.data.size
    packed = block.width * block.point_step
    if block.point_step <= 0 or packed * block.height > size:
        raise ValueError(
            f"claims {block.height} x {block.width} points of {block.point_step} bytes, carries {size} bytes"
        )
    if block.height == 1:
        return packed  # a single row has no distance to the next; drivers often leave row_step wrong
    needed = block.row_step * (block.height - 1) + packed
    if block.row_step >= packed and needed <= size:
        return block.row_step
    if packed * block.height == size:
        return packed  # rows without padding, row_step not filled in
    raise ValueError(
        f"row_step {block.row_step} does not fit {block.height} rows of {block.width} points of "
        f"{block.point_step} bytes in {size} bytes"
    )


def _strided_field(block: PointBlock, field: StoredField, row_step: int) -> NDArray[np.generic]:
    """Return a view (height, width) of one field."""
    if field.datatype not in _DATATYPES:
        raise ValueError(f"field {field.name!r} has the unknown datatype {field.datatype}")
    dtype = np.dtype(_DATATYPES[field.datatype]).newbyteorder(">" if block.big_endian else "<")
    if not 0 <= field.offset <= block.point_step - dtype.itemsize:
        raise ValueError(
            f"field {field.name!r} at byte {field.offset} lies outside a point of {block.point_step} bytes"
        )
    return np.ndarray(
        (block.height, block.width),
        dtype,
        np.ascontiguousarray(block.data).data,
        field.offset,
        (row_step, block.point_step),
    )


def encode_points(
    points: NDArray[np.float32], names: Sequence[str] = ("x", "y", "z", "intensity")
) -> PointBlock:
    """Return `points` (N, 4) float32 as one little-endian row of float32 fields `names`."""
    step = 4 * len(names)
    return PointBlock(
        fields=tuple(StoredField(name, FLOAT32, 4 * index) for index, name in enumerate(names)),
        width=len(points),
        height=1,
        point_step=step,
        row_step=step * len(points),
        big_endian=False,
        data=np.frombuffer(np.ascontiguousarray(points, "<f4").tobytes(), np.uint8),
    )
