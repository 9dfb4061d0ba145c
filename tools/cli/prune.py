"""prune.py: `colonnade prune`: a pruned detector with other shares of pillars, or with thresholds in their place."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal
from .calibration_frames import CalibrationOptions, count_frames, open_recordings, read_points
from .model_folder import PRUNED, check_model_folder, write_model

if TYPE_CHECKING:
    from ...detector.checkpoints import Checkpoint
    from ...detector.work import WorkSpread
    from ...runtime.errors import CorruptFrameError

EXIT_SKIPPED = 3


def prune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An embedded detector or its folder, in float32, with vector pruning."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the new model.")
    ],
    keep: options.KeepOption = None,
    thresholds: Annotated[
        bool,
        typer.Option("--thresholds", help="Find thresholds that keep as many pillars as the shares do."),
    ] = False,
    frames: Annotated[
        list[Path] | None,
        typer.Option(
            "--frames",
            metavar="RECORDING",
            help="Frames to find thresholds on; may be given several times. A few dozen varied ones are enough.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Read at most N frames of each recording."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at FOLDER.")] = False,
    threads: options.ThreadsOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Make a pruned model keep more or fewer pillars, or those above a threshold.

    \b
    Examples:
      colonnade prune my-pruned/ --keep 1,0.6,0.5 -o faster/
      colonnade prune my-pruned/ --thresholds --frames drive.mcap --limit 40 -o no-sorting/

    A share lets the most important pillars of every frame stay, as many as it says; a threshold lets those stay that
    are important enough, without sorting: over all frames as many, but more of a full frame than of an empty one. The
    table gives the thresholds; the work is that of the network on the same frames: its mean and standard deviation.
    The weights stay as they are. To have the int8 form, quantise the new model. Exit codes: as of `colonnade detect`;
    3 = written, but corrupt frames were left out.
    """
    from ...detector.checkpoints import find_model

    asked = CalibrationOptions(tuple(frames or ()), limit, format, topic, columns)
    _check_options(keep, thresholds, asked)
    folder = find_model(model)
    check_model_folder(output, folder, asked.paths, PRUNED, overwrite=overwrite)
    checkpoint = _open_model(folder, options.read_keep(keep))
    if not thresholds:
        _write(checkpoint, output)
        return
    found = _find_thresholds(checkpoint, asked, threads=threads, quiet=quiet)
    _write(found.checkpoint, output)
    _print_thresholds(found)
    if found.skipped:
        raise typer.Exit(EXIT_SKIPPED)


@dataclass(frozen=True)
class _Thresholds:
    """A model with thresholds, and its work per frame beside that with shares."""

    checkpoint: Checkpoint
    with_shares: WorkSpread
    with_thresholds: WorkSpread
    skipped: int


def _check_options(keep: str | None, thresholds: bool, asked: CalibrationOptions) -> None:
    from ...runtime.errors import UsageError

    if keep is None and not thresholds:
        raise UsageError("nothing to change; give --keep, --thresholds or both")
    if thresholds and not asked.paths:
        raise UsageError("--thresholds are found on recordings; name one with --frames")
    if not thresholds and asked != CalibrationOptions((), None, None, None, None):
        raise UsageError(
            "recordings are for --thresholds; add it, or leave --frames and what belongs to it out"
        )


def _open_model(folder: Path, keep: float | tuple[float, ...] | None) -> Checkpoint:
    """Return the model with the shares that were asked for."""
    from ...detector.checkpoints import load_checkpoint
    from ...detector.keeping import set_keep
    from ...detector.quantise import check_float

    checkpoint = load_checkpoint(folder)
    check_float(checkpoint)
    if keep is None:
        return checkpoint
    manifest = checkpoint.manifest
    changed = replace(manifest, architecture=set_keep(manifest.architecture, keep))
    return replace(checkpoint, manifest=changed)


def _find_thresholds(
    checkpoint: Checkpoint, asked: CalibrationOptions, *, threads: int | None, quiet: bool
) -> _Thresholds:
    from ...detector.detector import Detector
    from ...detector.thresholds import calibrate_thresholds
    from ...detector.work import measure_work

    skipped: list[CorruptFrameError] = []
    with ExitStack() as stack:
        recordings = open_recordings(stack, asked, skipped.append)
        total = count_frames(recordings)
        with terminal.progress_bar("calibrating", total, quiet=quiet) as progress:
            made = calibrate_thresholds(checkpoint, read_points(recordings, progress), threads=threads)
        for error in skipped:
            terminal.show_warning(f"frame skipped: {error}")
        count, works = len(skipped), []
        for kind, one in (("shares", checkpoint), ("thresholds", made)):
            with terminal.progress_bar(f"counting with {kind}", total, quiet=quiet) as progress:
                points = read_points(recordings, progress)
                works.append(measure_work(Detector(one, threads=threads), points))
    return _Thresholds(made, works[0], works[1], count)


def _write(checkpoint: Checkpoint, output: Path) -> None:
    """Write the model under its folder's name; warn of an int8 twin that was made from the one that it replaces."""
    from ...detector.checkpoints import MANIFEST, TWIN_SUFFIX, find_twin
    from ...detector.keeping import format_keep, report_keep
    from ...runtime.errors import ModelError
    from ...runtime.file_names import readable_name

    twin = None
    if (output / MANIFEST).is_file():
        with suppress(ModelError):  # a damaged twin is no reason to lose the work that was done
            twin = find_twin(output)
    manifest = replace(checkpoint.manifest, name=readable_name(output.resolve().name))
    write_model(replace(checkpoint, manifest=manifest), output)
    shares = report_keep(manifest.architecture)
    terminal.show_facts([("written", str(output)), ("keep", format_keep(shares) or "all")])
    if twin is not None:
        name = f"{output.name}{TWIN_SUFFIX}"
        terminal.show_warning(
            f"{name} is the int8 form of the model that lay here before; quantise this one anew"
        )


def _print_thresholds(found: _Thresholds) -> None:
    terminal.show_facts(
        [
            ("frames", f"{found.with_thresholds.frames:,}"),
            ("with shares", _format_work(found.with_shares)),
            ("with thresholds", _format_work(found.with_thresholds)),
        ]
    )
    layers = found.checkpoint.manifest.architecture.layers
    rows = [
        (layer.name, layer.importance, f"{layer.threshold:.4g}")
        for layer in layers
        if layer.threshold is not None
    ]
    terminal.show_table(("layer", "importance", "threshold"), rows, names=2)


def _format_work(work: WorkSpread) -> str:
    return (
        f"{work.mean / 1e6:,.0f} million multiply-accumulates a frame, deviation {work.deviation / 1e6:,.0f}, "
        f"from {work.least / 1e6:,.0f} to {work.most / 1e6:,.0f}"
    )
