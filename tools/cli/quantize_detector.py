"""quantize_detector.py: the part of `colonnade quantize` that takes a detector."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from . import terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...detector.checkpoints import Checkpoint
    from ...detector.io import Recording
    from ...detector.precision_loss import PrecisionLoss
    from ...detector.quantise import Steps
    from ...runtime.errors import CorruptFrameError
    from ...runtime.quant import Method

EXIT_SKIPPED = 3


@dataclass(frozen=True)
class DetectorOptions:
    """What the command takes for a detector.

    Attributes:
        frames: recordings to calibrate on, one or more.
        method: name of how the tops of the activations are found.
        limit: most frames of each recording, or None.
        source: what the frames are, for the manifest, or None.
        format, topic, columns: of the recordings, or None; see `open_recording`.
    """

    frames: tuple[Path, ...]
    method: str
    limit: int | None
    source: str | None
    format: str | None
    topic: str | None
    columns: str | None


def quantize_detector(
    model: str, output: Path, options: DetectorOptions, *, overwrite: bool, threads: int | None, quiet: bool
) -> None:
    """Write the int8 twin of a detector, then show what that cost: errors, size, boxes."""
    from ...detector.checkpoints import find_model, load_checkpoint
    from ...detector.precision_loss import measure_loss
    from ...detector.quantise import apply_steps, calibrate, check_float
    from ...runtime.file_names import readable_name

    method = _check_method(options.method)
    folder = find_model(model)
    _check_output(output, folder, options.frames, overwrite)
    checkpoint = load_checkpoint(folder)
    check_float(checkpoint)
    skipped: list[CorruptFrameError] = []
    with ExitStack() as stack:
        recordings = [stack.enter_context(_open(path, options, skipped.append)) for path in options.frames]
        total = _count_frames(recordings)
        with terminal.progress_bar("calibrating", total, quiet=quiet) as progress:
            steps = calibrate(checkpoint, _read_points(recordings, progress), method=method, threads=threads)
        _warn(skipped, total, steps)
        is_partial = bool(skipped)
        names = ", ".join(readable_name(path.resolve().name) for path in options.frames)
        quantised = apply_steps(checkpoint, steps, options.source or names)
        with terminal.progress_bar("comparing", total, quiet=quiet) as progress:
            loss = measure_loss(
                checkpoint, quantised, steps, _read_points(recordings, progress), threads=threads
            )
    _write(quantised, output)
    _print_result(folder, output, steps, loss)
    if is_partial:
        raise typer.Exit(EXIT_SKIPPED)


def _open(path: Path, options: DetectorOptions, on_corrupt: Callable[[CorruptFrameError], None]) -> Recording:
    from ...detector.io import open_recording

    return open_recording(
        path,
        format=options.format,
        topic=options.topic,
        columns=options.columns,
        limit=options.limit,
        on_corrupt=on_corrupt,
    )


def _warn(skipped: list[CorruptFrameError], total: int | None, steps: Steps) -> None:
    """Tell which frames were corrupt, and how many had nothing to calibrate on."""
    for error in skipped:
        terminal.show_warning(f"frame skipped: {error}")
    if total is not None and steps.frames + len(skipped) < total:
        terminal.show_warning(
            f"{total - len(skipped) - steps.frames} of {total} frames have no point in the model's range"
        )


def _check_method(method: str) -> Method:
    from ...runtime.errors import UsageError
    from ...runtime.quant import Method

    for known in get_args(Method):
        if method == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--method {method}: choose one of {', '.join(get_args(Method))}")


def _check_output(output: Path, model: Path, recordings: tuple[Path, ...], overwrite: bool) -> None:
    """Make sure that the folder can be written and that only an int8 model is replaced."""
    from ...detector.checkpoints import read_manifest
    from ...runtime.errors import ModelError, UsageError
    from .output_files import check_apart, check_folder

    for path in recordings:
        check_apart("--output", output, path)
    check_apart("--output", output, model, "model")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: a file of this name exists; choose a folder")
    if output.is_dir() and any(output.iterdir()):
        try:
            is_replaceable = read_manifest(output).precision == "int8"
        except ModelError:
            is_replaceable = False
        if not is_replaceable:
            raise UsageError(
                f"--output {output}: the folder holds something else than an int8 model; choose another"
            )
        if not overwrite:
            raise UsageError(f"--output {output}: an int8 model lies there; --overwrite replaces it")
    try:
        check_folder(output.parent, make=True)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def _count_frames(recordings: list[Recording]) -> int | None:
    lengths = [recording.length for recording in recordings]
    return None if None in lengths else sum(length for length in lengths if length is not None)


def _read_points(
    recordings: list[Recording], progress: Callable[[int], None]
) -> Iterator[NDArray[np.float32]]:
    done = 0
    for recording in recordings:
        for frame in recording:
            yield frame.points
            done += 1
            progress(done)


def _write(checkpoint: Checkpoint, output: Path) -> None:
    """Write the folder under a temporary name, then give it its own; in an earlier model file by file."""
    from ...detector.checkpoints import save_checkpoint
    from ...runtime.files import making_folder

    if output.is_dir() and any(output.iterdir()):
        save_checkpoint(checkpoint, output)
        return
    with (
        making_folder(output.parent),
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.", suffix=".part") as place,
    ):
        made = Path(place) / output.name
        save_checkpoint(checkpoint, made)
        if output.is_dir():
            output.rmdir()  # empty
        os.rename(made, output)


def _print_result(model: Path, output: Path, steps: Steps, loss: PrecisionLoss) -> None:
    sizes = [_measure_size(folder) for folder in (model, output)]
    scores = "no box in both to compare"
    if loss.matched:
        scores = f"differ by {loss.mean_score:.3f} on average, {loss.largest_score:.3f} at most"
    terminal.show_facts(
        [
            ("written", str(output)),
            ("size", f"{sizes[1] / 1e6:.2f} MB, float32 {sizes[0] / 1e6:.2f} MB"),
            ("frames", f"{steps.frames:,}, method {steps.method}"),
            ("boxes", f"{loss.integer_boxes:,}, float32 {loss.float_boxes:,}, in both {loss.matched:,}"),
            ("scores", scores),
        ]
    )
    rows = [(layer.name, _format_decibel(layer.sqnr_db)) for layer in loss.layers]
    terminal.show_table(("layer", "SQNR [dB]"), rows)


def _format_decibel(value: float) -> str:
    return "-" if math.isnan(value) else "exact" if math.isinf(value) else f"{value:.1f}"


def _measure_size(folder: Path) -> int:
    from ...detector.checkpoints import WEIGHTS

    return (folder / WEIGHTS).stat().st_size
