"""pcd.py: PCD files: ascii, binary and binary_compressed, any fields, organised or not."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .clouds import RawCloud, choose_fields, cloud_from_columns, empty_cloud
from .lzf import decompress
from .sources import FileSource, Format, OpenOptions, list_frames, read_whole

_MAX_HEADER = 65536
_KEYS = {
    "VERSION",
    "FIELDS",
    "COLUMNS",
    "SIZE",
    "TYPE",
    "COUNT",
    "WIDTH",
    "HEIGHT",
    "VIEWPOINT",
    "POINTS",
    "DATA",
}
_TYPES = {"F": {4: "<f4", 8: "<f8"}, "I": {1: "i1", 2: "<i2", 4: "<i4", 8: "<i8"}}
_TYPES["U"] = {size: code.replace("i", "u") for size, code in _TYPES["I"].items()}
_ENCODINGS = ("ascii", "binary", "binary_compressed")


@dataclass(frozen=True)
class PcdHeader:
    """What the header of a PCD file says.

    Attributes:
        names, dtypes, counts: per field its name, the type of an element, and the number of its elements.
        points: number of points.
        encoding: "ascii", "binary" or "binary_compressed".
        data_start: where the points begin [bytes].
    """

    names: tuple[str, ...]
    dtypes: tuple[np.dtype[np.generic], ...]
    counts: tuple[int, ...]
    points: int
    encoding: str
    data_start: int

    @property
    def sizes(self) -> list[int]:
        """Bytes of each field of a point."""
        return [dtype.itemsize * count for dtype, count in zip(self.dtypes, self.counts, strict=True)]

    @property
    def point_bytes(self) -> int:
        """Bytes of a point."""
        return sum(self.sizes)


def parse_header(data: bytes) -> PcdHeader:
    """Return the header at the beginning of `data`.

    Raises:
        ValueError: a line is missing, malformed, or contradicts another.
    """
    lines: dict[str, list[str]] = {}
    stream = io.BytesIO(data[:_MAX_HEADER])
    while "DATA" not in lines:
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise ValueError("the header has no DATA line")
        words = line.decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            if words[0] not in _KEYS:
                raise ValueError(f"unknown header line {' '.join(words)[:60]!r}")
            lines[words[0]] = words[1:]
    names = tuple(lines.get("FIELDS") or lines.get("COLUMNS") or ())
    sizes, types = _integers(lines, "SIZE"), lines.get("TYPE", [])
    counts = _integers(lines, "COUNT") if "COUNT" in lines else [1] * len(names)
    if not names or not len(names) == len(sizes) == len(types) == len(counts):
        raise ValueError(
            f"FIELDS, SIZE, TYPE, COUNT have {len(names)}, {len(sizes)}, {len(types)}, {len(counts)} entries"
        )
    for name, size, kind, count in zip(names, sizes, types, counts, strict=True):
        if size not in _TYPES.get(kind, {}) or not 1 <= count <= 1_000_000:
            raise ValueError(
                f"field {name!r} has TYPE {kind}, SIZE {size}, COUNT {count}, which is not possible"
            )
    encoding = (lines["DATA"] or [""])[0].lower()
    if encoding not in _ENCODINGS:
        raise ValueError(f"DATA {encoding!r} is none of {', '.join(_ENCODINGS)}")
    dtypes = tuple(np.dtype(_TYPES[kind][size]) for kind, size in zip(types, sizes, strict=True))
    return PcdHeader(names, dtypes, tuple(counts), _count_points(lines), encoding, stream.tell())


def _integers(lines: dict[str, list[str]], key: str) -> list[int]:
    words = lines.get(key, [])
    if not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        raise ValueError(f"{key} {' '.join(words)[:60]!r} is not made of whole numbers")
    return [int(word) for word in words]


def _count_points(lines: dict[str, list[str]]) -> int:
    width, height, points = (_integers(lines, key)[:1] for key in ("WIDTH", "HEIGHT", "POINTS"))
    if not points and not width:
        raise ValueError("the header has neither POINTS nor WIDTH")
    organised = width[0] * (height or [1])[0] if width else points[0]
    if points and points[0] != organised:
        raise ValueError(f"POINTS {points[0]} is not WIDTH x HEIGHT = {organised}")
    return organised


def decode_pcd(path: Path, columns: int | tuple[str, ...] | None) -> RawCloud:
    """Read one PCD file.

    Raises:
        ValueError: the header is malformed, or the file does not hold the points that it claims.
        OSError: the file cannot be read.
    """
    data = read_whole(path)
    if not data:
        raise ValueError("the file is empty")
    header = parse_header(data)
    if header.points == 0:
        return empty_cloud(header.names)
    used = choose_fields(header.names, columns)
    wanted = [header.names.index(name) for name in used]
    body = memoryview(data)[header.data_start :]
    if header.encoding == "ascii":
        values = _read_ascii(header, body, wanted)
    elif header.encoding == "binary":
        values = _read_binary(header, body, wanted)
    else:
        values = _read_compressed(header, body, wanted)
    return cloud_from_columns(values, header.names, used)


def _read_ascii(header: PcdHeader, body: memoryview, wanted: list[int]) -> list[NDArray[np.generic]]:
    shortest = 2 * sum(header.counts) * header.points - 1  # a digit and a separator per number
    if shortest > len(body):
        raise ValueError(
            f"the header claims {header.points} points, {len(body)} bytes of text cannot hold them"
        )
    starts = np.cumsum([0, *header.counts])
    text = io.StringIO(bytes(body).decode("ascii"))
    table = np.loadtxt(text, np.float64, comments=None, usecols=[starts[field] for field in wanted], ndmin=2)
    if len(table) != header.points:
        raise ValueError(f"the header claims {header.points} points, the file holds {len(table)}")
    # A byte stays known as a byte: its full scale is 255.
    return [
        table[:, column].astype(np.uint8) if header.dtypes[field] == np.uint8 else table[:, column]
        for column, field in enumerate(wanted)
    ]


def _read_binary(header: PcdHeader, body: memoryview, wanted: list[int]) -> list[NDArray[np.generic]]:
    """Return the wanted fields of points that are stored one after the other."""
    if header.points * header.point_bytes > len(body):
        raise ValueError(
            f"the header claims {header.points} points of {header.point_bytes} bytes, "
            f"the file holds {len(body)} bytes"
        )
    starts = np.cumsum([0, *header.sizes])
    return [
        np.ndarray((header.points,), header.dtypes[field], body, int(starts[field]), (header.point_bytes,))
        for field in wanted
    ]


def _read_compressed(header: PcdHeader, body: memoryview, wanted: list[int]) -> list[NDArray[np.generic]]:
    """Return the wanted fields of points that are stored field after field, compressed."""
    if len(body) < 8:
        raise ValueError("the file ends before the compressed points")
    packed, unpacked = struct.unpack_from("<II", body)
    if unpacked != header.points * header.point_bytes:
        raise ValueError(f"{unpacked} bytes are not {header.points} points of {header.point_bytes} bytes")
    if packed > len(body) - 8:
        raise ValueError(f"the header claims {packed} compressed bytes, the file holds {len(body) - 8}")
    planes = decompress(bytes(body[8 : 8 + packed]), unpacked)
    starts = np.cumsum([0, *header.sizes]) * header.points
    return [
        np.ndarray((header.points,), header.dtypes[field], planes, int(starts[field]), (header.sizes[field],))
        for field in wanted
    ]


def encode_pcd(points: NDArray[np.float32]) -> bytes:
    """Return a binary PCD file of `points` (N, 4) float32: x, y, z, intensity."""
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\n"
        f"TYPE F F F F\nCOUNT 1 1 1 1\nWIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(points)}\nDATA binary\n"
    )
    return header.encode("ascii") + np.ascontiguousarray(points, "<f4").tobytes()


def matches(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a PCD header (comments, then one of its first lines)."""
    for line in head.splitlines()[:20]:
        if not line.startswith(b"#") and line.strip():
            return line.split()[0] in (b"VERSION", b"FIELDS")
        if line.startswith(b"# .PCD"):
            return True
    return False


def open_source(paths: Sequence[Path], options: OpenOptions) -> FileSource:
    """Open PCD files, one frame each."""
    return FileSource(paths, partial(decode_pcd, columns=options.columns))


PCD = Format(
    "pcd",
    "PCD: ascii, binary or binary_compressed",
    matches,
    lambda folder: list_frames(folder, ".pcd"),
    open_source,
)
