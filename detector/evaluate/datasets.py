"""datasets.py: one way to open a labelled dataset, whatever its layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import DatasetError
from .argoverse import is_argoverse, open_argoverse
from .kitti_datasets import is_kitti_drive, is_kitti_object, open_kitti_drive, open_kitti_object
from .pandaset import is_pandaset, open_pandaset
from .synthetic import is_synthetic, open_synthetic
from .truth import Dataset


@dataclass(frozen=True)
class Layout:
    """One layout of a labelled dataset: what it needs, whether a folder has it, and how to open it."""

    needs: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, int | None], Dataset]


LAYOUTS = {
    "kitti-object": Layout("label_2/, calib/, velodyne/", is_kitti_object, open_kitti_object),
    "kitti-drive": Layout("label_02.txt, calib.txt, velodyne/", is_kitti_drive, open_kitti_drive),
    "pandaset": Layout("boxes/*.json, lidar/*.bin", is_pandaset, open_pandaset),
    "argoverse": Layout("annotations.feather, lidar/*.feather", is_argoverse, open_argoverse),
    "synthetic": Layout("labels.jsonl, frames/*.bin", is_synthetic, open_synthetic),
}


def open_dataset(path: str | Path, *, layout: str | None = None, limit: int | None = None) -> Dataset:
    """Open a labelled dataset.

    Args:
        path: its folder.
        layout: a name in `LAYOUTS`; None finds it by what the folder holds.
        limit: read only the first frames.

    Raises:
        DatasetError: no such folder, none of the layouts, or malformed labels.
        RecordingError: the frames cannot be opened.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; a labelled dataset is a folder")
    if layout is not None and layout not in LAYOUTS:
        raise DatasetError(f"layout {layout!r} is unknown; the layouts are {', '.join(LAYOUTS)}")
    candidates = LAYOUTS.values() if layout is None else [LAYOUTS[layout]]
    for candidate in candidates:
        if candidate.matches(folder):
            return candidate.open(folder, limit)
    wanted = "; ".join(f"{name}: {item.needs}" for name, item in LAYOUTS.items())
    raise DatasetError(f"{folder}: holds no labels in a known layout. The layouts are: {wanted}")
