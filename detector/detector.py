"""detector.py: the detector: points of one frame in, boxes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..runtime.checks import check_array, check_choice, check_instance, check_number
from ..runtime.errors import ModelError, UsageError
from ..runtime.memory import keep_heap_steady
from ..runtime.sparse import HAS_FAST_INT8, PillarGrid
from ..runtime.threads import resolve_threads, thread_budget
from ..runtime.trace import EncoderRecord, Trace, TraceRecorder
from .ahead import compile_ahead
from .checkpoints import (
    PRECISIONS,
    TWIN_SUFFIX,
    Checkpoint,
    Manifest,
    Precision,
    find_model,
    find_twin,
    load_checkpoint,
    read_manifest,
)
from .decoding import decode
from .detections import Detections
from .encoder import encode, encode_u8
from .ground import estimate_ground, split_columns
from .keeping import Keep, Shares, check_keep, report_keep, set_keep
from .network import Network
from .pillars import Pillars, pillarise

STAGES = ("ground", "pillars", "encoder", "network", "decoding")


@dataclass(frozen=True)
class StageTimes:
    """Wall time of each stage of one frame [s]."""

    names: tuple[str, ...]
    seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        """Sum over the stages [s]."""
        return sum(self.seconds)


class Detector:
    """A loaded model; calls keep no state, so frames may come in any order.

    Args:
        checkpoint: manifest and weights.
        threads: Numba threads per call; None for all available.
        keep: as of `load`.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, keep: Keep | None = None
    ) -> None:
        own = check_instance("checkpoint", checkpoint, Checkpoint).manifest
        self.manifest: Manifest = own
        self._keep = report_keep(own.architecture)
        if keep is not None:
            self.manifest = replace(own, architecture=set_keep(own.architecture, keep))
            self._keep = check_keep(keep, len(self._keep))
        self.threads = resolve_threads(threads)
        keep_heap_steady()
        self._encoder, self._encoder_step = checkpoint.encoder, checkpoint.encoder_step
        self._network = Network(self.manifest.architecture, checkpoint.layers)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.manifest.classes

    @property
    def precision(self) -> Precision:
        """Number format of the network: "fp32" or "int8"."""
        return self.manifest.precision

    @property
    def default_score(self) -> float:
        """Score below which detections are left out by default."""
        return self.manifest.score

    @property
    def keep(self) -> Shares:
        """Shares of pillars in use, one for each pruned block: `Layer.keep`, or math.inf where nothing is pruned.

        None stands for a block whose layers differ, or have thresholds in the place of shares.
        """
        return self._keep

    def detect(
        self, points: NDArray[np.floating], *, score: float | None = None, ground: float | None = None
    ) -> Detections:
        """Find the objects of one frame.

        Args:
            points: (N, >=3) float: x forward, y left, z up [m] in the sensor's frame; further columns (intensity)
                are not used. Rows that are not finite are ignored; N may be 0.
            score: leave out detections below it; None takes the model's default.
            ground: height of the ground under the sensor [m], such as -1.73; None estimates it from the frame, as in
                training and evaluation.

        Returns:
            The boxes, and the height of the ground that they were found with.

        Raises:
            UsageError: `points` has another shape or type, `score` is not in 0..1, or `ground` is not finite.
        """
        return self.detect_timed(points, score=score, ground=ground)[0]

    def trace(
        self, points: NDArray[np.floating], *, score: float | None = None, ground: float | None = None
    ) -> tuple[Detections, Trace]:
        """As `detect`, with the record of the network's layers; the same boxes."""
        recorder = TraceRecorder(self.manifest.name)
        found, _ = self.detect_timed(points, score=score, ground=ground, recorder=recorder)
        return found, recorder.finish()

    def detect_timed(
        self,
        points: NDArray[np.floating],
        *,
        score: float | None = None,
        ground: float | None = None,
        recorder: TraceRecorder | None = None,
    ) -> tuple[Detections, StageTimes]:
        """As `detect`, with the wall time of each stage; `recorder` is told of every layer."""
        cloud = _check_points(points)
        threshold = self.default_score if score is None else check_number("score", score)
        if not 0.0 <= threshold <= 1.0:
            raise UsageError(f"score must lie in 0..1, got {score}")
        ground = None if ground is None else check_number("ground", ground)
        if ground is not None and not math.isfinite(ground):
            raise UsageError(f"ground must be a height in metres, got {ground}")
        geometry, architecture = self.manifest.geometry, self.manifest.architecture
        with thread_budget(self.threads):
            clock = [perf_counter()]
            columns = split_columns(cloud).T
            surface = estimate_ground(columns, level=ground)
            clock.append(perf_counter())
            pillars = pillarise(columns, surface, geometry)
            clock.append(perf_counter())
            grid = PillarGrid.assemble(pillars.row_ptr, pillars.cols, self._encode(pillars), pillars.shape)
            clock.append(perf_counter())
            if recorder is not None:
                recorder.record_encoder(self._describe_encoder(pillars, grid))
            head = self._network.run(grid, recorder)
            clock.append(perf_counter())
            cell = geometry.size * architecture.output_stride
            found = decode(
                head, geometry, cell, self.classes, surface, threshold, self.manifest.score_exponents
            )
            clock.append(perf_counter())
        level = surface.level if _has_points(cloud) else ground
        return replace(found, ground=level), StageTimes(STAGES, tuple(float(t) for t in np.diff(clock)))

    def _describe_encoder(self, pillars: Pillars, grid: PillarGrid) -> EncoderRecord:
        return EncoderRecord(
            points=len(pillars.point_features),
            pillars=len(grid),
            point_features=pillars.point_features.shape[1],
            pillar_features=pillars.pillar_features.shape[1],
            channels=grid.channels,
            precision=self.precision,
        )

    def _encode(self, pillars: Pillars) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return the network's input (P, C) in the type that it computes in."""
        if self._encoder_step is None:
            return encode(pillars, self._encoder)
        return encode_u8(pillars, self._encoder, self._encoder_step)


def _has_points(cloud: NDArray[np.float32]) -> bool:
    """Return whether any point is finite; mostly the first one is."""
    return any(bool(np.isfinite(part[:, :3]).all(axis=1).any()) for part in (cloud[:1], cloud))


def _check_points(points: NDArray[np.floating]) -> NDArray[np.float32]:
    array = check_array("points", points)
    if array.ndim != 2 or array.shape[1] < 3:
        raise UsageError(
            f"points must have shape (N, >=3): x, y, z and intensity in columns; got {array.shape}"
        )
    with np.errstate(over="ignore"):  # a coordinate too large for float32 becomes inf and is ignored
        if array.dtype == np.float32:  # further columns stay: to cut them off would copy the frame
            return np.require(array, np.float32, ["C", "A", "W"])
        return np.ascontiguousarray(array[:, :3], dtype=np.float32)


def load(
    name_or_path: str | Path = "default",
    *,
    precision: str | None = None,
    threads: int | None = None,
    keep: Keep | None = None,
) -> Detector:
    """Load a detector.

    Where no kernel is compiled yet, a second process compiles the network's (COLONNADE_SECOND_PROCESS=off: none does).

    Args:
        name_or_path: an embedded model ("default", "synthetic") or a model folder.
        precision: "fp32"; "int8": the model's int8 twin, which lies beside it as NAME-int8 (a model that is int8
            itself needs none); None: int8 where this processor has the instructions for it and there is a twin,
            else the model as it is.
        threads: Numba threads per call; None for all available.
        keep: of a model with vector pruning: trades accuracy for speed. The share of pillars that stay behind the
            layers of every pruned block, or a tuple with one for each block; less is faster, math.inf prunes nothing.
            None takes the model's own shares or thresholds.

    Raises:
        ModelError: no such model, a damaged one (or a damaged twin, unless `precision` is "fp32"), or one that there is
            not in this precision.
        UsageError: an unknown precision or thread count, what is neither a name nor a path, or a `keep` that is not
            above 0, not one for each pruned block, or given for a model without vector pruning.
    """
    if precision is not None:
        check_choice("precision", precision, PRECISIONS)
    folder = _choose_folder(find_model(name_or_path), precision)
    checkpoint = load_checkpoint(folder)
    compile_ahead(folder, checkpoint.manifest)
    return Detector(checkpoint, threads=threads, keep=keep)


def _choose_folder(folder: Path, precision: str | None) -> Path:
    """Return the folder of the model, or of its twin, that has the precision; None takes the faster one."""
    own = read_manifest(folder).precision
    if own == precision or (precision is None and (own == "int8" or not HAS_FAST_INT8)):
        return folder
    if precision == "fp32":
        raise ModelError(f"{folder}: this model is int8; for fp32 load the model that it was quantised from")
    twin = find_twin(folder)
    if twin is None and precision == "int8":
        place = folder.resolve()
        raise ModelError(
            f"{folder}: this model has no int8 twin made from the weights that it has now; make one: "
            f"colonnade quantize {place} --frames RECORDING -o {place}{TWIN_SUFFIX} (--overwrite replaces an older one)"
        )
    return twin or folder
