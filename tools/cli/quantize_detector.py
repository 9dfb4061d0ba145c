"""quantize_detector.py: the part of `colonnade quantize` that takes a detector."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from . import terminal
from .calibration_frames import CalibrationOptions, count_frames, open_recordings, read_points
from .model_folder import INT8, check_model_folder, write_model

if TYPE_CHECKING:
    from ...detector.precision_loss import PrecisionLoss
    from ...detector.quantise import Steps
    from ...runtime.errors import CorruptFrameError
    from ...runtime.quant import Method

EXIT_SKIPPED = 3


@dataclass(frozen=True)
class DetectorOptions:
    """What the command takes for a detector.

    Attributes:
        frames: to calibrate on.
        method: name of how the tops of the activations are found.
        source: what the frames are, for the manifest, or None.
    """

    frames: CalibrationOptions
    method: str
    source: str | None


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
    paths = options.frames.paths
    check_model_folder(output, folder, paths, INT8, overwrite=overwrite)
    checkpoint = load_checkpoint(folder)
    check_float(checkpoint)
    skipped: list[CorruptFrameError] = []
    with ExitStack() as stack:
        recordings = open_recordings(stack, options.frames, skipped.append)
        total = count_frames(recordings)
        with terminal.progress_bar("calibrating", total, quiet=quiet) as progress:
            steps = calibrate(checkpoint, read_points(recordings, progress), method=method, threads=threads)
        _warn(skipped, total, steps)
        is_partial = bool(skipped)
        names = ", ".join(readable_name(path.resolve().name) for path in paths)
        quantised = apply_steps(checkpoint, steps, options.source or names)
        with terminal.progress_bar("comparing", total, quiet=quiet) as progress:
            loss = measure_loss(
                checkpoint, quantised, steps, read_points(recordings, progress), threads=threads
            )
    write_model(quantised, output)
    _print_result(folder, output, steps, loss)
    if is_partial:
        raise typer.Exit(EXIT_SKIPPED)


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
