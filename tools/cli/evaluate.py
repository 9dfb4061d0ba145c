"""evaluate.py: `colonnade eval`: how well a model detects on labelled datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def evaluate(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Labelled datasets.")],
    model: options.ModelOption = "default",
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON, too.")
    ] = None,
    threads: options.ThreadsOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Score a model.

    \b
    Example:
      colonnade eval --model default street/ kitti/ --json scores.json
    """
    raise NotImplementedError
