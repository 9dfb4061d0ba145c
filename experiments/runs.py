"""runs.py: the training runs of an experiment: planned from YAML files, trained side by side, never twice."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import yaml

from colonnade.detector.train.config import Pool, read_config
from colonnade.detector.train.pool import claim_pool, fill_pool, list_pool
from colonnade.runtime.errors import ColonnadeError, ConfigError
from colonnade.runtime.files import replace_file

CHECKPOINT = "checkpoint.pt"  # of a run
_TRAIN = "from colonnade.tools.cli import main; main()"
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_QUICK_SCANS, _QUICK_SAMPLES, _QUICK_FRAMES = 6, 8, 2
_LOG_END = 600  # characters of a failed run's log that are shown


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        output: folder of everything that is written.
        jobs: trainings at once, one thread each.
        samples: training samples of each run; None for what the arm's file says.
        seeds: one run per arm and seed.
        only: arms to train; empty for all.
        frames: synthetic frames per sensor.
        datasets: folders of further labelled recordings to score on.
        quick: a smoke test: tiny runs on a tiny pool, few frames.
    """

    output: Path
    jobs: int
    samples: int | None
    seeds: tuple[int, ...]
    only: tuple[str, ...]
    frames: int
    datasets: tuple[Path, ...]
    quick: bool


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        arm: name of its settings' file.
        seed: of weights and samples.
        folder: where it is kept.
        settings: its configuration, YAML.
    """

    arm: str
    seed: int
    folder: Path
    settings: str

    @property
    def config(self) -> Path:
        """The file that its configuration is written to."""
        return self.folder / "config.yaml"

    @property
    def model(self) -> Path:
        """The model folder that it makes."""
        return self.folder / "model"

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return (self.folder / "finished").exists()


Train = Callable[[Run], None]


def read_options(description: str, output: str, arguments: Sequence[str] | None = None) -> Options:
    """Return the options of an experiment; `arguments` None takes the command line's."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path(output), help=f"folder ({output})")
    parser.add_argument("--jobs", type=int, default=1, choices=(1, 2), help="trainings at once (1)")
    parser.add_argument("--samples", type=int, help="training samples of each run (the arm's own)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the runs (1 2 3)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ARM", help="train this arm; repeatable"
    )
    parser.add_argument("--frames", type=int, default=100, help="synthetic frames per sensor (100)")
    parser.add_argument(
        "--dataset",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="score on it, too; repeatable",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of a few minutes; its figures mean nothing"
    )
    given = parser.parse_args(arguments)
    quick: bool = given.quick
    return Options(
        output=given.output / "quick" if quick else given.output,
        jobs=given.jobs,
        samples=_QUICK_SAMPLES if quick else given.samples,
        seeds=tuple(dict.fromkeys(given.seeds[:1] if quick else given.seeds)),
        only=tuple(given.only),
        frames=_QUICK_FRAMES if quick else given.frames,
        datasets=tuple(given.dataset),
        quick=quick,
    )


def main(name: str, description: str, experiment: Callable[[Options], str]) -> NoReturn:
    """Run an experiment with the command line's options, print its table and exit."""
    try:
        print(experiment(read_options(description, f"runs/{name}")))
    except ColonnadeError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; the same command goes on from there")
    sys.exit()


def plan_runs(arms: Path, options: Options, start: Run | None = None) -> tuple[Run, ...]:
    """Return a run for each seed and each YAML file in `arms`, seed by seed; all begin with the weights of `start`.

    Raises:
        ConfigError: `options.only` names an arm that there is not, or a file is not YAML.
    """
    files = sorted(arms.glob("*.yaml"))
    unknown = sorted(set(options.only) - {file.stem for file in files})
    if unknown:
        raise ConfigError(f"no arm {unknown}; known are {', '.join(file.stem for file in files)}")
    return tuple(_plan_run(file, seed, options, start) for seed in options.seeds for file in files)


def _plan_run(file: Path, seed: int, options: Options, start: Run | None) -> Run:
    try:
        settings: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {error}") from error
    settings |= {"name": f"{settings['name']}-{seed}", "seed": seed}
    if options.samples is not None:
        settings["schedule"] = settings.get("schedule", {}) | {"samples": options.samples}
    if start is not None:
        settings["schedule"] = settings.get("schedule", {}) | {"start_from": str(start.folder / CHECKPOINT)}
    if options.quick:
        tiny = {"folder": str(options.output / f"pool-of-{file.parent.name}"), "scans": _QUICK_SCANS}
        settings["pool"] = settings.get("pool", {}) | tiny
    text = yaml.safe_dump(settings, sort_keys=False)
    return Run(file.stem, seed, options.output / f"{file.stem}-{seed}", text)


def train_runs(
    runs: Sequence[Run],
    options: Options,
    *,
    train: Train | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train what is not trained yet, `options.jobs` at once; runs that were cut go on from their checkpoint.

    Args:
        runs: all of the experiment.
        options: which of them to train, and how many at once.
        train: trains one run or raises; None for `colonnade train` in a process of its own, on a pool that is
            filled before.
        report: told what goes on, a line each.

    Raises:
        ConfigError: a configuration is wrong, a folder holds a run of other settings, or a training failed. What
            was running beside a failed one is trained to its end, what had not begun is left.
    """
    wanted = [run for run in runs if not options.only or run.arm in options.only]
    for run in wanted:
        _claim_folder(run)
    waiting = [run for run in wanted if not run.finished]
    report(f"{len(wanted) - len(waiting)} of {len(wanted)} runs are there, {len(waiting)} to train")
    if train is None:
        for pool in dict.fromkeys(read_config(run.config).pool for run in waiting):
            fill_in_processes(pool, options.jobs)
    stop = Event()
    with ThreadPoolExecutor(options.jobs) as workers:
        futures = {workers.submit(_train_run, run, train or train_in_process, stop): run for run in waiting}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                report(f"trained {futures[future].folder.name} ({done} of {len(waiting)})")
        finally:
            stop.set()


def _claim_folder(run: Run) -> None:
    """Write a run's configuration, or check that its folder holds the same one."""
    if run.config.exists() and run.config.read_text(encoding="utf-8") != run.settings:
        raise ConfigError(
            f"{run.folder} was made with other settings than those of now; delete it, or choose another --output"
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    replace_file(run.config, run.settings)
    read_config(run.config)


def _train_run(run: Run, train: Train, stop: Event) -> None:
    """Train a run, unless it is told to stop; a failure tells all others that have not begun."""
    if stop.is_set():
        return
    try:
        train(run)
    except BaseException:
        stop.set()
        raise
    replace_file(run.folder / "finished", "")


def train_in_process(run: Run) -> None:
    """Train a run with `colonnade train`, in a process of its own, on one thread; its output goes to `train.log`.

    Raises:
        ConfigError: the training failed.
    """
    command = [sys.executable, "-c", _TRAIN, "train", str(run.config), "--output", str(run.folder)]
    environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
    log = run.folder / "train.log"
    with log.open("a", encoding="utf-8") as file:
        code = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False).returncode
    if code:
        end = log.read_text(encoding="utf-8", errors="replace")[-_LOG_END:]
        raise ConfigError(
            f"{run.folder.name}: the training ended with exit code {code}; {log} ends with:\n{end}"
        )


def fill_in_processes(pool: Pool, processes: int) -> None:
    """Make the scans that a pool lacks, so that runs that share it see the same ones."""
    folder = Path(pool.folder)
    claim_pool(pool, folder)
    if len(list_pool(folder)) >= pool.scans:
        return
    if processes == 1:
        fill_pool(pool, folder)
        return
    context = multiprocessing.get_context("spawn")
    makers = [
        context.Process(target=fill_pool, args=(pool, folder), kwargs={"part": part, "parts": processes})
        for part in range(processes)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    if any(maker.exitcode for maker in makers):
        raise ConfigError(f"{folder}: the training scans could not be made")
