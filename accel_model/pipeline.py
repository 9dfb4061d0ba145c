"""pipeline.py: when main memory, rule generation and array work, step by step, with two halves to every buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """What the steps (a tile, or a tile's columns) of a layer ask of each unit, in cycles.

    Attributes:
        load: of bringing inputs and weights in from main memory.
        rules: of generating rules.
        stream: of the array, from a step's first vector until the next step's first vector may follow.
        tail: from there until the step's last sum has left the array.
        store: of taking outputs out to main memory.
        lead: of shifting a step's first weights into the array, once the step is ready.
    """

    load: Sequence[int]
    rules: Sequence[int]
    stream: Sequence[int]
    tail: Sequence[int]
    store: Sequence[int]
    lead: int


@dataclass(frozen=True)
class Timeline:
    """When each step of `Steps` begins and ends, in cycles from the layer's start.

    Attributes:
        loads, rules, streams, stores: (start, end) per step.
        cycles: until all is stored.
    """

    loads: list[tuple[int, int]]
    rules: list[tuple[int, int]]
    streams: list[tuple[int, int]]
    stores: list[tuple[int, int]]
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
    count = len(steps.load)
    loads: list[tuple[int, int]] = []
    rules: list[tuple[int, int]] = []
    streams: list[tuple[int, int]] = []
    stores: list[tuple[int, int]] = []
    done: list[int] = []
    channel = mapped = free = 0
    for i in range(count):
        if i == 0:
            channel = steps.load[0]
            loads.append((0, channel))
        begin = max(mapped, done[i - 2] if i >= 2 else 0)
        mapped = begin + steps.rules[i]
        rules.append((begin, mapped))
        ready = max(loads[i][1], mapped, stores[i - 2][1] if i >= 2 else 0)
        if steps.stream[i]:
            begin = max(free, ready + steps.lead)
            free = begin + steps.stream[i]
            done.append(free + steps.tail[i])
        else:
            begin = free = max(free, ready)
            done.append(max(free, done[-1] if done else 0))
        streams.append((begin, free))
        if i + 1 < count:
            begin = max(channel, done[i - 1] if i >= 1 else 0)
            channel = begin + steps.load[i + 1]
            loads.append((begin, channel))
        begin = max(channel, done[i])
        channel = begin + steps.store[i]
        stores.append((begin, channel))
    return Timeline(loads, rules, streams, stores, max(channel, max(done, default=0), mapped))
