"""event_simulator.py: all units of the sparse-pillar accelerator as processes on one clock, with the data they move.

Written from docs/accelerator/sparse.md alone: rules leave the rule unit row by row, one channel brings inputs and
weights in and outputs out, weights shift into the array behind the running ones, vectors stream through it one by
one, sums are added where they belong and leave when they are whole. What arrives in main memory is the convolution,
if tiles, passes, buffers and the moment at which an output is whole are right; a unit that reads what is not there
yet, or a buffer that overflows, is an AssertionError.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from event_clock import Clock, Process, Signal
from event_workload import Outcome, Rule, Step, Tile, Workload, cut_tiles, find_rules, touch
from numpy.typing import NDArray


def simulate_layer(work: Workload) -> Outcome:
    """Run a layer."""
    return Machine(work).run()


@dataclass
class Machine:
    """The units and the buffers."""

    work: Workload
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        layer, spec = self.work.layer, self.work.spec
        self.layer, self.spec, self.array = layer, spec, spec.array
        self.transposed = layer.kind == "transposed"
        self.pairs = find_rules(layer)
        self.passes = self.list_passes()
        self.widest = len(self.passes[0][1][0])
        self.tiles = cut_tiles(self.work, self.pairs, self.widest)
        self.steps = self.list_steps()
        count = len(self.steps)
        self.loaded, self.ruled, self.done, self.stored = ([Signal() for _ in range(count)] for _ in range(4))
        self.spans: dict[str, list[tuple[int, int]]] = {"load": [], "store": [], "rules": []}
        self.streams: list[tuple[int, int]] = []
        # buffers
        self.inputs: dict[int, dict[int, NDArray[np.int64]]] = {}  # half: input rank: vector
        self.weights: dict[tuple[tuple[int, ...], int], NDArray[np.int64]] = {}  # taps, column: (taps, Cin)
        self.rulebook: dict[int, list[Rule]] = defaultdict(
            list
        )  # tap: rules that have left the unit in this pass
        self.rules: dict[int, dict[int, list[Rule]]] = {}  # step: tap: rules of its tile
        self.sums: dict[int, dict[int, int]] = defaultdict(dict)  # output rank: column: sum
        self.outputs: dict[int, dict[int, dict[int, int]]] = {}  # half: output rank: column: sum
        # main memory
        shape = len(layer.out_sites), layer.out_channels
        self.memory = np.zeros(shape, np.int64)
        self.times_stored = np.zeros(shape, np.int64)
        self.spilled: dict[int, dict[int, int]] = defaultdict(dict)
        # the array's weight registers
        self.folds = [self.list_folds(index) for index in range(count)]
        total = sum(map(len, self.folds))
        self.shifted, self.swapped = [Signal() for _ in range(total)], [Signal() for _ in range(total)]
        self.shadow: NDArray[np.int64] | None = None

    def run(self) -> Outcome:
        """Run all units until nothing moves."""
        for process in (self.serve_memory(), self.generate_rules(), self.stream()):
            self.clock.start(process)
        if self.array.weight_preload == "double_buffered":
            self.clock.start(self.shift_weights())
        self.clock.run()
        assert all(signal.raised for signal in self.stored), "a step was never stored"
        assert not any(self.sums.values()), "sums were left on the chip"
        assert not any(self.spilled.values()), "sums were left in main memory"
        return Outcome(self.clock.now, self.memory, self.times_stored, self.spans, self.streams)

    # --- passes and steps ---

    def list_passes(self) -> list[tuple[tuple[int, ...], list[range]]]:
        """Return (taps, columns of the steps of a tile) per pass."""
        taps = tuple(range(self.layer.kernel**2))
        groups = [taps]
        if self.transposed and not self.spec.dataflow.ganged_scatter:
            groups = [(tap,) for tap in taps]  # each tap is a layer of its own
        width = self.layer.out_channels * (len(groups[0]) if self.transposed else 1)
        tiles_outer = self.work.order == "tiles_outer"
        most = width if tiles_outer and not self.transposed else self.array.columns
        cuts = [range(left, min(left + most, width)) for left in range(0, width, most)]
        if tiles_outer:
            return [(group, cuts) for group in groups]
        return [(group, [cut]) for group in groups for cut in cuts]

    def list_steps(self) -> list[Step]:
        """Return the steps in order."""
        spec, tiles_outer = self.spec, self.work.order == "tiles_outer"
        rules_stay = 4 * sum(map(len, self.pairs)) <= spec.sram.rule_kib * 1024
        held = len(self.pairs) * self.layer.in_channels * self.layer.out_channels * spec.weight_bits / 8
        each_step = tiles_outer and held > spec.sram.weight_kib * 1024
        steps = []
        for number, (taps, cuts) in enumerate(self.passes):
            for tile in range(len(self.tiles)):
                for columns in cuts:
                    opens_tile = columns is cuts[0]
                    opens_pass = opens_tile and tile == 0
                    everything = range(cuts[0].start, cuts[-1].stop)
                    first_of_taps = number == 0 or self.passes[number - 1][0] != taps
                    steps.append(
                        Step(
                            tile=tile,
                            taps=taps,
                            columns=columns,
                            batch=number * len(self.tiles) + tile,
                            opens_tile=opens_tile,
                            opens_pass=opens_pass,
                            brings_coordinates=opens_tile and number == 0,
                            stores_coordinates=opens_tile and first_of_taps,
                            generates_rules=opens_tile
                            and not self.work.rules_known
                            and (number == 0 or not rules_stay),
                            weight_columns=columns if each_step else everything if opens_pass else range(0),
                        )
                    )
        return steps

    def count_weight_bytes(self, step: Step) -> int:
        """Return the bytes of the weights that a step brings: those of the taps that it runs, each in whole bytes."""
        block = self.layer.in_channels * len(step.weight_columns) * self.spec.weight_bits
        if self.transposed:
            return math.ceil(block / 8)
        if step.weight_columns is step.columns:
            return len(self.list_taps(step)) * math.ceil(block / 8)
        return math.ceil(len(step.taps) * block / 8)

    def list_taps(self, step: Step) -> list[int]:
        """Return the taps that have rules in a step's tile."""
        tile = self.tiles[step.tile]
        return [tap for tap in step.taps if any(tile.begin <= i < tile.end for i, _ in self.pairs[tap])]

    # --- memory channel: L0 L1 S0 L2 S1 ... ---

    def serve_memory(self) -> Process:
        """Load and store in the channel's order."""
        yield from self.load(0)
        for index in range(len(self.steps)):
            if index + 1 < len(self.steps):
                yield from self.load(index + 1)
            yield from self.store(index)

    def load(self, index: int) -> Process:
        """Bring a step's inputs and weights in."""
        if index >= 2:
            yield self.done[index - 2]
        step, begin = self.steps[index], self.clock.now
        tile = self.tiles[step.tile]
        count = (tile.end - tile.begin) if step.opens_tile else 0
        coordinates = 4 if step.brings_coordinates else 0
        moved = count * (self.layer.in_channels * self.spec.element_bytes + coordinates)
        moved += self.count_weight_bytes(step)
        yield self.time_transfer(moved, 4 * len(step.columns) * len(self.find_spilled(step)[0]))
        self.spans["load"].append((begin, self.clock.now))
        if step.opens_tile:
            self.inputs[step.batch % 2] = {i: self.work.features[i] for i in range(tile.begin, tile.end)}
        self.bring_weights(step)
        self.clock.announce(self.loaded[index])

    def bring_weights(self, step: Step) -> None:
        """Put weights into their buffer; those of the pass before may still be in use."""
        if step.opens_pass and self.work.order == "channels_outer":
            used = dict.fromkeys((other.taps, other.columns) for other in self.steps)
            number = list(used).index((step.taps, step.columns))
            kept = list(used)[max(0, number - 1) : number]
            self.weights = {
                key: w for key, w in self.weights.items() if any(key[0] == t and key[1] in c for t, c in kept)
            }
        for column in step.weight_columns:
            tap, channel = divmod(column, self.layer.out_channels)
            taps = [step.taps[tap]] if self.transposed else list(step.taps)
            self.weights[step.taps, column] = self.work.weights[taps, :, channel]
        held = sum(w.size for w in self.weights.values()) * self.spec.weight_bits / 8
        if self.work.order == "channels_outer":
            assert held <= self.spec.sram.weight_kib * 1024, "weights overflow"

    def find_spilled(self, step: Step) -> tuple[range | list[int], range]:
        """Return the outputs whose sums a step reads back from main memory and leaves there: none with active tiles.

        A tile keeps nothing: it reads what earlier tiles left of the outputs that it touches or completes, and writes
        those that are not complete; what a tile touches is the interval from the lowest to the highest output.
        """
        if self.transposed or self.spec.dataflow.active_tiles:
            return range(0), range(0)
        tile = self.tiles[step.tile]
        before = self.tiles[step.tile - 1] if step.tile else Tile(0, 0, 0, 0, -1)
        mine = touch(self.pairs, tile.begin, tile.end)
        touched = range(min(mine), max(mine) + 1) if mine else range(0)
        begun = range(before.final, before.reached)
        back = [rank for rank in begun if rank in touched or rank < tile.final]
        return back, range(max(touched.start, tile.final), max(touched.stop, tile.final))

    def store(self, index: int) -> Process:
        """Take a step's whole outputs out, and without active tiles its other sums."""
        yield self.done[index]
        step, begin = self.steps[index], self.clock.now
        whole = self.outputs.pop(index % 2)
        kept = np.flatnonzero(self.layer.kept_sites.cells[self.layer.out_sites.cells])
        leaving = {rank: columns for rank, columns in whole.items() if rank in set(kept.tolist())}
        moved = sum(len(columns) for columns in leaving.values()) * self.spec.element_bytes
        if self.transposed and step.opens_tile:
            tile = self.tiles[step.tile]
            ranks = {o for tap in step.taps for i, o in self.pairs[tap] if tile.begin <= i < tile.end}
            moved += 4 * len(ranks & set(kept.tolist())) * step.stores_coordinates
        elif step.stores_coordinates:
            moved += 4 * len(leaving)
        yield self.time_transfer(moved, 4 * len(step.columns) * len(self.find_spilled(step)[1]))
        self.spans["store"].append((begin, self.clock.now))
        for rank, columns in leaving.items():
            for channel, value in columns.items():
                self.memory[rank, channel] = value
                self.times_stored[rank, channel] += 1
        self.clock.announce(self.stored[index])

    def time_transfer(self, streamed: int, scattered: int) -> int:
        """Return the cycles of bytes in order and at random addresses."""
        dram, width = self.spec.dram, self.spec.dram_bytes_per_cycle
        in_order = streamed / (width * dram.streaming_efficiency)
        return math.ceil(in_order + scattered / (width * dram.random_efficiency))

    # --- rule unit ---

    def generate_rules(self) -> Process:
        """Emit whole rows until the step's last one is out; the last step takes the rows that are left."""
        mapping = self.spec.mapping
        if self.work.rules_known:
            self.emit_rows(range(self.count_rows()))
        next_row = 0
        for index, step in enumerate(self.steps):
            if index >= 2:
                yield self.done[index - 2]
            begin = self.clock.now
            if step.generates_rules:
                if step.opens_pass:
                    next_row = 0
                    self.rulebook = defaultdict(list)
                    yield mapping.pipeline_cycles
                last = self.tiles[step.tile].last_row
                if step.tile == len(self.tiles) - 1:
                    last = self.count_rows() - 1
                while next_row <= last:
                    yield mapping.row_overhead_cycles + math.ceil(self.count_merged(next_row) / mapping.lanes)
                    self.emit_rows(range(next_row, next_row + 1))
                    next_row += 1
            self.spans["rules"].append((begin, self.clock.now))
            tile = self.tiles[step.tile]
            self.rules[index] = {
                tap: [pair for pair in self.rulebook[tap] if tile.begin <= pair[0] < tile.end]
                for tap in step.taps
            }
            self.clock.announce(self.ruled[index])

    def count_rows(self) -> int:
        """Return how many rows the unit passes."""
        return self.layer.in_shape[0] if self.transposed else self.layer.out_shape[0]

    def count_merged(self, row: int) -> int:
        """Return how many columns the unit sees for a row: it merges the rows of the window, column by column."""
        cells = self.layer.in_sites.cells
        if self.transposed:
            return sum(bool(cell) for cell in cells[row])
        top = self.layer.stride * row - (0 if self.layer.kernel == 2 else self.layer.kernel // 2)
        window = range(max(top, 0), min(top + self.layer.kernel, len(cells)))
        return sum(any(cells[y][x] for y in window) for x in range(cells.shape[1]))

    def emit_rows(self, rows: range) -> None:
        """Put the rules of some rows into the rule buffer."""
        sites = self.layer.in_sites if self.transposed else self.layer.out_sites
        row_of = np.argwhere(sites.cells)[:, 0]
        for tap, pairs in enumerate(self.pairs):
            self.rulebook[tap] += [
                pair for pair in pairs if row_of[pair[0 if self.transposed else 1]] in rows
            ]

    # --- array ---

    def list_folds(self, index: int) -> list[tuple[int, range, range]]:
        """Return (tap, input channels, columns) of a step's folds; tap -1 where all lie side by side."""
        step = self.steps[index]
        rows = [
            range(top, min(top + self.array.rows, self.layer.in_channels))
            for top in range(0, self.layer.in_channels, self.array.rows)
        ]
        columns = [
            range(left, min(left + self.array.columns, step.columns.stop))
            for left in range(step.columns.start, step.columns.stop, self.array.columns)
        ]
        taps = [-1] if self.transposed else self.list_taps(step)
        return [(tap, r, c) for tap in taps for c in columns for r in rows]

    def is_ready(self, index: int) -> Process:
        """Wait for a step's inputs, rules, and half of the output buffer."""
        yield self.loaded[index]
        yield self.ruled[index]
        if index >= 2:
            yield self.stored[index - 2]

    def shift_weights(self) -> Process:
        """Shift every fold's weights into the registers behind the running ones."""
        number = 0
        for index, folds in enumerate(self.folds):
            if folds:
                yield from self.is_ready(index)
            for fold in folds:
                if number:
                    yield self.swapped[number - 1]
                yield self.array.rows
                self.shadow = self.read_weights(index, fold)
                self.clock.announce(self.shifted[number])
                number += 1

    def read_weights(self, index: int, fold: tuple[int, range, range]) -> NDArray[np.int64]:
        """Return (rows, columns) weights from the weight buffer."""
        tap, rows, columns = fold
        place, taps = 0 if self.transposed else tap, self.steps[index].taps
        return np.array([[self.weights[taps, column][place, row] for column in columns] for row in rows])

    def stream(self) -> Process:
        """Stream every step's folds."""
        number = 0
        serial = self.array.weight_preload == "serial"
        filled = self.array.weight_preload in ("serial", "per_tap_fill")
        drain = 0 if self.array.weight_preload == "per_tap_fill" else self.array.rows + self.array.columns - 2
        for index, folds in enumerate(self.folds):
            yield from self.is_ready(index)
            begin = self.clock.now
            for fold in folds:
                if filled:
                    yield self.array.rows
                    weights = self.read_weights(index, fold)
                else:
                    yield self.shifted[number]
                    assert self.shadow is not None
                    weights, self.shadow = self.shadow, None
                    self.clock.announce(self.swapped[number])
                number += 1
                if fold is folds[0] and not filled:
                    begin = self.clock.now
                yield from self.stream_fold(index, fold, weights, drain)
                if serial:
                    yield drain
            self.streams.append((begin, self.clock.now))
            self.clock.start(self.end_step(index, 0 if serial or not folds else drain))

    def end_step(self, index: int, drain: int) -> Process:
        """Finish a step once its last sums, and those of the step before, have left the array."""
        yield drain
        if index:
            yield self.done[index - 1]
        self.finish(index)

    def stream_fold(
        self, index: int, fold: tuple[int, range, range], weights: NDArray[np.int64], drain: int
    ) -> Process:
        """Stream the vectors of one fold; a vector's sums are added `drain` cycles after its slot is over."""
        step, (_, rows, columns) = self.steps[index], fold
        vectors = self.list_vectors(index, fold[0])
        read = min(self.array.rows, self.layer.in_channels) * self.spec.element_bytes
        written = 4 * min(self.array.columns, self.widest)
        gathers = self.time_port([i for i, _ in vectors], read, "gather")
        some = iter(self.time_port([o[0] for _, o in vectors if o], written, "scatter"))
        scatters = [next(some) if o else 0 for _, o in vectors]
        passed = 0
        for (rank, outputs), gathered, scattered in zip(vectors, gathers, scatters, strict=True):
            leaves = max(passed, gathered, scattered)
            yield leaves - passed
            passed = leaves
            values = self.inputs[step.batch % 2][rank][rows.start : rows.stop] @ weights
            self.clock.call(drain, partial(self.scatter, step, outputs, columns, values))

    def list_vectors(self, index: int, tap: int) -> list[tuple[int, list[int]]]:
        """Return (input, outputs) of the vectors of a fold, from the rules that have left the unit."""
        step, rules = self.steps[index], self.rules[index]
        tile = self.tiles[step.tile]
        if self.transposed:  # one output per tap, in the taps' order
            children = defaultdict(list)
            for run in step.taps:
                for i, o in rules[run]:
                    children[i].append(o)
            return [(i, children[i]) for i in range(tile.begin, tile.end)]
        if self.layer.kind == "strided" and not self.spec.dataflow.weight_grouping:
            reached = dict(rules[tap])
            return [(i, [reached[i]] if i in reached else []) for i in range(tile.begin, tile.end)]
        return [(i, [o]) for i, o in rules[tap]]

    def time_port(self, ranks: list[int], vector_bytes: int, port: str) -> list[int]:
        """Return when each vector has passed a port, counted from the fold's first cycle."""
        gather = self.spec.gather
        width = gather.gather_bytes_per_cycle if port == "gather" else gather.scatter_bytes_per_cycle
        words = math.ceil(vector_bytes / gather.bank_word_bytes)
        each = math.ceil(vector_bytes / width)
        if port == "scatter" and gather.psum_ports == "one_shared":
            each *= 2
        if gather.layout == "channel_interleaved":
            each = max(each, math.ceil(words / gather.banks))
        times, now = [], 0
        for first in range(0, len(ranks), words if gather.layout == "pillar_interleaved" else 1):
            group = (
                ranks[first : first + words]
                if gather.layout == "pillar_interleaved"
                else ranks[first : first + 1]
            )
            now += each * len(group)
            if gather.layout == "pillar_interleaved":  # one word of each vector at once, `words` times
                banks = [rank % gather.banks for rank in group]
                now += words * (max(map(banks.count, banks)) - 1)
            times += [now] * len(group)
        if gather.layout == "channel_interleaved":
            return [each * (k + 1) for k in range(len(ranks))]
        return times

    def scatter(self, step: Step, written: list[int], columns: range, values: NDArray[np.int64]) -> None:
        """Add a vector's sums to their places."""
        for column, value in zip(columns, values.tolist(), strict=True):
            tap, channel = divmod(column, self.layer.out_channels)
            if written:
                place = self.sums[written[tap]]
                place[channel] = place.get(channel, 0) + value
        if not self.transposed and self.sums:
            held = max(self.sums) + 1 - min(self.sums)
            assert held * len(step.columns) * 4 <= self.spec.sram.psum_kib * 1024, "partial sums overflow"

    def finish(self, index: int) -> None:
        """Hand the whole outputs of a step to the output buffer; without active tiles empty the sums.

        The timing lets sums come back with a tile's load, which the channel serves before the store of the tile before;
        the data are added when they leave, as no machine could read what is not yet stored.
        """
        step, tile = self.steps[index], self.tiles[self.steps[index].tile]
        assert index % 2 not in self.outputs, "an output half was not free"
        back, left = self.find_spilled(step)
        for rank in back:
            for channel, value in self.spilled.pop(rank, {}).items():
                self.sums[rank][channel] = self.sums[rank].get(channel, 0) + value
        whole = [rank for rank in sorted(self.sums) if self.transposed or rank < tile.final]
        self.outputs[index % 2] = {rank: self.sums.pop(rank) for rank in whole}
        for rank in left:
            if rank in self.sums:
                self.spilled[rank] = self.sums.pop(rank)
        assert self.transposed or self.spec.dataflow.active_tiles or not self.sums, "a sum was forgotten"
        self.clock.announce(self.done[index])
