"""synthetic.py: folders that `colonnade simulate` writes: `frames/NNNNNN.bin`, `labels.jsonl`, `dataset.yaml`.

`labels.jsonl` holds one object per line and frame: {"frame": "000000", "objects": [{"label": "car",
"box": [x, y, z, l, w, h, yaw], "num_points": 12}, ...]}; boxes in the sensor's frame, further keys are not read.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from ...runtime.errors import DatasetError
from ..frames import Frame
from ..io import open_recording
from .truth import Dataset, GroundTruth, LabelledFrame, check_label, gather_truth, name_dataset


def is_synthetic(folder: Path) -> bool:
    """Return whether `folder` is a simulated dataset (or has its layout)."""
    return (folder / "labels.jsonl").is_file() and (folder / "frames").is_dir()


def open_synthetic(folder: Path, limit: int | None = None) -> Dataset:
    """Open a simulated dataset. A frame whose line is not written yet is left out.

    Raises:
        DatasetError: the labels or `dataset.yaml` are malformed.
        RecordingError: there are no frames.
    """
    truths = _read_labels(folder / "labels.jsonl")

    def label(frame: Frame) -> LabelledFrame | None:
        truth = truths.get(frame.frame_id)
        return None if truth is None else LabelledFrame(frame, truth)

    recording = open_recording(folder / "frames", format="kitti", columns=4, limit=limit)
    return Dataset(name_dataset(folder), "synthetic", recording, label, _describe(folder / "dataset.yaml"))


def _read_labels(path: Path) -> dict[str, GroundTruth]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}") from error
    truths = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
            name, objects = row["frame"], [(o["label"], o["box"], o["num_points"]) for o in row["objects"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DatasetError(
                f"{where}: needs frame and objects, each with label, box and num_points ({error})"
            ) from error
        if not isinstance(name, str) or name in truths:
            raise DatasetError(f"{where}: frame {name!r} is no text or occurs twice")
        truths[name] = gather_truth([check_label(*fields, where) for fields in objects])
    return truths


def _describe(path: Path) -> tuple[str, ...]:
    """Return what `dataset.yaml` says of sensor and seed, as notes; nothing where there is no such file."""
    if not path.is_file():
        return ()
    try:
        described = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: is not YAML: {error}") from error
    if not isinstance(described, dict):
        raise DatasetError(f"{path}: must hold names and values")
    return tuple(f"{name}: {described[name]}" for name in ("sensor", "seed") if name in described)
