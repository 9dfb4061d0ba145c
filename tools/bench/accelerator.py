"""accelerator.py: what recorded frames would cost on the accelerator presets, beside the published bands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ...accel_model.active_tiles import cut_tiles
from ...accel_model.gather_scatter import count_conflicts, group_requests
from ...accel_model.geometry import LayerGeometry, find_geometry
from ...accel_model.report import Report
from ...accel_model.rule_generation import (
    count_hashing_cycles,
    count_sorting_cycles,
    count_streaming_cycles,
)
from ...accel_model.simulate import simulate
from ...accel_model.sparse_job import PSUM_BYTES
from ...accel_model.spec import DataflowSpec, Layout, MappingSpec, Spec
from ...accel_model.spec_files import load_spec
from ...detector.standard import CHANNELS, DENSE_MACS, SHAPE, Variant, standard_architecture
from ...runtime.sparse import PillarGrid
from ...runtime.trace import LayerRecord, Trace
from .accelerator_report import (
    AblationFigures,
    AcceleratorReport,
    ConflictFigures,
    DesignFigures,
    FrameFigures,
    MappingFigures,
    TableFigures,
)
from .frames import EngineFrame
from .site_traces import trace_sites

VARIANTS: tuple[tuple[Variant, float | None], ...] = (
    ("dilating", None),
    ("pruned", 2.0),
    ("pruned", 1.5),
    ("pruned", 1.25),
    ("pruned", 1.0),
    ("submanifold", None),
    ("submanifold-2x2", None),
)
DESIGNS = ("pillaracc-64x64", "pointacc-64x64", "dense-64x64", "pillaracc-16x16", "dense-16x16")
SWITCHES = ("weight_grouping", "ganged_scatter", "active_tiles", "tile_search", "shared_rules")
_TABLE_ARRAYS = (16, 32, 64, 128)
_TABLE_TAPS = (
    9  # of every strided or 3 × 3 layer, the 2 × 2 ones too, as in the table that this is compared with
)
_INTERVAL_TILE = 512  # inputs, at which the interval of outputs is compared with the tile


def run_accelerator_bench(
    frames: Sequence[EngineFrame], recording: str, *, progress: Callable[[], None]
) -> AcceleratorReport:
    """Cost the standard network's variants on every frame and design, and each optimisation switched off.

    Args:
        frames: to cost.
        recording: name of what they come from.
        progress: called after every frame and variant.
    """
    specs = tuple(load_spec(name) for name in DESIGNS)
    found: list[FrameFigures] = []
    ablations: list[AblationFigures] = []
    for variant, keep in VARIANTS:
        traces = []
        for frame in frames:
            trace = trace_frame(frame, variant, keep)
            traces.append(trace)
            found.append(cost_frame(frame, variant, keep, trace, specs))
            progress()
        ablations += ablate(variant, keep, traces, specs[0])
    return AcceleratorReport(recording, tuple(f.name for f in frames), tuple(found), tuple(ablations))


def trace_frame(frame: EngineFrame, variant: Variant, keep: float | None) -> Trace:
    """Return what a variant of the standard network runs on a frame."""
    grid = PillarGrid.from_coords(frame.coords, np.zeros((len(frame.coords), CHANNELS), np.uint8), SHAPE)
    architecture = standard_architecture(variant, keep=keep)
    return trace_sites(f"standard {variant}", architecture, grid)


def cost_frame(
    frame: EngineFrame, variant: str, keep: float | None, trace: Trace, specs: Sequence[Spec]
) -> FrameFigures:
    """Return all figures of one frame."""
    reports = [simulate(trace, spec) for spec in specs]
    return FrameFigures(
        frame=frame.name,
        pillars=len(frame.coords),
        variant=variant,
        keep=keep,
        macs=trace.macs,
        saving=1 - trace.macs / DENSE_MACS,
        least_megabytes=sum(_count_least_bytes(layer) for layer in trace.layers) / 1e6,
        table=tuple(count_table(trace, size) for size in _TABLE_ARRAYS),
        designs=tuple(map(describe_design, reports)),
        exposed_rules=_list_exposed(reports[0]),
        mapping=count_mapping(trace, specs[0]),
        conflicts=count_real_conflicts(trace, specs[0]),
        widest_interval=_find_widest_interval(trace),
    )


def count_table(trace: Trace, size: int) -> TableFigures:
    """Return first-order cycles on a `size` × `size` array: ri · co · (rules + taps · size), no memory, no overlap.

    The dense network: ri · co · taps · outputs, of the 3 × 3 network for every variant.
    """
    sparse = dense = 0
    for layer in trace.layers:
        folds = math.ceil(layer.in_channels / size) * math.ceil(layer.out_channels / size)
        taps = len(layer.rules)
        if layer.kind != "transposed" and layer.kernel > 1:
            taps = _TABLE_TAPS
        sparse += folds * (sum(layer.rules) + taps * size)
        cells = layer.out_shape[0] * layer.out_shape[1]
        dense += folds * cells * (1 if layer.kind == "transposed" else taps)
    return TableFigures(size, sparse, dense)


def _count_least_bytes(layer: LayerRecord) -> int:
    """Return int8 bytes if every input is read, every output written and every weight read once."""
    weights = layer.kernel**2 * layer.in_channels * layer.out_channels
    return layer.active_inputs * layer.in_channels + layer.active_outputs * layer.out_channels + weights


def describe_design(report: Report) -> DesignFigures:
    """Return a report's totals."""
    band = report.energy_band_mj
    return DesignFigures(
        design=report.spec.name,
        cycles=report.cycles,
        milliseconds=report.seconds * 1e3,
        frames_per_second=report.frames_per_second,
        mj_low=band.low,
        mj=band.nominal,
        mj_high=band.high,
        megabytes=report.actions.dram_bytes / 1e6,
        utilisation=report.utilisation,
    )


def _list_exposed(report: Report) -> tuple[str, ...]:
    """Return the layers in which rule generation works longer than the array."""
    return tuple(
        layer.name
        for layer in report.layers
        if layer.cost.busy_cycles("rules") > layer.cost.busy_cycles("array")
    )


def count_mapping(trace: Trace, spec: Spec) -> MappingFigures:
    """Return the cycles of the mapping units over the sixteen convolutions of the backbone."""
    assert spec.mapping is not None
    one = replace(spec.mapping, lanes=1)
    wide = MappingSpec("merge_sort", 64, sorted_candidates="none")
    blocks = [layer for layer in trace.layers if layer.name.startswith("block")]
    geometries = [find_geometry(layer) for layer in blocks]
    return MappingFigures(
        streaming=sum(count_streaming_cycles(g, one) for g in geometries),
        streaming_shared=sum(count_streaming_cycles(g, one) for g in dict.fromkeys(geometries)),
        hash=sum(count_hashing_cycles(g, replace(wide, method="hash", lanes=1)) for g in geometries),
        merge_one_lane=sum(count_sorting_cycles(g, replace(wide, lanes=1)) for g in geometries),
        merge_64_lanes=sum(count_sorting_cycles(g, wide) for g in geometries),
    )


def count_real_conflicts(trace: Trace, spec: Spec) -> ConflictFigures:
    """Return rounds lost to bank conflicts on the frame's own ranks, in PillarAcc's layout and in a naive one.

    Both are counted request by request, for vectors as wide as the array and its sums.
    """
    assert spec.gather is not None
    banks = spec.gather.banks
    geometries: list[LayerGeometry] = [find_geometry(layer) for layer in trace.layers]
    word = spec.gather.bank_word_bytes
    gathered = math.ceil(spec.array.rows * spec.element_bytes / word)
    scattered = math.ceil(spec.array.columns * PSUM_BYTES / word)
    layouts: tuple[Layout, ...] = ("channel_interleaved", "pillar_interleaved")
    counts = []
    for words, side in ((gathered, "rule_inputs"), (scattered, "rule_outputs")):
        for layout in layouts:
            counts.append(
                sum(
                    count_conflicts(group_requests(ranks, words, banks, layout), banks)
                    for geometry in geometries
                    for ranks in getattr(geometry, side)
                )
            )
    return ConflictFigures(*counts)


def _find_widest_interval(trace: Trace) -> float:
    """Return the longest interval of outputs of a full tile of a 3 × 3 layer of stride 1, in tiles; 0 without any."""
    widest = 0.0
    for layer in trace.layers:
        if layer.kernel == 3 and layer.stride == 1:
            tiles = cut_tiles(find_geometry(layer), _INTERVAL_TILE)
            full = tiles.intervals[tiles.inputs == _INTERVAL_TILE]
            widest = max(widest, float(full.max(initial=0)) / _INTERVAL_TILE)
    return widest


def ablate(variant: str, keep: float | None, traces: Sequence[Trace], spec: Spec) -> list[AblationFigures]:
    """Return the cost of all frames with each optimisation off by itself, and with all of them off."""
    assert spec.dataflow is not None
    off = {name: replace(spec.dataflow, **{name: False}) for name in SWITCHES}
    bare = DataflowSpec(False, False, False, False, False, spec.dataflow.tile_inputs)
    cases = {"none": spec.dataflow} | off | {"all": bare}
    return [
        _ablate_case(variant, keep, name, [simulate(trace, replace(spec, dataflow=flow)) for trace in traces])
        for name, flow in cases.items()
    ]


def _ablate_case(variant: str, keep: float | None, name: str, reports: Sequence[Report]) -> AblationFigures:
    return AblationFigures(
        variant=variant,
        keep=keep,
        off=name,
        cycles=sum(report.cycles for report in reports),
        mj=sum(report.energy_mj for report in reports),
        megabytes=sum(report.actions.dram_bytes for report in reports) / 1e6,
    )
