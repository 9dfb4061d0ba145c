"""options.py: options that several commands share, each with one name and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_GUESSES = "What is guessed about the recording"

RecordingArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RECORDING", help="A file or folder: .bag, .db3, .mcap, .bin, .npy, .pcd, .ply, ..."
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="Format of the recording.", rich_help_panel=_GUESSES),
]
TopicOption = Annotated[
    str | None,
    typer.Option("--topic", metavar="TOPIC", help="PointCloud2 topic of a bag.", rich_help_panel=_GUESSES),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="N|NAMES",
        help="Columns of .bin and .npy rows: their number, or names such as x,y,z,_,intensity.",
        rich_help_panel=_GUESSES,
    ),
]
IntensityScaleOption = Annotated[
    str | None,
    typer.Option(
        "--intensity-scale",
        metavar="FULL|none",
        help="Stored value of full intensity, such as 255.",
        rich_help_panel=_GUESSES,
    ),
]
RosDistroOption = Annotated[
    str | None,
    typer.Option(
        "--ros-distro",
        metavar="NAME",
        help="Message definitions for a bag that holds none, such as humble.",
        rich_help_panel=_GUESSES,
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=0, help="Read at most N frames.")
]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME|FOLDER", help="An embedded model, or a model folder.")
]
CostedModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FOLDER",
        help="An embedded model, a model folder, or standard-submanifold, standard-dilating, standard-pruned, ... "
        "for the standard network.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|int8",
        help="Number format of the network; int8 by default where it is faster and the model has that form.",
    ),
]
KeepOption = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="SHARES",
        help="Of a model with vector pruning: share of pillars that stay, for all pruned blocks or one for each, such "
        "as 0.5 or 1,0.6,0.5; less is faster, inf prunes nothing. The model's own by default.",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, help="Threads to use; all by default.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes and no progress bar.")]


def read_keep(text: str | None) -> float | tuple[float, ...] | None:
    """Return what --keep says: one share, or several separated by commas.

    Raises:
        UsageError: it holds something else than numbers.
    """
    from ...runtime.errors import UsageError

    if text is None:
        return None
    try:
        shares = tuple(map(float, text.split(",")))
    except ValueError:
        raise UsageError(f"--keep {text}: give shares above 0 such as 0.5 or 1,0.6,0.5") from None
    return shares if len(shares) > 1 else shares[0]
