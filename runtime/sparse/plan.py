"""plan.py: the order of work: output rows sorted by neighbour mask and cut into blocks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..jit import kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Masks = npt.NDArray[np.uint64]

_BLOCKS_PER_TASK = 64  # blocks that share one pass over a weight panel while it is in the L2 cache
_DIGIT_BITS = 11  # of the radix sort: a 3 × 3 or 2 × 2 mask is sorted in one pass
_PARTS = 4  # of the rows, sorted side by side


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """Blocks of output rows, each with the taps that at least one of its rows has.

    Rows with the same neighbour mask stand together, so a block runs few taps in vain. The last block is
    filled up with copies of its last row: they compute and store the same values again.

    Attributes:
        rows: (B, rows_per_block) int32, the output ranks that the block computes.
        masks: (B) uint64, bit t is set where tap t has an input in any of the block's rows.
        work_ptr: (B + 1) int64, running number of taps, by which the blocks are shared out to threads.
    """

    rows: Int32
    masks: Masks
    work_ptr: Int64
    _cuts: dict[int, Int64] = field(default_factory=dict, repr=False)

    def cut(self, threads: int) -> Int64:
        """Return the first block of each task and the end: a multiple of `threads` tasks of equal work."""
        if threads not in self._cuts:
            blocks = len(self.masks)
            tasks = -(-blocks // (_BLOCKS_PER_TASK * threads)) * threads
            shares = self.work_ptr[-1] * np.arange(tasks + 1) // max(tasks, 1)
            cuts = np.searchsorted(self.work_ptr, shares)
            cuts[-1] = blocks  # blocks without a tap have no work, and yet give the bias
            self._cuts[threads] = cuts
        return self._cuts[threads]


def plan_blocks(masks: Masks, taps: int, rows_per_block: int) -> BlockPlan:
    """Order output rows by their neighbour masks (P_out) of up to 64 taps and cut them into blocks."""
    blocks = -(-masks.size // rows_per_block)
    size = blocks * rows_per_block
    rows, other = np.empty((2, size), np.int32)
    places = np.empty((1 << min(taps, _DIGIT_BITS), _PARTS), np.int32)
    for low_bit in range(0, taps, _DIGIT_BITS):
        rows, other = other, rows
        _sort_by_digit(masks, low_bit, places[: 1 << min(taps - low_bit, _DIGIT_BITS)], other, rows)
    rows = rows.reshape(blocks, rows_per_block)
    block_masks, work_ptr = np.empty(blocks, np.uint64), np.empty(blocks + 1, np.int64)
    _unite_masks(masks, rows, block_masks, work_ptr)
    return BlockPlan(rows, block_masks, work_ptr)


def plan_children(children: Int32, rows_per_block: int) -> BlockPlan:
    """Order the outputs of a transposed convolution by tap, in closed form.

    Args:
        children: (P_in, taps) int32, output rank of each child.
        rows_per_block: rows of a block.
    """
    inputs, taps = children.shape
    per_tap = -(-inputs // rows_per_block)
    rows = np.empty((taps * per_tap, rows_per_block), np.int32)
    _list_by_tap(children, rows)
    masks = np.repeat(np.uint64(1) << np.arange(taps, dtype=np.uint64), per_tap)
    return BlockPlan(rows, masks, np.arange(taps * per_tap + 1))


@kernel
def _sort_by_digit(masks: Masks, low_bit: int, places: Int32, rows: Int32, ordered: Int32) -> None:
    """Order rows by one digit of their masks (stable); for the first digit `rows` need not be filled.

    Most masks are the same, so that counting or placing a row waits for the one before it. Hence the rows are cut
    into _PARTS that are worked on side by side, each with its own column of `places` (digits, _PARTS).
    """
    count, shift, digit_mask = np.uint64(masks.size), np.uint64(low_bit), np.uint64(places.shape[0] - 1)
    share = (count + np.uint64(_PARTS - 1)) // np.uint64(_PARTS)
    places[:] = 0
    for i in range(share):  # unsigned indices are not checked for being negative
        for part in range(_PARTS):
            at = i + share * np.uint64(part)
            if at < count:
                row = np.uint64(rows[at]) if low_bit > 0 else at
                places[(masks[row] >> shift) & digit_mask, part] += 1
    place = 0
    for digit in range(places.shape[0]):
        for part in range(_PARTS):
            found = places[digit, part]
            places[digit, part] = place
            place += found
    for i in range(share):
        for part in range(_PARTS):
            at = i + share * np.uint64(part)
            if at < count:
                row = np.uint64(rows[at]) if low_bit > 0 else at
                digit = (masks[row] >> shift) & digit_mask
                ordered[places[digit, part]] = row
                places[digit, part] += 1
    for i in range(masks.size, ordered.size):
        ordered[i] = ordered[masks.size - 1]


@kernel
def _unite_masks(masks: Masks, rows: Int32, block_masks: Masks, work_ptr: Int64) -> None:
    """Fill in the masks of the blocks and the running number of their taps."""
    work_ptr[0] = 0
    for block in range(rows.shape[0]):
        union = np.uint64(0)
        for r in range(rows.shape[1]):
            union |= masks[rows[block, r]]
        block_masks[block] = union
        work = 0
        while union != np.uint64(0):
            union &= union - np.uint64(1)
            work += 1
        work_ptr[block + 1] = work_ptr[block] + work


@kernel
def _list_by_tap(children: Int32, rows: Int32) -> None:
    """Fill rows with the children under one tap after the other; the last of a tap is repeated to fill its block."""
    inputs, taps = children.shape
    per_tap = rows.shape[0] // taps
    for tap in range(taps):
        for block in range(per_tap):
            for r in range(rows.shape[1]):
                parent = min(block * rows.shape[1] + r, inputs - 1)
                rows[tap * per_tap + block, r] = children[parent, tap]
