"""rule_generation.py: cycles of the unit that finds the rules: streaming as in PillarAcc, merge-sort, or hashing."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .active_tiles import ActiveTiles
from .geometry import LayerGeometry
from .spec import MappingSpec

RULE_BYTES = 4  # two 16-bit ranks, counted from the first input and the first output of a tile
_REMEMBERED = 2048
COORDINATE_BYTES = 4  # row and column of a pillar in main memory


def count_row_cycles(geometry: LayerGeometry, mapping: MappingSpec) -> NDArray[np.int64]:
    """Return the streaming unit's cycles per row: row_overhead + ceil(merged columns / lanes).

    The unit merges the three rows of a window column by column (our reconstruction of the rule generation unit; the
    abstract of arXiv 2305.07522 v2 says "linear complexity" and no more). At stride 1 the merged columns are at most
    three per pillar, so the whole is O(P + H).
    """
    merged: NDArray[np.int64] = -(-geometry.merged // mapping.lanes)
    return merged + mapping.row_overhead_cycles


def count_streaming_cycles(geometry: LayerGeometry, mapping: MappingSpec) -> int:
    """Return the streaming unit's cycles for a layer: pipeline depth + sum over rows (overhead + merged / lanes)."""
    return mapping.pipeline_cycles + int(count_row_cycles(geometry, mapping).sum())


@lru_cache(maxsize=_REMEMBERED)
def share_streaming_cycles(
    geometry: LayerGeometry, tiles: ActiveTiles, mapping: MappingSpec
) -> NDArray[np.int64]:
    """Return the streaming unit's cycles until each tile's rules are whole, counted from those of the tile before.

    Rows leave the unit whole: a tile waits for the last output row that it touches. The first tile carries the depth of
    the pipeline, the last one the rows that nobody touches.
    """
    cycles = count_row_cycles(geometry, mapping)
    until = np.concatenate(([0], np.cumsum(cycles)))
    if geometry.kind == "transposed":
        passed = geometry.input_rows[tiles.starts[1:] - 1] + 1
    else:  # rows to pass for a number of outputs: none for none, as where no window reads a tile's inputs
        passed = np.concatenate(([0], geometry.output_rows + 1))[tiles.reached]
    passed[-1] = len(cycles)
    done = until[passed]
    shares: NDArray[np.int64] = np.diff(done, prepend=0)
    shares[0] += mapping.pipeline_cycles
    return shares


def count_sorting_cycles(geometry: LayerGeometry, mapping: MappingSpec) -> int:
    """Return the cycles of a merge-sort mapper that takes `lanes` elements per cycle.

    Kernel map: sum over taps of ceil((P + Q) / lanes). Outputs of a layer that makes new sites are found by sorting N
    candidates: ceil(N / lanes) · max(1, ceil(log2(N / (2 · lanes)))), N being Q or the K · P products. Our reading of
    PointAcc (arXiv 2110.07600), whose tables we do not have; a merger of width m takes m / 2 elements per cycle.
    """
    if not geometry.inputs:
        return 0
    taps = len(geometry.rule_inputs)
    total = taps * math.ceil((geometry.inputs + geometry.outputs) / mapping.lanes)
    made = geometry.kind in ("dilating", "strided") and geometry.outputs > 0
    if mapping.sorted_candidates == "none" or not made:
        return total
    candidates = geometry.outputs if mapping.sorted_candidates == "outputs" else geometry.rules
    passes = max(1, math.ceil(math.log2(candidates / (2 * mapping.lanes))))
    return total + math.ceil(candidates / mapping.lanes) * passes


def count_hashing_cycles(geometry: LayerGeometry, mapping: MappingSpec) -> int:
    """Return the cycles of a hash table with `lanes` banks: P inserts and K probes per output, without collisions."""
    probes = geometry.inputs + len(geometry.rule_inputs) * geometry.outputs
    return math.ceil(probes / mapping.lanes)


def count_compares(geometry: LayerGeometry, mapping: MappingSpec) -> int:
    """Return the comparisons of coordinates: window rows per merged column, two per merged element, one per probe."""
    elements = geometry.inputs + geometry.outputs
    taps = len(geometry.rule_inputs)
    if mapping.method == "streaming":
        return int(geometry.merged.sum()) * (1 if geometry.kind == "transposed" else geometry.kernel)
    if mapping.method == "merge_sort":
        return taps * elements * max(1, math.ceil(math.log2(2 * mapping.lanes)))
    return geometry.inputs + taps * geometry.outputs
