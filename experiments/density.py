"""density.py: does a network that saw one sensor of 64 beams find cars with 32 and 16 beams, with density features?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runs import Options, Run, Train, main, plan_runs, train_runs
from scores import FrameSet, Score, hash_model, list_real, list_synthetic, score_models
from tables import Spread, format_table, save_figure, spread, write_json

from colonnade.runtime.files import replace_file

ARMS = Path(__file__).parent / "density"
BASE = "plain"
ORDER = ("plain", "augmentation", "density", "both")
SENSORS = ("hdl64e", "pandar64", "os1-128", "hdl32e", "vlp16")
REAL_SETS = ("kitti", "pandaset", "argoverse")


@dataclass(frozen=True)
class Row:
    """One run on one set of frames."""

    arm: str
    seed: int
    model: str
    frames: str
    count: int
    cars: int
    bev_50: float
    bev_70: float


@dataclass(frozen=True)
class Cell:
    """One arm on one set: AP over the seeds, and what it is above the plain arm's mean."""

    arm: str
    frames: str
    cars: int
    bev_50: Spread
    bev_70: Spread
    gain_50: float
    gain_70: float


def list_rows(runs: Sequence[Run], scores: Sequence[Score]) -> tuple[Row, ...]:
    """Return a row for each score."""
    known = {run.model: run for run in runs}
    return tuple(
        Row(
            known[score.model].arm,
            known[score.model].seed,
            hash_model(score.model),
            score.frames,
            score.count,
            score.cars,
            score.bev_50,
            score.bev_70,
        )
        for score in scores
    )


def summarise(rows: Sequence[Row]) -> tuple[Cell, ...]:
    """Return mean and spread over the seeds, arm by arm in `ORDER`, set by set."""
    cells: list[Cell] = []
    for frames in dict.fromkeys(row.frames for row in rows):
        own = [row for row in rows if row.frames == frames]
        base: tuple[float, float] = (float("nan"), float("nan"))
        for arm in sorted({row.arm for row in own}, key=ORDER.index):
            seeds = [row for row in own if row.arm == arm]
            half, tight = spread([row.bev_50 for row in seeds]), spread([row.bev_70 for row in seeds])
            if arm == BASE:
                base = half.mean, tight.mean
            cells.append(
                Cell(arm, frames, seeds[0].cars, half, tight, half.mean - base[0], tight.mean - base[1])
            )
    return tuple(cells)


def format_cells(cells: Sequence[Cell]) -> str:
    """Return the table: a row per arm, a column per set, AP @0.5 / @0.7 in each cell."""
    sets = list(dict.fromkeys(cell.frames for cell in cells))
    shown = {(cell.arm, cell.frames): f"{cell.bev_50} / {cell.bev_70}" for cell in cells}
    arms = [arm for arm in ORDER if any(cell.arm == arm for cell in cells)]
    rows = [[arm, *(shown.get((arm, frames), "-") for frames in sets)] for arm in arms]
    return format_table(["car BEV AP @0.5 / @0.7", *sets], rows)


def draw(cells: Sequence[Cell]) -> Any:
    """Return a figure: AP @0.5 per set, a mark per arm with its extremes."""
    from colonnade.tools.bench.charts import require_matplotlib

    figure = require_matplotlib().Figure(figsize=(10, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    sets = list(dict.fromkeys(cell.frames for cell in cells))
    for place, arm in enumerate(ORDER):
        own = [cell for cell in cells if cell.arm == arm]
        if not own:
            continue
        across = [sets.index(cell.frames) + 0.15 * (place - 1.5) for cell in own]
        means = [cell.bev_50.mean for cell in own]
        below = [cell.bev_50.mean - cell.bev_50.least for cell in own]
        above = [cell.bev_50.most - cell.bev_50.mean for cell in own]
        axes.errorbar(across, means, yerr=[below, above], fmt="o", capsize=3, label=arm)
    axes.set_xticks(range(len(sets)), sets)
    axes.set_ylabel("car BEV AP|R40 at IoU 0.5; bars: all seeds")
    axes.grid(True, axis="y", color="0.9")
    axes.legend(frameon=False)
    return figure


def run_experiment(options: Options, train: Train | None = None) -> str:
    """Train and score what is missing, write density.json, density.md and density.png; return the table.

    `train` is as in `train_runs`.
    """
    whole = replace(options, only=(), samples=options.samples if options.quick else None, seeds=(0,))
    base = plan_runs(ARMS / "base", whole)
    train_runs(base, whole, train=train)
    runs = plan_runs(ARMS, options, base[0])
    train_runs(runs, options, train=train)
    finished = [run for run in runs if run.finished]
    sets: list[FrameSet] = list_synthetic(SENSORS, options.frames)
    if not options.quick:
        sets += list_real(REAL_SETS, options.datasets)
    scores = score_models([run.model for run in finished], sets, options.output / "scores")
    rows = list_rows(finished, scores)
    cells = summarise(rows)
    table = format_cells(cells)
    write_json(options.output / "density.json", {"seeds": options.seeds, "runs": rows, "summary": cells})
    replace_file(options.output / "density.md", table)
    save_figure(draw(cells), options.output / "density.png")
    return table


if __name__ == "__main__":
    main("density", str(__doc__), run_experiment)
