"""Tests of transfers and their overlap with computing, against a simulator that knows only who waits for whom."""

import heapq
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.accel_model.dma import find_slots, find_stream_rate, overlap
from colonnade.accel_model.spec import DramSpec
from colonnade.runtime.errors import ConfigError


def simulate(load: list[int], compute: list[int], store: list[int]) -> int:
    """Return the cycle at which all is stored, from a queue of ends of work.

    One channel takes L0 L1 S0 L2 S1 ... strictly in turn, one array takes tiles in turn; load i waits for compute
    i - 2, compute i for load i and store i - 2, store i for compute i.
    """
    count = len(load)
    waiting = [("L", 0)] if count else []
    for i in range(count):
        waiting += [("L", i + 1)] * (i + 1 < count) + [("S", i)]
    queues = {"channel": waiting[::-1], "array": [("C", i) for i in range(count)][::-1]}
    cycles = {"L": load, "C": compute, "S": store}
    needs = {
        "L": lambda i: [("C", i - 2)],
        "C": lambda i: [("L", i), ("S", i - 2)],
        "S": lambda i: [("C", i)],
    }
    done: set[tuple[str, int]] = set()
    ends: list[tuple[int, str, tuple[str, int]]] = []
    idle, now = {"channel", "array"}, 0
    while True:
        for unit in sorted(idle):
            if queues[unit] and all(
                need in done or need[1] < 0 for need in needs[queues[unit][-1][0]](queues[unit][-1][1])
            ):
                work = queues[unit].pop()
                heapq.heappush(ends, (now + cycles[work[0]][work[1]], unit, work))
                idle = idle - {unit}
        if not ends:
            assert len(done) == 3 * count
            return now
        now, unit, work = heapq.heappop(ends)
        done.add(work)
        idle = idle | {unit}


@pytest.mark.parametrize(
    ("load", "compute", "store", "cycles"),
    [
        ([3], [4], [2], 9),
        ([2, 2], [3, 3], [1, 1], 2 + 3 + 3 + 1),
        ([4, 4], [1, 1], [2, 2], 4 + 4 + 2 + 2),
        ([2] * 3, [5] * 3, [2] * 3, 19),
        ([], [], [], 0),
    ],
)
def test_by_hand(load, compute, store, cycles):
    assert overlap(load, compute, store) == cycles
    assert simulate(load, compute, store) == cycles


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_events(seed):
    """2,600 cases per seed, 10,400 in all."""
    generator = random.Random(seed)
    for _ in range(2_600):
        count = generator.randint(1, 12)
        load, compute, store = ([generator.randint(0, 20) for _ in range(count)] for _ in range(3))
        cycles = overlap(load, compute, store)
        assert cycles == simulate(load, compute, store), (load, compute, store)
        moved, computed = sum(load) + sum(store), sum(compute)
        assert max(computed + load[0] + store[-1], moved) <= cycles <= moved + computed


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 3), min_size=1, max_size=20), st.data())
def test_more_work_is_never_faster(tiles, data):
    parts = np.array(tiles).T
    more = parts.copy()
    more[data.draw(st.integers(0, 2)), data.draw(st.integers(0, len(tiles) - 1))] += 7
    assert overlap(*parts) <= overlap(*more) <= overlap(*parts) + 7


def test_slots_hold_their_work():
    slots = find_slots([2, 2], [3, 3], [1, 1])
    np.testing.assert_array_equal(slots.load, [2, 2, 0, 0])
    np.testing.assert_array_equal(slots.compute, [0, 3, 3, 0])
    np.testing.assert_array_equal(slots.store, [0, 0, 1, 1])
    np.testing.assert_array_equal(slots.ends, [2, 5, 8, 9])


def test_transfers_are_rounded_up():
    rate = find_stream_rate(DramSpec("lpddr4", 25.6, 0.5, 0.5), 1000.0)  # 12.8 bytes per cycle
    assert (rate.bytes, rate.cycles) == (64, 5)
    assert [rate.count_cycles(n) for n in (0, 1, 12, 13, 64, 65, 128)] == [0, 1, 1, 2, 5, 6, 10]
    np.testing.assert_array_equal(rate.count_all_cycles(np.array([0, 13, 128])), [0, 2, 10])


def test_decimals_are_taken_as_written():
    """0.1 GB/s at 1 MHz is 100 bytes per cycle, though 0.1 is no binary fraction: 100 bytes take one cycle."""
    assert find_stream_rate(DramSpec("ddr4", 0.1, 1.0, 1.0), 1.0).count_cycles(100) == 1


def test_free_memory_takes_no_time():
    assert find_stream_rate(DramSpec("hbm2", math.inf, 1.0, 1.0), 1000.0).count_cycles(10**12) == 0


def test_no_bandwidth_is_an_error():
    with pytest.raises(ConfigError, match=r"dram\.bandwidth_gb_per_s = 0"):
        find_stream_rate(DramSpec("ddr4", 0.0, 1.0, 1.0), 1000.0)
