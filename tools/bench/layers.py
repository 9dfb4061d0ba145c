"""layers.py: the layers of one network timed one by one, each against its roofline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...detector.network import LayerWeights, QuantisedLayer
from ...detector.standard import StandardNetwork
from .engine_report import LayerRun, compute_rate
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


def describe_layers(
    steps: Sequence[Step], samples: Sequence[Samples], peak: float, bandwidth: Bandwidth
) -> tuple[LayerRun, ...]:
    """Return the layers with what follows from their times.

    Args:
        steps, samples: one per layer.
        peak: of one core in the precision of the layers [10⁹/s].
        bandwidth: of one core.
    """
    return tuple(
        describe_layer_run(step, part.summarise(), peak, bandwidth)
        for step, part in zip(steps, samples, strict=True)
    )


def describe_layer_run(step: Step, timing: Timing, peak: float, bandwidth: Bandwidth) -> LayerRun:
    """Return one layer with what follows from its time."""
    record = step.record
    moved = record.bytes_in + record.bytes_weights + record.bytes_out
    gops = compute_rate(record.branch_macs, timing.ms)
    intensity = 2 * record.branch_macs / moved
    roof = min(peak, intensity * bandwidth.find(moved))
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
        peak_fraction=gops / peak,
        bytes=moved,
        intensity=intensity,
        roof_gops=roof,
        roof_fraction=gops / roof,
    )
