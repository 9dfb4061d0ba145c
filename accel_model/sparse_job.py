"""sparse_job.py: a layer to be run on a pillar accelerator, and the passes over its tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..runtime.trace import LayerRecord
from .cost import LoopOrder
from .geometry import LayerGeometry
from .rule_generation import RULE_BYTES
from .spec import DataflowSpec, GatherSpec, MappingSpec, Spec

PSUM_BYTES = 4
KIB = 1024


@dataclass(frozen=True)
class SparseJob:
    """A layer to be run on a pillar accelerator.

    Attributes:
        layer: what the trace says of it.
        geometry: its rules.
        spec: the accelerator.
        mapping, gather, dataflow: its parts.
        rules_known: whether the rules are still in the rule buffer from the layer before.
    """

    layer: LayerRecord
    geometry: LayerGeometry
    spec: Spec
    mapping: MappingSpec
    gather: GatherSpec
    dataflow: DataflowSpec
    rules_known: bool

    @property
    def transposed(self) -> bool:
        """Whether every input reaches its own outputs, so that nothing is summed over inputs."""
        return self.layer.kind == "transposed"

    @property
    def row_folds(self) -> int:
        """ri: blocks of input channels."""
        return math.ceil(self.layer.in_channels / self.spec.array.fold_inputs)

    @property
    def weight_bytes(self) -> int:
        """Of the whole layer."""
        taps = len(self.geometry.rule_inputs)
        return self.bytes_of_weights(taps * self.layer.in_channels * self.layer.out_channels)

    def bytes_of_weights(self, count: int) -> int:
        """Return the bytes of `count` weights."""
        return math.ceil(count * self.spec.weight_bits / 8)


@dataclass(frozen=True)
class Pass:
    """One run over all tiles with a part of the layer's columns.

    Attributes:
        taps: that it runs, as indices.
        columns: output channels of each of its column folds; for ganged taps, columns of (tap, channel) pairs.
        opens: whether it is the first with its taps, which stores the coordinates of their outputs.
    """

    taps: tuple[int, ...]
    columns: tuple[int, ...]
    opens: bool


def list_passes(job: SparseJob, order: LoopOrder) -> tuple[Pass, ...]:
    """Return the passes over the tiles.

    "tiles_outer" runs all columns on a tile before the next one; "channels_outer" runs all tiles on one column fold
    before the next. Without ganged scatter, a transposed layer is one layer per tap, each with its own passes.
    """
    taps = tuple(range(len(job.geometry.rule_inputs)))
    wide = job.transposed and job.dataflow.ganged_scatter
    groups = [taps] if wide or not job.transposed else [(tap,) for tap in taps]
    total = job.layer.out_channels * (len(taps) if wide else 1)
    columns = _split(total, job.spec.array.columns)
    if order == "tiles_outer":
        return tuple(Pass(group, columns, True) for group in groups)
    return tuple(Pass(group, (width,), i == 0) for group in groups for i, width in enumerate(columns))


def _split(total: int, most: int) -> tuple[int, ...]:
    """Return `total` as parts of `most` and a rest."""
    return (most,) * (total // most) + ((total % most,) if total % most else ())


def count_pass_weights(job: SparseJob, part: Pass) -> int:
    """Return the bytes of weights of a pass."""
    ganged = job.transposed and len(part.taps) > 1
    taps = 1 if ganged else len(part.taps)
    return job.bytes_of_weights(taps * job.layer.in_channels * sum(part.columns))


def keeps_rules(geometry: LayerGeometry, spec: Spec) -> bool:
    """Tell whether all rules of a layer stay in the rule buffer, for a second pass or the next layer."""
    return geometry.rules * RULE_BYTES <= spec.sram.rule_kib * KIB
