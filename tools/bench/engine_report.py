"""engine_report.py: what `colonnade bench engine` found, and how its figures follow from the times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...detector.manifest import Precision
from ...detector.standard import DENSE_MACS, Variant
from .hardware import Hardware
from .peak import VECTOR_UNIT, Bandwidth, Peak
from .rounds import Timing

SCHEMA, VERSION = "colonnade-bench-engine", 2
DENSE_PEER = "onnxruntime"  # that speed-ups for the saving are counted against
_DIGITS = 5  # significant ones of a figure in the file


@dataclass(frozen=True)
class Choice:
    """A form of the standard network: a variant, for "pruned" with the share that it keeps."""

    variant: Variant
    keep: float | None = None

    @property
    def label(self) -> str:
        """Its name, such as "submanifold" or "pruned 0.5"."""
        return self.variant if self.keep is None else f"{self.variant} {self.keep:g}"


@dataclass(frozen=True)
class Speedup:
    """How many times faster than a peer with as many threads on the same frame."""

    peer: str
    precision: str
    factor: float


@dataclass(frozen=True)
class NetworkRun:
    """The engine on one frame.

    Attributes:
        choice, precision: the network.
        timing: of a whole call, pillars to heads.
        rules: of its rules and plans alone.
        macs: useful multiply-accumulates.
        saving: share of the dense network's that is not among them.
        gops: 2 · macs / time [10⁹/s].
        peak_fraction: gops / the vector units' peak of as many cores; above 1 where the tile units did the work.
        tile_fraction: gops / the tile units' peak of as many cores; None in fp32 and where there are none.
        rules_share: time of rules and plans / time.
        speedups: over the peers.
        ideal_share: speed-up over the dense peer of the same precision × (1 - saving): 1 where the work that is
            saved is saved time in full.
        rules_speedup: time of spconv's indices / that of rules and plans, for "submanifold".
    """

    choice: Choice
    precision: Precision
    timing: Timing
    rules: Timing
    macs: int
    saving: float
    gops: float
    peak_fraction: float | None
    tile_fraction: float | None
    rules_share: float
    speedups: tuple[Speedup, ...]
    ideal_share: float | None
    rules_speedup: float | None


@dataclass(frozen=True)
class PeerRun:
    """Another runtime on one frame; fields as those of `NetworkRun` and `Peer`."""

    name: str
    version: str
    precision: Precision
    computes: str
    timing: Timing
    indices: Timing | None
    macs: int
    gops: float
    peak_fraction: float | None
    tile_fraction: float | None


@dataclass(frozen=True)
class FrameReport:
    """All runs on one frame, timed in the same rounds."""

    name: str
    points: int | None
    pillars: int
    networks: tuple[NetworkRun, ...]
    peers: tuple[PeerRun, ...]


@dataclass(frozen=True)
class LayerRun:
    """One layer of one network on the first frame, rules and plan kept, on one thread.

    Attributes:
        name, kind, kernel, stride, in_channels, out_channels: the layer.
        precision: of its multiplications.
        outputs: active outputs.
        timing: of the convolution.
        macs, gops, peak_fraction, tile_fraction: as in `NetworkRun`.
        bytes: features read, weights and features written, each once.
        intensity: operations per byte.
        roof_gops: the lower of the peak of the unit that does the work, and intensity × what the core reads from where
            so many bytes lie.
        roof_fraction: gops / roof_gops.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    precision: str
    outputs: int
    timing: Timing
    macs: int
    gops: float
    peak_fraction: float
    tile_fraction: float | None
    bytes: int
    intensity: float
    roof_gops: float
    roof_fraction: float


@dataclass(frozen=True)
class EngineReport:
    """The whole benchmark.

    Attributes:
        hardware: what it ran on.
        forms: the engine's micro-kernels, such as "fp32: fma of avx512".
        rounds: timed calls of everything.
        peaks: of the cores, from the same rounds.
        bandwidth: of one core.
        frames: the networks and their peers.
        layers_of: the network whose layers follow, "" for none.
        layers: its layers.
        disturbances: what speaks against the figures, in words.
        missing: peers that are not installed.
    """

    hardware: Hardware
    forms: tuple[str, ...]
    rounds: int
    peaks: tuple[Peak, ...]
    bandwidth: Bandwidth | None
    frames: tuple[FrameReport, ...]
    layers_of: str
    layers: tuple[LayerRun, ...]
    disturbances: tuple[str, ...]
    missing: tuple[str, ...]

    def to_json(self) -> str:
        """Return the report as indented JSON, figures with five significant digits."""
        head = {"schema": SCHEMA, "version": VERSION, "hardware": self.hardware.to_dict()}
        return json.dumps(
            head | {k: v for k, v in round_figures(asdict(self)).items() if k != "hardware"}, indent=2
        )


def find_peak(peaks: Sequence[Peak], precision: str, threads: int, unit: str = VECTOR_UNIT) -> float | None:
    """Return the peak of a unit of `threads` cores [10⁹/s]; None where it was not measured, or there is none."""
    wanted = (precision, threads, unit)
    return max((p.gops for p in peaks if (p.precision, p.threads, p.unit) == wanted), default=None)


def compute_fraction(gops: float, peak: float | None) -> float | None:
    """Return gops / peak, None without a peak."""
    return None if peak is None else gops / peak


def compute_rate(macs: int, milliseconds: float) -> float:
    """Return 10⁹ operations per second, two per multiply-accumulate."""
    return 2 * macs / milliseconds / 1e6


def compute_saving(macs: int) -> float:
    """Return the share of the dense network's multiply-accumulates that is not among `macs`."""
    return 1.0 - macs / DENSE_MACS


def compare_with_peers(run: NetworkRun, peers: Sequence[PeerRun]) -> NetworkRun:
    """Return the run with its speed-ups over the peers of the same frame and number of threads.

    A sparse peer is compared with the network that it computes only.
    """
    rivals = [
        peer
        for peer in peers
        if peer.timing.threads == run.timing.threads and peer.computes in ("dense", run.choice.label)
    ]
    speedups = tuple(Speedup(peer.name, peer.precision, peer.timing.ms / run.timing.ms) for peer in rivals)
    ideal = [
        speedup.factor * (1.0 - run.saving)
        for speedup in speedups
        if (speedup.peer, speedup.precision) == (DENSE_PEER, run.precision)
    ]
    indices = [peer.indices.ms / run.rules.ms for peer in rivals if peer.indices is not None]
    return replace(
        run,
        speedups=speedups,
        ideal_share=ideal[0] if ideal else None,
        rules_speedup=indices[0] if indices else None,
    )


def round_figures(value: Any) -> Any:
    """Return plain values for JSON with floats cut to five significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_figures(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [round_figures(part) for part in value]
    return value
