"""loop.py: the training run: fill the pool, step, log, checkpoint, resume, export."""

from __future__ import annotations

import atexit
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError  # what torch raises on a damaged file; nothing is unpickled here
from typing import Any, NoReturn

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from ...runtime.errors import ColonnadeError, ConfigError
from ...runtime.files import replacing
from ...runtime.jit import numba
from ..architecture import Architecture
from ..checkpoints import Checkpoint, save_checkpoint
from .config import Pool, TrainingConfig, read_config
from .curve import Curve
from .export import describe_model, fold_network
from .losses import Losses, compute_losses
from .network import Batch, SparseNetwork
from .pool import (
    check_classes,
    claim_pool,
    fill_pool,
    list_pool,
    load_pooled,
    load_real,
    open_real,
    stream_scans,
)
from .samples import Truth, aim_targets, sample_density, stream_batches
from .validation import Validation, validate

CHECKPOINT, CURVE, MODEL = "checkpoint.pt", "curve.jsonl", "model"
OPEN = 2.0  # times the shares that pruning keeps at first
_LOG_EVERY = 50  # steps
_SCANS_MEASURED = 64  # of the pool, for the clip of the density gates


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it."""

    step: int
    steps: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class _Fault:
    """An error on its way from the process that makes batches; torch would wrap it into a traceback."""

    kind: type[ColonnadeError]
    message: str

    def raise_again(self) -> NoReturn:
        error = self.kind.__new__(self.kind, self.message)  # not every kind is built from its message
        raise error


class _BatchStream(IterableDataset[tuple[Batch, tuple[Truth, ...]] | _Fault]):
    """Batches made in a process of their own, so that training does not wait for augmentation.

    Where bad data ends the stream, its last item is the error.
    """

    def __init__(self, config: TrainingConfig, folder: Path, architecture: Architecture, first: int) -> None:
        self._config, self._folder, self._architecture, self._first = config, folder, architecture, first

    def __iter__(self) -> Iterator[tuple[Batch, tuple[Truth, ...]] | _Fault]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training process's to answer
        # The thread that sends batches may still hand over a tensor when this process ends; the interpreter would
        # stop it inside C++ code, which aborts. Nothing is left to do here, so the interpreter is not wound down.
        atexit.register(os._exit, 0)
        torch.set_num_threads(1)
        numba.set_num_threads(1)
        try:
            yield from self._stream()
        except ColonnadeError as error:
            yield _Fault(type(error), str(error))

    def _stream(self) -> Iterator[tuple[Batch, tuple[Truth, ...]]]:
        config = self._config
        real = load_real(config.real)
        share = config.real.share if real else 0.0
        check_classes(config.classes, share, {name for scan in real for name in scan.labels})
        scans = stream_scans(self._folder, real, config.real.share, config.seed, self._first)
        return stream_batches(
            scans,
            self._architecture,
            config.training_grid,
            config.augmentation,
            config.schedule.batch,
        )


class _Run:
    """A training run: network, running average, optimiser, and how far they are."""

    def __init__(self, config: TrainingConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        torch.manual_seed(config.seed)
        self.architecture = config.architecture
        self.network = SparseNetwork(self.architecture)
        head = self.network.layers[-1].bias
        assert isinstance(head, nn.Parameter)
        with torch.no_grad():
            head[: len(config.classes)] = -4.0  # centres are rare: begin by expecting none
        self.average = deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), weight_decay=config.schedule.weight_decay, betas=(0.95, 0.99)
        )
        self.step, self.seconds = 0, 0.0
        self.steps = config.schedule.steps
        self._saved = 0  # step of the checkpoint that this run read or wrote last
        self.curve = Curve(folder / CURVE, 0)

    def save(self) -> None:
        """Write the checkpoint; a run that took no step since it was read or written leaves it as it is."""
        if self.step == self._saved:
            return
        self.curve.trim()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with replacing(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        self._saved = self.step

    def restore(self, path: Path, *, whole: bool) -> None:
        """Load a checkpoint; not `whole`: take the averaged weights only, as the start of another run."""
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            for network, name in (
                (self.average, "average"),
                (self.network, "network" if whole else "average"),
            ):
                _load_state(network, state[name], whole=whole)
            if whole:
                self.optimiser.load_state_dict(state["optimiser"])
                self.step, self.seconds = int(state["step"]), float(state["seconds"])
                self._saved, self.curve = self.step, Curve(self.folder / CURVE, self.step)
        except (OSError, KeyError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
            raise ConfigError(f"{path}: not a checkpoint of this network; remove it to start anew") from error

    def fit_gates(self, pool: Path) -> None:
        """Set the clip of the density gates from the first scans of the pool, unless they have one already."""
        gates = self.network.encoder.gates
        if gates is None or not bool(torch.isnan(gates.middle).any()):
            return
        # As many as are there however fast the pool is filled: the same run gets the same clip.
        most = min(_SCANS_MEASURED, self.config.pool.start_with)
        scans = map(load_pooled, list_pool(pool)[:most])
        density = sample_density(scans, self.config.training_grid)
        for network in (self.network, self.average):
            assert network.encoder.gates is not None
            network.encoder.gates.fit(density)

    def set_learning_rate(self) -> float:
        schedule, done = self.config.schedule, self.step / self.steps
        if done < schedule.warm_up:
            factor = 0.1 + 0.9 * done / schedule.warm_up
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (done - schedule.warm_up) / (1 - schedule.warm_up)))
        rate = schedule.learning_rate * max(factor, 0.003)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def open_pruning(self) -> None:
        """Set the factor of the shares that pruning keeps: it falls from OPEN to 1 along a line."""
        length = self.config.schedule.opening * self.steps
        left = max(0.0, 1.0 - self.step / length) if length else 0.0
        self.network.opening = 1.0 + (OPEN - 1.0) * left

    def take_step(self, batch: Batch, truths: tuple[Truth, ...]) -> Losses:
        self.network.train()
        self.open_pruning()
        if self.step >= (1 - self.config.schedule.frozen_norm) * self.steps:
            # Batch statistics of mixed sensors bias the boxes; the last part trains with those used at inference.
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.eval()
        grid, cell = (
            self.config.training_grid,
            self.config.training_grid.size * self.architecture.output_stride,
        )
        output = self.network(batch)
        target = aim_targets(truths, output.cells, grid, cell, self.config.classes)
        losses = compute_losses(output.rows, target, cell)
        self.optimiser.zero_grad()
        (losses.total + self.config.schedule.lasso * output.lasso).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.schedule.clip)
        self.optimiser.step()
        self._update_average()
        self.step += 1
        return losses.detach()

    def _update_average(self) -> None:
        decay = min(self.config.schedule.average, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(now, 1 - decay)
                else:
                    kept.copy_(now)

    def fold(self) -> Checkpoint:
        return fold_network(self.average, describe_model(self.config, self.architecture))


def _load_state(network: SparseNetwork, state: dict[str, Any], *, whole: bool) -> None:
    """Load the state of a network; the start of another run may lack density gates and learned importances.

    Raises:
        RuntimeError: it is not of this network.
    """
    missing, unexpected = network.load_state_dict(state, strict=whole)
    if unexpected or not all(
        key.startswith("encoder.gates.") or key.endswith(".importance") for key in missing
    ):
        raise RuntimeError(f"keys {missing} are missing, {unexpected} not known")


def _describe(losses: list[Losses]) -> dict[str, float]:
    names = [f.name for f in fields(Losses)]
    return {n: round(sum(float(getattr(x, n)) for x in losses) / len(losses), 4) for n in names}


def train_model(
    config_path: str | Path,
    *,
    output: str | Path | None = None,
    resume: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    on_scans: Callable[[int, int], None] | None = None,
) -> Path:
    """Run or resume a training and return the folder of the trained model.

    Args:
        config_path: YAML file, see TrainingConfig.
        output: folder of the run; None takes `runs/<name>`.
        resume: go on from the folder's checkpoint where there is one.
        on_progress: called about every 50 steps.
        on_scans: called about every second, while training waits for its first scans, with how many there are and
            how many it waits for.

    Raises:
        ConfigError: the configuration or a checkpoint cannot be used.
        RecordingError, DatasetError: the real dataset is missing, or a frame or a scan of the pool is damaged.
    """
    config = read_config(config_path)
    if open_real(config.real) is None:  # its absence must not be found out by the process that makes batches
        check_classes(config.classes, 0.0, ())
    pool = Path(config.pool.folder)
    claim_pool(config.pool, pool)
    folder = Path(output) if output is not None else Path("runs") / config.name
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    run = _Run(config, folder)
    if resume and (folder / CHECKPOINT).exists():
        run.restore(folder / CHECKPOINT, whole=True)
    elif config.schedule.start_from:
        run.restore(Path(config.schedule.start_from), whole=False)
    maker = _start_pool(config, pool, on_scans)
    try:
        run.fit_gates(pool)
        _train(run, pool, on_progress)
    finally:
        run.save()
        if maker is not None and maker.is_alive():
            maker.terminate()
            maker.join()
    save_checkpoint(run.fold(), folder / MODEL)
    return folder / MODEL


def _start_pool(config: TrainingConfig, folder: Path, on_scans: Callable[[int, int], None] | None) -> Any:
    """Fill the pool in another process, and wait until training can start."""
    if len(list_pool(folder)) >= config.pool.scans:
        return None
    maker = multiprocessing.get_context("spawn").Process(
        target=_fill_pool, args=(config.pool, folder), daemon=True
    )
    maker.start()
    enough = min(config.pool.start_with, config.pool.scans)
    while (made := len(list_pool(folder))) < enough:
        if on_scans is not None:
            on_scans(made, enough)
        if not maker.is_alive():
            raise ConfigError(f"{folder}: the training scans could not be made (exit code {maker.exitcode})")
        time.sleep(1.0)
    return maker


def _fill_pool(pool: Pool, folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process ends this one
    fill_pool(pool, folder)


def _train(run: _Run, pool: Path, on_progress: Callable[[Progress], None] | None) -> None:
    schedule = run.config.schedule
    if run.step >= run.steps:
        return
    stream = _BatchStream(run.config, pool, run.architecture, run.step * schedule.batch)
    loader = DataLoader(
        stream, batch_size=None, num_workers=1, prefetch_factor=4, multiprocessing_context="spawn"
    )
    recent: list[Losses] = []
    before = time.perf_counter()
    for item in loader:
        if isinstance(item, _Fault):
            item.raise_again()
        batch, truths = item
        rate = run.set_learning_rate()
        recent.append(run.take_step(batch, truths))
        now = time.perf_counter()
        run.seconds, before = run.seconds + now - before, now
        if run.step % _LOG_EVERY == 0 or run.step == run.steps:
            entry = {"step": run.step, "samples": run.step * schedule.batch, "rate": round(rate, 6)}
            run.curve.add(entry | {"seconds": round(run.seconds)} | _describe(recent))
            if on_progress is not None:
                on_progress(Progress(run.step, run.steps, float(recent[-1].total), run.seconds))
            recent = []
        if run.step % schedule.checkpoint_every == 0:
            run.save()
        if schedule.validate_every and run.step % schedule.validate_every == 0:
            result: Validation = validate(run.fold())
            save_checkpoint(run.fold(), run.folder / MODEL)
            run.curve.add({"step": run.step, "samples": run.step * schedule.batch} | result.to_dict())
            before = time.perf_counter()
        if run.step >= run.steps:
            return
