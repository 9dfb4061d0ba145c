"""plan.py: the order of work: output rows sorted by neighbour mask and cut into blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..jit import kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_DIGIT_BITS = 11  # of the radix sort: a 3 × 3 or 2 × 2 mask is sorted in one pass


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """Blocks of output rows, each with the taps that at least one of its rows has.

    Rows with the same neighbour mask stand together, so a block runs few taps in vain. The last block is
    filled up with copies of its last row: they compute and store the same values again.

    Attributes:
        block_ptr: (B + 1) int64, first entry of each block in `taps` and `sources`.
        taps: (E) int32, the tap of each entry.
        sources: (E, rows_per_block) int32, input rank per row under that tap, -1 where the row has none.
        rows: (B, rows_per_block) int32, the output ranks that the block computes.
        outputs: P_out, the number of different ranks in `rows`.
    """

    block_ptr: Int64
    taps: Int32
    sources: Int32
    rows: Int32
    outputs: int


def plan_blocks(neighbours: Int32, rows_per_block: int) -> BlockPlan:
    """Order the rows of `neighbours` (P_out, taps) by mask and cut them into blocks; taps up to 64."""
    masks = _build_masks(neighbours)
    rows = _order_by_mask(masks, neighbours.shape[1], rows_per_block)
    block_ptr = _count_block_taps(masks, rows)
    taps, sources = _fill_blocks(neighbours, masks, rows, block_ptr)
    return BlockPlan(block_ptr, taps, sources, rows, masks.size)


@kernel
def _build_masks(neighbours: Int32) -> npt.NDArray[np.uint64]:
    """Return (P_out) masks: bit k is set where tap k has an input."""
    masks = np.empty(neighbours.shape[0], np.uint64)
    for o in range(neighbours.shape[0]):
        mask = np.uint64(0)
        for tap in range(neighbours.shape[1]):
            mask |= np.uint64(neighbours[o, tap] >= 0) << np.uint64(tap)
        masks[o] = mask
    return masks


@kernel
def _order_by_mask(masks: npt.NDArray[np.uint64], taps: int, rows_per_block: int) -> Int32:
    """Return (B, rows_per_block) output ranks by ascending mask (stable radix sort), the tail repeated."""
    count = masks.size
    blocks = (count + rows_per_block - 1) // rows_per_block
    rows = np.empty(blocks * rows_per_block, np.int32)
    other = np.empty(blocks * rows_per_block, np.int32)
    for i in range(count):
        rows[i] = i
    digit_mask = np.uint64((1 << _DIGIT_BITS) - 1)
    for low_bit in range(0, taps, _DIGIT_BITS):
        shift = np.uint64(low_bit)
        starts = np.zeros((1 << _DIGIT_BITS) + 1, np.int32)
        for i in range(count):
            starts[np.int64((masks[i] >> shift) & digit_mask) + 1] += 1
        for value in range(1 << _DIGIT_BITS):
            starts[value + 1] += starts[value]
        for i in range(count):
            digit = np.int64((masks[rows[i]] >> shift) & digit_mask)
            other[starts[digit]] = rows[i]
            starts[digit] += 1
        rows, other = other, rows
    for i in range(count, rows.size):
        rows[i] = rows[count - 1]
    return rows.reshape(blocks, rows_per_block)


@kernel
def _count_block_taps(masks: npt.NDArray[np.uint64], rows: Int32) -> Int64:
    """Return block_ptr: the running number of taps in the union of each block's masks."""
    block_ptr = np.zeros(rows.shape[0] + 1, np.int64)
    for block in range(rows.shape[0]):
        union = np.uint64(0)
        for r in range(rows.shape[1]):
            union |= masks[rows[block, r]]
        taps = 0
        while union != np.uint64(0):
            union &= union - np.uint64(1)
            taps += 1
        block_ptr[block + 1] = block_ptr[block] + taps
    return block_ptr


@kernel
def _fill_blocks(
    neighbours: Int32, masks: npt.NDArray[np.uint64], rows: Int32, block_ptr: Int64
) -> tuple[Int32, Int32]:
    """Return taps (E) and sources (E, rows_per_block)."""
    blocks, rows_per_block = rows.shape
    taps = np.empty(block_ptr[blocks], np.int32)
    sources = np.empty((block_ptr[blocks], rows_per_block), np.int32)
    for block in range(blocks):
        union = np.uint64(0)
        for r in range(rows_per_block):
            union |= masks[rows[block, r]]
        entry = block_ptr[block]
        for tap in range(neighbours.shape[1]):
            if (union >> np.uint64(tap)) & np.uint64(1):
                taps[entry] = tap
                for r in range(rows_per_block):
                    sources[entry, r] = neighbours[rows[block, r], tap]
                entry += 1
    return taps, sources
