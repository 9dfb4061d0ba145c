"""validation.py: how good a network is on synthetic scenes that no training ever sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

from ..checkpoints import Checkpoint
from ..detector import Detector
from ..evaluate import EvaluationReport, GroundTruth, LabelledFrame, evaluate_detector
from ..frames import Frame
from ..simulate.scan import scan_scene
from ..simulate.scene import KINDS, build_scene
from ..simulate.sensors import SENSORS
from .pool import annotate

FIRST_SEED = 900_000_000  # far from every training pool
SENSORS_TRIED = ("hdl64e", "pandar64", "vlp32c-pair", "hdl32e")


@dataclass(frozen=True)
class Validation:
    """AP|R40 in bird's-eye view, and precision and recall at the default score, on synthetic scenes."""

    cars_50: float
    cars_70: float
    people_25: float
    cyclists_25: float
    car_precision: float
    car_recall: float

    def to_dict(self) -> dict[str, float]:
        """Return the figures, rounded, for the learning curve."""
        return {name: round(float(value), 2) for name, value in asdict(self).items()}


def make_labelled_frame(seed: int, sensor: str) -> LabelledFrame:
    """Return one simulated frame with its labels; the scene kinds take turns."""
    scene = build_scene(FIRST_SEED + seed, kind=KINDS[seed % len(KINDS)])
    scan = scan_scene(scene, SENSORS[sensor], FIRST_SEED + seed)
    frame = Frame(scan.points, seed * 100_000_000, f"{seed:06d}", f"synthetic {sensor}")
    return LabelledFrame(frame, GroundTruth(annotate(scan.boxes), scan.labels, scan.num_points))


@lru_cache(maxsize=2)
def make_frames(count: int, sensors: tuple[str, ...] = SENSORS_TRIED) -> tuple[LabelledFrame, ...]:
    """Return `count` frames; kinds of scenes and sensors take turns at different rates."""
    return tuple(make_labelled_frame(k, sensors[(k // len(KINDS)) % len(sensors)]) for k in range(count))


def judge(checkpoint: Checkpoint, frames: tuple[LabelledFrame, ...]) -> EvaluationReport:
    """Return the full report on `frames`, on one thread so that it can run beside training."""
    return evaluate_detector(Detector(checkpoint, threads=1), frames)


def validate(checkpoint: Checkpoint, *, frames: int = 48) -> Validation:
    """Return the figures that a learning curve shows."""
    report = judge(checkpoint, make_frames(frames))
    cars = next(p for p in report.operating_points if p.label == "car")
    return Validation(
        report.figure("car", "BEV AP|R40", 0.5).value,
        report.figure("car", "BEV AP|R40", 0.7).value,
        report.figure("pedestrian", "BEV AP|R40", 0.25).value,
        report.figure("cyclist", "BEV AP|R40", 0.25).value,
        100 * cars.precision,
        100 * cars.recall,
    )
