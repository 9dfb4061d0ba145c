"""spec.py: what an accelerator is made of: array, memories, mapping and gather units, operators, energies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["pillar", "dense", "transformer"]
Basis = Literal["published", "derived", "assumed", "given"]  # "given": a user's own value, without a source
WeightPreload = Literal["double_buffered", "serial", "per_tap_fill"]
TapPacking = Literal["by_tap", "packed"]
MacFormat = Literal["int8", "w4a8", "dint4", "fp16"]
DramType = Literal["lpddr4", "ddr4", "hbm2"]
MappingMethod = Literal["streaming", "merge_sort", "hash"]
SortedCandidates = Literal["none", "outputs", "products"]
Layout = Literal["channel_interleaved", "pillar_interleaved"]
PsumPorts = Literal["one_read_one_write", "one_shared"]
NonlinearUnit = Literal["nn_lut", "polynomial", "exact"]


@dataclass(frozen=True)
class ArraySpec:
    """A weight-stationary systolic array: input channels on its rows, output channels on its columns.

    Attributes:
        rows, columns: R and C.
        weight_preload: "double_buffered" (the next weights shift in behind the running ones), "serial" (fill, stream,
            drain: SCALE-Sim's form), or "per_tap_fill" (rows cycles per tap and fold, no drain: a first-order table).
        tap_packing: "by_tap" gives each tap its own folds; "packed" puts taps × Cin on the rows (dense layers only).
        mac_format: of the multiplier.
        macs_per_pe: multiplications of one element per cycle.
    """

    rows: int
    columns: int
    weight_preload: WeightPreload = "double_buffered"
    tap_packing: TapPacking = "by_tap"
    mac_format: MacFormat = "int8"
    macs_per_pe: int = 1

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates per cycle at full use."""
        return self.rows * self.columns * self.macs_per_pe

    @property
    def fold_inputs(self) -> int:
        """R · m: input channels that one fold takes, m multipliers of an element side by side."""
        return self.rows * self.macs_per_pe

    def count_busy(self, macs: int) -> int:
        """Return the cycles of elements that so many multiply-accumulates keep busy: ceil(macs / m)."""
        return -(-macs // self.macs_per_pe)

    def count_idle(self, cycles: int, macs: int) -> int:
        """Return the cycles of elements that do nothing while so many multiply-accumulates run."""
        return cycles * self.rows * self.columns - self.count_busy(macs)


@dataclass(frozen=True)
class SramSpec:
    """On-chip memories [KiB]; input, output and rule buffers are two halves each, one filled while one is used.

    Attributes:
        input_kib: features of the input tile.
        weight_kib: weights; a layer that fits stays for the whole layer.
        psum_kib: 32-bit partial sums of the active outputs.
        output_kib: requantised outputs on their way out.
        rule_kib: rules, 4 bytes each; a rulebook that fits is shared by the layers over the same sites.
        word_bytes: width of one access.
    """

    input_kib: float
    weight_kib: float
    psum_kib: float
    output_kib: float
    rule_kib: float
    word_bytes: int = 64


@dataclass(frozen=True)
class DramSpec:
    """Main memory: peak bandwidth [GB/s = 1e9 bytes per second] and the shares of it that streams and gathers reach."""

    type: DramType
    bandwidth_gb_per_s: float
    streaming_efficiency: float
    random_efficiency: float


@dataclass(frozen=True)
class MappingSpec:
    """The unit that finds which input meets which output under which tap.

    Attributes:
        method: "streaming" (PillarAcc's rule generation unit, linear in pillars), "merge_sort" (PointAcc-like), "hash".
        lanes: columns per cycle (streaming), elements per cycle (merge_sort), banks (hash).
        row_overhead_cycles: of a row that is begun (streaming).
        pipeline_cycles: depth of the unit.
        sorted_candidates: what merge_sort sorts to find the outputs of a layer that dilates: nothing, each output once,
            or every product of an input and a tap.
    """

    method: MappingMethod
    lanes: int
    row_overhead_cycles: int = 1
    pipeline_cycles: int = 16
    sorted_candidates: SortedCandidates = "outputs"


@dataclass(frozen=True)
class GatherSpec:
    """How vectors reach the array and partial sums their places.

    Attributes:
        layout: "channel_interleaved" (the words of one vector lie in different banks, at its rank) or
            "pillar_interleaved" (a vector lies in bank rank mod banks, several are fetched at once).
        banks: of the input buffer, and of the partial-sum buffer.
        bank_word_bytes: width of a bank.
        gather_bytes_per_cycle, scatter_bytes_per_cycle: widths of the ports.
        psum_ports: "one_read_one_write", or "one_shared", which needs two cycles per partial-sum vector.
    """

    layout: Layout
    banks: int
    bank_word_bytes: int
    gather_bytes_per_cycle: int
    scatter_bytes_per_cycle: int
    psum_ports: PsumPorts = "one_read_one_write"


@dataclass(frozen=True)
class DataflowSpec:
    """PillarAcc's optimisations, each by itself on or off so that its effect can be shown.

    Attributes:
        weight_grouping: a strided layer streams each parity class of inputs through its own taps only.
        ganged_scatter: a transposed layer gathers an input once for all s² taps, which lie side by side on the columns.
        active_tiles: partial sums of outputs that the next tile touches stay on chip.
        tile_search: the best tile size and loop order per layer; else `tile_inputs` pillars and tiles outermost.
        shared_rules: submanifold layers over the same sites generate their rules once.
        tile_inputs: pillars of a tile without search.
    """

    weight_grouping: bool = True
    ganged_scatter: bool = True
    active_tiles: bool = True
    tile_search: bool = True
    shared_rules: bool = True
    tile_inputs: int = 512


@dataclass(frozen=True)
class NonlinearSpec:
    """The unit for GELU, softmax, layer norm: lanes, depth, and for "nn_lut" the entries of its tables."""

    unit: NonlinearUnit
    lanes: int
    pipeline_cycles: int
    entries: int = 16


@dataclass(frozen=True)
class ActionEnergy:
    """Energy of one action [pJ], with a band, and where it comes from."""

    value_pj: float
    low_pj: float
    high_pj: float
    basis: Basis
    source: str


@dataclass(frozen=True)
class EnergySpec:
    """Technology, and energies that replace those derived for it (by action, the fields of `ActionCounts`)."""

    node_nm: int
    overrides: Mapping[str, ActionEnergy] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where a constant comes from."""

    basis: Basis
    source: str


@dataclass(frozen=True)
class Spec:
    """An accelerator.

    Attributes:
        name, description: of the design.
        kind: "pillar" runs sparse layers as they are, "dense" runs them on full grids, "transformer" runs attention.
        clock_mhz: of all units.
        array, sram, dram, energy: parts that all kinds have.
        mapping, gather, dataflow: parts of "pillar".
        nonlinear: part of "transformer".
        provenance: by key, such as "array.rows"; every number of a preset has one.
    """

    name: str
    description: str
    kind: Kind
    clock_mhz: float
    array: ArraySpec
    sram: SramSpec
    dram: DramSpec
    energy: EnergySpec
    mapping: MappingSpec | None = None
    gather: GatherSpec | None = None
    dataflow: DataflowSpec | None = None
    nonlinear: NonlinearSpec | None = None
    provenance: Mapping[str, Provenance] = field(default_factory=dict)

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation."""
        return 2 if self.array.mac_format == "fp16" else 1

    @property
    def weight_bits(self) -> int:
        """Bits of one weight."""
        return {"int8": 8, "w4a8": 4, "dint4": 4, "fp16": 16}[self.array.mac_format]

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Peak bandwidth in bytes per clock cycle."""
        return self.dram.bandwidth_gb_per_s * 1e3 / self.clock_mhz
