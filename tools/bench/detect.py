"""detect.py: end-to-end speed of the detector on the frames of a recording, warm, precisions and threads in turns."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ...detector.architecture import INPUT, Architecture
from ...detector.detector import Detector, load
from ...detector.frames import Frame
from ...detector.ground import estimate_ground
from ...detector.keeping import Keep, format_keep
from ...detector.manifest import PRECISIONS, Precision
from ...detector.network import RuleCache
from ...detector.pillars import pillarise
from ...detector.standard import VARIANTS, standard_checkpoint
from ...runtime.errors import ModelError, RecordingError, UsageError
from ...runtime.sparse import PillarGrid
from ...runtime.sparse.forms import FLOAT_FORM, INTEGER_FORM
from ...runtime.threads import available_threads, thread_budget
from .engine_report import round_figures
from .hardware import Hardware
from .rounds import Samples, find_disturbances, read_load

SCHEMA, VERSION = "colonnade-bench-detect", 2
STANDARD = "standard"  # "standard-VARIANT" names a variant of the standard network with random weights
_CONVOLUTIONS = "network"  # the stage that they are in
_ALL = "all stages"


@dataclass(frozen=True)
class StageTime:
    """Median and 95th percentile of one stage over all timed frames [ms]."""

    name: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class DetectRun:
    """One precision on one number of threads.

    Attributes:
        model, model_sha256: what was loaded.
        keep: shares of its pruned blocks, as --keep takes them; None without vector pruning.
        precision, threads: of the run.
        frames_per_second: median over the rounds, from points in memory to boxes, by wall time.
        slowest_round, fastest_round: frames per second.
        process_ms: processor time per frame of all threads, median over the rounds.
        first_frame_ms: the very first call, which loads or compiles the kernels.
        boxes_per_frame: mean number of boxes, to tell runs apart that did different work.
        stages: of a frame, by wall time; the last is their sum.
        rules_ms: rules and plans, a part of the network's stage, timed alone; None where pruning makes them depend
            on the weights.
        other_share: share of the frame's time that is not convolution: other stages, and rules and plans.
    """

    model: str
    model_sha256: str
    keep: str | None
    precision: Precision
    threads: int
    frames_per_second: float
    slowest_round: float
    fastest_round: float
    process_ms: float
    first_frame_ms: float
    boxes_per_frame: float
    stages: tuple[StageTime, ...]
    rules_ms: float | None
    other_share: float


@dataclass(frozen=True)
class Scaling:
    """How many times more frames per second the most threads give than the fewest."""

    precision: Precision
    fewest: int
    most: int
    factor: float


@dataclass(frozen=True)
class DetectReport:
    """The speed of a detector and everything that it depends on.

    Attributes:
        recording: what was measured on.
        frames: frames held in memory, all detected on once per round and run.
        frames_sha256: hash of their points, in order.
        points_per_frame: mean.
        rounds: passes over the frames after one that was not timed.
        runs: precisions and threads, measured in turns.
        scalings: from the fewest to the most threads.
        hardware: what it ran on.
        disturbances: what speaks against the figures, in words.
        missing: precisions that the model could not be loaded in, in words.
    """

    recording: str
    frames: int
    frames_sha256: str
    points_per_frame: float
    rounds: int
    runs: tuple[DetectRun, ...]
    scalings: tuple[Scaling, ...]
    hardware: Hardware
    disturbances: tuple[str, ...]
    missing: tuple[str, ...]

    def to_json(self) -> str:
        """Return the report as indented JSON, figures with five significant digits."""
        body = round_figures(asdict(self)) | {"hardware": self.hardware.to_dict()}
        return json.dumps({"schema": SCHEMA, "version": VERSION} | body, indent=2)


def open_detectors(
    model: str,
    precision: str | None = None,
    threads: int | None = None,
    keep: Keep | None = None,
) -> tuple[tuple[Detector, ...], tuple[str, ...]]:
    """Return a detector for each precision and number of threads, and a line for each precision that there is not.

    Args:
        model: an embedded model or a folder, or "standard-VARIANT": the standard network with random weights.
        precision: "fp32" or "int8"; None takes all that the model has.
        threads: of a call; None takes one and all available.
        keep: shares of a model with vector pruning, as of `detector.load`; None takes its own.

    Raises:
        ModelError: no such model, or none in the precision that was asked for.
        UsageError: an unknown precision, variant or thread count, or a `keep` that does not fit.
    """
    counts = (1, available_threads()) if threads is None else (threads,)
    detectors: list[Detector] = []
    missing: list[str] = []
    first_error = None
    for wanted in PRECISIONS if precision is None else (precision,):
        try:
            detectors += [_open_detector(model, wanted, count, keep) for count in dict.fromkeys(counts)]
        except ModelError as error:
            missing.append(f"{wanted}: {error}")
            first_error = first_error or error
    if first_error is not None and not detectors:
        raise first_error
    return tuple(detectors), tuple(missing)


def _open_detector(model: str, precision: str, threads: int, keep: Keep | None) -> Detector:
    variants = {f"{STANDARD}-{variant}": variant for variant in VARIANTS}
    if model in variants:
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got '{precision}'")
        return Detector(standard_checkpoint(variants[model], precision=precision), threads=threads, keep=keep)
    return load(model, precision=precision, threads=threads, keep=keep)


def run_detect_bench(
    detectors: Sequence[Detector],
    frames: Sequence[Frame],
    *,
    recording: str,
    hardware: Hardware,
    rounds: int = 5,
    missing: tuple[str, ...] = (),
    progress: Callable[[int], None] = lambda done: None,
) -> DetectReport:
    """Time detectors on frames in memory: one warm pass each, then `rounds` timed ones in turns.

    Args:
        progress: called with the number of frames done, of len(detectors) * len(frames) * (rounds + 1).

    Raises:
        RecordingError: there are no frames, or none with a point in the model's range.
        UsageError: `rounds` is below 1, or there is no detector.
    """
    if not frames:
        raise RecordingError(f"{recording}: no frames to measure on")
    if rounds < 1 or not detectors:
        raise UsageError(f"rounds and detectors must be at least 1, got {rounds} and {len(detectors)}")
    if not any(_is_seen(frame, detectors[0]) for frame in frames):
        raise RecordingError(
            f"{recording}: no frame has a point in the model's range; nothing can be measured"
        )
    load_before = read_load()
    clocks = [_DetectorClock(detector, frames) for detector in detectors]
    done = 0
    for turn in range(rounds + 1):
        for place in range(len(clocks)):
            clocks[(place + turn) % len(clocks)].run_pass(timed=turn > 0)
            done += len(frames)
            progress(done)
    runs = tuple(clock.summarise() for clock in clocks)
    return DetectReport(
        recording=recording,
        frames=len(frames),
        frames_sha256=_hash_points(frames),
        points_per_frame=round(float(np.mean([len(frame.points) for frame in frames])), 1),
        rounds=rounds,
        runs=runs,
        scalings=_compare_threads(runs),
        hardware=hardware,
        disturbances=find_disturbances([clock.samples for clock in clocks], (), load_before),
        missing=missing,
    )


def _is_seen(frame: Frame, detector: Detector) -> bool:
    """Tell whether any point of a frame falls into a pillar of the model."""
    points = np.ascontiguousarray(frame.points[:, :3], np.float32)
    return len(pillarise(points, estimate_ground(points), detector.manifest.geometry)) > 0


class _DetectorClock:
    """Passes one detector over the frames and keeps the times."""

    def __init__(self, detector: Detector, frames: Sequence[Frame]) -> None:
        self._detector, self._frames = detector, frames
        self._passes: list[tuple[float, float]] = []  # processor and wall time [s]
        self._rows: list[tuple[float, ...]] = []  # stages of every timed frame [s]
        start = time.perf_counter()
        _, times = detector.detect_timed(frames[0].points)
        self._first, self._names, self._boxes = time.perf_counter() - start, times.names, 0

    def run_pass(self, *, timed: bool) -> None:
        """Detect on all frames."""
        wall, process = time.perf_counter(), time.process_time()
        rows, boxes = [], 0
        for frame in self._frames:
            found, times = self._detector.detect_timed(frame.points)
            boxes += len(found)
            rows.append(times.seconds)
        spent = time.process_time() - process, time.perf_counter() - wall
        self._boxes = boxes
        if timed:
            self._passes.append(spent)
            self._rows += rows

    @property
    def samples(self) -> Samples:
        """The times of the passes."""
        process, wall = zip(*self._passes, strict=True)
        return Samples(self._detector.manifest.name, self._detector.threads, process, wall)

    def summarise(self) -> DetectRun:
        """Return the figures of all timed passes."""
        count, samples = len(self._frames), self.samples
        stages = _summarise_stages(self._names, self._rows)
        rules = self._time_rules()
        return DetectRun(
            model=self._detector.manifest.name,
            model_sha256=self._detector.manifest.sha256,
            keep=format_keep(self._detector.keep) or None,
            precision=self._detector.precision,
            threads=self._detector.threads,
            frames_per_second=count / float(np.median(samples.wall)),
            slowest_round=count / max(samples.wall),
            fastest_round=count / min(samples.wall),
            process_ms=1e3 * float(np.median(samples.process)) / count,
            first_frame_ms=1e3 * self._first,
            boxes_per_frame=self._boxes / count,
            stages=stages,
            rules_ms=rules,
            other_share=compute_other_share(stages, rules),
        )

    def _time_rules(self) -> float | None:
        """Return the median time of rules and plans over the frames [ms]."""
        manifest = self._detector.manifest
        architecture = manifest.architecture
        if any(layer.pruned for layer in architecture.layers):
            return None
        rows = (FLOAT_FORM if self._detector.precision == "fp32" else INTEGER_FORM).rows
        times = []
        with thread_budget(self._detector.threads):
            for frame in self._frames:
                points = np.ascontiguousarray(frame.points[:, :3], np.float32)
                pillars = pillarise(points, estimate_ground(points), manifest.geometry)
                features = np.zeros((len(pillars), 1), np.float32)
                grid = PillarGrid.from_coords(pillars.coords, features, pillars.shape)
                build_network_rules(architecture, grid, rows)  # once more, warm
                start = time.perf_counter()
                build_network_rules(architecture, grid, rows)
                times.append(time.perf_counter() - start)
        return 1e3 * float(np.median(times))


def build_network_rules(architecture: Architecture, grid: PillarGrid, rows_per_block: int) -> None:
    """Build the rules and plans of all layers of a network without pruning on the active sites of `grid`."""
    known, rules = {INPUT: grid}, RuleCache()
    for layer in architecture.layers:
        book = rules.find(tuple(known[name] for name in layer.inputs), layer)
        book.plan(rows_per_block)
        features = np.empty((book.cols.size, 1), np.float32)
        known[layer.name] = PillarGrid.assemble(book.row_ptr, book.cols, features, book.shape)


def compute_other_share(stages: Sequence[StageTime], rules_ms: float | None) -> float:
    """Return the share of a frame's time that is not convolution; without `rules_ms` they count as convolution."""
    times = {stage.name: stage.median_ms for stage in stages}
    return 1.0 - (times[_CONVOLUTIONS] - (rules_ms or 0.0)) / times[_ALL]


def _summarise_stages(names: tuple[str, ...], rows: list[tuple[float, ...]]) -> tuple[StageTime, ...]:
    times = np.array(rows) * 1e3
    times = np.column_stack([times, times.sum(axis=1)])
    middle, high = np.percentile(times, [50, 95], axis=0)
    return tuple(
        StageTime(name, float(median), float(p95))
        for name, median, p95 in zip((*names, _ALL), middle, high, strict=True)
    )


def _compare_threads(runs: Sequence[DetectRun]) -> tuple[Scaling, ...]:
    scalings = []
    for precision in dict.fromkeys(run.precision for run in runs):
        same = sorted((run for run in runs if run.precision == precision), key=lambda run: run.threads)
        few, many = same[0], same[-1]
        if few.threads < many.threads:
            factor = many.frames_per_second / few.frames_per_second
            scalings.append(Scaling(precision, few.threads, many.threads, factor))
    return tuple(scalings)


def _hash_points(frames: Sequence[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.ascontiguousarray(frame.points).tobytes())
    return digest.hexdigest()
