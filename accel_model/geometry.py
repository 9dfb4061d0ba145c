"""geometry.py: which input meets which output under which tap, from the maps of active sites that a trace keeps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..runtime.trace import LayerRecord, SiteMap

_REMEMBERED = 128  # geometries: the layers of a few frames, so that a sweep over designs finds them once


@dataclass(frozen=True, eq=False)
class LayerGeometry:
    """The rules of one layer; a site's address is its rank in row-major order (compressed pillar rows).

    Attributes:
        kind, kernel, stride: the layer.
        inputs, outputs: P and Q, active sites.
        rule_inputs, rule_outputs: per tap in row-major order, the ranks of its pairs; both strictly increase.
        input_rows: (P,) row of each input.
        output_rows: (Q,) row of each output.
        merged: distinct active columns in the window of each output row; of each input row for a transposed layer.
    """

    kind: str
    kernel: int
    stride: int
    inputs: int
    outputs: int
    rule_inputs: tuple[NDArray[np.int32], ...]
    rule_outputs: tuple[NDArray[np.int32], ...]
    input_rows: NDArray[np.int32]
    output_rows: NDArray[np.int32]
    merged: NDArray[np.int64]

    @property
    def rules(self) -> int:
        """Pairs over all taps."""
        return sum(self.rules_per_tap)

    @cached_property
    def rules_per_tap(self) -> tuple[int, ...]:
        """Pairs under each tap."""
        return tuple(len(pairs) for pairs in self.rule_inputs)


def find_geometry(layer: LayerRecord) -> LayerGeometry:
    """Return the rules of a layer; layers over the same sites share them."""
    return _find(layer.in_sites, layer.out_sites, layer.kind, layer.kernel, layer.stride)


@lru_cache(maxsize=_REMEMBERED)
def _find(sites: SiteMap, reached: SiteMap, kind: str, kernel: int, stride: int) -> LayerGeometry:
    in_rows, in_cols = (part.astype(np.int32) for part in np.nonzero(sites.cells))
    out_rows, out_cols = (part.astype(np.int32) for part in np.nonzero(reached.cells))
    if kind == "transposed":
        pairs = _list_children(in_rows, in_cols, reached, stride)
        merged = np.count_nonzero(sites.cells, axis=1)
    else:
        pairs = _list_pairs(sites, out_rows, out_cols, kernel, stride)
        merged = _count_merged(sites, reached.shape[0], kernel, stride)
    return LayerGeometry(
        kind=kind,
        kernel=kernel,
        stride=stride,
        inputs=len(in_rows),
        outputs=len(out_rows),
        rule_inputs=tuple(i for i, _ in pairs),
        rule_outputs=tuple(o for _, o in pairs),
        input_rows=in_rows,
        output_rows=out_rows,
        merged=merged.astype(np.int64),
    )


def _list_pairs(
    sites: SiteMap, out_rows: NDArray[np.int32], out_cols: NDArray[np.int32], kernel: int, stride: int
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Return (inputs, outputs) per tap: input = stride · output + tap − padding; even kernels have no padding."""
    before = 0 if kernel % 2 == 0 else kernel // 2
    height, width = sites.shape
    framed = np.full((height + before + kernel, width + before + kernel), -1, np.int32)
    ranks = np.cumsum(sites.cells.ravel(), dtype=np.int32).reshape(height, width) - 1
    framed[before : before + height, before : before + width] = np.where(sites.cells, ranks, -1)
    pitch, flat = framed.shape[1], framed.ravel()
    corner = stride * (out_rows.astype(np.int64) * pitch + out_cols)
    pairs = []
    for tap in range(kernel * kernel):
        found = flat.take(corner + (tap // kernel) * pitch + tap % kernel)
        outputs = np.flatnonzero(found >= 0).astype(np.int32)
        pairs.append((found[outputs], outputs))
    return pairs


def _list_children(
    in_rows: NDArray[np.int32], in_cols: NDArray[np.int32], reached: SiteMap, stride: int
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Return (inputs, outputs) per tap of a transposed layer: every input reaches all its stride² children."""
    ranks = np.cumsum(reached.cells.ravel(), dtype=np.int32) - 1
    corner = stride * (in_rows.astype(np.int64) * reached.shape[1] + in_cols)
    inputs = np.arange(len(in_rows), dtype=np.int32)
    taps = [(tap // stride) * reached.shape[1] + tap % stride for tap in range(stride * stride)]
    return [(inputs, ranks[corner + offset]) for offset in taps]


def _count_merged(sites: SiteMap, out_height: int, kernel: int, stride: int) -> NDArray[np.intp]:
    """Return per output row the distinct active columns in the `kernel` input rows that it reads."""
    before = 0 if kernel % 2 == 0 else kernel // 2
    framed = np.pad(sites.cells, ((before, kernel), (0, 0)))
    window = np.zeros((out_height, sites.shape[1]), np.bool_)
    for row in range(kernel):
        window |= framed[row : row + stride * out_height : stride][:out_height]
    counts: NDArray[np.intp] = np.count_nonzero(window, axis=1)
    return counts
