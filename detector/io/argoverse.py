"""argoverse.py: Argoverse 2 sweeps: feather tables of points, through pyarrow (extra `formats`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...runtime.errors import MissingExtraError
from .clouds import RawCloud, choose_fields, cloud_from_columns, empty_cloud
from .sources import FRAME_PERIOD_NS, FileSource, Format, OpenOptions, list_frames, read_whole

_MAGICS = (b"ARROW1", b"FEA1")
_LAYOUTS = ("sensors/lidar", "lidar")


def decode_sweep(path: Path, columns: int | tuple[str, ...] | None) -> RawCloud:
    """Read one feather table.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ValueError: the table is damaged, or has no numeric columns x, y, z without gaps.
        OSError: the file cannot be read.
    """
    try:
        import pyarrow
        from pyarrow import feather
    except ImportError as error:
        raise MissingExtraError("pyarrow", "formats", "reading Argoverse 2 feather files") from error
    data = read_whole(path)
    if not data.startswith(_MAGICS):
        raise ValueError("does not begin like a feather file")
    table = feather.read_table(pyarrow.BufferReader(data), memory_map=False)
    table.validate(full=True)  # offsets and lengths of a damaged file must not be followed
    names = tuple(table.column_names)
    if table.num_rows == 0:
        return empty_cloud(names)
    used = choose_fields(names, columns)
    return cloud_from_columns([table.column(name).to_numpy() for name in used], names, used)


def find(folder: Path) -> list[Path]:
    """Return the sweeps of an Argoverse 2 log, or the feather files of a folder named by their time."""
    for layout in _LAYOUTS:
        frames = list_frames(folder / layout, ".feather")
        if frames:
            return frames
    return [path for path in list_frames(folder, ".feather") if path.stem.isdigit()]


def _stamp_ns(path: Path, index: int) -> int:
    digits = path.stem
    return (
        int(digits)
        if digits.isascii() and digits.isdigit() and len(digits) == 18
        else index * FRAME_PERIOD_NS
    )


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open feather files, one frame each, with the times that name them [ns]."""
    return FileSource(paths, partial(decode_sweep, columns=options.columns), stamp_ns=_stamp_ns)


ARGOVERSE = Format(
    "argoverse",
    "Argoverse 2 feather (extra formats)",
    lambda path, head: head.startswith(_MAGICS),
    find,
    open_source,
)
