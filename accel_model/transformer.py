"""transformer.py: what the operations of a transformer cost on an array with an operator unit."""

from __future__ import annotations

from ..runtime.operations import OperationRecord, OperationTrace
from .cost import LayerCost
from .energy import EnergyTable, derive_energies, price
from .operation_cost import cost_step, fits_rows
from .operation_steps import Engine, MemoryPlan
from .report import LayerReport, Report
from .spec import Spec
from .transformer_shapes import SHAPES, TransformerShape, find_shape, list_operations

__all__ = ["SHAPES", "TransformerShape", "find_shape", "list_operations", "simulate_operations"]


def simulate_operations(trace: OperationTrace, spec: Spec) -> Report:
    """Return what a trace costs on an accelerator of kind "transformer"; equations: `operation_cost.cost_step`.

    A product and the operators that follow it are one step, in which the operator unit works beside the array, or two
    steps one after the other: where a row does not fit, or where that takes fewer cycles. Steps do not overlap.
    Operands are stored in the accelerator's formats, or in their own where those are narrower.

    Raises:
        ConfigError: the accelerator runs no transformers, or a buffer is too small.
    """
    engine = Engine.of(spec)
    plan = MemoryPlan(trace, engine)
    table = derive_energies(spec)
    layers: list[LayerReport] = []
    for index in range(len(plan.groups)):
        for operations, cost in _cost_group(plan, index, engine):
            start = layers[-1].start + layers[-1].cycles if layers else 0
            layers.append(_describe(operations, cost, spec, start, table))
    return Report(trace.name, spec, tuple(layers))


def _cost_group(
    plan: MemoryPlan, index: int, engine: Engine
) -> list[tuple[tuple[OperationRecord, ...], LayerCost]]:
    """Return the operations and the cost of each step of a group: of one step, or of two if that is faster."""
    group, joint = plan.groups[index], plan.make_step(index)
    together = [(group, cost_step(joint, engine))] if fits_rows(joint, engine) else []
    if joint.product is None or not joint.operators:
        return together or [(group, cost_step(joint, engine))]
    apart = [
        (operations, cost_step(step, engine))
        for operations, step in zip((group[:1], group[1:]), plan.make_two_steps(index), strict=True)
    ]
    if together and together[0][1].cycles <= sum(cost.cycles for _, cost in apart):
        return together
    return apart


def _describe(
    operations: tuple[OperationRecord, ...], cost: LayerCost, spec: Spec, start: int, table: EnergyTable
) -> LayerReport:
    head = operations[0]
    rows = head.batch * head.rows
    return LayerReport(
        name=" + ".join([head.name, *(operation.name.rpartition(".")[2] for operation in operations[1:])]),
        kind=" + ".join(operation.kind for operation in operations),
        active_inputs=rows,
        active_outputs=rows,
        rules=rows if head.kind == "matmul" else 0,
        macs=head.macs,
        dense_macs=head.macs,
        macs_per_cycle=spec.array.macs_per_cycle,
        start=start,
        cost=cost,
        energy=price(cost.actions, table),
    )
