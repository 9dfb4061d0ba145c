"""work.py: what trained models compute per frame, counted and timed, kept so that nothing is measured twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, pstdev

import numpy as np
from numpy.typing import NDArray
from scores import FrameSet, hash_model, load_detector
from tables import write_json

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of a model's sparse layers on a set of frames.

    Attributes:
        model: its folder.
        frames: name of the set.
        macs: of each frame.
        dense: of one frame, were every cell of every layer active.
    """

    model: Path
    frames: str
    macs: tuple[int, ...]
    dense: int

    @property
    def mean(self) -> float:
        """Mean over the frames."""
        return fmean(self.macs)

    @property
    def variation(self) -> float:
        """Standard deviation over the frames (divided by N) as a share of the mean."""
        return pstdev(self.macs) / self.mean


@dataclass(frozen=True)
class Time:
    """Wall time of a model on one thread [ms]: median over frames of the best round.

    Attributes:
        model: its folder.
        network: of the sparse layers alone.
        total: from points to boxes.
    """

    model: Path
    network: float
    total: float


def count_macs(
    models: Sequence[Path], sets: Sequence[FrameSet], cache: Path, report: Callable[[str], None] = print
) -> tuple[Work, ...]:
    """Return the work of every model on every set; what `cache` has is not counted again."""
    found = []
    for frame_set in sets:
        frames: list[Points] | None = None  # read when a first model needs them
        for model in models:
            path = cache / hash_model(model) / f"work-{frame_set.name}.json"
            if not path.exists():
                frames = frames if frames is not None else [item.frame.points for item in frame_set.open()]
                detector = load_detector(model)
                traces = [detector.trace(points)[1] for points in frames]
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"macs": [trace.macs for trace in traces], "dense": traces[0].dense_macs})
            kept = json.loads(path.read_text(encoding="utf-8"))
            found.append(Work(model, frame_set.name, tuple(kept["macs"]), kept["dense"]))
        report(f"counted the work on {frame_set.name}")
    return tuple(found)


def time_models(
    models: Sequence[Path], sets: Sequence[FrameSet], cache: Path, *, frames: int, rounds: int
) -> tuple[Time, ...]:
    """Return the time of every model, measured in turns on the same frames: frame by frame, round by round.

    Args:
        models: compared with each other; all are timed again when one is new.
        sets: from each come `frames` frames, evenly spread over it.
        cache: where the times of these models on these sets are kept.
        frames: of each set.
        rounds: how often every model sees every frame; each round begins with another model.
    """
    named = [hash_model(model) for model in models] + [frame_set.name for frame_set in sets]
    key = hashlib.sha256(" ".join(named).encode()).hexdigest()[:16]
    path = cache / f"times-{key}-{frames}-{rounds}.json"
    if not path.exists():
        points = [cloud for frame_set in sets for cloud in choose_points(frame_set, frames)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, _time_all(models, points, rounds))
    kept = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Time(model, row["network"], row["total"]) for model, row in zip(models, kept, strict=True))


def choose_points(frame_set: FrameSet, count: int) -> list[Points]:
    """Return the points of up to `count` frames, evenly spread over a set."""
    clouds = [item.frame.points for item in frame_set.open()]
    chosen = np.linspace(0, len(clouds) - 1, min(count, len(clouds))).round().astype(int)
    return [clouds[index] for index in chosen]


def _time_all(models: Sequence[Path], clouds: Sequence[Points], rounds: int) -> list[Time]:
    detectors = [load_detector(model) for model in models]
    network = np.empty((len(models), len(clouds), rounds))
    total = np.empty_like(network)
    for detector in detectors:
        detector.detect(clouds[0])  # compiles
    for turn in range(rounds):
        for number, cloud in enumerate(clouds):
            for step in range(len(models)):
                index = (step + turn + number) % len(models)
                times = detectors[index].detect_timed(cloud)[1]
                network[index, number, turn] = 1e3 * times.seconds[times.names.index("network")]
                total[index, number, turn] = 1e3 * times.total
    best_network, best_total = network.min(axis=2), total.min(axis=2)
    return [
        Time(model, median(best_network[index].tolist()), median(best_total[index].tolist()))
        for index, model in enumerate(models)
    ]
