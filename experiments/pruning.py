"""pruning.py: what do dilating, pruned and submanifold networks reach, at how many multiply-accumulates and ms?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from runs import Options, Run, Train, main, plan_runs, train_runs
from scores import FrameSet, Score, hash_model, list_real, list_synthetic, score_models
from tables import Spread, format_table, save_figure, spread, write_json
from work import Time, Work, choose_points, count_macs, time_models

from colonnade.detector.checkpoints import MANIFEST, load_checkpoint, save_checkpoint
from colonnade.runtime.files import replace_file

ARMS = Path(__file__).parent / "pruning"
BASE = "dilating"
TOP_K, THRESHOLD, WHOLE = "top-k", "threshold", "whole"
SENSORS = ("hdl64e", "pandar64")
REAL_SETS = ("kitti-drive", "kitti-objects", "kitti", "pandaset")
JUDGED = ("kitti", "pandaset")
CALIBRATION_FRAMES, TIMED_FRAMES, ROUNDS = 10, 10, 5  # frames: of each judged set


@dataclass(frozen=True)
class Candidate:
    """A model to compare.

    Attributes:
        arm: name of its settings' file.
        mode: how its pillars are chosen: "top-k", "threshold", or "whole" where all stay.
        seed: of its training.
        model: its folder.
    """

    arm: str
    mode: str
    seed: int
    model: Path


@dataclass(frozen=True)
class Row:
    """What a candidate reaches.

    Attributes:
        arm, mode, seed: of the candidate.
        model: hash of it.
        macs: per frame, mean of the two judged sets.
        variation: standard deviation over a set's frames as a share of their mean, mean of the judged sets.
        bev_50, bev_70: car BEV AP|R40, mean of the judged sets.
        network_ms, total_ms: on one thread.
        scores: on every set.
    """

    arm: str
    mode: str
    seed: int
    model: str
    macs: float
    variation: float
    bev_50: float
    bev_70: float
    network_ms: float
    total_ms: float
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Summary:
    """One arm and mode over the seeds, beside the dilating network of the same seed.

    Attributes:
        arm, mode: of the candidates.
        gmacs: 10⁹ multiply-accumulates per frame.
        saved: of the dilating network's [%].
        variation: from frame to frame [%].
        bev_50, bev_70: AP.
        lost_50, lost_70: AP of the dilating network minus this one's.
        network_ms, total_ms: on one thread.
        pace: time of the network per multiply-accumulate, as a multiple of the dilating network's.
    """

    arm: str
    mode: str
    gmacs: Spread
    saved: Spread
    variation: Spread
    bev_50: Spread
    bev_70: Spread
    lost_50: Spread
    lost_70: Spread
    network_ms: Spread
    total_ms: Spread
    pace: Spread


def list_candidates(runs: Sequence[Run], calibration: Sequence[FrameSet]) -> tuple[Candidate, ...]:
    """Return the trained models, each pruned one with shares and with thresholds."""
    found = []
    for run in runs:
        checkpoint = load_checkpoint(run.model)
        pruned = any(layer.keep is not None for layer in checkpoint.manifest.architecture.layers)
        found.append(Candidate(run.arm, TOP_K if pruned else WHOLE, run.seed, run.model))
        if pruned:
            found.append(Candidate(run.arm, THRESHOLD, run.seed, set_thresholds(run, calibration)))
    return tuple(found)


def set_thresholds(run: Run, calibration: Sequence[FrameSet]) -> Path:
    """Return the folder of the run's model with thresholds, made where it is not there."""
    from colonnade.detector.thresholds import calibrate_thresholds

    folder = run.folder / "model-threshold"
    if not (folder / MANIFEST).exists():  # which is written last
        points = [cloud for frames in calibration for cloud in choose_points(frames, CALIBRATION_FRAMES)]
        save_checkpoint(calibrate_thresholds(load_checkpoint(run.model), points, threads=1), folder)
    return folder


def list_rows(
    candidates: Sequence[Candidate],
    scores: Sequence[Score],
    work: Sequence[Work],
    times: Sequence[Time],
    judged: Sequence[str],
) -> tuple[Row, ...]:
    """Return a row for each candidate."""
    rows = []
    for candidate in candidates:
        own = tuple(score for score in scores if score.model == candidate.model)
        among = [score for score in own if score.frames in judged]
        spent = [item for item in work if item.model == candidate.model]
        (time,) = (item for item in times if item.model == candidate.model)
        rows.append(
            Row(
                arm=candidate.arm,
                mode=candidate.mode,
                seed=candidate.seed,
                model=hash_model(candidate.model),
                macs=fmean(item.mean for item in spent),
                variation=fmean(item.variation for item in spent),
                bev_50=fmean(score.bev_50 for score in among),
                bev_70=fmean(score.bev_70 for score in among),
                network_ms=time.network,
                total_ms=time.total,
                scores=own,
            )
        )
    return tuple(rows)


def summarise(rows: Sequence[Row]) -> tuple[Summary, ...]:
    """Return each arm and mode over its seeds, from the most work to the least.

    What is told beside the dilating network is NaN for seeds without one.
    """
    bases = {row.seed: row for row in rows if row.arm == BASE}
    kinds = dict.fromkeys((row.arm, row.mode) for row in rows)
    found = [_summarise_kind([row for row in rows if (row.arm, row.mode) == kind], bases) for kind in kinds]
    return tuple(sorted(found, key=lambda summary: -summary.gmacs.mean))


def _summarise_kind(own: Sequence[Row], bases: dict[int, Row]) -> Summary:
    pairs = [(row, bases.get(row.seed)) for row in own]
    return Summary(
        arm=own[0].arm,
        mode=own[0].mode,
        gmacs=spread([row.macs / 1e9 for row in own]),
        saved=spread([100 * (1 - row.macs / base.macs) if base else math.nan for row, base in pairs]),
        variation=spread([100 * row.variation for row in own]),
        bev_50=spread([row.bev_50 for row in own]),
        bev_70=spread([row.bev_70 for row in own]),
        lost_50=spread([base.bev_50 - row.bev_50 if base else math.nan for row, base in pairs]),
        lost_70=spread([base.bev_70 - row.bev_70 if base else math.nan for row, base in pairs]),
        network_ms=spread([row.network_ms for row in own]),
        total_ms=spread([row.total_ms for row in own]),
        pace=spread([_compare_pace(row, base) if base else math.nan for row, base in pairs]),
    )


def _compare_pace(row: Row, base: Row) -> float:
    return (row.network_ms / base.network_ms) / (row.macs / base.macs)


def format_summaries(summaries: Sequence[Summary]) -> str:
    """Return the table: a row per arm and mode."""
    header = (
        "network", "pillars chosen by", "GMAC per frame", "saved [%]", "frame to frame [%]", "AP @0.5", "lost",
        "AP @0.7", "lost", "network [ms]", "points to boxes [ms]", "time per MAC, dilating = 1",
    )  # fmt: skip
    rows = [
        (
            s.arm, s.mode, s.gmacs.show(3), s.saved, s.variation, s.bev_50, s.lost_50,
            s.bev_70, s.lost_70, s.network_ms, s.total_ms, s.pace.show(2),
        )
        for s in summaries
    ]  # fmt: skip
    return format_table(header, rows)


def format_sets(rows: Sequence[Row]) -> str:
    """Return the table of single sets: a row per arm and mode, a column per set, AP @0.5 / @0.7 in each cell."""
    sets = list(dict.fromkeys(score.frames for row in rows for score in row.scores))
    lines = []
    for arm, mode in dict.fromkeys((row.arm, row.mode) for row in rows):
        scores = [score for row in rows if (row.arm, row.mode) == (arm, mode) for score in row.scores]
        cells = [
            " / ".join(
                str(spread([getattr(score, name) for score in scores if score.frames == frames]))
                for name in ("bev_50", "bev_70")
            )
            for frames in sets
        ]
        lines.append([arm, mode, *cells])
    return format_table(["car BEV AP @0.5 / @0.7", "pillars chosen by", *sets], lines)


def draw(summaries: Sequence[Summary], judged: Sequence[str]) -> Any:
    """Return a figure: AP @0.5 and @0.7 against work; the pruned networks of a mode make a line."""
    from colonnade.tools.bench.charts import require_matplotlib

    figure = require_matplotlib().Figure(figsize=(11, 5), dpi=120, layout="constrained")
    for number, name in enumerate(("bev_50", "bev_70")):
        axes = figure.add_subplot(1, 2, number + 1)
        for mode in (TOP_K, THRESHOLD):
            _draw_series(axes, [s for s in summaries if s.mode == mode], name, f"pruned, {mode}", "o-")
        for arm in sorted({s.arm for s in summaries if s.mode == WHOLE}):
            _draw_series(axes, [s for s in summaries if s.arm == arm], name, arm, "s")
        axes.set_xlim(left=0)
        axes.set_xlabel("multiply-accumulates per frame [10⁹]")
        axes.set_ylabel(f"car BEV AP|R40 at IoU 0.{name[-2]}")
        axes.set_title(f"mean of {' and '.join(judged)}; bars: all seeds", fontsize="medium")
        axes.grid(True, color="0.9")
        axes.legend(frameon=False)
    return figure


def _draw_series(axes: Any, summaries: Sequence[Summary], name: str, label: str, mark: str) -> None:
    if not summaries:
        return
    values: list[Spread] = [getattr(summary, name) for summary in summaries]
    across = [summary.gmacs.mean for summary in summaries]
    bars = [[v.mean - v.least for v in values], [v.most - v.mean for v in values]]
    axes.errorbar(across, [v.mean for v in values], yerr=bars, fmt=mark, capsize=3, label=label)


def choose_sets(options: Options) -> tuple[list[FrameSet], list[FrameSet]]:
    """Return all sets to score on, and the two that are judged by: KITTI and PandaSet, or synthetic ones without."""
    synthetic = list_synthetic(SENSORS, options.frames)
    real = [] if options.quick else list_real(REAL_SETS, options.datasets)
    judged = [frames for frames in real if frames.name in JUDGED]
    return real + synthetic, judged if len(judged) == len(JUDGED) else synthetic


def run_experiment(options: Options, train: Train | None = None) -> str:
    """Train and measure what is missing, write pruning.json, pruning.md and pruning.png; return the tables.

    `train` is as in `train_runs`.
    """
    runs = plan_runs(ARMS, options)
    train_runs(runs, options, train=train)
    sets, judged = choose_sets(options)
    candidates = list_candidates([run for run in runs if run.finished], judged)
    models, cache = [candidate.model for candidate in candidates], options.output / "scores"
    scores = score_models(models, sets, cache)
    work = count_macs(models, judged, cache)
    times = time_models(models, judged, cache, frames=TIMED_FRAMES, rounds=ROUNDS)
    names = [frames.name for frames in judged]
    rows = list_rows(candidates, scores, work, times, names)
    summaries = summarise(rows)
    table = f"AP: mean of {' and '.join(names)}.\n\n{format_summaries(summaries)}\n{format_sets(rows)}"
    content = {"seeds": options.seeds, "judged": names, "runs": rows, "summary": summaries}
    write_json(options.output / "pruning.json", content)
    replace_file(options.output / "pruning.md", table)
    save_figure(draw(summaries, names), options.output / "pruning.png")
    return table


if __name__ == "__main__":
    main("pruning", str(__doc__), run_experiment)
