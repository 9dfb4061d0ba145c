"""simulate.py: a trace on an accelerator: every layer costed in turn, its actions priced."""

from __future__ import annotations

from ..runtime.errors import ConfigError
from ..runtime.operations import OperationTrace
from ..runtime.trace import LayerRecord, Trace
from .cost import LayerCost
from .dense_layer import cost_dense_layer, cost_encoder
from .energy import EnergyTable, derive_energies, price
from .geometry import find_geometry
from .report import LayerReport, Report
from .scheduler import cost_sparse_layer
from .sparse_job import SparseJob, keeps_rules
from .spec import Spec
from .transformer import simulate_operations


def simulate(trace: Trace | OperationTrace, spec: Spec) -> Report:
    """Return what a recorded frame, or a transformer's operations, would cost on an accelerator.

    A sparse trace on a dense accelerator is costed as the dense network would be. Layers run one after the other.

    Raises:
        ConfigError: the accelerator does not run such traces, a buffer is too small for a layer, or a layer counts
            other rules than its maps of sites have.
    """
    if isinstance(trace, OperationTrace):
        return simulate_operations(trace, spec)
    if spec.kind == "transformer":
        raise ConfigError(f"{spec.name} runs transformers; this is the trace of a pillar network")
    costs = _cost_dense(trace, spec) if spec.kind == "dense" else _cost_sparse(trace, spec)
    return _report(trace, spec, costs)


def _cost_dense(trace: Trace, spec: Spec) -> list[LayerCost]:
    return [cost_dense_layer(layer, spec) for layer in trace.layers]


def _cost_sparse(trace: Trace, spec: Spec) -> list[LayerCost]:
    """Cost the layers in order; one over the sites of the layer before finds its rules where that one left them."""
    assert spec.mapping is not None
    assert spec.gather is not None
    assert spec.dataflow is not None
    costs: list[LayerCost] = []
    held: object = None
    ahead = 0
    for layer in trace.layers:
        geometry = find_geometry(layer)
        if layer.rules != geometry.rules_per_tap:
            raise ConfigError(f"{trace.name}: rules of layer '{layer.name}' are not its maps'; trace again")
        known = spec.dataflow.shared_rules and held is geometry
        job = SparseJob(layer, geometry, spec, spec.mapping, spec.gather, spec.dataflow, known)
        cost = cost_sparse_layer(job, ahead)
        ahead = cost.cycles - cost.exposed_mapping
        held = geometry if keeps_rules(geometry, spec) else None
        costs.append(cost)
    return costs


def _report(trace: Trace, spec: Spec, costs: list[LayerCost]) -> Report:
    table = derive_energies(spec)
    layers: list[LayerReport] = []
    start = 0
    if trace.encoder is not None:
        cost = cost_encoder(trace.encoder, spec)
        encoder = trace.encoder
        layers.append(
            LayerReport(
                name="encoder",
                kind="encoder",
                active_inputs=encoder.points,
                active_outputs=encoder.pillars,
                rules=encoder.points,
                macs=encoder.macs,
                dense_macs=encoder.macs,
                macs_per_cycle=spec.array.macs_per_cycle,
                start=start,
                cost=cost,
                energy=price(cost.actions, table),
            )
        )
        start += cost.cycles
    for layer, cost in zip(trace.layers, costs, strict=True):
        layers.append(_describe_layer(layer, spec, cost, start, table))
        start += cost.cycles
    return Report(trace.name, spec, tuple(layers))


def _describe_layer(
    layer: LayerRecord, spec: Spec, cost: LayerCost, start: int, table: EnergyTable
) -> LayerReport:
    """Return the report of a layer; on a dense accelerator all its sites are active and all its work is wanted."""
    dense = spec.kind == "dense"
    cells = layer.in_shape[0] * layer.in_shape[1], layer.out_shape[0] * layer.out_shape[1]
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        active_inputs=cells[0] if dense else layer.active_inputs,
        active_outputs=cells[1] if dense else layer.active_outputs,
        rules=layer.dense_macs // (layer.in_channels * layer.out_channels) if dense else sum(layer.rules),
        macs=layer.dense_macs if dense else layer.macs,
        dense_macs=layer.dense_macs,
        macs_per_cycle=spec.array.macs_per_cycle,
        start=start,
        cost=cost,
        energy=price(cost.actions, table),
    )
