"""sequence_lengths.py: a transformer over lengths of its sequence, on several accelerators and operator units."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ..runtime.errors import ConfigError, UsageError
from .cost import Unit
from .report import Band, Report
from .spec import NonlinearUnit, Spec
from .transformer import simulate_operations
from .transformer_shapes import TransformerShape, list_operations

FORMAT = "colonnade-sequence-lengths"
VERSION = 1


@dataclass(frozen=True)
class PublishedBand:
    """What is published on NN-LUT against I-BERT's operators, to stand beside our figures; nothing is fitted to it."""

    shortest: int = 16
    share_at_shortest: float = 0.177
    longest: int = 1024
    share_at_longest: float = 0.378
    speed_up_at_most: float = 1.26
    source: str = (
        "third-party text on NN-LUT (arXiv 2112.02191): share of I-BERT's operators in all cycles, and speed-up in all;"
        " the network, array, lanes and memory behind it are not known"
    )


PUBLISHED = PublishedBand()


@dataclass(frozen=True)
class LengthResult:
    """One length on one accelerator with one operator unit.

    Attributes:
        sequence: positions.
        accelerator, unit: what ran it.
        cycles, seconds: of the whole network.
        array_cycles, nonlinear_cycles, dram_cycles: that each unit works; they overlap.
        macs: multiply-accumulates.
        utilisation: of the array, 0..1.
        millijoules: of one sequence.
    """

    sequence: int
    accelerator: str
    unit: NonlinearUnit
    cycles: int
    seconds: float
    array_cycles: int
    nonlinear_cycles: int
    dram_cycles: int
    macs: int
    utilisation: float
    millijoules: Band

    @property
    def compute_cycles(self) -> int:
        """Array and operators one after the other, without memory."""
        return self.array_cycles + self.nonlinear_cycles

    @property
    def nonlinear_share(self) -> float:
        """Share of the operators in `compute_cycles`, 0..1."""
        return self.nonlinear_cycles / self.compute_cycles


@dataclass(frozen=True)
class LengthComparison:
    """A network over lengths; the results of a length stand together, accelerators in the order given."""

    shape: TransformerShape
    results: tuple[LengthResult, ...]
    published: PublishedBand = PUBLISHED

    def find_first(self, sequence: int) -> LengthResult:
        """Return what the others of a length are compared with: the first accelerator and unit."""
        return next(result for result in self.results if result.sequence == sequence)

    def to_json(self) -> str:
        """Return all figures; times against the first of the same length, with and without overlap and memory."""
        rows = []
        for result in self.results:
            first = self.find_first(result.sequence)
            ratios = {
                "nonlinear_share": result.nonlinear_share,
                "cycles_to_first": result.cycles / first.cycles,
                "compute_cycles_to_first": result.compute_cycles / first.compute_cycles,
            }
            rows.append(asdict(result) | ratios)
        head = {"format": FORMAT, "version": VERSION, "shape": asdict(self.shape)}
        return json.dumps(head | {"published": asdict(self.published), "results": rows}, indent=2)


def change_unit(spec: Spec, unit: NonlinearUnit) -> Spec:
    """Return the accelerator with another operator unit of as many lanes.

    Raises:
        ConfigError: it has none to change.
    """
    if spec.nonlinear is None:
        raise ConfigError(f"{spec.name}: has no operator unit; choose an accelerator of kind 'transformer'")
    return replace(spec, nonlinear=replace(spec.nonlinear, unit=unit))


def compare_lengths(
    shape: TransformerShape,
    specs: Sequence[Spec],
    sequences: Sequence[int],
    units: Sequence[NonlinearUnit] = (),
) -> LengthComparison:
    """Return what each length costs on each accelerator, with each unit (its own if none is named).

    Raises:
        ConfigError: an accelerator runs no transformers.
        UsageError: no length or no accelerator, or a length below 1.
    """
    if not specs or not sequences:
        raise UsageError("nothing to compare; give at least one accelerator and one length")
    variants = [variant for spec in specs for variant in _list_variants(spec, units)]
    results = []
    for sequence in dict.fromkeys(sequences):
        trace = list_operations(shape, sequence)
        results += [_summarise(sequence, simulate_operations(trace, spec)) for spec in variants]
    return LengthComparison(shape, tuple(results))


def _list_variants(spec: Spec, units: Sequence[NonlinearUnit]) -> list[Spec]:
    return [change_unit(spec, unit) for unit in dict.fromkeys(units)] or [spec]


def _summarise(sequence: int, report: Report) -> LengthResult:
    assert report.spec.nonlinear is not None  # it has run
    return LengthResult(
        sequence=sequence,
        accelerator=report.spec.name,
        unit=report.spec.nonlinear.unit,
        cycles=report.cycles,
        seconds=report.seconds,
        array_cycles=_sum_busy(report, "array"),
        nonlinear_cycles=_sum_busy(report, "nonlinear"),
        dram_cycles=_sum_busy(report, "dram"),
        macs=report.macs,
        utilisation=report.utilisation,
        millijoules=report.energy_band_mj,
    )


def _sum_busy(report: Report, unit: Unit) -> int:
    return sum(layer.cost.busy_cycles(unit) for layer in report.layers)
