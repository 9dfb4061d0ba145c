"""rules.py: which input pillar feeds which output pillar, per tap, for every kind of sparse convolution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ..errors import UsageError
from ..jit import kernel, numba
from .grid import Int32, PillarGrid
from .plan import BlockPlan, plan_blocks

Kind = Literal["submanifold", "dilating", "strided", "transposed"]
KINDS: tuple[str, ...] = get_args(Kind)

_LARGEST_ODD_KERNEL = 7  # 49 taps; a neighbour mask holds 64
_LARGEST_UPSAMPLING = 8


@dataclass(frozen=True, eq=False)
class Rulebook:
    """The active outputs of one sparse convolution and, for each, the input rank under every tap.

    It depends on the active set, the kind, the kernel size and the stride, not on channels or weights, so all
    layers that share those share one rulebook (every submanifold layer of a block, for example).

    Attributes:
        kind, kernel, stride: the convolution; the kernel is `kernel` × `kernel`.
        in_row_ptr, in_cols, in_shape: the active inputs, in compressed pillar rows.
        row_ptr, cols, shape: the active outputs, in compressed pillar rows.
        neighbours: (P_out, kernel²) int32, rank of the input under each tap, -1 where none is active.
            Tap ky · kernel + kx reads input (stride · row + ky - pad, stride · col + kx - pad); for
            "transposed" it writes output (stride · row + ky, stride · col + kx) of input (row, col).
    """

    kind: Kind
    kernel: int
    stride: int
    in_row_ptr: Int32
    in_cols: Int32
    in_shape: tuple[int, int]
    row_ptr: Int32
    cols: Int32
    shape: tuple[int, int]
    neighbours: Int32
    _plans: dict[int, BlockPlan] = field(default_factory=dict, repr=False)

    @property
    def taps(self) -> int:
        """Number of taps, kernel²."""
        return int(self.neighbours.shape[1])

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(taps) int64: rules of each tap; their sum times Cin · Cout is the layer's number of MACs."""
        return cast("npt.NDArray[np.int64]", np.count_nonzero(self.neighbours >= 0, axis=0))

    def pairs(self, tap: int) -> tuple[Int32, Int32]:
        """Return the rules (inputs, outputs) of one tap; both rank arrays strictly increase."""
        outputs = np.flatnonzero(self.neighbours[:, tap] >= 0).astype(np.int32)
        return self.neighbours[outputs, tap], outputs

    def plan(self, rows_per_block: int) -> BlockPlan:
        """Return the order of work for kernels that compute `rows_per_block` outputs at once; made once."""
        if rows_per_block not in self._plans:
            self._plans[rows_per_block] = plan_blocks(self.neighbours, rows_per_block)
        return self._plans[rows_per_block]

    def fits(self, grid: PillarGrid) -> bool:
        """Tell whether the rulebook was built for the active set of `grid`."""
        if grid.shape != self.in_shape or grid.cols.size != self.in_cols.size:
            return False
        if grid.row_ptr is self.in_row_ptr and grid.cols is self.in_cols:
            return True
        return np.array_equal(grid.row_ptr, self.in_row_ptr) and np.array_equal(grid.cols, self.in_cols)


def build_rules(
    grid: PillarGrid, kind: Kind = "submanifold", *, kernel: int = 3, stride: int = 1
) -> Rulebook:
    """Find the active outputs and rules of a convolution, in one pass over the rows.

    Kinds, their kernels and strides:
        "submanifold": odd kernel up to 7, stride 1, outputs = inputs (1 × 1 layers are of this kind too).
        "dilating": odd kernel up to 7, stride 1, an output wherever the window holds an active input.
        "strided": 3 × 3 with padding 1 (output ceil(H / 2) × ceil(W / 2)) or 2 × 2 without padding (output
            floor(H / 2) × floor(W / 2)), stride 2, an output wherever the window holds an active input.
        "transposed": kernel = stride up to 8, every input gives all stride² children.

    Method: rolling line buffers and row bitmaps as in the rule generation of SPADE / PillarAcc
    (arXiv 2305.07522; the details are our reconstruction): time O(pillars · taps + rows), no hash table.

    Raises:
        UsageError: unknown kind, or a kernel and stride that the kind does not have.
    """
    shape = find_output_shape(kind, kernel, stride, grid.shape)
    width = grid.shape[1]
    row_ptr, cols = grid.row_ptr, grid.cols
    if kind == "transposed":
        out_row_ptr, out_cols, neighbours = _list_children(row_ptr, cols, stride)
    else:
        pad = _find_padding(kernel)
        if kind == "submanifold":
            out_row_ptr, out_cols = row_ptr, cols
        else:
            out_row_ptr, out_cols = _find_reached_sites(row_ptr, cols, kernel, stride, pad, *shape)
        neighbours = _find_neighbours(row_ptr, cols, width, out_row_ptr, out_cols, kernel, stride, pad)
    return Rulebook(kind, kernel, stride, row_ptr, cols, grid.shape, out_row_ptr, out_cols, shape, neighbours)


def find_output_shape(kind: str, kernel: int, stride: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a convolution's output on a grid of `shape`.

    Raises:
        UsageError: as `build_rules`.
    """
    _check_geometry(kind, kernel, stride, shape)
    height, width = shape
    if kind == "transposed":
        if height * width * stride**2 >= 2**31:
            grown = height * stride, width * stride
            raise UsageError(f"a transposed convolution of stride {stride} makes {grown} too large a grid")
        return height * stride, width * stride
    pad = _find_padding(kernel)
    return (height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1


def _find_padding(kernel: int) -> int:
    return 0 if kernel == 2 else kernel // 2


def _check_geometry(kind: str, kernel: int, stride: int, shape: tuple[int, int]) -> None:
    if kind not in KINDS:
        raise UsageError(f"unknown convolution kind {kind!r}; choose one of {', '.join(KINDS)}")
    given = f"got a {kernel} x {kernel} kernel with stride {stride}"
    if kind in ("submanifold", "dilating"):
        if stride != 1 or kernel % 2 == 0 or not 1 <= kernel <= _LARGEST_ODD_KERNEL:
            raise UsageError(
                f"a {kind} convolution needs stride 1 and an odd kernel up to {_LARGEST_ODD_KERNEL}, {given}"
            )
    elif kind == "strided":
        if stride != 2 or kernel not in (2, 3):
            raise UsageError(f"a strided convolution needs stride 2 and a 3 x 3 or 2 x 2 kernel, {given}")
        if kernel == 2 and min(shape) < 2:
            raise UsageError(f"a 2 x 2 stride-2 convolution needs a grid of 2 x 2 cells or more, got {shape}")
    elif kernel != stride or not 1 <= stride <= _LARGEST_UPSAMPLING:
        raise UsageError(
            f"a transposed convolution needs kernel = stride between 1 and {_LARGEST_UPSAMPLING}, {given}"
        )


def _emit_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Position of the lowest set bit of a non-zero uint64, as int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return numba.types.int64(numba.types.uint64), generate


_trailing_zeros: Any = numba.extending.intrinsic(_emit_trailing_zeros)


@kernel
def _find_reached_sites(
    row_ptr: Int32, cols: Int32, kernel: int, stride: int, pad: int, out_height: int, out_width: int
) -> tuple[Int32, Int32]:
    """Return the outputs whose window holds an active input, from a bitmap of one output row."""
    height = row_ptr.size - 1
    reach = (kernel + stride - 1) // stride  # most outputs that one input reaches along an axis
    out_row_ptr = np.empty(out_height + 1, np.int32)
    out_cols = np.empty(min(cols.size * reach * reach, out_height * out_width), np.int32)
    bitmap = np.zeros(out_width // 64 + 2, np.uint64)
    count = 0
    for out_row in range(out_height):
        out_row_ptr[out_row] = count
        top = stride * out_row - pad
        first_rank = row_ptr[max(top, 0)]
        last_rank = row_ptr[min(top + kernel, height)]
        if first_rank == last_rank:
            continue
        for rank in range(first_rank, last_rank):
            # Output columns whose window [stride · c - pad, stride · c - pad + kernel) holds this column.
            first = max((cols[rank] + pad - kernel + stride) // stride, 0)
            last = min((cols[rank] + pad) // stride, out_width - 1)
            if first > last:
                continue
            run = (np.uint64(1) << np.uint64(last - first + 1)) - np.uint64(1)
            shift = np.uint64(first & 63)
            bitmap[first >> 6] |= run << shift
            if (first & 63) + (last - first) >= 64:
                bitmap[(first >> 6) + 1] |= run >> (np.uint64(64) - shift)
        for index in range(bitmap.size):
            word = bitmap[index]
            bitmap[index] = 0
            while word != np.uint64(0):
                out_cols[count] = 64 * index + _trailing_zeros(word)
                count += 1
                word &= word - np.uint64(1)
    out_row_ptr[out_height] = count
    return out_row_ptr, out_cols[:count].copy()


@kernel
def _find_neighbours(
    row_ptr: Int32,
    cols: Int32,
    width: int,
    out_row_ptr: Int32,
    out_cols: Int32,
    kernel: int,
    stride: int,
    pad: int,
) -> Int32:
    """Return (P_out, kernel²) input ranks, read from rolling line buffers of ranks (-1 = inactive)."""
    height = row_ptr.size - 1
    neighbours = np.empty((out_cols.size, kernel * kernel), np.int32)
    lines = np.full((kernel, width + kernel + stride), -1, np.int32)  # line[col + pad] = rank
    line_row = np.full(kernel, -1, np.int64)  # the input row that each line holds
    for out_row in range(out_row_ptr.size - 1):
        first, last = out_row_ptr[out_row], out_row_ptr[out_row + 1]
        if first == last:
            continue
        for ky in range(kernel):
            row = stride * out_row - pad + ky
            slot = (row + kernel) % kernel
            line = lines[slot]
            if line_row[slot] != row:
                if line_row[slot] >= 0:
                    for rank in range(row_ptr[line_row[slot]], row_ptr[line_row[slot] + 1]):
                        line[cols[rank] + pad] = -1
                line_row[slot] = row if 0 <= row < height else -1
                if 0 <= row < height:
                    for rank in range(row_ptr[row], row_ptr[row + 1]):
                        line[cols[rank] + pad] = rank
            if kernel == 3:  # unrolled: nearly all layers
                for o in range(first, last):
                    col = stride * out_cols[o]
                    neighbours[o, 3 * ky] = line[col]
                    neighbours[o, 3 * ky + 1] = line[col + 1]
                    neighbours[o, 3 * ky + 2] = line[col + 2]
            else:
                for o in range(first, last):
                    for kx in range(kernel):
                        neighbours[o, ky * kernel + kx] = line[stride * out_cols[o] + kx]
    return neighbours


@kernel
def _list_children(row_ptr: Int32, cols: Int32, stride: int) -> tuple[Int32, Int32, Int32]:
    """Return outputs and neighbours of a transposed convolution, in closed form: one tap per child."""
    height = row_ptr.size - 1
    children = cols.size * stride * stride
    out_row_ptr = np.empty(height * stride + 1, np.int32)
    out_cols = np.empty(children, np.int32)
    neighbours = np.full((children, stride * stride), -1, np.int32)
    o = 0
    for row in range(height):
        for ky in range(stride):
            out_row_ptr[row * stride + ky] = o
            for rank in range(row_ptr[row], row_ptr[row + 1]):
                for kx in range(stride):
                    out_cols[o] = cols[rank] * stride + kx
                    neighbours[o, ky * stride + kx] = rank
                    o += 1
    out_row_ptr[height * stride] = o
    return out_row_ptr, out_cols, neighbours
