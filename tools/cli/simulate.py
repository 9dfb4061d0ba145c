"""simulate.py: `colonnade simulate`: synthetic LiDAR frames with labels, or a recording of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal

if TYPE_CHECKING:
    from ...detector.frames import Frame
    from ...detector.simulate.datasets import SimulatedFrame

_DATASET = "dataset"


def simulate(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the dataset, or the recording to write.")
    ],
    sensor: Annotated[
        str,
        typer.Option(
            "--sensor",
            metavar="NAME",
            help="hdl64e, hdl32e, vlp16, os1-128, pandar64, ..., or random for a mixture.",
        ),
    ] = "hdl64e",
    frames: Annotated[
        int, typer.Option("--frames", "-n", metavar="N", min=1, help="Number of frames.")
    ] = 100,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same frames.")
    ] = 0,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="NAME", help="Kind of scene; all kinds by default.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME",
            help="dataset (with labels), or a recording: mcap, db3, bag, kitti, ...",
        ),
    ] = None,
    drive: Annotated[
        bool,
        typer.Option(
            "--drive", help="One scene, through which the sensor drives; a recording, not a dataset."
        ),
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", help="Between the frames of a drive; 0.1 by default."),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Round a recording's coordinates to 1/256 m: half the size as .mcap.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the recording at OUT.")] = False,
    quiet: options.QuietOption = False,
) -> None:
    """Draw street scenes and scan them with a simulated LiDAR.

    \b
    Examples:
      colonnade simulate --sensor hdl64e --frames 100 street/      frames with labels, for eval and train
      colonnade simulate --sensor vlp16 --frames 20 street.mcap    a recording without labels
      colonnade simulate --drive --kind city --frames 50 street.mcap

    An interrupted dataset goes on where it stopped when the same command is given again.
    """
    from ...runtime.errors import UsageError

    chosen = to or (_DATASET if not out.suffix else None)
    if interval is not None and not drive:
        raise UsageError("--interval is the time between the frames of a drive; add --drive")
    if chosen == _DATASET and (drive or compact):
        raise UsageError(
            "--drive and --compact are for recordings; let OUT end in .mcap, or choose one with --to"
        )
    with terminal.progress_bar("simulating", frames, quiet=quiet) as progress:
        if chosen == _DATASET:
            from ...detector.simulate.datasets import write_dataset

            write_dataset(out, sensor, frames, seed, kind=kind, progress=lambda done, _: progress(done))
        else:
            from ...detector.io import round_frames, write_recording
            from ...detector.simulate.datasets import simulate_frames
            from ...detector.simulate.drive import simulate_drive

            if drive:
                pace = {} if interval is None else {"interval": interval}
                simulated = simulate_drive(sensor, frames, seed, kind=kind, **pace)
            else:
                simulated = simulate_frames(sensor, frames, seed, kind=kind)
            sweeps = _count_frames(simulated, progress)
            write_recording(
                out, round_frames(sweeps) if compact else sweeps, format=chosen, overwrite=overwrite
            )
    terminal.show_facts(
        [("frames", f"{frames:,}"), ("sensor", sensor), ("seed", str(seed)), ("written", str(out))]
    )


def _count_frames(simulated: Iterator[SimulatedFrame], progress: Callable[[int], None]) -> Iterator[Frame]:
    for done, item in enumerate(simulated, start=1):
        yield item.frame
        progress(done)
