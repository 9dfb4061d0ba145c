"""rules.py: which input pillar feeds which output pillar, per tap, for every kind of sparse convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from ..checks import check_whole, show
from ..errors import UsageError
from .grid import Int32, PillarGrid, list_grids
from .plan import BlockPlan, Masks, plan_blocks, plan_children
from .sites import (
    ActiveSet,
    find_neighbours,
    find_reached_sites,
    list_children,
    rank_inputs,
    unite,
)

Kind = Literal["submanifold", "dilating", "strided", "transposed"]
KINDS: tuple[str, ...] = get_args(Kind)

_LARGEST_ODD_KERNEL = 7  # 49 taps; a neighbour mask holds 64
_LARGEST_UPSAMPLING = 8
MOST_TAPS = 64  # of all inputs of a layer: a neighbour mask holds one bit each


@dataclass(frozen=True, eq=False)
class Rulebook:
    """The active outputs of one sparse convolution and, for each, the input rank under every tap.

    It depends on the active sets, the kind, the kernel size and the stride, not on channels or weights, so all
    layers that share those share one rulebook (every submanifold layer of a block, for example).

    Attributes:
        kind, kernel, stride: the convolution; the kernel is `kernel` × `kernel`.
        inputs: the active set of each input; mostly one.
        in_shape: (H, W) of the inputs.
        row_ptr, cols, shape: the active outputs, in compressed pillar rows.
        sources: (P_out, inputs · kernel²) int32, as `neighbours`; for "transposed" (P_out, 1), the parent.
    """

    kind: Kind
    kernel: int
    stride: int
    inputs: tuple[ActiveSet, ...]
    in_shape: tuple[int, int]
    row_ptr: Int32
    cols: Int32
    shape: tuple[int, int]
    sources: Int32
    _masks: Masks | None  # None for "transposed"
    _children: Int32 | None  # (P_in, kernel²) for "transposed"
    _plans: dict[int, BlockPlan] = field(default_factory=dict, repr=False)

    @property
    def in_cols(self) -> Int32:
        """Columns of the active sites of the first input."""
        return self.inputs[0].cols

    @property
    def taps(self) -> int:
        """Number of taps over all inputs, inputs · kernel²."""
        return len(self.inputs) * self.kernel**2

    @cached_property
    def neighbours(self) -> Int32:
        """(P_out, taps) int32, rank of the input under each tap, -1 where none is active.

        Tap ky · kernel + kx reads input (stride · row + ky - pad, stride · col + kx - pad); for "transposed" it
        writes output (stride · row + ky, stride · col + kx) of input (row, col). The taps of a second input
        follow those of the first.
        """
        if self._children is None:
            return self.sources
        expanded = np.full((self.cols.size, self.taps), -1, np.int32)
        inputs, taps = np.indices(self._children.shape, np.int32)
        expanded[self._children.ravel(), taps.ravel()] = inputs.ravel()
        return expanded

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(taps) int64: rules of each tap; times the tap's Cin · Cout they add up to the layer's MACs."""
        return cast("npt.NDArray[np.int64]", np.count_nonzero(self.neighbours >= 0, axis=0))

    def pairs(self, tap: int) -> tuple[Int32, Int32]:
        """Return the rules (inputs, outputs) of one tap; both rank arrays strictly increase."""
        outputs = np.flatnonzero(self.neighbours[:, tap] >= 0).astype(np.int32)
        return self.neighbours[outputs, tap], outputs

    def plan(self, rows_per_block: int) -> BlockPlan:
        """Return the order of work for kernels that compute `rows_per_block` outputs at once; made once."""
        if rows_per_block not in self._plans:
            if self._masks is None:
                assert self._children is not None
                plan = plan_children(self._children, rows_per_block)
            else:
                plan = plan_blocks(self._masks, self.taps, rows_per_block)
            self._plans[rows_per_block] = plan
        return self._plans[rows_per_block]

    def fits(self, *grids: PillarGrid) -> bool:
        """Tell whether the rulebook was built for the active sets of `grids`, in their order."""
        if len(grids) != len(self.inputs) or any(grid.shape != self.in_shape for grid in grids):
            return False
        return all(
            part.matches(grid.row_ptr, grid.cols) for part, grid in zip(self.inputs, grids, strict=True)
        )


def build_rules(
    grid: PillarGrid | Sequence[PillarGrid], kind: Kind = "submanifold", *, kernel: int = 3, stride: int = 1
) -> Rulebook:
    """Find the active outputs and rules of a convolution, in one pass over the rows.

    Kinds, their kernels and strides:
        "submanifold": odd kernel up to 7, stride 1, outputs = inputs (1 × 1 layers are of this kind too).
        "dilating": odd kernel up to 7, stride 1, an output wherever the window holds an active input.
        "strided": 3 × 3 with padding 1 (output ceil(H / 2) × ceil(W / 2)) or 2 × 2 without padding (output
            floor(H / 2) × floor(W / 2)), stride 2, an output wherever the window holds an active input.
        "transposed": kernel = stride up to 8, every input gives all stride² children.

    Several grids are convolved as one grid with their channels concatenated over the union of their active sets;
    each brings its own kernel² taps, so that a site that lacks an input costs nothing for it.

    Method: rolling line buffers and row bitmaps as in the rule generation of SPADE / PillarAcc
    (arXiv 2305.07522; the details are our reconstruction): time O(pillars · taps + rows), no hash table.

    Raises:
        UsageError: unknown kind, a kernel and stride that the kind does not have, grids of different shapes, or
            more than 64 taps over all grids.
    """
    grids = list_grids(grid)
    kernel, stride = check_whole("kernel", kernel), check_whole("stride", stride)
    _check_grids(grids, kernel)
    in_shape = grids[0].shape
    shape = find_output_shape(kind, kernel, stride, in_shape)
    inputs = tuple(ActiveSet(grid.row_ptr, grid.cols) for grid in grids)
    united = unite(inputs, in_shape[1])
    if kind == "transposed":
        if len(grids) > 1:
            raise UsageError("a transposed convolution takes one grid; concatenate the grids first")
        active, parents, children = list_children(united, stride)
        return Rulebook(
            kind,
            kernel,
            stride,
            inputs,
            in_shape,
            active.row_ptr,
            active.cols,
            shape,
            parents,
            None,
            children,
        )
    pad = _find_padding(kernel)
    active = united
    if kind != "submanifold":
        active = find_reached_sites(united, kernel, stride, pad, shape)
    if kernel == 1:
        neighbours, masks = rank_inputs(united, inputs, in_shape[1])
    else:
        neighbours, masks = find_neighbours(inputs, in_shape[1], active, kernel, stride, pad)
    return Rulebook(
        kind, kernel, stride, inputs, in_shape, active.row_ptr, active.cols, shape, neighbours, masks, None
    )


def _check_grids(grids: tuple[PillarGrid, ...], kernel: int) -> None:
    if not grids:
        raise UsageError("rules need a grid, got an empty sequence")
    shapes = {grid.shape for grid in grids}
    if len(shapes) > 1:
        raise UsageError(f"grids that are convolved together must have one shape, got {sorted(shapes)}")
    if len(grids) > 1 and len(grids) * kernel**2 > MOST_TAPS:
        raise UsageError(
            f"{len(grids)} grids with a {kernel} x {kernel} kernel have more than {MOST_TAPS} taps; "
            "concatenate the grids first"
        )


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
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"unknown convolution kind {show(kind)}; choose one of {', '.join(KINDS)}")
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
