"""train.py: `colonnade train`: a detector from a YAML configuration (extra [train])."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...detector.train import Progress

EXIT_INTERRUPTED = 130


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="What to train on, what, and for how long.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the run; runs/<name> by default."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--restart", help="Go on from the folder's checkpoint where there is one."),
    ] = True,
    quiet: options.QuietOption = False,
) -> None:
    """Train a detector on synthetic and labelled frames, on the CPU.

    \b
    Example:
      colonnade train training/default.yaml

    Writes the checkpoint, the learning curve (curve.jsonl) and the model folder. Ctrl-C saves the checkpoint;
    the same command goes on from there.
    """
    from ...detector.train import train_model
    from ...detector.train.config import read_config
    from ...runtime.errors import ConfigError

    if not config.is_file():
        raise ConfigError(f"{config}: there is no such configuration file")
    steps = _Steps()
    total = read_config(config).schedule.steps
    with terminal.progress_bar("training", total, quiet=quiet, unit="steps") as progress:
        waiting = _Waiting()

        def show(now: Progress) -> None:
            progress(now.step)
            steps.last = now
            if not quiet:
                terminal.show_note(
                    f"step {now.step:,} of {now.steps:,}, loss {now.loss:.3f}, {now.seconds:.0f} s"
                )

        def show_scans(made: int, enough: int) -> None:
            if not quiet and waiting.is_due():
                terminal.show_note(f"simulating scans: {made:,} of the {enough:,} that training starts with")

        try:
            model = train_model(config, output=output, resume=resume, on_progress=show, on_scans=show_scans)
        except KeyboardInterrupt:
            terminal.show_note(
                "interrupted; the checkpoint is saved, and the same command goes on from there"
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
    facts = [("model", str(model))]
    if steps.last is not None:
        facts = [("steps", f"{steps.last.step:,}"), ("loss", f"{steps.last.loss:.3f}"), *facts]
    terminal.show_facts(facts)


class _Waiting:
    """Tells when to say again that training waits: at once, then every ten seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    def is_due(self) -> bool:
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + 10.0
        return True


class _Steps:
    """The last progress that was reported."""

    last: Progress | None = None
