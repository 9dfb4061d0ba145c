"""recording_cases.py: small recordings of every format, made for the tests of the readers."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from colonnade.detector.frames import Frame
from colonnade.detector.io import write_recording

DATA = Path(os.environ.get("COLONNADE_DATA", Path(__file__).parents[3].parent / "shared" / "data")).resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set COLONNADE_DATA")

F32 = NDArray[np.float32]


def make_points(count: int, seed: int = 0) -> F32:
    """Return (count, 4) float32 points of a plausible sweep: ground, a wall, intensities 0..1."""
    rng = np.random.default_rng(seed)
    azimuth = np.sort(rng.uniform(-np.pi, np.pi, count))
    distance = rng.uniform(3, 60, count)
    height = np.where(rng.random(count) < 0.6, -1.73, rng.uniform(-1.7, 2.5, count))
    points = [distance * np.cos(azimuth), distance * np.sin(azimuth), height, rng.beta(1, 3, count)]
    return np.column_stack(points).astype(np.float32)


def make_frames(counts: tuple[int, ...] = (200, 150, 180)) -> list[Frame]:
    """Return frames of so many points, 100 ms apart."""
    return [
        Frame(make_points(count, index), index * 100_000_000, f"{index:06d}", "made")
        for index, count in enumerate(counts)
    ]


def compress_lzf(data: bytes) -> bytes:
    """Return `data` as an LZF stream with literals and overlapping copies (greedy, small window)."""
    out, literals, seen = bytearray(), bytearray(), {}
    position = 0

    def flush() -> None:
        for start in range(0, len(literals), 32):
            run = literals[start : start + 32]
            out.append(len(run) - 1)
            out.extend(run)
        literals.clear()

    while position < len(data):
        key = data[position : position + 3]
        start = seen.get(key, -1)
        seen[key] = position
        length = 0
        if start >= 0 and position - start <= 8192 and len(key) == 3:
            while (
                length < 264
                and position + length < len(data)
                and data[start + length] == data[position + length]
            ):
                length += 1
        if length < 3:
            literals.append(data[position])
            position += 1
            continue
        flush()
        back = position - start - 1
        code = length - 2
        if code < 7:
            out.append((code << 5) | (back >> 8))
        else:
            out.extend([(7 << 5) | (back >> 8), code - 7])
        out.append(back & 255)
        position += length
    flush()
    return bytes(out)


def pcd_bytes(points: F32, encoding: str, height: int = 1) -> bytes:
    """Return a PCD file with padding, a byte field and an array field around x, y, z, intensity."""
    layout = np.dtype(
        [("normal", "<f4", 3), ("y", "<f4"), ("_", "u1", 4), ("x", "<f8"), ("intensity", "<f4"), ("z", "<f4")]
    )
    table = np.zeros(len(points), layout)
    for column, name in enumerate(("x", "y", "z", "intensity")):
        table[name] = points[:, column]
    table["normal"] = 0.25
    header = (
        "# .PCD v.7 - Point Cloud Data file format\nVERSION .7\nFIELDS normal y _ x intensity z\n"
        f"SIZE 4 4 1 8 4 4\nTYPE F F U F F F\nCOUNT 3 1 4 1 1 1\n"
        f"WIDTH {len(points) // height}\nHEIGHT {height}\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {encoding}\n"
    ).encode()
    if encoding == "binary":
        return header + table.tobytes()
    if encoding == "binary_compressed":
        planes = b"".join(np.ascontiguousarray(table[name]).tobytes() for name in layout.names or ())
        packed = compress_lzf(planes)
        return header + struct.pack("<II", len(packed), len(planes)) + packed
    numbers = np.hstack(
        [
            np.asarray(table[name], np.float64).reshape(
                len(points), layout[name].itemsize // layout[name].base.itemsize
            )
            for name in layout.names or ()
        ]
    )
    lines = (" ".join(np.format_float_positional(value, unique=True) for value in row) for row in numbers)
    return header + "\n".join(lines).encode() + b"\n"


def ply_bytes(points: F32, text: bool, order: str) -> bytes:
    """Return a PLY file of the points, with a face list behind them."""
    plyfile = pytest.importorskip("plyfile")
    table = np.zeros(
        len(points), [("x", "f4"), ("y", "f4"), ("z", "f8"), ("intensity", "f4"), ("ring", "u1")]
    )
    for column, name in enumerate(("x", "y", "z", "intensity")):
        table[name] = points[:, column]
    faces = np.empty(1, [("vertex_indices", "i4", (3,))])
    faces["vertex_indices"] = [[0, 1, 2]]
    elements = [plyfile.PlyElement.describe(table, "vertex"), plyfile.PlyElement.describe(faces, "face")]
    from io import BytesIO

    stream = BytesIO()
    plyfile.PlyData(elements, text=text, byte_order=order).write(stream)
    return stream.getvalue()


def write_feather(path: Path, points: F32) -> None:
    """Write points as an Argoverse 2 sweep: half floats and intensity bytes."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    columns = {name: pyarrow.array(points[:, index].astype(np.float16)) for index, name in enumerate("xyz")}
    columns["intensity"] = pyarrow.array(np.round(points[:, 3] * 255).astype(np.uint8))
    columns["laser_number"] = pyarrow.array(np.zeros(len(points), np.uint8))
    feather.write_feather(pyarrow.table(columns), str(path), compression="lz4")


def nuscenes_rows(points: F32) -> F32:
    """Return points as nuScenes rows: intensity 0..255 and a ring number."""
    ring = np.arange(len(points)) % 32
    return np.column_stack([points[:, :3], np.round(points[:, 3] * 255), ring]).astype(np.float32)


def _write_pandaset(folder: Path, frames: list[Frame]) -> None:
    write_recording(folder / "lidar", frames)
    poses = [{"frame": index, "timestamp": 1557539956.5 + index / 10} for index in range(len(frames))]
    (folder / "poses.json").write_text(json.dumps(poses))


def _write_each(suffix: str, encode: Callable[[F32], bytes]) -> Callable[[Path, list[Frame]], None]:
    def write(folder: Path, frames: list[Frame]) -> None:
        folder.mkdir()
        for frame in frames:
            (folder / f"{frame.frame_id}{suffix}").write_bytes(encode(frame.points))

    return write


def _write_feathers(folder: Path, frames: list[Frame]) -> None:
    folder.mkdir()
    for frame in frames:
        write_feather(folder / f"{frame.frame_id}.feather", frame.points)


def _write_structured(points: F32) -> bytes:
    from io import BytesIO

    table = np.zeros(
        len(points), [("intensity", "<f4"), ("t", "<u8"), ("z", "<f4"), ("y", "<f4"), ("x", "<f4")]
    )
    for column, name in enumerate(("x", "y", "z", "intensity")):
        table[name] = points[:, column]
    stream = BytesIO()
    np.save(stream, table)
    return stream.getvalue()


def _write_as(suffix: str, format: str | None = None) -> Callable[[Path, list[Frame]], None]:
    def write(folder: Path, frames: list[Frame]) -> None:
        if suffix in (".mcap", ".db3", ".bag"):
            pytest.importorskip("rosbags")
        folder.mkdir()
        write_recording(folder / f"recording{suffix}", frames)
        if suffix == ".db3":  # only the file: metadata.yaml has a case of its own
            (folder / "recording.db3" / "recording.db3").rename(folder / "only.db3")
            shutil.rmtree(folder / "recording.db3")

    return write


def _write_rosbag2_folder(folder: Path, frames: list[Frame]) -> None:
    pytest.importorskip("rosbags")
    write_recording(folder, frames, format="db3")


# Name -> writer of a folder that holds one recording, whose format is the part of the name before the dash.
WRITERS: dict[str, Callable[[Path, list[Frame]], None]] = {
    "kitti": lambda folder, frames: write_recording(folder, frames),
    "nuscenes": _write_each(".pcd.bin", lambda points: nuscenes_rows(points).tobytes()),
    "pandaset": _write_pandaset,
    "npy": lambda folder, frames: write_recording(folder, frames, format="npy"),
    "npy-records": _write_each(".npy", _write_structured),
    "pcd-ascii": _write_each(".pcd", lambda points: pcd_bytes(points, "ascii")),
    "pcd-binary": _write_each(".pcd", lambda points: pcd_bytes(points, "binary")),
    "pcd-compressed": _write_each(".pcd", lambda points: pcd_bytes(points, "binary_compressed")),
    "ply-ascii": _write_each(".ply", lambda points: ply_bytes(points, True, "=")),
    "ply-little": _write_each(".ply", lambda points: ply_bytes(points, False, "<")),
    "ply-big": _write_each(".ply", lambda points: ply_bytes(points, False, ">")),
    "argoverse": _write_feathers,
    "bag": _write_as(".bag"),
    "db3": _write_as(".db3"),
    "db3-folder": _write_rosbag2_folder,
    "mcap": _write_as(".mcap"),
}
# Stored with less precision than float32.
LOSSY = {"nuscenes": 1 / 255, "argoverse": 0.05}
