"""dma.py: main memory beside the array: cycles of a transfer, and loads and stores that overlap with computing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError
from .spec import DramSpec

Cycles = Sequence[int] | NDArray[np.integer]

LARGEST_DENOMINATOR = (
    10**6
)  # of a rate in bytes per cycle; keeps bytes · denominator within 64 bits up to 9 TB


@dataclass(frozen=True)
class Rate:
    """Bytes per cycle as a fraction, so that rounding up is exact; `bytes` 0 means that transfers take no time."""

    bytes: int
    cycles: int

    def count_cycles(self, moved: int) -> int:
        """Return ceil(moved / rate); 0 bytes take 0 cycles."""
        return -(-moved * self.cycles // self.bytes) if self.bytes else 0

    def count_all_cycles(self, moved: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `count_cycles` of each transfer."""
        return -(-moved * self.cycles // self.bytes) if self.bytes else np.zeros_like(moved)


@lru_cache(maxsize=256)
def find_stream_rate(dram: DramSpec, clock_mhz: float) -> Rate:
    """Return the rate of long transfers in order: bandwidth · streaming efficiency / clock.

    The decimals of the three are taken as written and their quotient rounded to the nearest fraction with a denominator
    up to 10^6. A bandwidth of infinity gives transfers that take no time.

    Raises:
        ConfigError: the rate is not above 0.
    """
    if math.isinf(dram.bandwidth_gb_per_s):
        return Rate(0, 1)
    exact = (
        Fraction(str(dram.bandwidth_gb_per_s))
        * 1000
        * Fraction(str(dram.streaming_efficiency))
        / Fraction(str(clock_mhz))
    )
    rate = exact.limit_denominator(LARGEST_DENOMINATOR)
    if rate <= 0:
        raise ConfigError(
            f"dram.bandwidth_gb_per_s = {dram.bandwidth_gb_per_s} with dram.streaming_efficiency ="
            f" {dram.streaming_efficiency} moves no byte in a million cycles; give larger values"
        )
    return Rate(rate.numerator, rate.denominator)


@dataclass(frozen=True)
class Slots:
    """Time cut into n + 2 slots for n tiles; in slot s the channel stores tile s - 2, then loads tile s, while tile
    s - 1 is computed.

    Attributes:
        load, compute, store: (n + 2) cycles of each in every slot.
        ends: (n + 2) cycle at which it ends.
    """

    load: NDArray[np.int64]
    compute: NDArray[np.int64]
    store: NDArray[np.int64]
    ends: NDArray[np.int64]


def find_slots(load: Cycles, compute: Cycles, store: Cycles) -> Slots:
    """Return when each tile is loaded, computed and stored.

    One channel serves L0 L1 S0 L2 S1 ...; input and output buffers have two halves: load i waits for compute i - 2,
    compute i for load i, compute i - 1 and store i - 2, store i for compute i. Nothing then waits longer than for the
    slowest of its slot, and every slot takes

        max(C_{s-1}, L_s + S_{s-2})
    """
    count = len(load)
    loads, computes, stores = (np.zeros(count + 2, np.int64) for _ in range(3))
    loads[:count], computes[1 : count + 1], stores[2:] = load, compute, store
    return Slots(loads, computes, stores, np.cumsum(np.maximum(computes, loads + stores)))


def overlap(load: Cycles, compute: Cycles, store: Cycles) -> int:
    """Return cycles of all tiles: sum over s of max(C_{s-1}, L_s + S_{s-2}), missing terms 0; see `find_slots`.

    max(sum C + L_first + S_last, sum L + sum S) <= result <= sum L + sum C + sum S.

    Args:
        load, compute, store: cycles of each tile, of equal length.
    """
    return int(find_slots(load, compute, store).ends[-1]) if len(load) else 0
