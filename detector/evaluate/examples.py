"""examples.py: which misses and false alarms of an evaluation are worth looking at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .outcomes import FALSE_ALARM, MISS, Outcome
from .report import EvaluationReport

MOST = 20  # examples of one class and kind
RANGE_STEP = 10.0  # [m] errors of one cause in one interval of range are alike
STRETCHES = 10  # the frames with errors are parted into so many; alike errors are taken from each in turn


@dataclass(frozen=True)
class ErrorExamples:
    """Some misses or false alarms of one class.

    Attributes:
        dataset: its name.
        label: class.
        kind: MISS or FALSE_ALARM.
        score: detections from this score on were judged.
        total: how many errors of the class and kind there are.
        outcomes: the examples; misses by falling number of LiDAR points, false alarms by falling score.
    """

    dataset: str
    label: str
    kind: str
    score: float
    total: int
    outcomes: tuple[Outcome, ...]


def choose_examples(report: EvaluationReport) -> tuple[ErrorExamples, ...]:
    """Return examples of the misses, then of the false alarms, of each class.

    The errors that surprise most are misses with many points and false alarms with high scores. But an object that is
    missed in frame after frame gives many of them, so the choice goes in rounds: each takes, of every cause and 10 m of
    range, the most surprising error that is left, from another tenth of the frames than the rounds before.

    Args:
        report: of `evaluate_detector`.
    """
    return tuple(_choose(report, label, kind) for label in report.labels for kind in (MISS, FALSE_ALARM))


def _choose(report: EvaluationReport, label: str, kind: str) -> ErrorExamples:
    errors = [outcome for outcome in report.outcomes if (outcome.label, outcome.kind) == (label, kind)]
    frames = {name: number for number, name in enumerate(dict.fromkeys(o.frame_id for o in errors))}
    groups: dict[tuple[str, int], list[tuple[int, Outcome]]] = {}
    for outcome in sorted(errors, key=_surprise, reverse=True):  # stable, so that equals stay in frame order
        group = (outcome.cause, int(outcome.distance // RANGE_STEP))
        stretch = frames[outcome.frame_id] * STRETCHES // len(frames)
        groups.setdefault(group, []).append((stretch, outcome))
    turns = [turn for members in groups.values() for turn in enumerate(_take_turns(members))]
    turns.sort(key=lambda turn: (turn[0], -_surprise(turn[1])))
    chosen = sorted((outcome for _, outcome in turns[:MOST]), key=_surprise, reverse=True)
    return ErrorExamples(report.dataset, label, kind, report.default_score, len(errors), tuple(chosen))


def _take_turns(members: Sequence[tuple[int, Outcome]]) -> list[Outcome]:
    """Return outcomes, given with their stretches, so that the first of every stretch come before any second."""
    seen: Counter[int] = Counter()
    ranked = []
    for stretch, outcome in members:
        ranked.append((seen[stretch], outcome))
        seen[stretch] += 1
    return [outcome for _, outcome in sorted(ranked, key=lambda pair: pair[0])]


def _surprise(outcome: Outcome) -> float:
    if outcome.kind == MISS:
        return float(outcome.num_points or 0)
    return outcome.score or 0.0
