"""rules.py: the rules of a batch: which rows each output row gathers, layer by layer, as pruning leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.jit import kernel
from ...runtime.sparse import PillarGrid, Rulebook, concatenate
from ..architecture import Layer
from ..network import RuleCache

_REACHING = 3  # side of the kernels whose taps reach pruned neighbours


@dataclass(frozen=True)
class LayerTable:
    """The rules of one layer over a batch, padded to `round_rows` with rows of none.

    Attributes:
        forward: (>= P_out, taps) int32 input row of each tap; P_in means none.
        backward: (>= P_in, taps) int32 output row that each tap of an input feeds; P_out means none.
        inputs, outputs: P_in and P_out.
        merges: for a layer with several inputs, one (P_in,) int32 row index into each; past the last means none.
    """

    forward: Tensor
    backward: Tensor
    inputs: int
    outputs: int
    merges: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Sites:
    """Where the rows of one output of a batch lie, and which of them the layers behind it see.

    Attributes:
        every: of each sample, the active set of its rows; the rows of the samples follow each other.
        active: of each sample, the part of it that pruning left.
        rows: of each sample, the row of the batch (ascending) of each site in `active`.
        entered: of each sample, how many pillars entered the block.
        total: rows of the batch.
    """

    every: tuple[PillarGrid, ...]
    active: tuple[PillarGrid, ...]
    rows: tuple[NDArray[np.int32], ...]
    entered: tuple[int, ...]
    total: int

    @classmethod
    def whole(cls, grids: tuple[PillarGrid, ...], entered: tuple[int, ...] | None = None) -> Sites:
        """Return the sites of an output of which nothing was pruned."""
        firsts = _add_up(grids)
        rows = tuple(np.arange(a, b, dtype=np.int32) for a, b in pairwise(firsts.tolist()))
        return cls(grids, grids, rows, entered or tuple(len(grid) for grid in grids), int(firsts[-1]))

    @property
    def pruned(self) -> bool:
        """Whether some rows are not seen by the layers behind."""
        return self.every is not self.active


def _add_up(grids: tuple[PillarGrid, ...]) -> NDArray[np.int64]:
    return np.cumsum([0] + [len(grid) for grid in grids])


def round_rows(rows: int) -> int:
    """Return `rows` + 1 rounded up to one of eight sizes per octave.

    The matrix library compiles a kernel for every new shape; few shapes keep it from compiling all the time.
    """
    step = max(64, 1 << max(rows.bit_length() - 4, 0))
    return (rows // step + 1) * step


class BatchRules:
    """The rules of one batch, built as its layers run, because pruning decides on the way which sites are left."""

    def __init__(self, samples: int) -> None:
        self._caches = [RuleCache() for _ in range(samples)]
        self._tables: dict[tuple[int, ...], LayerTable] = {}
        self._grids: dict[int, PillarGrid] = {}
        self._books: list[Rulebook] = []  # kept, as their ids are keys

    def find(self, layer: Layer, inputs: tuple[Sites, ...]) -> tuple[LayerTable, Sites]:
        """Return the rules of `layer` on its inputs, and the sites of its output."""
        source = inputs[0]
        merges: tuple[Tensor, ...] = ()
        if len(inputs) > 1:
            source, merges = _merge(inputs)
        books = [cache.find(grid, layer) for cache, grid in zip(self._caches, source.active, strict=True)]
        self._books += books
        grids = tuple(map(self._place, books))
        outputs = Sites.whole(grids, None if layer.kind == "strided" else source.entered)
        key = tuple(map(id, books))
        if source.pruned or merges:
            return _tabulate(layer, books, source, outputs, merges), outputs
        if key not in self._tables:
            self._tables[key] = _tabulate(layer, books, source, outputs, merges)
        return self._tables[key], outputs

    def _place(self, book: Rulebook) -> PillarGrid:
        """Return the active set of a rulebook's output, the same object for the same set."""
        if id(book) not in self._grids:
            self._grids[id(book)] = PillarGrid.assemble(
                book.row_ptr, book.cols, np.zeros((len(book.cols), 1), np.float32), book.shape
            )
        return self._grids[id(book)]


def _merge(inputs: tuple[Sites, ...]) -> tuple[Sites, tuple[Tensor, ...]]:
    """Return the union of the inputs' active sites, and the row of each input that each of them takes."""
    united, columns = [], []
    for grids in zip(*(sites.active for sites in inputs), strict=True):
        # The engine's own concatenation tells where each input's rows go: ranks ride along as a channel.
        ranked = [g.with_features(np.arange(1, len(g) + 1, dtype=np.float32)[:, None]) for g in grids]
        united.append(concatenate(ranked))
    for k, sites in enumerate(inputs):
        parts = []
        for grid, rows in zip(united, sites.rows, strict=True):
            rank = grid.features[:, k].astype(np.int32) - 1
            parts.append(np.where(rank >= 0, np.append(rows, np.int32(sites.total))[rank], sites.total))
        columns.append(torch.from_numpy(np.concatenate(parts).astype(np.int32)))
    return Sites.whole(tuple(united), inputs[-1].entered), tuple(columns)


def _tabulate(
    layer: Layer, books: list[Rulebook], source: Sites, outputs: Sites, merges: tuple[Tensor, ...]
) -> LayerTable:
    taps, total_in, total_out = books[0].taps, source.total, outputs.total
    forward = np.full((round_rows(total_out), taps), total_in, np.int32)
    first_in = 0
    for book, every, rows, out in zip(books, source.every, source.rows, outputs.rows, strict=True):
        at = slice(out[0], out[-1] + 1) if len(out) else slice(0, 0)
        forward[at] = np.append(rows, np.int32(total_in))[book.neighbours]  # -1 takes the last: none
        if source.pruned and layer.kernel == _REACHING:
            _reach_pruned(book, every, first_in, forward[at], total_in)
        first_in += len(every)
    backward = np.full((round_rows(total_in), taps), total_out, np.int32)
    backward[forward[:total_out], np.arange(taps)] = np.arange(total_out, dtype=np.int32)[:, None]
    backward[total_in] = total_out  # where the rules of none ended up
    return LayerTable(torch.from_numpy(forward), torch.from_numpy(backward), total_in, total_out, merges)


def _reach_pruned(
    book: Rulebook, every: PillarGrid, first: int, forward: NDArray[np.int32], none: int
) -> None:
    """Let outputs read their pruned neighbours, too: these hold zeros, but learn whether they are missed."""
    rank = np.full(every.shape, none, np.int32)
    rows = np.repeat(np.arange(every.shape[0]), np.diff(every.row_ptr))
    rank[rows, every.cols] = np.arange(first, first + len(every))
    _look_up(book.row_ptr, book.cols, book.stride, rank, forward)


@kernel
def _look_up(
    row_ptr: NDArray[np.int32],
    cols: NDArray[np.int32],
    stride: int,
    rank: NDArray[np.int32],
    forward: NDArray[np.int32],
) -> None:
    """Write the rank under each tap of a 3 x 3 kernel, (P_out, 9), of the outputs at `row_ptr`, `cols`."""
    height, width = rank.shape
    for row in range(len(row_ptr) - 1):
        for o in range(row_ptr[row], row_ptr[row + 1]):
            for tap in range(9):
                i, j = stride * row + tap // 3 - 1, stride * cols[o] + tap % 3 - 1
                if 0 <= i < height and 0 <= j < width:
                    forward[o, tap] = rank[i, j]


def prune_sites(
    sites: Sites, importance: NDArray[np.float64], counts: tuple[int, ...]
) -> tuple[Sites, NDArray[np.bool_], NDArray[np.float32]]:
    """Keep the `counts[s]` most important rows of each sample s; of equals the first stay.

    Returns:
        The sites with what is left as active; which rows stay, (R,); and for each row the importance of the last one
        that stayed in its sample, (R,), infinite where none did.
    """
    stays, level = np.zeros(sites.total, bool), np.zeros(sites.total, np.float32)
    active, rows, first = [], [], 0
    for grid, count in zip(sites.every, counts, strict=True):
        part = slice(first, first + len(grid))
        best = np.argsort(-importance[part], kind="stable")[:count]
        level[part] = importance[part][best[-1]] if len(best) else np.inf
        stays[part][best] = True
        ranks = np.flatnonzero(stays[part])
        row_ptr = np.searchsorted(ranks, grid.row_ptr).astype(np.int32)
        active.append(
            PillarGrid.assemble(row_ptr, grid.cols[ranks], np.zeros((len(ranks), 1), np.float32), grid.shape)
        )
        rows.append((ranks + first).astype(np.int32))
        first += len(grid)
    return Sites(sites.every, tuple(active), tuple(rows), sites.entered, sites.total), stays, level
