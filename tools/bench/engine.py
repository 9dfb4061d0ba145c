"""engine.py: how long each kind of sparse convolution takes, beside spconv where it is installed."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Literal

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from ...runtime.errors import MissingExtraError
from ...runtime.sparse import Kind, PillarGrid, build_rules, conv2d, pack_weight
from ...runtime.sparse.kernels import TILE
from ...runtime.threads import thread_budget
from .spconv_peer import SpconvPeer

# Relative to the largest output: float32 sums of at most 9 × 256 products, ordered differently by the peer.
PEER_TOLERANCE = 1e-5
_GRID_SHAPE = (496, 432)  # 0.16 m pillars over 79.36 m × 69.12 m, as PointPillars on KITTI
Clock = Literal["wall", "cpu"]
_CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
_PAUSE = 0.004  # [s] before a measurement: lets the other contender's threads fall asleep


@dataclass(frozen=True)
class EngineLayer:
    """One layer of the benchmark: the convolution and its channels; it runs on the level's active set."""

    level: int  # 1, 2, 4, 8: the grid is 1 / level of the pillar grid along each axis
    kind: Kind
    kernel: int
    stride: int
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class LayerTiming:
    """Times of one layer [ms] by the clock of the report, medians unless they are called best.

    Attributes:
        layer: the layer.
        pillars_in, pillars_out, rules: the work: rules · Cin · Cout multiply-adds.
        total_ms: rules, plan and kernel.
        kernel_ms: the kernel with rules and plan kept.
        gflops: 2 · rules · Cin · Cout / kernel time.
        peer_total_ms: spconv with its index search; None where it is not installed.
        peer_kernel_ms: spconv with the index kept; None where it is not installed or cannot keep it.
        speedup: peer_total_ms / total_ms.
        best_total_ms, best_peer_total_ms, best_speedup: the same from the fastest of all rounds.
        peer_disagreements: pillars whose vector differs from spconv's by more than `PEER_TOLERANCE`.
    """

    layer: EngineLayer
    pillars_in: int
    pillars_out: int
    rules: int
    total_ms: float
    kernel_ms: float
    gflops: float
    peer_total_ms: float | None
    peer_kernel_ms: float | None
    speedup: float | None
    best_total_ms: float
    best_peer_total_ms: float | None
    best_speedup: float | None
    peer_disagreements: int | None


@dataclass(frozen=True)
class EngineBench:
    """The timings of all layers and what they were measured on."""

    cpu: str
    machine: str
    tile: str
    threads: int
    rounds: int
    clock: Clock
    pillars: int
    shape: tuple[int, int]
    peer: str | None
    layers: tuple[LayerTiming, ...]

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return json.dumps(asdict(self), indent=2)


# The layers of a PointPillars backbone with three blocks, one of each kind per block.
ENGINE_LAYERS: tuple[EngineLayer, ...] = (
    EngineLayer(1, "strided", 3, 2, 64, 64),
    EngineLayer(1, "strided", 2, 2, 64, 64),
    EngineLayer(2, "submanifold", 3, 1, 64, 64),
    EngineLayer(2, "dilating", 3, 1, 64, 64),
    EngineLayer(2, "transposed", 1, 1, 64, 128),
    EngineLayer(2, "strided", 3, 2, 64, 128),
    EngineLayer(4, "submanifold", 3, 1, 128, 128),
    EngineLayer(4, "dilating", 3, 1, 128, 128),
    EngineLayer(4, "transposed", 2, 2, 128, 128),
    EngineLayer(4, "strided", 3, 2, 128, 256),
    EngineLayer(8, "submanifold", 3, 1, 256, 256),
    EngineLayer(8, "dilating", 3, 1, 256, 256),
    EngineLayer(8, "transposed", 4, 4, 256, 128),
)


def run_engine_bench(
    *,
    threads: int | None = None,
    rounds: int = 15,
    clock: Clock = "wall",
    coords: npt.ArrayLike | None = None,
    shape: tuple[int, int] = _GRID_SHAPE,
    layers: tuple[EngineLayer, ...] = ENGINE_LAYERS,
    peer: bool = True,
    progress: Callable[[EngineLayer], None] | None = None,
) -> EngineBench:
    """Time `conv2d` on every layer, in turns with spconv, warm, without bias and activation.

    Args:
        threads: for both contenders; None uses all.
        rounds: measurements per contender and layer, of which the median counts.
        clock: "wall", or "cpu" for the processor time of all threads, which a busy machine disturbs less (start
            Python with OMP_WAIT_POLICY=passive, or threads that wait for work are counted too).
        coords: (P, 2) pillars of a real frame on `shape`; None draws a seeded street.
        shape: rows and columns of the pillar grid.
        layers: which layers to time.
        peer: compare with spconv if it is installed.
        progress: called before each layer.
    """
    rng = np.random.default_rng(0)
    sites = draw_street_sites(shape) if coords is None else np.asarray(coords)
    with thread_budget(threads) as count:
        contender = _find_peer(count) if peer else None
        levels = _build_levels(sites, shape, max(layer.level for layer in layers))
        timings = []
        for layer in layers:
            if progress is not None:
                progress(layer)
            base = levels[layer.level]
            features = np.maximum(rng.standard_normal((len(base), layer.in_channels)), 0)
            grid = base.with_features(features.astype(np.float32))
            timings.append(_time_layer(layer, grid, contender, rounds, clock, rng))
    return EngineBench(
        cpu=llvm.get_host_cpu_name(),
        machine=platform.machine(),
        tile=f"{TILE.rows} x {TILE.vectors * TILE.lanes}, {TILE.lanes} lanes",
        threads=count,
        rounds=rounds,
        clock=clock,
        pillars=len(levels[1]),
        shape=shape,
        peer=None if contender is None else f"spconv {contender.version}",
        layers=tuple(timings),
    )


def draw_street_sites(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.int32]:
    """Return (P, 2) sites that cluster as pillars of a street do: walls and cars as thick line segments."""
    rng = np.random.default_rng(seed)
    height, width = shape
    occupied = np.zeros(shape, bool)
    for _ in range(height * width // 1600):
        row, col = rng.uniform(0, height), rng.uniform(0, width)
        heading, length, thickness = rng.uniform(0, np.pi), rng.uniform(4, 50), rng.uniform(0.5, 2.5)
        along = np.arange(0, length, 0.5)[:, None]
        across = np.arange(-thickness, thickness, 0.5)[None, :]
        rows = (row + along * np.sin(heading) + across * np.cos(heading)).astype(int)
        cols = (col + along * np.cos(heading) - across * np.sin(heading)).astype(int)
        inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
        occupied[rows[inside], cols[inside]] = True
    return np.argwhere(occupied & (rng.random(shape) < 0.8)).astype(np.int32)


def _find_peer(threads: int) -> SpconvPeer | None:
    try:
        return SpconvPeer(threads)
    except MissingExtraError:
        return None


def _build_levels(sites: npt.NDArray[Any], shape: tuple[int, int], deepest: int) -> dict[int, PillarGrid]:
    """Return the active sets of levels 1, 2, 4, ...: each the 3 × 3 stride-2 outputs of the former."""
    grid = PillarGrid.from_coords(sites, np.ones((len(sites), 1), np.float32), shape)
    levels = {1: grid}
    level = 1
    while level < deepest:
        rules = build_rules(grid, "strided", kernel=3, stride=2)
        ones = np.ones((rules.cols.size, 1), np.float32)
        grid = PillarGrid(rules.row_ptr, rules.cols, ones, rules.shape)
        level *= 2
        levels[level] = grid
    return levels


def _time_layer(
    layer: EngineLayer,
    grid: PillarGrid,
    peer: SpconvPeer | None,
    rounds: int,
    clock: Clock,
    rng: np.random.Generator,
) -> LayerTiming:
    scale = np.sqrt(2 / (layer.kernel**2 * layer.in_channels))
    shape = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    weight = (rng.standard_normal(shape) * scale).astype(np.float32)
    packed = pack_weight(weight)
    kept = build_rules(grid, layer.kind, kernel=layer.kernel, stride=layer.stride)

    def run(rulebook: Any = None) -> PillarGrid:
        return conv2d(grid, packed, kind=layer.kind, stride=layer.stride, rulebook=rulebook)

    total: Callable[[], Any] = run
    kernel: Callable[[], Any] = partial(run, kept)
    peer_total, peer_kernel, disagreements = None, None, None
    if peer is not None:
        peer_total, peer_kernel = peer.prepare(grid, weight, layer.kind, layer.stride)
        disagreements = _count_disagreements(run(), peer.to_grid(peer_total()))
    samples = _time_in_turns((total, kernel, peer_total, peer_kernel), rounds, _CLOCKS[clock])
    middle = [median(times) for times in samples]
    best = [min(times) for times in samples]
    rules = int(kept.counts.sum())
    return LayerTiming(
        layer=layer,
        pillars_in=len(grid),
        pillars_out=int(kept.cols.size),
        rules=rules,
        total_ms=middle[0],
        kernel_ms=middle[1],
        gflops=2 * rules * layer.in_channels * layer.out_channels / middle[1] / 1e6,
        peer_total_ms=middle[2] if peer_total else None,
        peer_kernel_ms=middle[3] if peer_kernel else None,
        speedup=middle[2] / middle[0] if peer_total else None,
        best_total_ms=best[0],
        best_peer_total_ms=best[2] if peer_total else None,
        best_speedup=best[2] / best[0] if peer_total else None,
        peer_disagreements=disagreements,
    )


def _count_disagreements(ours: PillarGrid, theirs: PillarGrid) -> int:
    """Return how many pillars differ: in being active, or in a channel by more than the tolerance."""
    if ours.shape != theirs.shape or not np.array_equal(ours.coords, theirs.coords):
        cells = {tuple(site) for site in ours.coords.tolist()} ^ {tuple(s) for s in theirs.coords.tolist()}
        return len(cells)
    limit = PEER_TOLERANCE * np.abs(ours.features).max(initial=0)
    return int((np.abs(ours.features - theirs.features) > limit).any(axis=1).sum())


def _time_in_turns(
    calls: tuple[Callable[[], Any] | None, ...], rounds: int, clock: Callable[[], float]
) -> list[list[float]]:
    """Return the times [ms] of each call (NaN for None), in rounds, each after a warm-up call."""
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, samples, strict=True):
            if call is None:
                times.append(math.nan)
                continue
            time.sleep(_PAUSE)
            call()
            start = clock()
            call()
            times.append(1e3 * (clock() - start))
    return samples
