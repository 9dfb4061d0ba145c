"""cost.py: what one layer costs on one accelerator: cycles, busy units, actions, traffic, and when each unit worked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

Unit = Literal["array", "rules", "gather", "scatter", "dram", "nonlinear"]
LoopOrder = Literal["tiles_outer", "channels_outer", "dense", "rows_outer"]


@dataclass(frozen=True)
class ActionCounts:
    """How often each action that costs energy happens; `energy.py` prices them.

    Attributes:
        mac: multiply-accumulates that were wanted.
        idle_pe: cycles of processing elements that did not.
        register_bits: bits that move from one processing element to the next: inputs along rows, sums down columns.
        input_read_bytes, input_write_bytes: of the input buffer.
        weight_read_bytes, weight_write_bytes: of the weight buffer.
        psum_read_bytes, psum_write_bytes: of the partial sums, 4 bytes each.
        output_read_bytes, output_write_bytes: of the output buffer.
        rule_compares: comparisons of coordinates.
        rule_read_bytes, rule_write_bytes: of the rule buffer.
        nonlinear: steps of the operator unit's lanes, one multiplication each.
        dram_stream_bits, dram_random_bits: to or from main memory, in order and not.
        cycles: that leakage lasts.
    """

    mac: int = 0
    idle_pe: int = 0
    register_bits: int = 0
    input_read_bytes: int = 0
    input_write_bytes: int = 0
    weight_read_bytes: int = 0
    weight_write_bytes: int = 0
    psum_read_bytes: int = 0
    psum_write_bytes: int = 0
    output_read_bytes: int = 0
    output_write_bytes: int = 0
    rule_compares: int = 0
    rule_read_bytes: int = 0
    rule_write_bytes: int = 0
    nonlinear: int = 0
    dram_stream_bits: int = 0
    dram_random_bits: int = 0
    cycles: int = 0

    def __add__(self, other: ActionCounts) -> ActionCounts:
        return ActionCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def sram_bytes(self) -> int:
        """Bytes read from and written to all buffers on the chip."""
        names = [f.name for f in fields(self) if f.name.endswith(("_read_bytes", "_write_bytes"))]
        return sum(getattr(self, name) for name in names)

    @property
    def dram_bytes(self) -> int:
        """Bytes from and to main memory."""
        return (self.dram_stream_bits + self.dram_random_bits) // 8


@dataclass(frozen=True)
class Event:
    """A unit at work on one piece of a layer, from cycle `start` to cycle `end` counted from the layer's start."""

    unit: Unit
    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Tiling:
    """How a layer was cut: order of its loops, most pillars (or positions) of a tile, and how many tiles ran."""

    order: LoopOrder
    tile_inputs: int
    tiles: int


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        cycles: from its start until all is stored.
        busy: cycles that each unit works; a mapper that worked ahead of the layer counts for it, so that it alone may
            exceed `cycles`.
        limit: the unit whose work bounds the layer; a port where it is one that keeps the array waiting.
        tiling: how it was cut.
        actions: what happened how often.
        gather_conflicts, scatter_conflicts: cycles lost to bank conflicts, counted on the real indices.
        exposed_mapping: cycles that the layer waited for a mapper that does not stream.
        events: when the units worked; those of one unit do not overlap, and their durations add up to `busy`.
    """

    cycles: int
    busy: tuple[tuple[Unit, int], ...]
    limit: Unit
    tiling: Tiling
    actions: ActionCounts
    gather_conflicts: int = 0
    scatter_conflicts: int = 0
    exposed_mapping: int = 0
    events: Sequence[Event] = ()

    def busy_cycles(self, unit: Unit) -> int:
        """Cycles that a unit works; 0 for one that the accelerator does not have."""
        return dict(self.busy).get(unit, 0)
