"""gather_scatter.py: cycles of moving vectors between buffers and array: port widths, and bank conflicts counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .active_tiles import ActiveTiles
from .geometry import LayerGeometry
from .spec import GatherSpec, Layout


@dataclass(frozen=True)
class PortTimes:
    """Cycles of one port.

    Attributes:
        per_vector: for a vector without conflicts.
        conflicts: (n, K) further cycles per tile and tap, from vectors that want the same bank at once.
    """

    per_vector: int
    conflicts: NDArray[np.int64]


def time_gather(
    geometry: LayerGeometry, tiles: ActiveTiles, gather: GatherSpec, vector_bytes: int
) -> PortTimes:
    """Return the times of reading input vectors of `vector_bytes`."""
    width = math.ceil(vector_bytes / gather.gather_bytes_per_cycle)
    return _time_port(geometry.rule_inputs, tiles, gather, vector_bytes, width)


def time_scatter(
    geometry: LayerGeometry, tiles: ActiveTiles, gather: GatherSpec, vector_bytes: int
) -> PortTimes:
    """Return the times of adding partial-sum vectors of `vector_bytes` to their places, a read and a write each."""
    width = math.ceil(vector_bytes / gather.scatter_bytes_per_cycle)
    shared = 2 if gather.psum_ports == "one_shared" else 1
    return _time_port(geometry.rule_outputs, tiles, gather, vector_bytes, width * shared)


def _time_port(
    ranks: tuple[NDArray[np.int32], ...],
    tiles: ActiveTiles,
    gather: GatherSpec,
    vector_bytes: int,
    width: int,
) -> PortTimes:
    words = math.ceil(vector_bytes / gather.bank_word_bytes)
    conflicts = np.zeros_like(tiles.pairs)
    if gather.layout == "channel_interleaved":
        # Word j of every vector lies in bank j mod banks: the words of one vector never meet while there are banks
        # enough, whatever its rank. `count_conflicts` on real ranks says the same.
        return PortTimes(max(width, math.ceil(words / gather.banks)), conflicts)
    for tap, tap_ranks in enumerate(ranks):
        ends = np.cumsum(tiles.pairs[:, tap])
        for tile, (begin, end) in enumerate(zip(np.append(0, ends[:-1]), ends, strict=True)):
            requests = group_requests(tap_ranks[begin:end], words, gather.banks, gather.layout)
            conflicts[tile, tap] = words * count_conflicts(requests, gather.banks)
    return PortTimes(width, conflicts)


def group_requests(ranks: NDArray[np.integer], words: int, banks: int, layout: Layout) -> NDArray[np.int64]:
    """Return the banks that are asked at once, one group of requests per row; -1 asks none.

    "channel_interleaved" reads one vector at a time, its words from banks 0, 1, ...; "pillar_interleaved" reads
    `words` vectors at a time, one word of each per cycle, each from bank rank mod banks.
    """
    if layout == "channel_interleaved":
        return np.broadcast_to(np.arange(words) % banks, (len(ranks), words)).astype(np.int64)
    padded = np.full(-(-len(ranks) // words) * words, -1, np.int64)
    padded[: len(ranks)] = ranks % banks
    return padded.reshape(-1, words)


def count_conflicts(requests: NDArray[np.int64], banks: int) -> int:
    """Return how many further rounds the groups need: per group, the most requests for one bank, less one.

    Args:
        requests: (G, W) banks, -1 for none.
        banks: of the buffer.
    """
    if not requests.size:
        return 0
    groups = np.repeat(np.arange(len(requests)), requests.shape[1])
    asked = requests.ravel() >= 0
    loads = np.bincount((groups * banks + requests.ravel())[asked], minlength=len(requests) * banks)
    return int(np.maximum(loads.reshape(-1, banks).max(axis=1) - 1, 0).sum())
