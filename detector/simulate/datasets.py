"""datasets.py: simulated sweeps on disk: compact scans for training, labelled datasets for evaluation."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.lib import format as npy

from ...runtime.errors import DatasetError, UsageError
from ...runtime.files import replace_file, replacing
from ..frames import Frame
from .scan import Scan, scan_scene
from .scene import build_scene
from .sensors import SENSORS, Sensor, random_sensor

GENERATOR_VERSION = 2
"""Counts up whenever the same seed gives other frames."""

FRAME_INTERVAL_NS = 100_000_000  # 10 Hz

COORDINATE_STEP = 0.003  # [m] of the int16 coordinates: +-98.3 m
LABELS = ("car", "pedestrian", "cyclist", "van", "truck", "bus", "motorcyclist", "sitting", "other")
"""Class names of a compact scan: label code i (uint8) stands for LABELS[i]. Only ever append."""


@dataclass(frozen=True)
class SimulatedFrame:
    """One frame of a simulated dataset: the sweep as a recording shows it, and the scan with its labels."""

    frame: Frame
    scan: Scan


def simulate_frames(
    sensor: str | Sensor, count: int, seed: int, *, start: int = 0, kind: str | None = None
) -> Iterator[SimulatedFrame]:
    """Yield frames `start` .. `start + count - 1` of the endless dataset (`sensor`, `seed`, `kind`).

    Frame i depends on the seed and on i only, not on where the iteration starts.

    Args:
        sensor: a `Sensor`, a name in `SENSORS`, or "random" (another random sensor in every frame).
        count: number of frames.
        seed: of the dataset.
        start: first frame.
        kind: kind of scene for all frames; None: each draws its own.

    Raises:
        UsageError: the name is no sensor.
    """
    if isinstance(sensor, str) and sensor not in SENSORS and sensor != "random":
        raise UsageError(f"no sensor '{sensor}'; known are {', '.join(SENSORS)} and random")
    return (_simulate_frame(sensor, seed, index, kind) for index in range(start, start + count))


def _simulate_frame(sensor: str | Sensor, seed: int, index: int, kind: str | None) -> SimulatedFrame:
    scene_seed, scan_seed, sensor_seed = map(int, np.random.SeedSequence((seed, index)).generate_state(3))
    if isinstance(sensor, str):
        sensor = random_sensor(np.random.default_rng(sensor_seed)) if sensor == "random" else SENSORS[sensor]
    scan = scan_scene(build_scene(scene_seed, kind=kind), sensor, scan_seed)
    source = f"simulated {sensor.name}, seed {seed}"
    return SimulatedFrame(Frame(scan.points, index * FRAME_INTERVAL_NS, f"{index:06d}", source), scan)


def write_dataset(
    folder: str | Path,
    sensor: str,
    count: int,
    seed: int,
    *,
    kind: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `count` simulated frames with labels to `folder`, going on where an interrupted call stopped.

    Layout: `frames/NNNNNN.bin` (float32 rows x, y, z, intensity), `labels.jsonl` (one line per frame:
    {"frame", "mount_height", "sensor", "objects": [{"label", "box", "num_points"}]}, box = x, y, z, l, w, h,
    yaw) and `dataset.yaml` (what was simulated). A frame's line is written after its points are complete.

    Args:
        folder: made when absent.
        sensor: a name in `SENSORS`, or "random".
        count: number of frames that the folder holds in the end.
        seed: of the dataset.
        kind: kind of scene for all frames; None: each draws its own.
        progress: called with (frames done, count) after each frame, and once at the start.

    Raises:
        UsageError: the name is no sensor.
        DatasetError: the folder holds another dataset.
    """
    folder = Path(folder)
    description = {
        "kind": "colonnade-synthetic",
        "generator_version": GENERATOR_VERSION,
        "sensor": sensor,
        "seed": seed,
        "scene_kind": kind,
        "frames": count,
    }
    simulate_frames(sensor, 0, seed)  # refuses an unknown sensor before anything is written
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    _claim_folder(folder, description, count)
    done = _finished_frames(folder, count)
    if progress:
        progress(done, count)
    frames = simulate_frames(sensor, count - done, seed, start=done, kind=kind)
    with (folder / "labels.jsonl").open("a", encoding="utf-8") as labels:
        for simulated in frames:
            name = f"{simulated.frame.frame_id}.bin"
            replace_file(folder / "frames" / name, simulated.frame.points.astype("<f4").tobytes())
            labels.write(_label_line(simulated) + "\n")
            labels.flush()
            done += 1
            if progress:
                progress(done, count)


def _claim_folder(folder: Path, description: dict[str, object], count: int) -> None:
    """Write `dataset.yaml`, unless it describes another dataset; only the number of frames may grow."""
    path = folder / "dataset.yaml"
    if path.exists():
        try:
            present = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); write to an empty folder") from error
        present = present if isinstance(present, dict) else {}
        differing = [k for k, v in description.items() if k != "frames" and present.get(k) != v]
        if differing:
            raise DatasetError(
                f"{folder} holds another dataset: {', '.join(f'{k} is {present.get(k)!r}' for k in differing)}; "
                "choose another folder or delete this one"
            )
        description = {**description, "frames": max(int(present.get("frames", 0)), count)}
    replace_file(path, yaml.safe_dump(description, sort_keys=False).encode())


def _finished_frames(folder: Path, count: int) -> int:
    """Return how many frames from 0 on are complete, and cut everything after them from `labels.jsonl`."""
    path = folder / "labels.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    done = 0
    for index, line in enumerate(lines):
        try:
            complete = json.loads(line)["frame"] == f"{index:06d}"
        except (ValueError, KeyError, TypeError):
            complete = False
        if not complete or not (folder / "frames" / f"{index:06d}.bin").exists():
            break
        done += 1
    if done < len(lines) or not path.exists():
        replace_file(path, "".join(line + "\n" for line in lines[:done]).encode())
    return min(done, count)


def _label_line(simulated: SimulatedFrame) -> str:
    scan = simulated.scan
    objects = [
        {"label": label, "box": [round(float(v), 4) for v in box], "num_points": int(points)}
        for label, box, points in zip(scan.labels, scan.boxes, scan.num_points, strict=True)
    ]
    line = {
        "frame": simulated.frame.frame_id,
        "mount_height": round(scan.mount_height, 4),
        "sensor": scan.sensor,
        "objects": objects,
    }
    return json.dumps(line)


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
    # Not numpy.savez_compressed: level 1 is four times faster and hardly larger.
    with (
        replacing(Path(path)) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                npy.write_array(entry, np.asarray(array), allow_pickle=False)


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
        raise DatasetError(
            f"{path} is not a compact scan ({error}); write it again with save_scan"
        ) from error
