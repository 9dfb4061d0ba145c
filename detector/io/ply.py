"""ply.py: PLY files, ascii or binary of either byte order, through plyfile (extra `formats`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...runtime.errors import MissingExtraError
from .clouds import RawCloud, choose_fields, cloud_from_columns, empty_cloud
from .sources import FileSource, Format, OpenOptions, list_frames, read_whole

_MAX_HEADER = 65536
_SIZES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8}
_SIZES |= {
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "float64": 8,
}


def check_extent(data: bytes) -> None:
    """Make sure that the file can hold the elements that its header claims, before plyfile sets memory aside.

    Raises:
        ValueError: it cannot, or the header is malformed.
    """
    end = data[:_MAX_HEADER].find(b"end_header")
    if end < 0:
        raise ValueError("the header has no end_header line")
    least, row = 0, 0
    count = 0
    is_text = b"format ascii" in data[:end]
    for line in data[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            least += count * row
            count, row = _element_count(words), 0
        elif words[:1] == ["property"] and len(words) > 1:
            # In text a number takes a digit and a separator; a list takes at least its length.
            row += 2 if is_text else _SIZES.get(words[2] if words[1] == "list" else words[1], 1)
    least += count * row
    if least > len(data) - end:
        raise ValueError(
            f"the header claims at least {least} bytes of elements, the file holds {len(data) - end}"
        )
    if count and not row:
        raise ValueError("the header has an element without properties")


def _element_count(words: list[str]) -> int:
    if len(words) != 3 or not words[2].isascii() or not words[2].isdigit() or len(words[2]) > 18:
        raise ValueError(f"malformed header line {' '.join(words)[:60]!r}")
    return int(words[2])


def decode_ply(path: Path, columns: int | tuple[str, ...] | None) -> RawCloud:
    """Read the vertices of one PLY file.

    Raises:
        MissingExtraError: plyfile is not installed.
        ValueError: the file is malformed or has no vertices with x, y, z.
        OSError: the file cannot be read.
    """
    try:
        from plyfile import PlyData
    except ImportError as error:
        raise MissingExtraError("plyfile", "formats", "reading PLY files") from error
    data = read_whole(path)
    check_extent(data)
    elements = {element.name: element for element in PlyData.read(io.BytesIO(data)).elements}
    if "vertex" not in elements:
        raise ValueError(f"no element 'vertex'; the elements are {', '.join(elements) or 'none'}")
    table = elements["vertex"].data
    names = table.dtype.names or ()
    if not len(table):
        return empty_cloud(names)
    used = choose_fields(names, columns)
    return cloud_from_columns([table[name] for name in used], names, used)


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open PLY files, one frame each."""
    return FileSource(paths, partial(decode_ply, columns=options.columns))


PLY = Format(
    "ply",
    "PLY: ascii or binary (extra formats)",
    lambda path, head: head.startswith((b"ply\n", b"ply\r")),
    lambda folder: list_frames(folder, ".ply"),
    open_source,
)
