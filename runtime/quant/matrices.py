"""matrices.py: a weight matrix in a number format: how it is cut into groups, and its codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_whole
from ..errors import UsageError
from .formats import Codes, Floats, IntegerImage, Levels, NumberFormat, spread
from .packing import pack_codes

Granularity = Literal["tensor", "channel", "group"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


@dataclass(frozen=True)
class WeightFormat:
    """A number format, and which weights of a matrix (out, in) share their levels.

    Attributes:
        numbers: the format.
        granularity: all weights ("tensor"), those of a row ("channel"), or `group_size` neighbours of a row ("group").
        group_size: columns of a group, the last one may be narrower; 0 unless the granularity is "group".

    Raises:
        UsageError: an unknown granularity, or a group size that does not fit it.
    """

    numbers: NumberFormat
    granularity: Granularity = "channel"
    group_size: int = 0

    def __post_init__(self) -> None:
        check_choice("granularity", self.granularity, GRANULARITIES)
        check_whole("group_size", self.group_size, least=0)
        if (self.granularity == "group") != (self.group_size > 0):
            raise UsageError(
                f"group_size must be above 0 with granularity 'group' and 0 otherwise, "
                f"got {self.group_size} with {self.granularity!r}"
            )

    def width(self, columns: int) -> int:
        """Return how many columns a group of a matrix has."""
        return min(self.group_size, columns) if self.granularity == "group" else columns

    def fit(self, weight: Floats, limits: Floats | None = None) -> tuple[Levels, ...]:
        """Return the levels of each group of columns.

        Args:
            weight: (out, in) finite numbers.
            limits: (out, groups) magnitudes to clip to before the levels are found.
        """
        levels: list[Levels] = []
        for index, columns in enumerate(list_groups(weight.shape[1], self.width(weight.shape[1]))):
            block = weight[:, columns]
            if limits is not None:
                limit = limits[:, index, None]
                block = np.clip(block, -limit, limit)
            shape = (1, -1) if self.granularity == "tensor" else block.shape
            levels.append(self.numbers.fit(block.reshape(shape)))
        return tuple(levels)


@dataclass(frozen=True, eq=False)
class QuantisedTensor:
    """A weight matrix as codes.

    Attributes:
        codes: (out, in) uint8.
        levels: of each group of columns.
        width: columns of a group; the last one may have fewer.
    """

    codes: Codes
    levels: tuple[Levels, ...]
    width: int

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.levels[0].bits)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed codes, scales as float32, and zero-points as one byte each."""
        rows, columns = self.codes.shape
        return int(rows * -(-columns * self.bits // 8)) + sum(levels.overhead for levels in self.levels)

    def decode(self) -> Floats:
        """Return the weights that the codes stand for, (out, in) float64."""
        return np.hstack([levels.decode(self.codes[:, columns]) for levels, columns in self._groups()])

    def integers(self) -> IntegerImage:
        """Return the weights as integers with scales, exactly: (planes, out, in) and (planes, out, groups)."""
        images = [levels.image(self.codes[:, columns]) for levels, columns in self._groups()]
        return IntegerImage(
            np.concatenate([image.values for image in images], axis=2),
            np.concatenate([image.scale for image in images], axis=2),
        )

    def zeros(self) -> NDArray[np.int64]:
        """Return the code of 0 in each group, (out, groups), for formats that have one.

        Raises:
            UsageError: the format has no zero-point.
        """
        points = [getattr(levels, "zero", None) for levels in self.levels]
        if any(point is None for point in points):
            raise UsageError(f"{type(self.levels[0]).__name__} have no zero-point; use integers()")
        return np.hstack([spread(np.asarray(point), len(self.codes)) for point in points])

    def pack(self) -> NDArray[np.uint8]:
        """Return the codes packed row by row, (out, bytes) uint8; see `pack_codes`."""
        return pack_codes(self.codes, self.bits)

    def take_rows(self, start: int, stop: int) -> QuantisedTensor:
        """Return some rows, such as one of several matrices that were quantised on top of each other."""
        rows = slice(start, stop)
        return QuantisedTensor(
            self.codes[rows], tuple(levels.take_rows(rows) for levels in self.levels), self.width
        )

    def _groups(self) -> list[tuple[Levels, slice]]:
        return list(zip(self.levels, list_groups(self.codes.shape[1], self.width), strict=True))


def list_groups(columns: int, width: int) -> list[slice]:
    """Return the columns of each group, in order."""
    return [slice(start, min(start + width, columns)) for start in range(0, columns, width)]
