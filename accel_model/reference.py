"""reference.py: plain Python twins of the kernels of the accelerator models."""

from __future__ import annotations

from .pipeline import Steps


def run_steps(steps: Steps) -> list[list[tuple[int, int]]]:
    """Twin of `pipeline.run_pipeline`: (start, end) per step of the loads, rules, streams and stores, in this order."""
    loads: list[tuple[int, int]] = []
    rules: list[tuple[int, int]] = []
    streams: list[tuple[int, int]] = []
    stores: list[tuple[int, int]] = []
    done: list[int] = []
    channel = 0
    for i in range(len(steps.load)):
        if i == 0:
            loads.append((0, int(steps.load[0])))
            channel = loads[0][1]
        freed = done[i - 2] if i >= 2 else 0
        begin = max(rules[-1][1] if rules else 0, freed)
        rules.append((begin, begin + int(steps.rules[i])))
        ready = max(loads[i][1], rules[i][1], stores[i - 2][1] if i >= 2 else 0)
        free = streams[-1][1] if streams else 0
        if steps.stream[i]:
            begin = max(free, ready + steps.lead)
            streams.append((begin, begin + int(steps.stream[i])))
            done.append(streams[i][1] + int(steps.tail[i]))
        else:
            streams.append((max(free, ready),) * 2)
            done.append(max(streams[i][1], done[-1] if done else 0))
        if i + 1 < len(steps.load):
            begin = max(channel, done[i - 1] if i >= 1 else 0)
            loads.append((begin, begin + int(steps.load[i + 1])))
            channel = loads[-1][1]
        begin = max(channel, done[i])
        channel = begin + int(steps.store[i])
        stores.append((begin, channel))
    return [loads, rules, streams, stores]
