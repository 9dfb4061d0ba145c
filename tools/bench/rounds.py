"""rounds.py: contenders timed in turns, and signs that the machine was too busy for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

_PAUSE = 0.004  # [s] before a measurement: lets the threads of the contender before fall asleep
_SHORT = 0.15  # [s] a call up to this follows an untimed one, as a frame follows a frame
_MOST_LOAD = 0.5  # programs that ran on average before the measurement began
_MOST_STOLEN = 0.05  # share of the wall time of one-thread runs that other programs took
_MOST_SPREAD = 0.10  # of the core's peak between rounds


@dataclass(frozen=True)
class Contender:
    """One thing to time.

    Attributes:
        name: unique among those it is timed with.
        threads: that it uses.
        call: does the work once.
    """

    name: str
    threads: int
    call: Callable[[], object]


@dataclass(frozen=True)
class Samples:
    """The times of one contender [s], one per round.

    Attributes:
        name, threads: of the contender.
        process: processor time of all threads.
        wall: wall time.
    """

    name: str
    threads: int
    process: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def seconds(self) -> tuple[float, ...]:
        """The times that count: processor time of one thread, wall time of several."""
        return self.process if self.threads == 1 else self.wall

    def summarise(self) -> Timing:
        """Return the medians and minima [ms]."""
        return Timing(
            threads=self.threads,
            process_ms=1e3 * median(self.process),
            wall_ms=1e3 * median(self.wall),
            best_process_ms=1e3 * min(self.process),
            best_wall_ms=1e3 * min(self.wall),
        )


@dataclass(frozen=True)
class Timing:
    """Times of one contender over all rounds [ms]; medians unless they are called best.

    Attributes:
        threads: that it used.
        process_ms, best_process_ms: processor time of all its threads.
        wall_ms, best_wall_ms: wall time.
    """

    threads: int
    process_ms: float
    wall_ms: float
    best_process_ms: float
    best_wall_ms: float

    @property
    def ms(self) -> float:
        """The median that figures are derived from: processor time of one thread, wall time of several."""
        return self.process_ms if self.threads == 1 else self.wall_ms


def time_in_rounds(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Samples, ...]:
    """Call every contender once per round, in an order that rotates; return their samples in the given order.

    One round that is not timed comes first. Contenders that take up to 150 ms are called once more, untimed, right
    before every timed call, so that the caches hold their data and not those of the contender before.

    Args:
        contenders: what to time.
        rounds: timed calls of each.
        progress: called after every call that counts, and after those of the first round.
    """
    warm = []
    for contender in contenders:
        contender.call()  # may compile
        warm.append(_time(contender.call)[1] <= _SHORT)
        progress()
    taken: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for turn in range(rounds):
        for place in range(len(contenders)):
            index = (place + turn) % len(contenders)
            time.sleep(_PAUSE)
            if warm[index]:
                contenders[index].call()
            taken[index].append(_time(contenders[index].call))
            progress()
    return tuple(
        Samples(contender.name, contender.threads, *(tuple(times) for times in zip(*pairs, strict=True)))
        for contender, pairs in zip(contenders, taken, strict=True)
    )


def _time(call: Callable[[], object]) -> tuple[float, float]:
    """Return the processor time of all threads and the wall time of one call [s]."""
    wall, process = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - process, time.perf_counter() - wall


def read_load() -> float | None:
    """Return the system's load average over one minute, or None where it has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def find_disturbances(
    samples: Sequence[Samples], peaks: Sequence[Sequence[float]], load: float | None
) -> tuple[str, ...]:
    """Return what speaks against the figures, in words; nothing where the machine was quiet.

    Args:
        samples: of all contenders; those with one thread tell how much of their time others took.
        peaks: of the core, for each precision one per round [10⁹/s].
        load: load average before the measurement began.
    """
    found = []
    if load is not None and load > _MOST_LOAD:
        found.append(f"other programs were running: the load average was {load:.1f} before the start")
    ratios = [
        process / wall
        for part in samples
        if part.threads == 1
        for process, wall in zip(part.process, part.wall, strict=True)
    ]
    if ratios and (stolen := 1.0 - median(ratios)) > _MOST_STOLEN:
        found.append(f"other programs took {100 * stolen:.0f} % of the wall time of one-thread runs")
    spread = max((1.0 - min(rates) / max(rates) for rates in peaks), default=0.0)
    if spread > _MOST_SPREAD:
        found.append(
            f"the core's peak differed by {100 * spread:.0f} % between rounds: its clock was not steady"
        )
    return tuple(found)
