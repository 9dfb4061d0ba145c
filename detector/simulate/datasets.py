"""datasets.py: simulated sweeps on disk: compact scans for training, labelled datasets for evaluation."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ...runtime.errors import DatasetError
from .scan import Scan

COORDINATE_STEP = 0.003  # [m] of the int16 coordinates: +-98.3 m
LABELS = ("car", "pedestrian", "cyclist", "van", "truck", "bus", "motorcyclist", "sitting", "other")
"""Class names of a compact scan: label code i (uint8) stands for LABELS[i]. Only ever append."""


def save_scan(path: str | Path, scan: Scan) -> None:
    """Write `scan` as a compact .npz (about 0.7 MB for 64 beams), under a temporary name first.

    Points beyond +-98.3 m on an axis are left out. Coordinates are rounded to 3 mm, intensities to 1/255.

    Raises:
        DatasetError: a label without a code.
    """
    unknown = sorted(set(scan.labels) - set(LABELS))
    if unknown:
        raise DatasetError(f"{path}: no code for the labels {unknown}; known are {', '.join(LABELS)}")
    steps = np.round(scan.points[:, :3] / COORDINATE_STEP)
    keep = np.all(np.abs(steps) <= 32767, axis=1)
    arrays = {
        "coordinates": np.ascontiguousarray(steps[keep].astype(np.int16).T),
        "intensities": np.round(scan.points[keep, 3] * 255).astype(np.uint8),
        "rings": scan.rings[keep],
        "owners": scan.owners[keep],
        "boxes": scan.boxes.astype(np.float32),
        "labels": np.array([LABELS.index(label) for label in scan.labels], np.uint8),
        "num_points": scan.num_points,
        "mount_height": np.array(scan.mount_height, np.float32),
        "sensor": np.frombuffer(scan.sensor.encode(), np.uint8),
    }
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    # Not numpy.savez_compressed: level 1 is four times faster and hardly larger.
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                npy.write_array(entry, np.asarray(array), allow_pickle=False)
    os.replace(temporary, path)


def load_scan(path: str | Path) -> Scan:
    """Return a scan written by `save_scan`.

    Raises:
        DatasetError: the file is missing, damaged, or not a compact scan.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            coordinates, intensities = archive["coordinates"], archive["intensities"]
            points = np.empty((coordinates.shape[1], 4), np.float32)
            for axis in range(3):
                np.multiply(coordinates[axis], np.float32(COORDINATE_STEP), out=points[:, axis])
            np.divide(intensities, np.float32(255), out=points[:, 3])
            return Scan(
                points=points,
                rings=archive["rings"],
                owners=archive["owners"],
                boxes=archive["boxes"],
                labels=tuple(LABELS[code] for code in archive["labels"]),
                num_points=archive["num_points"],
                mount_height=float(archive["mount_height"]),
                sensor=bytes(archive["sensor"]).decode(),
            )
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is not a compact scan ({error}); write it again with save_scan") from error
