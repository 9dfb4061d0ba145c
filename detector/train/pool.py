"""pool.py: the training scans: synthetic ones made beforehand and kept on disk, and labelled real frames."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from ...runtime.errors import ConfigError, DatasetError
from ...runtime.files import replace_file
from ..boxes import bev_iou, points_in_boxes
from ..evaluate import Dataset, GroundTruth, open_dataset
from ..simulate.datasets import GENERATOR_VERSION, LABELS, load_scan, save_scan
from ..simulate.scan import Scan, scan_scene
from ..simulate.scene import build_scene
from ..simulate.sensors import SENSORS, Sensor, random_sensor
from .augment import LabelledScan
from .config import Pool, RealFrames

DESCRIPTION = "pool.yaml"  # in a pool's folder: what its scans are
_OFTEN = 0.3  # share of HDL-64E scans
_NAMED = 0.8  # share below which a scan comes from a named sensor; the rest are sensors that do not exist
_MARGIN = 0.04  # [m] that people who draw boxes leave between an object and each side and the top
_TWIN = 0.4  # overlap (IoU) from which two labels of a kind name one object
_RING_STEP = np.radians(0.4)  # [rad] elevation bins that stand for rings where a dataset does not tell them


def draw_sensor(rng: np.random.Generator, sensors: tuple[str, ...] = ()) -> Sensor:
    """Return the sensor of one training scan: one of `sensors`, or of the mixture where none is named."""
    if sensors:
        return SENSORS[sensors[int(rng.integers(len(sensors)))]]
    u = rng.random()
    if u < _OFTEN:
        return SENSORS["hdl64e"]
    if u < _NAMED:
        return SENSORS[sorted(SENSORS)[int(rng.integers(len(SENSORS)))]]
    return random_sensor(rng)


def make_scan(seed: int, sensors: tuple[str, ...] = ()) -> Scan:
    """Return training scan `seed`: its own scene, sensor (see `draw_sensor`) and noise."""
    rng = np.random.default_rng([seed, 1])
    return scan_scene(build_scene(seed), draw_sensor(rng, sensors), seed)


def claim_pool(pool: Pool, folder: Path) -> None:
    """Write into an empty pool what its scans are, `pool.yaml`, or check that those there are the wanted ones.

    A folder that holds scans without saying which is taken as it is.

    Raises:
        ConfigError: the scans in the folder are others, or `pool.yaml` cannot be read.
    """
    wanted = {"seed": pool.seed, "sensors": list(pool.sensors), "generator_version": GENERATOR_VERSION}
    path = folder / DESCRIPTION
    if not path.exists():
        if not list_pool(folder):
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, yaml.safe_dump(wanted, sort_keys=False))
        return
    try:
        present = yaml.safe_load(path.read_text(encoding="utf-8"))
        differing = [
            f"{key} is {present[key]}, not {value}" for key, value in wanted.items() if present[key] != value
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read ({' '.join(str(error).split())}); delete that folder"
        ) from error
    if differing:
        raise ConfigError(
            f"{folder} holds other scans: {', '.join(differing)}; choose another pool.folder, or delete this one"
        )


def fill_pool(pool: Pool, folder: Path, *, part: int = 0, parts: int = 1) -> None:
    """Make the scans that `folder` lacks; several processes may each take one part.

    Raises:
        ConfigError: as `claim_pool`.
    """
    claim_pool(pool, folder)
    for index in range(part, pool.scans, parts):
        path = folder / f"{index:06d}.npz"
        if not path.exists():
            save_scan(path, make_scan(pool.seed + index, pool.sensors))


def list_pool(folder: Path) -> list[Path]:
    """Return the finished scans, in order."""
    return sorted(p for p in folder.glob("*.npz") if not p.name.startswith("."))


def annotate(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return exact boxes (K, 7) as a person draws them: enclosing every return, so a little larger than the object."""
    drawn = boxes.astype(np.float64)
    drawn[:, 3:5] += 2 * _MARGIN
    drawn[:, 5] += _MARGIN
    drawn[:, 2] += 0.5 * _MARGIN
    return drawn


def label_scan(scan: Scan) -> LabelledScan:
    """Return a simulated scan as training takes it."""
    return LabelledScan(
        np.ascontiguousarray(scan.points[:, :3]),
        scan.rings.astype(np.int16),
        scan.owners.astype(np.int32),
        annotate(scan.boxes),
        scan.labels,
    )


def _guess_rings(points: NDArray[np.float32]) -> NDArray[np.int16]:
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    return np.asarray(np.clip((elevation + 0.6) / _RING_STEP, 0, 255).astype(np.int16))


def drop_twins(objects: GroundTruth) -> GroundTruth:
    """Leave out objects that were labelled a second time: a box of the same kind that overlaps an earlier one."""
    overlap = np.triu(bev_iou(objects.boxes, objects.boxes), k=1) > _TWIN
    same = np.array(objects.labels)[:, None] == np.array(objects.labels)[None]
    kept = np.flatnonzero(~(overlap & same).any(axis=0))
    return GroundTruth(objects.boxes[kept], tuple(objects.labels[k] for k in kept), objects.num_points[kept])


def open_real(real: RealFrames) -> Dataset | None:
    """Open the real dataset; None where none is wanted.

    Raises:
        ConfigError: the dataset's environment variable is not set.
        DatasetError: there is no labelled dataset.
    """
    if not real.dataset or real.share <= 0:
        return None
    path = os.path.expandvars(real.dataset)
    if "$" in path:
        raise ConfigError(
            f"real.dataset is '{real.dataset}': set that environment variable to the dataset's folder"
        )
    return open_dataset(path)


def load_real(real: RealFrames) -> list[LabelledScan]:
    """Return all frames of the real dataset, with the owner of each point found from the boxes.

    Raises:
        ConfigError, DatasetError: as `open_real`.
    """
    scans = []
    for item in open_real(real) or ():
        points = np.ascontiguousarray(item.frame.points[:, :3])
        objects = drop_twins(item.objects)
        boxes = objects.boxes.astype(np.float64)
        owners = points_in_boxes(points, boxes) if len(boxes) else np.full(len(points), -1, np.int32)
        scans.append(
            LabelledScan(points, _guess_rings(points), owners.astype(np.int32), boxes, objects.labels)
        )
    return scans


def check_classes(classes: Sequence[str], share: float, labels: Collection[str]) -> None:
    """Check that every class can be learnt: the simulator labels it, or it is among the `labels` of real frames.

    Args:
        classes: names to learn.
        share: part of the samples that are real.
        labels: names that the real frames have.

    Raises:
        ConfigError: no training data has a class.
    """
    known = set(labels) | (set(LABELS) - {"other"} if share < 1 else set())
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise ConfigError(
            f"classes: no training data has {unknown}; labels that there are: {', '.join(sorted(known))}"
        )


def load_pooled(path: Path) -> LabelledScan:
    """Return a scan of the pool as training takes it.

    Raises:
        DatasetError: the file is damaged.
    """
    try:
        return label_scan(load_scan(path))
    except (DatasetError, EOFError, zlib.error) as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise DatasetError(
            f"{path}: this scan of the pool cannot be read ({reason}); delete it, and the next run makes it again"
        ) from error


def stream_scans(
    folder: Path, real: Sequence[LabelledScan], share: float, seed: int, first: int
) -> Iterator[tuple[LabelledScan, np.random.Generator]]:
    """Yield scans for ever, each with the generator of its augmentation; sample n depends on (seed, n) only,
    as long as the pool is complete.

    Raises:
        DatasetError: a scan of the pool is damaged.
    """
    files = list_pool(folder)
    for n in range(first, 2**62):
        if n % 500 == 0:
            files = list_pool(folder)
        rng = np.random.default_rng([seed, n])
        if real and rng.random() < share:
            yield real[int(rng.integers(len(real)))], rng
        else:
            yield load_pooled(files[int(rng.integers(len(files)))]), rng
