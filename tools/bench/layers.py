"""layers.py: the layers of one network timed one by one, each against its roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...detector.network import LayerWeights, QuantisedLayer
from ...detector.standard import StandardNetwork
from .engine_report import LayerRun, compute_fraction, compute_rate
from .peak import Bandwidth
from .rounds import Contender, Samples, Timing, time_in_rounds
from .steps import LayerCall, Step


def time_layers(
    network: StandardNetwork, steps: Sequence[Step], rounds: int, *, progress: Callable[[], None]
) -> tuple[Samples, ...]:
    """Time every layer of a network on one thread, in turns, with rules and plans kept."""
    weights: tuple[LayerWeights | QuantisedLayer, ...] = network.weights
    parts = zip(steps, network.architecture.layers, weights, strict=True)
    calls = [(layer.name, LayerCall(step, layer, part, threads=1)) for step, layer, part in parts]
    contenders = [Contender(name, 1, call.run) for name, call in calls]
    return time_in_rounds(contenders, rounds, progress=progress)


@dataclass(frozen=True)
class CoreLimits:
    """What one core can do in one precision.

    Attributes:
        vector, tile: peaks of its units [10⁹ operations/s]; None where there is no tile unit.
        uses_tiles: which of them the engine works with.
        bandwidth: what it reads.
    """

    vector: float
    tile: float | None
    uses_tiles: bool
    bandwidth: Bandwidth

    def find_roof(self, intensity: float, size: int) -> float:
        """Return the limit for work of so many operations per byte on `size` bytes [10⁹ operations/s]."""
        peak = self.tile if self.uses_tiles and self.tile is not None else self.vector
        return min(peak, intensity * self.bandwidth.find(size))


def describe_layer_run(step: Step, timing: Timing, limits: CoreLimits) -> LayerRun:
    """Return one layer with what follows from its time."""
    record = step.record
    moved = record.bytes_in + record.bytes_weights + record.bytes_out
    gops = compute_rate(record.branch_macs, timing.ms)
    intensity = 2 * record.branch_macs / moved
    roof = limits.find_roof(intensity, moved)
    return LayerRun(
        name=record.name,
        kind=record.kind,
        kernel=record.kernel,
        stride=record.stride,
        in_channels=record.in_channels,
        out_channels=record.out_channels,
        precision=record.precision,
        outputs=record.active_outputs,
        timing=timing,
        macs=record.branch_macs,
        gops=gops,
        peak_fraction=gops / limits.vector,
        tile_fraction=compute_fraction(gops, limits.tile),
        bytes=moved,
        intensity=intensity,
        roof_gops=roof,
        roof_fraction=gops / roof,
    )
