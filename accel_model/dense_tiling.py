"""dense_tiling.py: how a layer on full grids is cut into tiles that fit the buffers of an accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError
from .dense_array import Gemm, count_column_folds, count_lead, count_row_folds, count_tail, time_stream
from .dma import Rate, find_stream_rate
from .spec import ArraySpec, DramSpec, Spec, SramSpec

Int64 = NDArray[np.int64]
WeightStay = Literal["layer", "group", "fold"]

PSUM_BYTES = 4
_SHRINK = (1, 2, 4)  # heights tried: the tallest that fits, and fractions of it


@dataclass(frozen=True)
class Machine:
    """The parts of a `Spec` that a dense layer meets; hashable, so that equal layers are costed once."""

    array: ArraySpec
    sram: SramSpec
    dram: DramSpec
    clock_mhz: float
    element_bytes: int
    weight_bits: int

    @classmethod
    def of(cls, spec: Spec) -> Machine:
        """Return the parts of a spec."""
        return cls(spec.array, spec.sram, spec.dram, spec.clock_mhz, spec.element_bytes, spec.weight_bits)

    @property
    def input_half(self) -> int:
        """Bytes of one half of the input buffer."""
        return int(self.sram.input_kib * 1024) // 2

    @property
    def output_half(self) -> int:
        """Bytes of one half of the output buffer."""
        return int(self.sram.output_kib * 1024) // 2

    @property
    def weight_buffer(self) -> int:
        """Bytes of the weight buffer."""
        return int(self.sram.weight_kib * 1024)

    @property
    def rate(self) -> Rate:
        """Of main memory."""
        return find_stream_rate(self.dram, self.clock_mhz)

    def count_weight_bytes(self, weights: int) -> int:
        """Return bytes of weights, rounded up to whole ones."""
        return -(-weights * self.weight_bits // 8)

    def count_psum_rows(self, columns: int) -> int:
        """Return positions whose partial sums of one column fold fit the buffer.

        Raises:
            ConfigError: not even one does.
        """
        row = PSUM_BYTES * min(columns, self.array.columns)
        require_room("psum_kib", self.sram.psum_kib, row, "the partial sums of one position", halves=1)
        return int(self.sram.psum_kib * 1024) // row


@dataclass(frozen=True)
class Work:
    """A layer on full grids.

    Attributes:
        gemm: its product.
        kernel, stride, padding: the window that a position reads; 1, 1, 0 for 1 × 1 and transposed layers.
        in_shape: rows and columns that are read.
        grid: rows and columns of positions.
    """

    gemm: Gemm
    kernel: int
    stride: int
    padding: int
    in_shape: tuple[int, int]
    grid: tuple[int, int]

    @property
    def halo(self) -> int:
        """Rows (columns) that neighbouring tiles share."""
        return max(self.kernel - self.stride, 0)

    def count_reach(self, positions: int, axis: int) -> int:
        """Return how many rows (axis 0) or columns (1) the first `positions` of them read."""
        return min((positions - 1) * self.stride - self.padding + self.kernel, self.in_shape[axis])


@dataclass(frozen=True)
class Cut:
    """One way to cut a layer.

    Attributes:
        row_tiles, stripes: parts of the grid's rows and columns; rows run inside a stripe, and the rows that two tiles
            share stay on the chip.
        groups: parts of the output columns.
        groups_outer: all tiles of a group before the next group; else all groups of a tile before the next tile.
        weights: stay on the chip for the layer, for a group, or for a fold.
        map_stays: the input map is on the chip as a whole and is read once.
    """

    row_tiles: int
    stripes: int
    groups: int
    groups_outer: bool
    weights: WeightStay
    map_stays: bool


@dataclass(frozen=True)
class Tiles:
    """The tiles of a cut, in the order in which they run: what each needs.

    Attributes:
        positions: (stripes · row_tiles) of each tile of the grid; every one runs once per group.
        load_bytes, store_bytes: (n) from and to main memory, n = stripes · row_tiles · groups.
        compute: (n) cycles of the array.
        input_bytes, weight_bytes: read from main memory in all.
        pieces: parts of tiles whose partial sums fit; each repeats all folds of its group.
    """

    positions: Int64
    load_bytes: Int64
    compute: Int64
    store_bytes: Int64
    input_bytes: int
    weight_bytes: int
    pieces: int


def split(total: int, parts: int) -> Int64:
    """Return `total` in parts as equal as can be, larger ones first."""
    small, larger = divmod(total, parts)
    sizes = np.full(parts, small, np.int64)
    sizes[:larger] += 1
    return sizes


def list_cuts(work: Work, machine: Machine) -> Iterator[Cut]:
    """Give the cuts that fit the buffers.

    Groups of output columns: 1, 2, 4, ... column folds. Weights stay for the layer where they fit, for a group where
    it fits half of the buffer, else for a fold, and then a tile's partial sums fit their buffer at once. Stripes: as
    few as 1, 2, 4, ... of them fit. Heights: the tallest, a half, a quarter.

    Raises:
        ConfigError: a buffer holds no tile at all; names it.
    """
    _check_buffers(work, machine)
    gemm = work.gemm
    folds = count_column_folds(gemm, machine.array)
    map_bytes = work.in_shape[0] * work.in_shape[1] * gemm.in_channels * machine.element_bytes
    map_stays = map_bytes <= 2 * machine.input_half
    weight_bytes = machine.count_weight_bytes(gemm.depth * gemm.columns)
    for groups in _list_powers(folds):
        columns = min(-(-folds // groups) * machine.array.columns, gemm.columns)
        group_fits = machine.count_weight_bytes(gemm.depth * columns) <= machine.weight_buffer // 2
        stay: WeightStay = (
            "layer" if weight_bytes <= machine.weight_buffer else "group" if group_fits else "fold"
        )
        stripes, tallest = _find_tallest(work, machine, columns, stay == "fold", map_stays)
        if tallest < 1:
            continue  # one position of so many columns; a single column fold fits, or _check_buffers has raised
        for row_tiles in sorted({-(-work.grid[0] // max(tallest // part, 1)) for part in _SHRINK}):
            yield Cut(row_tiles, stripes, groups, False, stay, map_stays)
            if stay == "group" and groups > 1:
                yield Cut(row_tiles, stripes, groups, True, stay, map_stays)


def _list_powers(most: int) -> list[int]:
    return sorted({*(1 << i for i in range(most.bit_length()) if 1 << i <= most), most})


def _find_tallest(
    work: Work, machine: Machine, columns: int, one_piece: bool, map_stays: bool
) -> tuple[int, int]:
    """Return the fewest stripes that fit and the most rows of a tile of them; none where one position is too much."""
    psum_rows = machine.count_psum_rows(columns)
    for stripes in _list_powers(work.grid[1]):
        width = -(-work.grid[1] // stripes)
        tallest = min(work.grid[0], machine.output_half // (width * columns * machine.element_bytes))
        if one_piece:
            tallest = min(tallest, psum_rows // width)
        if not map_stays:
            reach = min((width - 1) * work.stride + work.kernel, work.in_shape[1])
            rows = machine.input_half // (reach * work.gemm.in_channels * machine.element_bytes)
            tallest = min(tallest, (rows - work.halo) // work.stride)
        if tallest >= 1:
            break
    return stripes, tallest


def _check_buffers(work: Work, machine: Machine) -> None:
    """Raise ConfigError where a buffer is too small for one position of one column fold."""
    gemm, array, sram = work.gemm, machine.array, machine.sram
    machine.count_psum_rows(gemm.columns)
    columns = min(gemm.columns, array.columns)
    fold = machine.count_weight_bytes(min(array.fold_inputs, gemm.depth) * columns)
    require_room("weight_kib", sram.weight_kib, fold, "the weights of a fold and of the next", halves=2)
    window = (work.stride + work.halo) * min(work.kernel, work.in_shape[1]) * gemm.in_channels
    require_room(
        "input_kib", sram.input_kib, window * machine.element_bytes, "one position's window", halves=2
    )
    require_room("output_kib", sram.output_kib, columns * machine.element_bytes, "one position", halves=2)


def require_room(key: str, kib: float, needed: int, content: str, *, halves: int) -> None:
    """Raise ConfigError where a buffer does not hold `needed` bytes in each of its halves."""
    if int(kib * 1024) // halves < needed:
        part = "half of it" if halves == 2 else "it"
        raise ConfigError(
            f"sram.{key} = {kib}: {part} does not hold {content}, {needed} bytes;"
            f" give at least {halves * needed / 1024:g}"
        )


def bound_cut(cut: Cut, work: Work, machine: Machine) -> int:
    """Return cycles that a cut cannot beat, without its tiles: the larger of
    sum C + L_first + S_last and sum L + sum S, the latter in bytes before rounding."""
    return max(_bound_compute(cut, work, machine), machine.rate.count_cycles(count_moved(cut, work, machine)))


def _bound_compute(cut: Cut, work: Work, machine: Machine) -> int:
    """Return sum C + L_first + S_last."""
    gemm, array, rate, item = work.gemm, machine.array, machine.rate, machine.element_bytes
    most = machine.count_psum_rows(gemm.columns)
    blocks = count_column_folds(gemm, array)
    folds = count_row_folds(gemm, array) * blocks
    compute = sum(
        n * m * time_stream(h * w, folds, most, array)
        for h, n in _count_sizes(work.grid[0], cut.row_tiles)
        for w, m in _count_sizes(work.grid[1], cut.stripes)
        if n and m
    )
    reach = [
        work.count_reach(-(-work.grid[i] // parts), i) for i, parts in enumerate((cut.row_tiles, cut.stripes))
    ]
    last = (work.grid[0] // cut.row_tiles) * (work.grid[1] // cut.stripes)
    first_group = min(-(-blocks // cut.groups) * array.columns, gemm.columns)
    last_group = gemm.columns - (blocks - blocks // cut.groups) * array.columns
    weights = machine.count_weight_bytes(gemm.depth * first_group)
    load = rate.count_cycles(reach[0] * reach[1] * gemm.in_channels * item + weights)
    store = rate.count_cycles(last * last_group * item)
    return load + count_lead(array) + compute + _count_last(last, machine, gemm.columns) + store


def count_moved(cut: Cut, work: Work, machine: Machine) -> int:
    """Return bytes to and from main memory; weights that end within a byte may take a few more."""
    gemm, item = work.gemm, machine.element_bytes
    width = work.count_reach(work.grid[1], 1) if cut.stripes == 1 else int(_find_widths(cut, work).sum())
    inputs = work.count_reach(work.grid[0], 0) * width * gemm.in_channels * item
    if cut.groups_outer and not cut.map_stays:
        inputs *= cut.groups
    passes = 1 if cut.weights == "layer" or cut.groups_outer else cut.row_tiles * cut.stripes
    weights = passes * machine.count_weight_bytes(gemm.depth * gemm.columns)
    return inputs + weights + gemm.positions * gemm.columns * item


def _count_sizes(total: int, parts: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (size, count) of the larger and of the smaller parts of `split`."""
    small, larger = divmod(total, parts)
    return (small + 1, larger), (small, parts - larger)


def _count_last(positions: int, machine: Machine, columns: int) -> int:
    """Return `count_tail` of the last piece of a tile."""
    return count_tail(positions // -(-positions // machine.count_psum_rows(columns)), machine.array)


def _find_groups(cut: Cut, work: Work, machine: Machine) -> Int64:
    """Return output columns of each group."""
    folds = np.cumsum(split(count_column_folds(work.gemm, machine.array), cut.groups))
    return _find_steps(np.minimum(folds * machine.array.columns, work.gemm.columns))


def _find_steps(ends: Int64) -> Int64:
    """Return the sizes of parts that end there; the first begins at 0."""
    steps = ends.copy()
    steps[1:] -= ends[:-1]
    return steps


def _find_widths(cut: Cut, work: Work) -> Int64:
    """Return input columns that each stripe reads, those that two stripes share twice unless the map stays."""
    sizes = split(work.grid[1], cut.stripes)
    ends = np.cumsum(sizes)
    begins = ends - sizes
    first = np.maximum(begins * work.stride - work.padding, 0)
    past = np.minimum((ends - 1) * work.stride - work.padding + work.kernel, work.in_shape[1])
    if cut.map_stays:
        first[1:] = past[:-1]
    widths: Int64 = past - first
    return widths


def lay_tiles(cut: Cut, work: Work, machine: Machine) -> Tiles:
    """Return the tiles of a cut."""
    gemm, array = work.gemm, machine.array
    heights, stripes = split(work.grid[0], cut.row_tiles), split(work.grid[1], cut.stripes)
    ends = (np.cumsum(heights) - 1) * work.stride - work.padding + work.kernel
    rows = _find_steps(np.minimum(ends, work.in_shape[0]))
    item = gemm.in_channels * machine.element_bytes
    inputs = np.multiply.outer(_find_widths(cut, work), rows).ravel() * item
    positions = np.multiply.outer(stripes, heights).ravel()
    columns = _find_groups(cut, work, machine)
    weights = -(-columns * gemm.depth * machine.weight_bits // 8)
    folds = count_row_folds(gemm, array) * -(-columns // array.columns)
    most = machine.count_psum_rows(gemm.columns)
    distinct, which = np.unique(positions, return_inverse=True)
    stream = np.array([time_stream(t, 1, most, array) for t in distinct.tolist()], np.int64)[which]

    loads = np.zeros((positions.size, cut.groups), np.int64)
    if cut.groups_outer and not cut.map_stays:
        loads[:] = inputs[:, None]
    else:
        loads[:, 0] = inputs
    input_bytes = int(loads.sum())
    loads[: 1 if cut.weights == "layer" or cut.groups_outer else None] += weights
    order: Literal["C", "F"] = "F" if cut.groups_outer else "C"
    load = loads.ravel(order)
    compute = np.multiply.outer(stream, folds).ravel(order)
    outputs = np.multiply.outer(positions, columns).ravel(order)
    compute[0] += count_lead(array)
    compute[-1] += _count_last(int(positions[-1]), machine, gemm.columns)
    return Tiles(
        positions=positions,
        load_bytes=load,
        compute=compute,
        store_bytes=outputs * machine.element_bytes,
        input_bytes=input_bytes,
        weight_bytes=int(load.sum()) - input_bytes,
        pieces=int((-(-positions // most)).sum()),
    )
