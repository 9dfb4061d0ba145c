"""validation.py: how good a network is on synthetic scenes that no training ever sees."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

from ..checkpoints import Checkpoint
from ..detector import Detector
from ..evaluate import CLASS_RULES, EvaluationReport, GroundTruth, LabelledFrame, evaluate_detector
from ..frames import Frame
from ..simulate.scan import scan_scene
from ..simulate.scene import KINDS, build_scene
from ..simulate.sensors import SENSORS
from .pool import annotate

FIRST_SEED = 900_000_000  # far from every training pool
SENSORS_TRIED = ("hdl64e", "pandar64", "vlp32c-pair", "hdl32e")


@dataclass(frozen=True)
class Validation:
    """AP|R40 in bird's-eye view, and precision and recall at the default score, on synthetic scenes.

    None stands for what cannot be told of a network that does not have the class.
    """

    cars_50: float | None
    cars_70: float | None
    people_25: float | None
    cyclists_25: float | None
    car_precision: float | None
    car_recall: float | None

    def to_dict(self) -> dict[str, float]:
        """Return the figures that there are, rounded, for the learning curve."""
        return {name: round(float(value), 2) for name, value in asdict(self).items() if value is not None}


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
    judged = {rule.label for rule in CLASS_RULES} & set(checkpoint.manifest.classes)
    if not judged:
        return Validation(None, None, None, None, None, None)
    report = judge(checkpoint, make_frames(frames))
    cars = next((p for p in report.operating_points if p.label == "car"), None)

    def find(label: str, threshold: float) -> float | None:
        return report.figure(label, "BEV AP|R40", threshold).value if label in judged else None

    return Validation(
        find("car", 0.5),
        find("car", 0.7),
        find("pedestrian", 0.25),
        find("cyclist", 0.25),
        100 * cars.precision if cars else None,
        100 * cars.recall if cars else None,
    )
