"""test_bench_rounds.py: contenders take turns, and a machine too busy to measure on is said."""

import pytest

from colonnade.tools.bench.rounds import Contender, Samples, find_disturbances, time_in_rounds


def make_samples(process: list[float], wall: list[float], threads: int = 1) -> Samples:
    return Samples("x", threads, tuple(process), tuple(wall))


def test_contenders_take_turns_in_a_rotating_order() -> None:
    calls: list[str] = []
    contenders = [Contender(name, 1, lambda name=name: calls.append(name)) for name in "abc"]
    steps = []
    samples = time_in_rounds(contenders, 3, progress=lambda: steps.append(None))
    # Short calls come in pairs, the first untimed; so does the round that is not timed.
    assert "".join(calls) == "aabbcc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert [part.name for part in samples] == ["a", "b", "c"]
    assert all(len(part.process) == len(part.wall) == 3 for part in samples)
    assert len(steps) == 3 * (3 + 1)


def test_medians_and_minima_are_in_milliseconds() -> None:
    timing = make_samples([0.001, 0.003, 0.002], [0.004, 0.009, 0.005]).summarise()
    assert (timing.process_ms, timing.wall_ms) == pytest.approx((2, 5))
    assert (timing.best_process_ms, timing.best_wall_ms) == pytest.approx((1, 4))
    assert timing.ms == timing.process_ms
    several = make_samples([0.002], [0.001], threads=2)
    assert several.summarise().ms == pytest.approx(1)
    assert several.seconds == several.wall


def test_a_quiet_machine_is_not_remarked_on() -> None:
    quiet = [make_samples([0.0100, 0.0101], [0.0101, 0.0102])]
    assert find_disturbances(quiet, [[100.0, 98.0], [400.0, 399.0]], 0.2) == ()
    assert find_disturbances([], [], None) == ()


def test_every_sign_of_a_busy_machine_is_told() -> None:
    quiet, stolen = make_samples([0.010], [0.010]), make_samples([0.010], [0.016])
    (load,) = find_disturbances([quiet], [], 1.8)
    assert "1.8" in load
    (others,) = find_disturbances([stolen], [], 0.0)
    assert "38 %" in others
    (spread,) = find_disturbances([quiet], [[100.0, 99.0], [400.0, 300.0]], None)
    assert "25 %" in spread
    # Several threads wait for one another: their processor time says nothing about other programs.
    assert find_disturbances([make_samples([0.010], [0.016], threads=2)], [], None) == ()
