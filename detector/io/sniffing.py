"""sniffing.py: the register of formats, and which of them a path is, judged by its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import RecordingError, UsageError
from .argoverse import ARGOVERSE
from .arrays import NPY
from .bags import BAG, DB3, MCAP
from .kitti import KITTI
from .nuscenes import NUSCENES
from .pandaset import PANDASET
from .pcd import PCD
from .ply import PLY
from .sources import Format, OpenOptions, Source, is_regular

# Where two could take the same files, the earlier one is the more special.
FORMATS: dict[str, Format] = {
    item.name: item for item in (BAG, DB3, MCAP, PANDASET, NUSCENES, KITTI, NPY, PCD, PLY, ARGOVERSE)
}

_WITH_MAGIC = (BAG, DB3, MCAP, NPY, PCD, PLY, ARGOVERSE)  # the others are bare numbers, which any bytes are

_HEAD_BYTES = 4096
_FOREIGN = {
    ".pcap": "packet captures are not supported; play it to the sensor's driver and record PointCloud2",
    ".osf": "Ouster's OSF is not supported; convert it with the Ouster SDK to PointCloud2, PCD or CSV",
    ".las": "LAS is not supported; convert it to PLY or PCD",
    ".laz": "LAZ is not supported; convert it to PLY or PCD",
    ".csv": "tables are not supported; save (N, 4) arrays x, y, z, intensity with numpy.save",
    ".txt": "text is not supported; save (N, 4) arrays x, y, z, intensity with numpy.save",
    ".pkl": "pickles are not supported, because loading one can run any program; save arrays with numpy.save",
    ".npz": "archives are not supported; save one .npy per frame",
    ".zip": "unpack the archive first",
    ".gz": "unpack the file first",
    ".zst": "unpack the file first",
}


def open_source(path: Path, name: str | None, options: OpenOptions) -> tuple[Format, Source]:
    """Return the format of `path` (`name`, or found by content) and the source that reads it.

    Raises:
        UsageError: `name` is not a format.
        RecordingError: the path is missing, unreadable, holds no frames or no known format, or is of another format.
    """
    if name is not None and name not in FORMATS:
        raise UsageError(f"--format {name}: unknown; the formats are {', '.join(FORMATS)}")
    try:
        if path.is_dir():
            chosen, frames = _identify_folder(path, name)
        elif is_regular(path):
            chosen, frames = (_check_named(path, FORMATS[name]) if name else _identify_file(path)), [path]
        elif path.exists():
            raise RecordingError(f"{path}: neither a file nor a folder; give a recording on disk")
        else:
            raise RecordingError(f"{path}: there is no such file or folder")
        return chosen, chosen.open(frames, options)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise RecordingError(
            f"{path}: cannot be read: {reason}; check the path and its permissions"
        ) from error


def _check_named(path: Path, chosen: Format) -> Format:
    """Return the format that the user chose for a file, unless the file says that it is of another."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for item in _WITH_MAGIC:
        if item is not chosen and item.matches(path, head) and not chosen.matches(path, head):
            raise RecordingError(
                f"{path}: begins like a {item.title} file, not like one of format {chosen.name}; "
                f"leave out --format, or say --format {item.name}"
            )
    return chosen


def _identify_file(path: Path) -> Format:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for item in FORMATS.values():
        if item.matches(path, head):
            return item
    if not head:
        raise RecordingError(f"{path}: the file is empty")
    if path.suffix.lower() in _FOREIGN:
        raise RecordingError(f"{path}: {_FOREIGN[path.suffix.lower()]}")
    expected = FORMATS.get(path.suffix.lower().lstrip("."))
    if expected is not None:
        raise RecordingError(f"{path}: does not begin like a {expected.title} file: damaged, or misnamed")
    if path.suffix.lower() == ".bin":
        raise RecordingError(
            f"{path}: its bytes are not float32 coordinates; if they are, say --format kitti --columns 4"
        )
    raise RecordingError(f"{path}: unknown format; choose one with --format ({', '.join(FORMATS)})")


def _identify_folder(folder: Path, name: str | None) -> tuple[Format, list[Path]]:
    candidates = [FORMATS[name]] if name else list(FORMATS.values())
    found = [(item, frames) for item in candidates if (frames := item.find(folder))]
    if not found:
        wanted = f"no frames of format {name}" if name else "no frames of any known format"
        raise RecordingError(f"{folder}: the folder holds {wanted}{_hint(folder)}")
    chosen, frames = found[0]
    others = [item for item, files in found[1:] if not set(files) & set(frames)]
    if others:
        lines = "\n".join(f"  --format {item.name}" for item in (chosen, *others))
        raise RecordingError(
            f"{folder}: the folder holds frames of several formats; choose one with:\n{lines}"
        )
    if chosen is FORMATS["nuscenes"] and name is None and not _any_match(chosen, frames):
        chosen = FORMATS["kitti"]  # called .pcd.bin, but not nuScenes' five columns
    return chosen, frames


def _any_match(item: Format, paths: Sequence[Path]) -> bool:
    for path in paths[:20]:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head:
            return item.matches(path, head)
    return True


def _hint(folder: Path) -> str:
    """Return what to do about a folder whose frames lie one level deeper, or nothing."""
    deeper = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    useful = [path for path in deeper[:50] if any(item.find(path) for item in FORMATS.values())]
    return f"; did you mean {useful[0]}?" if useful else ""
