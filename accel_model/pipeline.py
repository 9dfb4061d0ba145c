"""pipeline.py: when main memory, rule generation and array work, step by step, with two halves to every buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import kernel

LOAD, RULES, STREAM, STORE = range(4)  # units in `Timeline.spans`


@dataclass(frozen=True, eq=False)
class Steps:
    """What the steps (a tile, or a tile's columns) of a layer ask of each unit, in cycles; (S,) int64 each.

    Attributes:
        load: of bringing inputs and weights in from main memory.
        rules: of generating rules.
        stream: of the array, from a step's first vector until the next step's first vector may follow.
        tail: from there until the step's last sum has left the array.
        store: of taking outputs out to main memory.
        lead: of shifting a step's first weights into the array, once the step is ready.
    """

    load: NDArray[np.int64]
    rules: NDArray[np.int64]
    stream: NDArray[np.int64]
    tail: NDArray[np.int64]
    store: NDArray[np.int64]
    lead: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each step of `Steps` begins and ends.

    Attributes:
        spans: (4, S, 2) int64, first and last cycle of LOAD, RULES, STREAM and STORE, from the layer's start.
        cycles: until all is stored.
    """

    spans: NDArray[np.int64]
    cycles: int


def run_pipeline(steps: Steps) -> Timeline:
    """Return when each unit works.

    Input, rule and output buffers have two halves, and main memory one channel that serves loads (L) and stores (S) in
    the order L0 L1 S0 L2 S1 ... With done(i) the cycle at which the sums of step i have left the array:

        load(i)   waits for the channel and for done(i-2), which frees its half of the input buffer
        rules(i)  waits for rules(i-1) and done(i-2)
        ready(i)  = load(i), rules(i) and store(i-2) are over
        stream(i) starts at max(end of stream(i-1), ready(i) + lead)
        done(i)   = end of stream(i) + tail
        store(i)  waits for the channel and done(i)

    A step without work for the array is done when it is ready and the step before has streamed. Without rules and
    tails this is the overlap of `dma.py`.
    """
    spans = np.empty((4, len(steps.load), 2), np.int64)
    cycles = _run(steps.load, steps.rules, steps.stream, steps.tail, steps.store, steps.lead, spans)
    return Timeline(spans, int(cycles))


@kernel
def _run(
    load: NDArray[np.int64],
    rules: NDArray[np.int64],
    stream: NDArray[np.int64],
    tail: NDArray[np.int64],
    store: NDArray[np.int64],
    lead: int,
    spans: NDArray[np.int64],
) -> int:
    """Fill `spans` and return the last cycle; `done` and `before` are done(i-1) and done(i-2)."""
    count = len(load)
    channel, mapped, free, done, before = 0, 0, 0, 0, 0
    if count:
        channel = load[0]
        spans[0, 0, 0], spans[0, 0, 1] = 0, channel
    for i in range(count):
        begin = max(mapped, before)
        mapped = begin + rules[i]
        spans[1, i, 0], spans[1, i, 1] = begin, mapped
        ready = max(spans[0, i, 1], mapped)
        if i >= 2:
            ready = max(ready, spans[3, i - 2, 1])
        now = done
        if stream[i]:
            begin = max(free, ready + lead)
            free = begin + stream[i]
            now = free + tail[i]
        else:
            begin = max(free, ready)
            free = begin
            now = max(now, free)
        spans[2, i, 0], spans[2, i, 1] = begin, free
        if i + 1 < count:
            begin = max(channel, done)
            channel = begin + load[i + 1]
            spans[0, i + 1, 0], spans[0, i + 1, 1] = begin, channel
        begin = max(channel, now)
        channel = begin + store[i]
        spans[3, i, 0], spans[3, i, 1] = begin, channel
        before, done = done, now
    return max(channel, done, mapped)
