"""augment.py: what is done to a training scan so that a synthetic street stands for many sensors and places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..boxes import bev_iou
from .ranges import demand

_CHANCES = (
    "thin_beams",
    "thin_azimuth",
    "drop_points",
    "sparse_beams",
    "resample",
    "mix",
    "hide",
    "crop_view",
    "carrier",
    "shift",
)


@dataclass(frozen=True)
class LabelledScan:
    """A scan with the owner of each point.

    Attributes:
        points: (N, 3) float32 x, y, z [m] in the sensor's frame.
        rings: (N,) int16 beam of each point.
        owners: (N,) int32 object of each point, -1 for the background.
        boxes: (K, 7) float64 in the sensor's frame.
        labels: K names.
    """

    points: NDArray[np.float32]
    rings: NDArray[np.int16]
    owners: NDArray[np.int32]
    boxes: NDArray[np.float64]
    labels: tuple[str, ...]

    def keep(self, mask: NDArray[np.bool_]) -> LabelledScan:
        """Return the scan with the points at `mask` only; the boxes stay."""
        return replace(self, points=self.points[mask], rings=self.rings[mask], owners=self.owners[mask])

    def count_points(self) -> NDArray[np.int64]:
        """Return how many points each object has, (K,)."""
        return np.bincount(self.owners[self.owners >= 0], minlength=len(self.boxes))


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and spans of the augmentations.

    Attributes:
        thin_beams: chance to drop beams (keep every 2nd or 3rd, or a random subset).
        thin_azimuth: chance to keep only every 2nd or 3rd azimuth step.
        drop_points: chance to drop 0..40 % of the points.
        sparse_beams: chance to drop beams as far as a sensor of 32, 16 or 12 has them; the other thinning of beams
            and steps is left out then.
        resample: chance, where that was not done, to thin beams and azimuth steps by one factor, everywhere, beyond or
            within a range; `thin_beams` and `thin_azimuth` are left out then.
        mix: chance to lay the scan before over this one.
        hide: chance to hide parts of some objects, as a thing near the sensor would.
        crop_view: chance to keep only a forward sector, as in camera-view recordings.
        paste: mean number of people and cyclists pasted from other scans.
        carrier: chance to add returns from the carrying vehicle's own roof, bonnet or rack.
        shift: chance to move the origin off the sensor, as in recordings given in a vehicle's frame.
        scale: largest relative change of size.
        jitter: largest standard deviation of point noise [m].
    """

    thin_beams: float = 0.3
    thin_azimuth: float = 0.15
    drop_points: float = 0.25
    sparse_beams: float = 0.0
    resample: float = 0.0
    mix: float = 0.0
    hide: float = 0.35
    crop_view: float = 0.2
    paste: float = 4.0
    carrier: float = 0.4
    shift: float = 0.3
    scale: float = 0.05
    jitter: float = 0.02

    def __post_init__(self) -> None:
        for name in _CHANCES:
            demand(f"augmentation.{name}", getattr(self, name), 0, 1)
        demand("augmentation.paste", self.paste, 0, 100)
        demand("augmentation.scale", self.scale, 0, 0.5)
        demand("augmentation.jitter", self.jitter, 0, 1)


@dataclass(frozen=True)
class Snippet:
    """The points of one object, cut out of a scan, still where it stood."""

    points: NDArray[np.float32]
    rings: NDArray[np.int16]
    box: NDArray[np.float64]
    label: str


def cut_snippets(scan: LabelledScan, labels: tuple[str, ...]) -> list[Snippet]:
    """Return the objects of `labels` that have at least five points."""
    counts = scan.count_points()
    snippets = []
    for k, label in enumerate(scan.labels):
        if label in labels and counts[k] >= 5:
            mask = scan.owners == k
            snippets.append(Snippet(scan.points[mask], scan.rings[mask], scan.boxes[k], label))
    return snippets


def turn(xy: NDArray[np.floating], angle: float) -> NDArray[np.floating]:
    """Return xy (N, 2) turned about the origin by an angle [rad], counter-clockwise."""
    c, s = np.cos(angle), np.sin(angle)
    return xy @ np.array([[c, s], [-s, c]], dtype=xy.dtype)


def paste_objects(scan: LabelledScan, snippets: list[Snippet], rng: np.random.Generator) -> LabelledScan:
    """Turn snippets about the sensor to free places and add them, with the shadow they cast.

    Range and viewing angle stay, so the object's sampling stays true. A place is free when no other box
    overlaps it and hardly any point of the scene stands in it; the ground under it sets the height.
    """
    for snippet in snippets:
        angle = rng.uniform(-np.pi, np.pi)
        box = snippet.box.copy()
        box[:2] = turn(box[None, :2], angle)[0]
        box[6] = (box[6] + angle + np.pi) % (2 * np.pi) - np.pi
        wide = box.copy()
        wide[3:5] += 0.3
        if len(scan.boxes) and bev_iou(wide[None], scan.boxes).max() > 0:
            continue
        offset = scan.points[:, :2] - box[:2].astype(np.float32)
        near = np.abs(offset).max(1) < 1.5
        local = scan.points[near]
        if len(local) < 3:
            continue
        floor = float(np.quantile(local[:, 2], 0.1))
        if abs(floor - (box[2] - box[5] / 2)) > 0.8:
            continue
        core = np.hypot(*offset[near].T) < 0.5 * np.hypot(box[3], box[4]) + 0.1
        if (local[core, 2] > floor + 0.25).sum() > 2:
            continue
        points = snippet.points.copy()
        points[:, :2] = turn(points[:, :2], angle)
        lift = floor - (box[2] - box[5] / 2)
        points[:, 2] += np.float32(lift)
        box[2] += lift
        scan = _add_object(scan, points, snippet.rings, box, snippet.label)
    return scan


def _add_object(
    scan: LabelledScan,
    points: NDArray[np.float32],
    rings: NDArray[np.int16],
    box: NDArray[np.float64],
    label: str,
) -> LabelledScan:
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    centre = np.arctan2(box[1], box[0])
    spread = np.abs((azimuth - centre + np.pi) % (2 * np.pi) - np.pi).max() + 0.002
    distance = np.hypot(points[:, 0], points[:, 1])
    steep = points[:, 2] / distance
    other = np.hypot(scan.points[:, 0], scan.points[:, 1]) + 1e-6
    behind = (
        np.abs((np.arctan2(scan.points[:, 1], scan.points[:, 0]) - centre + np.pi) % (2 * np.pi) - np.pi)
        < spread
    )
    behind &= other > distance.min()
    slope = scan.points[:, 2] / other
    behind &= (slope > steep.min() - 0.002) & (slope < steep.max() + 0.002)
    kept = scan.keep(~behind)
    index = np.full(len(points), len(scan.boxes), np.int32)
    return LabelledScan(
        np.concatenate([kept.points, points]),
        np.concatenate([kept.rings, rings]),
        np.concatenate([kept.owners, index]),
        np.concatenate([kept.boxes, box[None]]),
        (*kept.labels, label),
    )


def add_carrier(scan: LabelledScan, rng: np.random.Generator) -> LabelledScan:
    """Add returns from parts of the carrying vehicle around the sensor: they are nobody."""
    parts = []
    for _ in range(int(rng.integers(1, 4))):
        low = rng.uniform([-2.6, -1.0, -1.3], [1.2, 0.6, -0.2])
        size = rng.uniform([0.05, 0.05, 0.02], [1.4, 0.9, 0.25])
        parts.append(low + size * rng.random((int(rng.integers(3, 250)), 3)))
    own = np.concatenate(parts).astype(np.float32)
    return replace(
        scan,
        points=np.concatenate([scan.points, own]),
        rings=np.concatenate([scan.rings, np.zeros(len(own), np.int16)]),
        owners=np.concatenate([scan.owners, np.full(len(own), -1, np.int32)]),
    )


def hide_parts(scan: LabelledScan, rng: np.random.Generator) -> LabelledScan:
    """Hide one end, the lower or the upper part of one to six objects, and all that lies behind that part.

    The thing in the way stands somewhere between the sensor and the object and gives no return itself.
    """
    seen = np.flatnonzero(scan.count_points() >= 10)
    if not len(seen):
        return scan
    distance = np.hypot(scan.points[:, 0], scan.points[:, 1]) + 1e-6
    azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0])
    slope = scan.points[:, 2] / distance
    keep = np.ones(len(scan.points), bool)
    for k in rng.choice(seen, min(len(seen), int(rng.integers(1, 7))), replace=False):
        own = scan.owners == k
        middle = np.arctan2(scan.boxes[k, 1], scan.boxes[k, 0])
        across = (azimuth - middle + np.pi) % (2 * np.pi) - np.pi
        left, right = across[own].min(), across[own].max()
        part = rng.uniform(0.25, 0.8)
        behind = distance > distance[own].min() * rng.uniform(0.4, 0.98)
        if rng.random() < 0.5:  # one end
            cut = left + part * (right - left)
            wedge = (across > left - 0.02) & (across < cut)
            if rng.random() < 0.5:
                cut = right - part * (right - left)
                wedge = (across > cut) & (across < right + 0.02)
        else:
            wedge = (across > left - 0.02) & (across < right + 0.02)
            low, high = slope[own].min(), slope[own].max()
            if rng.random() < 0.8:  # the lower part, as behind a parked car
                wedge &= slope < low + part * (high - low)
            else:
                wedge &= slope > high - part * (high - low)
        keep &= ~(wedge & behind)
    return scan.keep(keep)


def move_scan(scan: LabelledScan, settings: Augmentation, rng: np.random.Generator) -> LabelledScan:
    """Move the origin, mirror, turn by any angle, scale, shift in height and blur the scan; crop to a view at times."""
    points, boxes = scan.points.copy(), scan.boxes.copy()
    if rng.random() < settings.shift:
        offset = rng.normal(0, 0.7, 2)
        points[:, :2] += offset.astype(np.float32)
        boxes[:, :2] += offset
    if rng.random() < 0.5:
        points[:, 1] *= -1
        boxes[:, 1] *= -1
        boxes[:, 6] *= -1
    angle = rng.uniform(-np.pi, np.pi)
    points[:, :2] = turn(points[:, :2], angle)
    boxes[:, :2] = turn(boxes[:, :2], angle)
    boxes[:, 6] = (boxes[:, 6] + angle + np.pi) % (2 * np.pi) - np.pi
    factor = rng.uniform(1 - settings.scale, 1 + settings.scale)
    points *= np.float32(factor)
    boxes[:, :6] *= factor
    lift = rng.normal(0, 0.15)
    points[:, 2] += np.float32(lift)
    boxes[:, 2] += lift
    blur = rng.uniform(0, settings.jitter)
    points += rng.normal(0, blur, points.shape).astype(np.float32)
    moved = LabelledScan(points, scan.rings, scan.owners, boxes, scan.labels)
    if rng.random() < settings.crop_view:
        half = np.radians(rng.uniform(38, 52))
        moved = moved.keep(np.abs(np.arctan2(points[:, 1], points[:, 0])) < half)
    return moved
