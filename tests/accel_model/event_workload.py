"""event_workload.py: a layer with data, its tiles and steps, and what becomes of it in the event simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from specs import PillarSpec, list_rules

from colonnade.runtime.trace import LayerRecord

Rule = tuple[int, int]  # ranks of an input and an output


@dataclass(frozen=True)
class Workload:
    """A layer with its data and the way it is cut.

    Attributes:
        layer: sites and channels.
        spec: the machine.
        features: (P, Cin) integers.
        weights: (K, Cin, Cout) integers.
        order: "tiles_outer" or "channels_outer".
        tile_inputs: T.
        rules_known: the layer before has left this layer's rules in the rule buffer.
    """

    layer: LayerRecord
    spec: PillarSpec
    features: NDArray[np.int64]
    weights: NDArray[np.int64]
    order: str
    tile_inputs: int
    rules_known: bool = False

    def convolve(self) -> NDArray[np.int64]:
        """Return the (Q, Cout) outputs, rule by rule."""
        outputs = np.zeros((len(self.layer.out_sites), self.weights.shape[2]), np.int64)
        for tap, pairs in enumerate(find_rules(self.layer)):
            for read, written in pairs:
                outputs[written] += self.features[read] @ self.weights[tap]
        return outputs


@dataclass(frozen=True)
class Outcome:
    """What happened: cycle of the last store, values in main memory, how often each was stored, spans of the units."""

    cycles: int
    stored: NDArray[np.int64]
    times_stored: NDArray[np.int64]
    spans: dict[str, list[tuple[int, int]]]
    streams: list[tuple[int, int]]


def find_rules(layer: LayerRecord) -> list[list[Rule]]:
    """Return the rules per tap by brute force."""
    return list_rules(layer.in_sites.cells, layer.out_sites.cells, layer.kind, layer.kernel, layer.stride)


# --- how it is cut ---


@dataclass(frozen=True)
class Tile:
    """Inputs begin..end; the outputs below `final` are whole after it, those below `reached` have been touched."""

    begin: int
    end: int
    final: int
    reached: int
    last_row: int


@dataclass(frozen=True)
class Step:
    """A tile in a pass; in a transposed layer a column fold of a tile in a pass.

    Attributes:
        tile: its number.
        taps: that the pass runs; those of a transposed layer lie side by side on the columns.
        columns: that it computes: output channels; of a transposed layer (tap, channel) pairs.
        batch: number of the tile's load; the inputs lie in half batch mod 2 of their buffer.
        opens_tile, opens_pass: whether it is the first of the tile in the pass, and of the pass.
        brings_coordinates, stores_coordinates, generates_rules: what it does besides.
        weight_columns: whose weights it brings.
    """

    tile: int
    taps: tuple[int, ...]
    columns: range
    batch: int
    opens_tile: bool
    opens_pass: bool
    brings_coordinates: bool
    stores_coordinates: bool
    generates_rules: bool
    weight_columns: range


def touch(pairs: Sequence[list[Rule]], begin: int, end: int) -> set[int]:
    """Return the outputs that inputs begin..end touch."""
    return {o for tap in pairs for i, o in tap if begin <= i < end}


def cut_tiles(work: Workload, pairs: Sequence[list[Rule]], columns: int) -> list[Tile]:
    """Cut the inputs; a tile whose outputs do not fit is halved until they do."""
    count, size = len(work.features), work.tile_inputs
    spans = [(begin, min(begin + size, count)) for begin in range(0, count, size)]
    room = work.spec.sram.psum_kib * 1024 // (4 * columns)
    if work.layer.kind != "transposed":
        spans = [half for span in spans for half in halve(pairs, span, room, count)]
    transposed = work.layer.kind == "transposed"
    rows = np.argwhere((work.layer.in_sites if transposed else work.layer.out_sites).cells)[:, 0]
    tiles = []
    for begin, end in spans:
        later = touch(pairs, end, count)
        final = min(later, default=len(work.layer.out_sites))
        reached = max(touch(pairs, 0, end), default=-1) + 1
        last = end - 1 if transposed else reached - 1
        last_row = int(rows[last]) if last >= 0 else -1
        tiles.append(Tile(begin, end, final, reached, last_row))
    return tiles


def halve(
    pairs: Sequence[list[Rule]], span: tuple[int, int], room: float, count: int
) -> list[tuple[int, int]]:
    """Halve a tile until the outputs held while it runs fit."""
    begin, end = span
    high = max(touch(pairs, 0, end), default=-1) + 1
    low = min(touch(pairs, begin, count), default=high)
    if high - low <= room or end - begin == 1:
        return [span]
    middle = (begin + end) // 2
    return [*halve(pairs, (begin, middle), room, count), *halve(pairs, (middle, end), room, count)]
