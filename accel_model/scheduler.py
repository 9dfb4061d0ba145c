"""scheduler.py: the best tile size and loop order of a sparse layer under the buffers' limits, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError
from .cost import ActionCounts, Event, LayerCost, LoopOrder, Tiling, Unit
from .pipeline import Timeline, run_pipeline
from .rule_generation import (
    RULE_BYTES,
    count_compares,
    count_hashing_cycles,
    count_sorting_cycles,
    count_streaming_cycles,
)
from .sparse_job import KIB, SparseJob, list_passes
from .sparse_layer import Schedule, plan_schedule

_ORDERS: tuple[LoopOrder, ...] = ("tiles_outer", "channels_outer")
_SIZES = (2048, 1024, 512, 256, 128)  # and the accelerator's own `tile_inputs`
_SLACK = 1 + 1 / 256  # cycles that may be paid for less traffic, as in `dense_layer.py`
_SMALLER = (64, 32, 16, 8, 4, 2, 1)  # tried only where none of the above fits


def cost_sparse_layer(job: SparseJob, ahead: int) -> LayerCost:
    """Return what a layer costs on a pillar accelerator in its best schedule.

    Args:
        job: the layer.
        ahead: cycles in which a mapper that is not streaming could work before the layer's start.

    Raises:
        ConfigError: no schedule fits the buffers.
    """
    mapped = _count_mapping(job)
    hidden = min(mapped, ahead)
    if not job.geometry.inputs:
        return _cost_empty(job, mapped, hidden)
    schedule, timeline = _choose(list_schedules(job))
    return _describe(job, schedule, timeline, mapped, hidden)


def _choose(schedules: list[Schedule]) -> tuple[Schedule, Timeline]:
    """Return the schedule with the least traffic of those that take at most _SLACK more cycles than the fastest."""
    found: list[tuple[int, Schedule, Timeline]] = []
    fastest = math.inf
    for schedule in sorted(schedules, key=lambda s: s.bound):
        if schedule.bound > fastest * _SLACK:
            break
        timeline = run_pipeline(schedule.steps)
        fastest = min(fastest, timeline.cycles)
        found.append((timeline.cycles, schedule, timeline))
    good = [(s.traffic, cycles, s, t) for cycles, s, t in found if cycles <= fastest * _SLACK]
    _, _, schedule, timeline = min(good, key=lambda entry: entry[:2])
    return schedule, timeline


def list_schedules(job: SparseJob) -> list[Schedule]:
    """Return the schedules that fit the buffers; without tile search, the one of its tile size.

    Raises:
        ConfigError: none fits.
    """
    for sizes in _list_sizes(job):
        found = [
            schedule
            for size in sizes
            for order in _list_orders(job)
            if (schedule := plan_schedule(job, order, size)) is not None
        ]
        if found:
            return found
    sram = job.spec.sram
    raise ConfigError(
        f"{job.spec.name}: layer '{job.layer.name}' ({job.layer.in_channels} -> {job.layer.out_channels} channels) "
        f"fits in no tile; enlarge sram.input_kib ({sram.input_kib:g}), sram.weight_kib ({sram.weight_kib:g}), "
        f"sram.psum_kib ({sram.psum_kib:g}), sram.output_kib ({sram.output_kib:g}) or sram.rule_kib "
        f"({sram.rule_kib:g}), or let dataflow.tile_search choose"
    )


def _list_orders(job: SparseJob) -> tuple[LoopOrder, ...]:
    """Return the loop orders that differ: with one column fold and its weights on the chip there is but one."""
    kept = job.weight_bytes <= job.spec.sram.weight_kib * KIB
    same = kept and len(list_passes(job, "channels_outer")) == 1
    return _ORDERS[:1] if same or not job.dataflow.tile_search else _ORDERS


def _list_sizes(job: SparseJob) -> Iterator[tuple[int, ...]]:
    """Yield groups of tile sizes, to be tried one after the other until one fits."""
    if not job.dataflow.tile_search:
        yield (job.dataflow.tile_inputs,)
    else:
        sizes = sorted({*_SIZES, job.dataflow.tile_inputs})
        yield tuple(s for i, s in enumerate(sizes) if i == 0 or sizes[i - 1] < job.geometry.inputs)
    for size in _SMALLER:
        yield (size,)


def _count_mapping(job: SparseJob) -> int:
    """Return the cycles of a mapper that works before the layer; 0 for one that streams into it."""
    if job.rules_known or job.mapping.method == "streaming":
        return 0
    if job.mapping.method == "merge_sort":
        return count_sorting_cycles(job.geometry, job.mapping)
    return count_hashing_cycles(job.geometry, job.mapping)


def _cost_empty(job: SparseJob, mapped: int, hidden: int) -> LayerCost:
    """Return the cost of a layer without inputs: rule generation finds out, nothing else happens."""
    cycles = mapped - hidden
    if job.mapping.method == "streaming" and not job.rules_known:
        cycles = mapped = count_streaming_cycles(job.geometry, job.mapping)
    events = (Event("rules", -hidden, mapped - hidden, "no inputs"),) if mapped else ()
    actions = ActionCounts(idle_pe=job.spec.array.count_idle(cycles, 0), cycles=cycles)
    return LayerCost(
        cycles, (("rules", mapped),), "rules", Tiling("tiles_outer", 0, 0), actions, events=events
    )


def _describe(job: SparseJob, schedule: Schedule, timeline: Timeline, mapped: int, hidden: int) -> LayerCost:
    """Return the cost of a schedule that ran, after the part of the mapping that could not be hidden."""
    late = mapped - hidden
    steps, table = schedule.steps, schedule.table
    busy: dict[Unit, int] = {
        "array": int(steps.stream.sum()),
        "rules": int(steps.rules.sum()) + mapped,
        "gather": int(table.gather.sum()),
        "scatter": int(table.scatter.sum()),
        "dram": int(steps.load.sum() + steps.store.sum()),
    }
    cycles = timeline.cycles + late
    compares = count_compares(job.geometry, job.mapping) if mapped else schedule.actions.rule_compares
    actions = replace(
        schedule.actions,
        rule_compares=compares,
        rule_write_bytes=job.geometry.rules * RULE_BYTES if mapped else schedule.actions.rule_write_bytes,
        idle_pe=job.spec.array.count_idle(cycles, job.layer.macs),
        cycles=cycles,
    )
    return LayerCost(
        cycles=cycles,
        busy=tuple(busy.items()),
        limit=_find_limit(busy, int(table.unhindered.sum())),
        tiling=Tiling(schedule.order, schedule.tile_inputs, schedule.tiles),
        actions=actions,
        gather_conflicts=int(table.gather_conflicts.sum()),
        scatter_conflicts=int(table.scatter_conflicts.sum()),
        exposed_mapping=late,
        events=_Events(table.gather, table.scatter, timeline.spans, -hidden, late),
    )


def _find_limit(busy: dict[Unit, int], unhindered: int) -> Unit:
    """Return the unit that is busiest; of an array that its ports keep waiting, the busier port."""
    longest = max(busy, key=lambda unit: busy[unit])
    if longest not in ("array", "gather", "scatter"):
        return longest
    own = busy | {"array": unhindered}
    return max(("array", "gather", "scatter"), key=lambda unit: own[unit])


class _Events(Sequence[Event]):
    """The events of a layer, listed when somebody reads them: a sweep over designs reads none.

    Args:
        gather, scatter: (S,) cycles of the ports per step.
        spans: as in `Timeline`.
        early, late: first and last cycle of a mapping before the layer; its steps begin at `late`.
    """

    def __init__(
        self,
        gather: NDArray[np.int64],
        scatter: NDArray[np.int64],
        spans: NDArray[np.int64],
        early: int,
        late: int,
    ) -> None:
        self._ports, self._spans = (gather, scatter), spans
        self._early, self._late = early, late

    @cached_property
    def _listed(self) -> list[Event]:
        found = [Event("rules", self._early, self._late, "mapping")]
        gather, scatter = (port.tolist() for port in self._ports)
        loads, rules, streams, stores = (self._spans + self._late).tolist()
        for step, (begin, end) in enumerate(streams):
            found += (
                Event("rules", rules[step][0], rules[step][1], f"rules {step}"),
                Event("dram", loads[step][0], loads[step][1], f"load {step}"),
                Event("array", begin, end, f"multiply {step}"),
                Event("gather", begin, begin + gather[step], f"gather {step}"),
                Event("scatter", begin, begin + scatter[step], f"scatter {step}"),
                Event("dram", stores[step][0], stores[step][1], f"store {step}"),
            )
        return [event for event in found if event.end > event.start]

    def __len__(self) -> int:
        return len(self._listed)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return self._listed[index]
