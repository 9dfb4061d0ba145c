"""test_report_spread.py: percentiles and comparisons over frames, which no order of the frames changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_cases import make_report

from colonnade.accel_model.spread import compare, find_median, measure_spread, summarise
from colonnade.runtime.errors import UsageError

lengths = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)
quick = settings(max_examples=30, deadline=None)


@quick
@given(cycles=lengths, others=st.randoms(use_true_random=False))
def test_the_order_of_the_frames_changes_no_bit(cycles: list[int], others) -> None:
    fast = [make_report(n) for n in cycles]
    slow = [make_report(3 * n, n, clock_mhz=700.0) for n in cycles]
    order = list(range(len(cycles)))
    others.shuffle(order)
    shuffled_fast, shuffled_slow = [fast[i] for i in order], [slow[i] for i in order]
    assert measure_spread(fast) == measure_spread(shuffled_fast)
    assert compare(fast, slow) == compare(shuffled_fast, shuffled_slow)
    assert fast[find_median(fast)].cycles == shuffled_fast[find_median(shuffled_fast)].cycles


@quick
@given(values=st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_quantiles_are_numpys(values: list[float]) -> None:
    found = summarise(values)
    assert (found.p50, found.p95, found.p99) == pytest.approx(tuple(np.percentile(values, (50, 95, 99))))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.smallest <= found.p50 <= found.p95 <= found.p99 <= found.largest


def test_rates_are_those_of_slow_frames() -> None:
    spread = measure_spread([make_report(n * 1000) for n in (1, 2, 3, 4, 10)])
    assert spread.frames == 5
    assert spread.milliseconds.p50 == pytest.approx(3e-3)
    assert spread.frames_per_second.p50 == pytest.approx(1e6 / 3)
    assert spread.frames_per_second.p99 == pytest.approx(1e3 / spread.milliseconds.p99)
    assert spread.frames_per_second.p99 < spread.frames_per_second.p50
    assert spread.frames_per_second.mean == pytest.approx(5 / 20e-6)
    assert spread.energy_mj.low < spread.energy_mj.nominal == spread.millijoules.mean < spread.energy_mj.high


def test_both_ratios_are_named() -> None:
    ours = [make_report(100), make_report(400)]
    theirs = [make_report(400), make_report(800)]
    found = compare(ours, theirs)
    assert found.speed_up == pytest.approx(1200 / 500)
    assert found.mean_speed_up == pytest.approx((4 + 2) / 2)
    assert found.energy_saving == pytest.approx(1200 / 500)
    assert found.mean_energy_saving == pytest.approx(3)


def test_the_median_frame_ran() -> None:
    reports = [make_report(n) for n in (50, 10, 40, 20)]
    assert reports[find_median(reports)].cycles == 20


def test_nothing_is_no_frame() -> None:
    with pytest.raises(UsageError, match="at least one"):
        measure_spread([])
    with pytest.raises(UsageError, match="at least one"):
        find_median([])
    with pytest.raises(UsageError, match="2 and 1"):
        compare([make_report(1), make_report(2)], [make_report(1)])
    assert compare([make_report()], [make_report(1)]).speed_up == math.inf
    assert compare([make_report()], [make_report()]).speed_up == 1
