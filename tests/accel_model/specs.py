"""specs.py: small accelerators and small layers, built by hand for the tests of accelerator models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from colonnade.accel_model.geometry import find_geometry
from colonnade.accel_model.sparse_job import SparseJob
from colonnade.accel_model.spec import (
    ArraySpec,
    DataflowSpec,
    DramSpec,
    EnergySpec,
    GatherSpec,
    MappingSpec,
    Spec,
    SramSpec,
)
from colonnade.runtime.sparse.reference import output_shape
from colonnade.runtime.trace import LayerRecord, SiteMap

KINDS = (  # kind, kernel, stride
    ("submanifold", 1, 1),
    ("submanifold", 3, 1),
    ("dilating", 3, 1),
    ("strided", 3, 2),
    ("strided", 2, 2),
    ("transposed", 1, 1),
    ("transposed", 2, 2),
    ("transposed", 4, 4),
)


@dataclass(frozen=True)
class PillarSpec(Spec):
    """A spec of kind "pillar" whose parts are there, so that tests need not ask."""

    mapping: MappingSpec
    gather: GatherSpec
    dataflow: DataflowSpec


def make_spec(rows: int = 4, columns: int = 4, bytes_per_cycle: float = 4.0) -> PillarSpec:
    """Return a pillar accelerator at 1 GHz with buffers that hold any small layer."""
    return PillarSpec(
        name="small",
        description="an array for tests",
        kind="pillar",
        clock_mhz=1000.0,
        array=ArraySpec(rows, columns),
        sram=SramSpec(input_kib=1024, weight_kib=1024, psum_kib=1024, output_kib=1024, rule_kib=1024),
        dram=DramSpec("ddr4", bytes_per_cycle, streaming_efficiency=1.0, random_efficiency=0.5),
        energy=EnergySpec(16),
        mapping=MappingSpec("streaming", 1),
        gather=GatherSpec("channel_interleaved", 4, 4, 64, 256),
        dataflow=DataflowSpec(),
    )


def limit_buffers(spec: PillarSpec, **kib: float) -> PillarSpec:
    """Return a spec with other sizes of buffers."""
    return replace(spec, sram=replace(spec.sram, **kib))


def make_job(layer: LayerRecord, spec: PillarSpec, rules_known: bool = False) -> SparseJob:
    """Return a layer on an accelerator."""
    return SparseJob(layer, find_geometry(layer), spec, spec.mapping, spec.gather, spec.dataflow, rules_known)


def draw_cells(rng: np.random.Generator, shape: tuple[int, int], share: float) -> NDArray[np.bool_]:
    """Return a random map of active sites."""
    return rng.random(shape) < share


def find_reached(cells: NDArray[np.bool_], kind: str, kernel: int, stride: int) -> NDArray[np.bool_]:
    """Return the map of outputs, cell by cell."""
    if kind == "submanifold":
        return cells.copy()
    reached = np.zeros(output_shape(cells.shape, kind, kernel, stride), np.bool_)
    if kind == "transposed":
        return np.kron(cells, np.ones((stride, stride))).astype(np.bool_)
    before = 0 if kernel == 2 else kernel // 2
    for y, x in np.ndindex(*reached.shape):
        top, left = stride * y - before, stride * x - before
        reached[y, x] = cells[max(top, 0) : top + kernel, max(left, 0) : left + kernel].any()
    return reached


def make_layer(
    cells: NDArray[np.bool_],
    kind: str = "submanifold",
    kernel: int = 3,
    stride: int = 1,
    channels: tuple[int, int] = (4, 4),
    kept: NDArray[np.bool_] | None = None,
) -> LayerRecord:
    """Return the record of an int8 layer on a map of active sites; `kept` marks the outputs that pruning keeps."""
    reached = find_reached(cells, kind, kernel, stride)
    kept = reached if kept is None else kept & reached
    rules = tuple(len(pairs) for pairs in list_rules(cells, reached, kind, kernel, stride))
    return LayerRecord(
        name="layer",
        kind=kind,
        kernel=kernel,
        stride=stride,
        in_channels=channels[0],
        out_channels=channels[1],
        in_shape=cells.shape,
        out_shape=reached.shape,
        active_inputs=int(cells.sum()),
        active_outputs=int(reached.sum()),
        kept_outputs=int(kept.sum()),
        rules=rules,
        branches=(),
        bytes_in=int(cells.sum()) * channels[0],
        bytes_weights=kernel**2 * channels[0] * channels[1],
        bytes_out=int(kept.sum()) * channels[1],
        precision="int8",
        in_sites=SiteMap.from_cells(cells),
        out_sites=SiteMap.from_cells(reached),
        kept_sites=SiteMap.from_cells(kept),
    )


def list_rules(
    cells: NDArray[np.bool_], reached: NDArray[np.bool_], kind: str, kernel: int, stride: int
) -> list[list[tuple[int, int]]]:
    """Return per tap the (input, output) ranks, output by output and cell by cell: the brute force."""
    ranks = {tuple(site): rank for rank, site in enumerate(np.argwhere(cells).tolist())}
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(kernel * kernel)]
    before = 0 if kernel == 2 else kernel // 2
    for output, (y, x) in enumerate(np.argwhere(reached).tolist()):
        for tap in range(kernel * kernel):
            ky, kx = divmod(tap, kernel)
            if kind == "transposed":
                read = (y // stride, x // stride) if (y % stride, x % stride) == (ky, kx) else None
            else:
                read = (stride * y + ky - before, stride * x + kx - before)
            if read in ranks:
                pairs[tap].append((ranks[read], output))
    return [sorted(tap_pairs) for tap_pairs in pairs]


@dataclass
class Drawer:
    """Draws layers and machines from one seed."""

    rng: np.random.Generator

    def pick(self, *values: object) -> object:
        return values[self.rng.integers(len(values))]

    def layer(self, kind: str, kernel: int, stride: int) -> LayerRecord:
        """Return a layer on a random map; pruning follows some."""
        shape = int(self.rng.integers(2, 11)), int(self.rng.integers(2, 11))
        cells = draw_cells(self.rng, shape, self.pick(0.1, 0.3, 0.6))
        cells[self.rng.integers(shape[0]), self.rng.integers(shape[1])] = True
        channels = int(self.rng.integers(1, 9)), int(self.rng.integers(1, 9))
        kept = None
        if kind != "transposed" and self.pick(True, False):
            kept = draw_cells(self.rng, find_reached(cells, kind, kernel, stride).shape, 0.6)
        return make_layer(cells, kind, kernel, stride, channels, kept)

    def spec(self, layer: LayerRecord) -> PillarSpec:
        """Return a machine; its buffers are now and then too small for the whole layer."""
        rows, columns = self.pick((2, 3), (4, 4), (1, 1), (3, 2))
        spec = make_spec(rows, columns, self.pick(0.5, 1.0, 2.0, 4.0, 16.0, 64.0))
        sums = 24 * 4 / 1024
        weights = 2 * layer.kernel**2 * layer.in_channels / 1024
        outputs = 2 * 24 * 2 / 1024
        spec = limit_buffers(
            spec,
            psum_kib=self.pick(1024, 1024, sums * columns, sums * layer.out_channels),
            weight_kib=self.pick(1024, 1024, weights * columns),
            rule_kib=self.pick(1024, 0.3),
            output_kib=self.pick(1024, 1024, outputs * columns, outputs * layer.out_channels),
        )
        preload = self.pick("double_buffered", "double_buffered", "serial", "per_tap_fill")
        grouped, ganged, active = (bool(self.pick(True, True, False)) for _ in range(3))
        # Without groups inputs that have no rule are gathered too; their conflicts are not counted.
        layout = self.pick("channel_interleaved", "pillar_interleaved") if grouped else "channel_interleaved"
        return replace(
            spec,
            array=replace(
                spec.array,
                weight_preload=preload,
                mac_format=self.pick("int8", "w4a8", "fp16"),
                macs_per_pe=self.pick(1, 1, 2),
            ),
            mapping=replace(
                spec.mapping,
                lanes=self.pick(1, 2, 4),
                row_overhead_cycles=self.pick(0, 1, 3),
                pipeline_cycles=self.pick(0, 16),
            ),
            gather=GatherSpec(
                layout=layout,
                banks=self.pick(1, 2, 4),
                bank_word_bytes=self.pick(1, 4),
                gather_bytes_per_cycle=self.pick(1, 2, 64),
                scatter_bytes_per_cycle=self.pick(4, 8, 256),
                psum_ports=self.pick("one_read_one_write", "one_shared"),
            ),
            dataflow=DataflowSpec(grouped, ganged, active),
        )
