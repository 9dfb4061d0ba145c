"""grid.py: PillarGrid, a sparse bird's-eye feature map in compressed pillar rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_array, check_whole, show
from ..errors import UsageError
from ..jit import kernel
from .sites import ActiveSet, rank_inputs, unite

Int32 = npt.NDArray[np.int32]
Features = npt.NDArray[Any]  # float32, or uint8 on the integer path

FEATURE_DTYPES = (np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.int32))


@dataclass(frozen=True, eq=False)
class PillarGrid:
    """Active pillars of an (H, W) grid in row-major order, each with a channel vector.

    Compressed pillar rows are the CSR form of the occupancy bitmap: a pillar's address is its rank, so no
    table from coordinates to addresses exists. Use `from_coords` unless the arrays are already in this form,
    which the constructor checks: the kernels take it for granted.

    Attributes:
        row_ptr: (H + 1) int32, rank of the first pillar of each row; the last entry is P.
        cols: (P) int32, ascending within a row.
        features: (P, C) float32, uint8, or int32 sums, contiguous.
        shape: (H, W).

    Raises:
        UsageError: an array has the wrong shape or dtype, or the arrays do not describe pillars of the grid.
    """

    row_ptr: Int32
    cols: Int32
    features: Features
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        shape = _checked_shape(self.shape)
        _check_sites(self.row_ptr, self.cols, shape)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "features", _checked_features(self.features, self.cols.size))

    @classmethod
    def assemble(cls, row_ptr: Int32, cols: Int32, features: Features, shape: tuple[int, int]) -> PillarGrid:
        """Return the grid of arrays that are known to be right, as the engine makes them; nothing is checked."""
        grid = cls.__new__(cls)
        grid.__dict__.update(row_ptr=row_ptr, cols=cols, features=features, shape=shape)
        return grid

    @classmethod
    def from_coords(
        cls, coords: npt.ArrayLike, features: npt.ArrayLike, shape: tuple[int, int]
    ) -> PillarGrid:
        """Build a grid from coordinates in any order.

        Args:
            coords: (P, 2) int32 (row, col), each cell at most once.
            features: (P, C) float32 or uint8, in the order of `coords`.
            shape: (H, W).

        Raises:
            UsageError: wrong shapes or dtypes, a coordinate outside the grid, or a cell named twice.
        """
        height, width = _checked_shape(shape)
        sites = check_array("coords", coords)
        if sites.ndim != 2 or sites.shape[1] != 2 or sites.dtype.kind not in "iu":
            raise UsageError(
                f"coords must be (P, 2) int32 rows of (row, col), got {sites.dtype} of shape {sites.shape}"
            )
        values = _checked_features(features, len(sites))
        outside = ((sites < 0) | (sites >= (height, width))).any(axis=1)
        if outside.any():
            first = int(outside.argmax())
            raise UsageError(
                f"coordinate {first} is ({sites[first, 0]}, {sites[first, 1]}), outside the grid of "
                f"{height} rows and {width} columns; clip or drop the pillars outside the range first"
            )
        row_ptr, order = _sort_sites(np.ascontiguousarray(sites, dtype=np.int32), height, width)
        cols = np.ascontiguousarray(sites[order, 1], dtype=np.int32)
        repeated = _find_repeated(row_ptr, cols)
        if repeated >= 0:
            row, col = sites[order[repeated]]
            raise UsageError(
                f"cell (row {row}, col {col}) is named more than once; merge its points into one pillar first"
            )
        return cls.assemble(row_ptr, cols, values[order], (height, width))

    @classmethod
    def full(cls, shape: tuple[int, int], features: npt.ArrayLike) -> PillarGrid:
        """Build a grid with all H · W cells active; `features` (H · W, C) in row-major order."""
        height, width = _checked_shape(shape)
        row_ptr = np.arange(height + 1, dtype=np.int32) * np.int32(width)
        cols = np.tile(np.arange(width, dtype=np.int32), height)
        return cls.assemble(row_ptr, cols, _checked_features(features, height * width), (height, width))

    @property
    def coords(self) -> Int32:
        """(P, 2) int32 (row, col) of the pillars, in row-major order."""
        rows = np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.row_ptr))
        return np.stack([rows, self.cols], axis=1)

    @property
    def channels(self) -> int:
        """Channels per pillar."""
        return int(self.features.shape[1])

    def __len__(self) -> int:
        return int(self.cols.size)

    def with_features(self, features: npt.ArrayLike) -> PillarGrid:
        """Return the same active set with other features (P, C); the coordinate arrays are shared."""
        return self.assemble(self.row_ptr, self.cols, _checked_features(features, len(self)), self.shape)

    def to_dense(self) -> Features:
        """Return the (C, H, W) map, zero where no pillar is active."""
        height, width = self.shape
        dense = np.zeros((self.channels, height * width), self.features.dtype)
        row, col = self.coords.T
        dense[:, row.astype(np.int64) * width + col] = self.features.T
        return dense.reshape(self.channels, height, width)


def concatenate(grids: Sequence[PillarGrid]) -> PillarGrid:
    """Concatenate channels over the union of the active sets; a grid that lacks a site gives zeros there.

    Args:
        grids: one or more grids of the same shape and dtype.

    Raises:
        UsageError: no grid, or grids of different shapes or dtypes.
    """
    grids = list_grids(grids)
    if not grids:
        raise UsageError("concatenate needs at least one grid, got none")
    first = grids[0]
    for index, grid in enumerate(grids):
        if grid.shape != first.shape or grid.features.dtype != first.features.dtype:
            raise UsageError(
                f"grids to concatenate must agree in shape and dtype: grid 0 is {first.features.dtype} on "
                f"{first.shape}, grid {index} is {grid.features.dtype} on {grid.shape}"
            )
    sets = tuple(ActiveSet(grid.row_ptr, grid.cols) for grid in grids)
    united = unite(sets, first.shape[1])
    ranks, _ = rank_inputs(united, sets, first.shape[1])
    features = np.empty((united.cols.size, sum(grid.channels for grid in grids)), first.features.dtype)
    offset = 0
    for grid, rank in zip(grids, ranks.T, strict=True):
        features[:, offset : offset + grid.channels] = np.where(
            (rank >= 0)[:, None], grid.features[rank] if len(grid) else 0, 0
        )
        offset += grid.channels
    return PillarGrid.assemble(united.row_ptr, united.cols, features, first.shape)


def list_grids(grids: PillarGrid | Iterable[PillarGrid]) -> tuple[PillarGrid, ...]:
    """Return one grid or several as a tuple.

    Raises:
        UsageError: something is no grid.
    """
    if isinstance(grids, PillarGrid):
        return (grids,)
    listed: tuple[Any, ...] = tuple(grids) if isinstance(grids, Iterable) else (grids,)
    for index, grid in enumerate(listed):
        if not isinstance(grid, PillarGrid):
            raise UsageError(f"grid {index} must be a PillarGrid, got {show(grid)}; make it by from_coords")
    return listed


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (check_whole("shape", side, 1) for side in shape)
    except (TypeError, ValueError, UsageError):
        height, width = 0, 0
    if not 0 < height * width < 2**31:
        raise UsageError(
            f"shape must be (rows, columns), both positive whole numbers and below 2^31 cells, got {show(shape)}"
        )
    return height, width


def _check_sites(row_ptr: Int32, cols: Int32, shape: tuple[int, int]) -> None:
    """Make sure that two arrays are the compressed pillar rows of a grid.

    Raises:
        UsageError: they are not; says where.
    """
    for name, array, size in (("row_ptr", row_ptr, shape[0] + 1), ("cols", cols, np.size(cols))):
        right = isinstance(array, np.ndarray) and array.dtype == np.int32 and array.flags.c_contiguous
        if not right or array.shape != (size,):
            raise UsageError(f"{name} must be a contiguous int32 array of shape ({size},), got {show(array)}")
    if row_ptr[0] != 0 or row_ptr[-1] != cols.size:
        raise UsageError(
            f"row_ptr must run from 0 to the {cols.size} pillars of cols, got {row_ptr[0]} to {row_ptr[-1]}"
        )
    falls = row_ptr[1:] < row_ptr[:-1]
    if falls.any():
        row = int(falls.argmax())
        raise UsageError(
            f"row_ptr must never fall, but goes from {row_ptr[row]} to {row_ptr[row + 1]} behind row {row}"
        )
    outside = (cols < 0) | (cols >= shape[1])
    if outside.any():
        rank = int(outside.argmax())
        raise UsageError(f"cols[{rank}] is {cols[rank]}, outside the {shape[1]} columns of the grid")
    is_first = np.zeros(cols.size + 1, np.bool_)  # of its row
    is_first[row_ptr] = True
    falls = (cols[1:] <= cols[:-1]) & ~is_first[1:-1]
    if falls.any():
        rank = int(falls.argmax()) + 1
        raise UsageError(
            f"cols must ascend within a row, but column {cols[rank]} follows column {cols[rank - 1]} at rank {rank}; "
            "PillarGrid.from_coords sorts pillars and finds those that are named twice"
        )


def _checked_features(features: npt.ArrayLike, pillars: int) -> Features:
    values = check_array("features", features)
    if values.dtype not in FEATURE_DTYPES:
        raise UsageError(
            f"features must be float32, uint8 or int32, got {values.dtype}; convert them with .astype"
        )
    if values.ndim != 2 or values.shape[0] != pillars or values.shape[1] < 1:
        raise UsageError(f"features must be ({pillars}, C) with C of 1 or more, got shape {values.shape}")
    return np.require(values, requirements=["C", "A"])


@kernel
def _sort_sites(sites: Int32, height: int, width: int) -> tuple[Int32, Int32]:
    """Return row_ptr and the permutation that sorts (P, 2) sites: counting sort by column, then row."""
    count = sites.shape[0]
    col_ptr = np.zeros(width + 1, np.int32)
    row_ptr = np.zeros(height + 1, np.int32)
    for i in range(count):
        row_ptr[sites[i, 0] + 1] += 1
        col_ptr[sites[i, 1] + 1] += 1
    for row in range(height):
        row_ptr[row + 1] += row_ptr[row]
    for col in range(width):
        col_ptr[col + 1] += col_ptr[col]
    by_col = np.empty(count, np.int32)
    for i in range(count):
        by_col[col_ptr[sites[i, 1]]] = i
        col_ptr[sites[i, 1]] += 1
    next_in_row = row_ptr.copy()
    order = np.empty(count, np.int32)
    for rank in range(count):
        site = by_col[rank]
        order[next_in_row[sites[site, 0]]] = site
        next_in_row[sites[site, 0]] += 1
    return row_ptr, order


@kernel
def _find_repeated(row_ptr: Int32, cols: Int32) -> int:
    """Return the rank of the first pillar whose cell is also that of the one before it, or -1."""
    for row in range(row_ptr.size - 1):
        for rank in range(row_ptr[row] + 1, row_ptr[row + 1]):
            if cols[rank] == cols[rank - 1]:
                return rank
    return -1
