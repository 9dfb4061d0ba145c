"""sites.py: the linear passes over rows that find active outputs and input ranks: bitmaps and line buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ..jit import kernel, numba
from .plan import Int32, Masks

Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Active sites of a grid, in compressed pillar rows: row_ptr (H + 1) and cols (P), int32."""

    row_ptr: Int32
    cols: Int32

    def matches(self, row_ptr: Int32, cols: Int32) -> bool:
        """Tell whether these arrays name the same sites; at once where they are the same arrays."""
        if row_ptr is self.row_ptr and cols is self.cols:
            return True
        return np.array_equal(row_ptr, self.row_ptr) and np.array_equal(cols, self.cols)


def _emit_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Position of the lowest set bit of a non-zero uint64, as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return numba.types.int64(numba.types.uint64), generate


_trailing_zeros: Any = numba.extending.intrinsic(_emit_trailing_zeros)


@kernel
def _halve_bits(word: np.uint64) -> np.uint64:
    """Return the 32 even bits of a word, moved together."""
    x = word & np.uint64(0x5555555555555555)
    x = (x | (x >> np.uint64(1))) & np.uint64(0x3333333333333333)
    x = (x | (x >> np.uint64(2))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    x = (x | (x >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
    x = (x | (x >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)
    return (x | (x >> np.uint64(16))) & np.uint64(0x00000000FFFFFFFF)


@kernel
def _list_bits(bits: Bits, limit: int, cols: Int32, count: int) -> int:
    """Append the positions of the set bits below `limit` to cols[count:], clear `bits`, return the new count."""
    for index in range(bits.size):
        word = bits[index]
        if word == np.uint64(0):
            continue
        bits[index] = np.uint64(0)
        base = 64 * index
        if base + 64 > limit:
            word &= (np.uint64(1) << np.uint64(max(limit - base, 0))) - np.uint64(1)
        while word != np.uint64(0):
            cols[count] = base + _trailing_zeros(word)
            count += 1
            word &= word - np.uint64(1)
    return count


def find_reached_sites(
    active: ActiveSet, kernel: int, stride: int, pad: int, out_shape: tuple[int, int]
) -> ActiveSet:
    """Return the outputs whose window holds an active input."""
    height, width = out_shape
    reach = -(-kernel // stride)  # most outputs that one input reaches along an axis
    row_ptr = np.empty(height + 1, np.int32)
    cols = np.empty(min(active.cols.size * reach * reach, height * width), np.int32)
    bits = np.zeros((2, (width * stride + kernel) // 64 + 2), np.uint64)
    _list_reached(active.row_ptr, active.cols, kernel, stride, pad, width, bits, row_ptr, cols)
    return ActiveSet(row_ptr, cols[: row_ptr[-1]].copy())


@kernel
def _list_reached(
    row_ptr: Int32,
    cols: Int32,
    kernel: int,
    stride: int,
    pad: int,
    out_width: int,
    bits: Bits,
    out_row_ptr: Int32,
    out_cols: Int32,
) -> None:
    """Fill in the outputs: per output row unite the bitmaps of the window's rows, widen them, halve for stride 2."""
    height = row_ptr.size - 1
    union, reached = bits[0], bits[1]  # bit (col + pad) of the window's rows; bit of the output
    words = union.size
    one = np.uint64(1)
    count = 0
    for out_row in range(out_row_ptr.size - 1):
        out_row_ptr[out_row] = count
        top = stride * out_row - pad
        first = row_ptr[max(top, 0)]
        last = row_ptr[min(top + kernel, height)]
        if first == last:
            continue
        for rank in range(first, last):
            position = cols[rank] + pad
            if position < 64 * words:
                union[position >> 6] |= one << np.uint64(position & 63)
        for index in range(words):
            low = union[index]
            high = union[index + 1] if index + 1 < words else np.uint64(0)
            wide = low
            for kx in range(1, kernel):
                wide |= (low >> np.uint64(kx)) | (high << np.uint64(64 - kx))
            if stride == 1:
                reached[index] = wide
            else:
                reached[index >> 1] |= _halve_bits(wide) << np.uint64(32 * (index & 1))
        for index in range(words):
            union[index] = np.uint64(0)
        count = _list_bits(reached, out_width, out_cols, count)
    out_row_ptr[out_row_ptr.size - 1] = count


def find_neighbours(
    inputs: tuple[ActiveSet, ...], width: int, outputs: ActiveSet, kernel: int, stride: int, pad: int
) -> tuple[Int32, Masks]:
    """Return (P_out, inputs · kernel²) input ranks, -1 where inactive, and the masks of taps (P_out)."""
    taps = kernel * kernel
    neighbours = np.empty((outputs.cols.size, len(inputs) * taps), np.int32)
    masks = np.zeros(outputs.cols.size, np.uint64)
    lines = np.empty((kernel, width + kernel + stride), np.int32)
    for index, part in enumerate(inputs):
        lines.fill(-1)
        sites = part.row_ptr, part.cols, outputs.row_ptr, outputs.cols
        _look_up_windows(*sites, kernel, stride, pad, lines, index * taps, neighbours, masks)
    return neighbours, masks


@kernel
def _look_up_windows(
    row_ptr: Int32,
    cols: Int32,
    out_row_ptr: Int32,
    out_cols: Int32,
    kernel: int,
    stride: int,
    pad: int,
    lines: Int32,
    first_tap: int,
    neighbours: Int32,
    masks: Masks,
) -> None:
    """Fill in neighbours and masks of one input's taps from line buffers: lines[row % kernel, col + pad] = rank."""
    height = row_ptr.size - 1
    line_rows = np.full(kernel, -1, np.int64)
    for out_row in range(out_row_ptr.size - 1):
        first, last = out_row_ptr[out_row], out_row_ptr[out_row + 1]
        if first == last:
            continue
        top = stride * out_row - pad
        for row in range(top, top + kernel):
            slot = (row + kernel) % kernel
            line = lines[slot]
            if line_rows[slot] != row:
                if line_rows[slot] >= 0:
                    for rank in range(row_ptr[line_rows[slot]], row_ptr[line_rows[slot] + 1]):
                        line[cols[rank] + pad] = -1
                line_rows[slot] = row if 0 <= row < height else -1
                if 0 <= row < height:
                    for rank in range(row_ptr[row], row_ptr[row + 1]):
                        line[cols[rank] + pad] = rank
        if kernel == 3:  # unrolled: nearly all layers
            slot = (top + kernel) % kernel
            above, level, below = lines[slot], lines[(slot + 1) % 3], lines[(slot + 2) % 3]
            for o in range(first, last):
                col = np.uint64(stride * out_cols[o])
                found = _look_up_three(above, col, neighbours, o, first_tap)
                found |= _look_up_three(level, col, neighbours, o, first_tap + 3) << np.uint64(3)
                found |= _look_up_three(below, col, neighbours, o, first_tap + 6) << np.uint64(6)
                masks[o] |= found << np.uint64(first_tap)
        else:
            for o in range(first, last):
                for tap in range(kernel * kernel):
                    line = lines[(top + tap // kernel + kernel) % kernel]
                    rank = line[stride * out_cols[o] + tap % kernel]
                    neighbours[o, first_tap + tap] = rank
                    masks[o] |= np.uint64(rank >= 0) << np.uint64(first_tap + tap)


@kernel
def _look_up_three(line: Int32, col: np.uint64, neighbours: Int32, output: int, tap: int) -> np.uint64:
    """Fill in three taps in a row; return their bits. Unsigned indices are not checked for being negative."""
    row, first, one, two = np.uint64(output), np.uint64(tap), np.uint64(1), np.uint64(2)
    a, b, c = line[col], line[col + one], line[col + two]
    neighbours[row, first], neighbours[row, first + one], neighbours[row, first + two] = a, b, c
    return np.uint64(a >= 0) | np.uint64(b >= 0) << one | np.uint64(c >= 0) << two


def list_children(active: ActiveSet, stride: int) -> tuple[ActiveSet, Int32, Int32]:
    """Return the outputs of a transposed convolution, their parents (P_out, 1) and the children (P_in, stride²).

    Closed form: child (ky, kx) of the j-th of n pillars in a row whose first rank is r has the rank
    r · stride² + ky · n · stride + j · stride + kx.
    """
    count = active.cols.size * stride * stride
    row_ptr = np.empty((active.row_ptr.size - 1) * stride + 1, np.int32)
    cols, parents = np.empty(count, np.int32), np.empty((count, 1), np.int32)
    children = np.empty((active.cols.size, stride * stride), np.int32)
    _fill_children(active.row_ptr, active.cols, stride, row_ptr, cols, parents, children)
    return ActiveSet(row_ptr, cols), parents, children


@kernel
def _fill_children(
    row_ptr: Int32,
    cols: Int32,
    stride: int,
    out_row_ptr: Int32,
    out_cols: Int32,
    parents: Int32,
    children: Int32,
) -> None:
    """Fill in outputs, parents and children in the order of the outputs."""
    o = 0
    for row in range(row_ptr.size - 1):
        for ky in range(stride):
            out_row_ptr[row * stride + ky] = o
            for rank in range(row_ptr[row], row_ptr[row + 1]):
                for kx in range(stride):
                    out_cols[o] = cols[rank] * stride + kx
                    parents[o, 0] = rank
                    children[rank, ky * stride + kx] = o
                    o += 1
    out_row_ptr[out_row_ptr.size - 1] = o


def unite(sets: tuple[ActiveSet, ...], width: int) -> ActiveSet:
    """Return the union of active sets; mostly one of them holds all others and is returned as it is."""
    united, *others = sorted(sets, key=lambda part: -part.cols.size)
    for part in others:
        if part.row_ptr is united.row_ptr and part.cols is united.cols:
            continue
        line = np.full(width, -1, np.int32)
        if _covers(united.row_ptr, united.cols, part.row_ptr, part.cols, line):
            continue
        row_ptr = np.empty(united.row_ptr.size, np.int32)
        cols = np.empty(united.cols.size + part.cols.size, np.int32)
        bits = np.zeros(width // 64 + 1, np.uint64)
        _merge_sites(united.row_ptr, united.cols, part.row_ptr, part.cols, width, bits, row_ptr, cols)
        united = ActiveSet(row_ptr, cols[: row_ptr[-1]].copy())
    return united


@kernel
def _covers(row_ptr: Int32, cols: Int32, part_row_ptr: Int32, part_cols: Int32, line: Int32) -> bool:
    """Tell whether an active set holds every site of another; line[col] is the row that last had this column."""
    for row in range(row_ptr.size - 1):
        if part_row_ptr[row] == part_row_ptr[row + 1]:
            continue
        for rank in range(row_ptr[row], row_ptr[row + 1]):
            line[cols[rank]] = row
        missing = False
        for rank in range(part_row_ptr[row], part_row_ptr[row + 1]):
            missing |= line[part_cols[rank]] != row
        if missing:
            return False
    return True


@kernel
def _merge_sites(
    row_ptr_a: Int32,
    cols_a: Int32,
    row_ptr_b: Int32,
    cols_b: Int32,
    width: int,
    bits: Bits,
    row_ptr: Int32,
    cols: Int32,
) -> None:
    """Fill in the union of two active sets, from a bitmap of one row."""
    one = np.uint64(1)
    count = 0
    for row in range(row_ptr.size - 1):
        row_ptr[row] = count
        for rank in range(row_ptr_a[row], row_ptr_a[row + 1]):
            bits[cols_a[rank] >> 6] |= one << np.uint64(cols_a[rank] & 63)
        for rank in range(row_ptr_b[row], row_ptr_b[row + 1]):
            bits[cols_b[rank] >> 6] |= one << np.uint64(cols_b[rank] & 63)
        count = _list_bits(bits, width, cols, count)
    row_ptr[row_ptr.size - 1] = count


def rank_inputs(united: ActiveSet, inputs: tuple[ActiveSet, ...], width: int) -> tuple[Int32, Masks]:
    """Return (P, inputs) the rank in each input of every pillar of the union, or -1, and (P) masks of inputs."""
    ranks = np.full((united.cols.size, len(inputs)), -1, np.int32)
    masks = np.zeros(united.cols.size, np.uint64)
    line = np.empty(width, np.int32)
    for column, part in enumerate(inputs):
        if part.matches(united.row_ptr, united.cols):
            ranks[:, column] = np.arange(united.cols.size)
            masks |= np.uint64(1 << column)
            continue
        _mark_ranks(united.row_ptr, united.cols, part.row_ptr, part.cols, column, line, ranks, masks)
    return ranks, masks


@kernel
def _mark_ranks(
    row_ptr: Int32,
    cols: Int32,
    part_row_ptr: Int32,
    part_cols: Int32,
    column: int,
    line: Int32,
    ranks: Int32,
    masks: Masks,
) -> None:
    """Enter a subset of the active set: its ranks into ranks[:, column], bit `column` into the masks."""
    bit = np.uint64(1) << np.uint64(column)
    for row in range(row_ptr.size - 1):
        if part_row_ptr[row] == part_row_ptr[row + 1]:
            continue
        for rank in range(row_ptr[row], row_ptr[row + 1]):
            line[cols[rank]] = rank
        for part in range(part_row_ptr[row], part_row_ptr[row + 1]):
            rank = line[part_cols[part]]
            ranks[rank, column] = part
            masks[rank] |= bit
