"""engine.py: the engine on the standard network, in the same rounds as other runtimes and the peak of the cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ...detector.manifest import Precision
from ...detector.standard import StandardNetwork, draw_pillars, standard_network
from ...runtime.errors import UsageError
from ...runtime.sparse import PillarGrid
from ...runtime.sparse.forms import FLOAT_FORM, INTEGER_FORM
from .amx import TileMeter, has_tiles
from .engine_report import (
    Choice,
    EngineReport,
    FrameReport,
    LayerRun,
    NetworkRun,
    PeerRun,
    compare_with_peers,
    compute_fraction,
    compute_rate,
    compute_saving,
    find_peak,
)
from .frames import EngineFrame
from .hardware import describe_hardware
from .layers import CoreLimits, describe_layer_run, time_layers
from .peak import TILE_UNIT, Bandwidth, Peak, PeakMeter, measure_bandwidth, open_meters
from .peers import Peer, gather_peers
from .rounds import Contender, Samples, find_disturbances, read_load, time_in_rounds
from .steps import FrameRules, Step, count_macs, record_steps

_PEAK_RUNS = 7  # of every meter before the rounds, which bring one more each
_LAYER_ROUNDS = 5  # rounds of the single layers per round of the networks: they are short

Meter = PeakMeter | TileMeter


@dataclass(frozen=True)
class EnginePlan:
    """What to measure.

    Attributes:
        choices: forms of the standard network.
        precisions: "fp32", "int8".
        threads: numbers of threads, each measured in the same rounds.
        rounds: timed calls of everything.
        peers: measure other runtimes, too.
        layers: measure the layers of one network one by one, too.

    Raises:
        UsageError: something to measure is missing or named twice.
    """

    choices: tuple[Choice, ...]
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    threads: tuple[int, ...] = (1,)
    rounds: int = 5
    peers: bool = True
    layers: bool = True

    def __post_init__(self) -> None:
        for name in ("choices", "precisions", "threads"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{name} to measure must be given, each once, got {list(values)}")
        if self.rounds < 1:
            raise UsageError(f"rounds must be at least 1, got {self.rounds}")


@dataclass(frozen=True, eq=False)
class _Entry:
    """A network on a frame, ready to be timed."""

    choice: Choice
    network: StandardNetwork
    grid: PillarGrid
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class _FrameTimes:
    """What was timed on one frame; each tuple of samples belongs to what it is named after, in order."""

    frame: EngineFrame
    entries: tuple[_Entry, ...]
    meters: tuple[Samples, ...]
    networks: tuple[Samples, ...]
    rules: tuple[Samples, ...]
    peers: tuple[Samples, ...]
    indices: tuple[Samples | None, ...]

    @property
    def samples(self) -> tuple[Samples, ...]:
        """Those of networks and peers."""
        return self.networks + self.peers


class EngineBench:
    """The benchmark with its networks and peers built; `run` measures.

    Args:
        frames: to measure on, one or more.
        plan: what to measure.

    Raises:
        UsageError: no frames, or numbers of threads that this machine does not have.
    """

    def __init__(self, frames: Sequence[EngineFrame], plan: EnginePlan) -> None:
        if not frames:
            raise UsageError("the benchmark needs a frame to measure on")
        self._load = read_load()
        self._frames, self._plan = tuple(frames), plan
        self._meters = [meter for count in plan.threads for meter in open_all_meters(count)]
        self._networks = [
            (choice, network)
            for choice in plan.choices
            for precision in plan.precisions
            for network in _build_networks(choice, precision, plan.threads)
        ]
        self._peers, self._missing = gather_peers(plan.precisions, plan.threads) if plan.peers else ((), ())

    @property
    def calls(self) -> int:
        """How often `run` calls its `progress`."""
        per_round = len(self._meters) + 2 * len(self._networks) + len(self._peers)
        per_round += sum(peer.prepare_indices is not None for peer in self._peers)
        layers = sum(len(network.architecture.layers) for _, network in self._pick_layered())
        in_layers = layers * (_LAYER_ROUNDS * self._plan.rounds + 1)
        return len(self._frames) * per_round * (self._plan.rounds + 1) + in_layers

    def run(self, progress: Callable[[], None] = lambda: None) -> EngineReport:
        """Measure everything and return the report.

        Args:
            progress: called `calls` times.
        """
        before = time_meters(self._meters)
        timed = [self._time_frame(frame, progress) for frame in self._frames]
        rates = [
            found + [rate for times in timed for rate in _list_rates(meter, times.meters[index])]
            for index, (meter, found) in enumerate(zip(self._meters, before, strict=True))
        ]
        peaks = [meter.describe(max(found)) for meter, found in zip(self._meters, rates, strict=True)]
        bandwidth = measure_bandwidth() if self._plan.layers else None
        layers_of, layers = self._measure_layers(timed[0], peaks, bandwidth, progress)
        alone = [found for meter, found in zip(self._meters, rates, strict=True) if meter.threads == 1]
        samples = [part for times in timed for part in times.samples]
        return EngineReport(
            hardware=describe_hardware(),
            forms=tuple(
                f"{p}: {f.dot} of {f.name}" for p, f in (("fp32", FLOAT_FORM), ("int8", INTEGER_FORM))
            ),
            rounds=self._plan.rounds,
            peaks=tuple(peaks),
            bandwidth=bandwidth,
            frames=tuple(_report_frame(times, self._peers, peaks) for times in timed),
            layers_of=layers_of,
            layers=layers,
            disturbances=find_disturbances(samples, alone, self._load),
            missing=self._missing,
        )

    def _time_frame(self, frame: EngineFrame, progress: Callable[[], None]) -> _FrameTimes:
        """Time all networks, their rules, the peers and the peak of the cores on one frame, in the same rounds."""
        entries = tuple(_open_entry(choice, network, frame) for choice, network in self._networks)
        meters = [Contender("peak", meter.threads, meter.run) for meter in self._meters]
        networks = [_contend(e, partial(e.network.run, e.grid)) for e in entries]
        rules = [
            _contend(e, FrameRules(e.steps, e.network.precision, e.network.threads).build) for e in entries
        ]
        grids = {p: draw_pillars(frame.coords, p) for p in self._plan.precisions}
        peers = [Contender(p.name, p.threads, p.prepare(grids[p.precision])) for p in self._peers]
        indices = [
            Contender("indices", p.threads, p.prepare_indices(grids[p.precision]))
            for p in self._peers
            if p.prepare_indices is not None
        ]
        groups = (meters, networks, rules, peers, indices)
        contenders = [contender for group in groups for contender in group]
        taken = iter(time_in_rounds(contenders, self._plan.rounds, progress=progress))
        times = [tuple(next(taken) for _ in group) for group in groups]
        found = iter(times[4])
        by_peer = tuple(None if p.prepare_indices is None else next(found) for p in self._peers)
        return _FrameTimes(frame, entries, times[0], times[1], times[2], times[3], by_peer)

    def _pick_layered(self) -> list[tuple[Choice, StandardNetwork]]:
        """Return the network whose layers are timed, in each precision: the submanifold one if it is there."""
        if not self._plan.layers:
            return []
        labels = [choice.label for choice in self._plan.choices]
        chosen = self._plan.choices[labels.index("submanifold") if "submanifold" in labels else 0]
        first = self._plan.threads[0]
        return [(c, n) for c, n in self._networks if c == chosen and n.threads == first]

    def _measure_layers(
        self,
        times: _FrameTimes,
        peaks: Sequence[Peak],
        bandwidth: Bandwidth | None,
        progress: Callable[[], None],
    ) -> tuple[str, tuple[LayerRun, ...]]:
        """Return the name of the network whose layers were timed, and these in all precisions."""
        if bandwidth is None:
            return "", ()
        runs: list[LayerRun] = []
        layered = self._pick_layered()
        for _, network in layered:
            entry = next(e for e in times.entries if e.network is network)
            samples = time_layers(network, entry.steps, _LAYER_ROUNDS * self._plan.rounds, progress=progress)
            limits = self._find_limits(peaks, network.precision, bandwidth)
            runs += (
                describe_layer_run(step, part.summarise(), limits)
                for step, part in zip(entry.steps, samples, strict=True)
            )
        return f"{layered[0][0].label}, frame {times.frame.name}", tuple(runs)

    def _find_limits(self, peaks: Sequence[Peak], precision: Precision, bandwidth: Bandwidth) -> CoreLimits:
        """Return the limits of one core: from the rounds, or measured now where no run had one thread."""
        if 1 not in self._plan.threads:
            meters = open_all_meters()
            rates = time_meters(meters)
            peaks = [meter.describe(max(found)) for meter, found in zip(meters, rates, strict=True)]
        vector = find_peak(peaks, precision, 1)
        tile = find_peak(peaks, precision, 1, TILE_UNIT)
        assert vector is not None
        form = FLOAT_FORM if precision == "fp32" else INTEGER_FORM
        return CoreLimits(vector, tile, form.dot == "tiles", bandwidth)


def open_all_meters(threads: int = 1) -> list[Meter]:
    """Return a meter for every unit and precision of `threads` cores."""
    return [*open_meters(threads), *([TileMeter(threads)] if has_tiles() else [])]


def time_meters(meters: Sequence[Meter], rounds: int = _PEAK_RUNS) -> list[list[float]]:
    """Return the rates of every meter in turns [10⁹/s]."""
    contenders = [Contender(meter.precision, meter.threads, meter.run) for meter in meters]
    samples = time_in_rounds(contenders, rounds)
    return [_list_rates(meter, part) for meter, part in zip(meters, samples, strict=True)]


def _list_rates(meter: Meter, samples: Samples) -> list[float]:
    return [meter.rate(seconds) for seconds in samples.seconds]


def _build_networks(
    choice: Choice, precision: Precision, threads: tuple[int, ...]
) -> Iterator[StandardNetwork]:
    """Yield one network per number of threads, all with the same weights."""
    weights = None
    for count in threads:
        network = standard_network(choice.variant, precision, choice.keep, threads=count, weights=weights)
        weights = network.weights
        yield network


def _open_entry(choice: Choice, network: StandardNetwork, frame: EngineFrame) -> _Entry:
    grid = draw_pillars(frame.coords, network.precision)
    return _Entry(choice, network, grid, record_steps(network, grid))


def _contend(entry: _Entry, call: Callable[[], object]) -> Contender:
    return Contender(entry.choice.label, entry.network.threads, call)


def _report_frame(times: _FrameTimes, peers: Sequence[Peer], peaks: Sequence[Peak]) -> FrameReport:
    """Return the figures of one frame."""
    others = tuple(
        _report_peer(peer, samples, indices, peer.count_macs(times.frame.coords), peaks)
        for peer, samples, indices in zip(peers, times.peers, times.indices, strict=True)
    )
    runs = tuple(
        compare_with_peers(_report_network(entry, samples, rules, peaks), others)
        for entry, samples, rules in zip(times.entries, times.networks, times.rules, strict=True)
    )
    frame = times.frame
    return FrameReport(frame.name, frame.points, len(frame.coords), runs, others)


def _report_network(entry: _Entry, samples: Samples, rules: Samples, peaks: Sequence[Peak]) -> NetworkRun:
    timing, building, macs = samples.summarise(), rules.summarise(), count_macs(entry.steps)
    precision, gops = entry.network.precision, compute_rate(macs, timing.ms)
    return NetworkRun(
        choice=entry.choice,
        precision=precision,
        timing=timing,
        rules=building,
        macs=macs,
        saving=compute_saving(macs),
        gops=gops,
        peak_fraction=compute_fraction(gops, find_peak(peaks, precision, timing.threads)),
        tile_fraction=compute_fraction(gops, find_peak(peaks, precision, timing.threads, TILE_UNIT)),
        rules_share=building.ms / timing.ms,
        speedups=(),
        ideal_share=None,
        rules_speedup=None,
    )


def _report_peer(
    peer: Peer, samples: Samples, indices: Samples | None, macs: int, peaks: Sequence[Peak]
) -> PeerRun:
    timing = samples.summarise()
    gops = compute_rate(macs, timing.ms)
    return PeerRun(
        name=peer.name,
        version=peer.version,
        precision=peer.precision,
        computes=peer.computes,
        timing=timing,
        indices=None if indices is None else indices.summarise(),
        macs=macs,
        gops=gops,
        peak_fraction=compute_fraction(gops, find_peak(peaks, peer.precision, timing.threads)),
        tile_fraction=compute_fraction(gops, find_peak(peaks, peer.precision, timing.threads, TILE_UNIT)),
    )
