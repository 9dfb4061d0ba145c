"""report.py: what a trace costs on an accelerator, layer by layer and in all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .cost import ActionCounts, LayerCost
from .spec import Spec

PICOJOULES_PER_MILLIJOULE = 1e9


@dataclass(frozen=True)
class Band:
    """A figure with what it may be: low <= nominal <= high."""

    low: float
    nominal: float
    high: float

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.nominal + other.nominal, self.high + other.high)

    def __mul__(self, factor: float) -> Band:
        return Band(self.low * factor, self.nominal * factor, self.high * factor)


@dataclass(frozen=True)
class ComponentEnergy:
    """Energy of one component of the accelerator in one layer [pJ]."""

    component: str
    picojoules: Band


@dataclass(frozen=True)
class LayerReport:
    """One layer on one accelerator.

    Attributes:
        name, kind: of the layer.
        active_inputs, active_outputs: sites that were read and computed (all cells on a dense accelerator).
        rules: pairs of an input and an output that were multiplied.
        macs, dense_macs: multiply-accumulates that were wanted, and of the layer on full grids.
        macs_per_cycle: of the array at full use.
        start: cycle at which it begins.
        cost: its cycles, units, actions.
        energy: by component, in a fixed order.
    """

    name: str
    kind: str
    active_inputs: int
    active_outputs: int
    rules: int
    macs: int
    dense_macs: int
    macs_per_cycle: int
    start: int
    cost: LayerCost
    energy: tuple[ComponentEnergy, ...]

    @property
    def cycles(self) -> int:
        """From its start until all is stored."""
        return self.cost.cycles

    @property
    def utilisation(self) -> float:
        """Share of the array's multiplications that were wanted ones, 0..1."""
        return self.macs / (self.cycles * self.macs_per_cycle) if self.cycles else 0.0

    @property
    def dense_utilisation(self) -> float:
        """As if all multiply-accumulates of the dense layer had been done; may exceed 1."""
        return self.dense_macs / (self.cycles * self.macs_per_cycle) if self.cycles else 0.0

    @property
    def intensity(self) -> float:
        """Multiply-accumulates per byte of main memory; 0 without traffic."""
        moved = self.cost.actions.dram_bytes
        return self.macs / moved if moved else 0.0

    @property
    def picojoules(self) -> Band:
        """Energy of all components."""
        return sum((part.picojoules for part in self.energy), Band(0.0, 0.0, 0.0))


@dataclass(frozen=True)
class Report:
    """A trace on an accelerator.

    Attributes:
        trace_name: what ran.
        spec: the accelerator.
        layers: in order; each begins when the one before has stored its outputs.
    """

    trace_name: str
    spec: Spec
    layers: tuple[LayerReport, ...]

    @property
    def cycles(self) -> int:
        """Of all layers."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Of one frame, at the accelerator's clock."""
        return self.cycles / (self.spec.clock_mhz * 1e6)

    @property
    def frames_per_second(self) -> float:
        """Of frames like this one, one after the other; infinite for an empty trace."""
        return 1.0 / self.seconds if self.cycles else float("inf")

    @property
    def macs(self) -> int:
        """Multiply-accumulates that were wanted."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the same layers on full grids."""
        return sum(layer.dense_macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Share of the array's multiplications that were wanted ones, 0..1."""
        full = self.cycles * self.spec.array.macs_per_cycle
        return self.macs / full if full else 0.0

    @cached_property
    def actions(self) -> ActionCounts:
        """What happened how often, in all layers."""
        return sum((layer.cost.actions for layer in self.layers), ActionCounts())

    @cached_property
    def energy_band_mj(self) -> Band:
        """Energy of one frame [mJ]."""
        total = sum((layer.picojoules for layer in self.layers), Band(0.0, 0.0, 0.0))
        return total * (1 / PICOJOULES_PER_MILLIJOULE)

    @property
    def energy_mj(self) -> float:
        """Nominal energy of one frame [mJ]."""
        return self.energy_band_mj.nominal

    @property
    def watts(self) -> float:
        """Nominal power while frames follow one another [W]."""
        return self.energy_mj / 1e3 / self.seconds if self.cycles else 0.0

    def to_json(self) -> str:
        """Return the report as JSON, with the source of every constant; see `report_json.describe_report`."""
        from .report_json import format_report  # it reads what is defined here

        return format_report(self)

    def to_chrome_trace(self) -> str:
        """Return when each unit worked as a trace that Perfetto opens; see `chrome_trace.format_trace`."""
        from .chrome_trace import format_trace  # it reads what is defined here

        return format_trace((self,))
