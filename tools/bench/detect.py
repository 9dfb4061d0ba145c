"""detect.py: end-to-end speed of the detector on the frames of a recording, warm."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ...detector.detector import Detector
from ...detector.frames import Frame
from ...runtime.errors import RecordingError, UsageError
from .hardware import Hardware


@dataclass(frozen=True)
class StageTime:
    """Median and 95th percentile of one stage over all timed frames [ms]."""

    name: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class DetectBench:
    """The speed of a detector and everything that it depends on.

    Attributes:
        recording: what was measured on.
        frames: frames held in memory, all detected on once per round.
        frames_sha256: hash of their points, in order.
        points_per_frame: mean.
        rounds: passes over the frames after one that was not timed.
        frames_per_second: median over the rounds, from points in memory to boxes.
        slowest_round, fastest_round: frames per second.
        first_frame_ms: the very first call, which loads or compiles the kernels.
        boxes_per_frame: mean number of boxes, to tell runs apart that did different work.
    """

    recording: str
    frames: int
    frames_sha256: str
    points_per_frame: float
    model: str
    model_sha256: str
    threads: int
    rounds: int
    frames_per_second: float
    slowest_round: float
    fastest_round: float
    first_frame_ms: float
    boxes_per_frame: float
    stages: tuple[StageTime, ...]
    hardware: Hardware

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self) | {"hardware": self.hardware.to_dict()}, indent=2)


def run_detect_bench(
    detector: Detector,
    frames: Sequence[Frame],
    *,
    recording: str,
    hardware: Hardware,
    rounds: int = 5,
    progress: Callable[[int], None] = lambda done: None,
) -> DetectBench:
    """Time the detector on frames in memory: one warm pass, then `rounds` timed ones.

    Args:
        progress: called with the number of frames done, of len(frames) * (rounds + 1).

    Raises:
        RecordingError: there are no frames.
        UsageError: `rounds` is below 1.
    """
    if not frames:
        raise RecordingError(f"{recording}: no frames to measure on")
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, got {rounds}")
    start = time.perf_counter()
    detector.detect(frames[0].points)
    first = time.perf_counter() - start

    boxes, done = 0, 0
    speeds: list[float] = []
    rows: list[tuple[float, ...]] = []
    names: tuple[str, ...] = ()
    for turn in range(rounds + 1):
        start = time.perf_counter()
        for frame in frames:
            found, times = detector.detect_timed(frame.points)
            done += 1
            progress(done)
            if turn == 0:
                boxes, names = boxes + len(found), times.names
            else:
                rows.append(times.seconds)
        if turn > 0:
            speeds.append(len(frames) / (time.perf_counter() - start))
    return DetectBench(
        recording=recording,
        frames=len(frames),
        frames_sha256=_hash_points(frames),
        points_per_frame=round(float(np.mean([len(frame.points) for frame in frames])), 1),
        model=detector.manifest.name,
        model_sha256=detector.manifest.sha256,
        threads=detector.threads,
        rounds=rounds,
        frames_per_second=round(float(np.median(speeds)), 2),
        slowest_round=round(min(speeds), 2),
        fastest_round=round(max(speeds), 2),
        first_frame_ms=round(1e3 * first, 1),
        boxes_per_frame=round(boxes / len(frames), 2),
        stages=_summarise_stages(names, rows),
        hardware=hardware,
    )


def _summarise_stages(names: tuple[str, ...], rows: list[tuple[float, ...]]) -> tuple[StageTime, ...]:
    times = np.array(rows) * 1e3
    times = np.column_stack([times, times.sum(axis=1)])
    middle, high = np.percentile(times, [50, 95], axis=0)
    return tuple(
        StageTime(name, round(float(median), 3), round(float(p95), 3))
        for name, median, p95 in zip((*names, "all stages"), middle, high, strict=True)
    )


def _hash_points(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.ascontiguousarray(frame.points).tobytes())
    return digest.hexdigest()
