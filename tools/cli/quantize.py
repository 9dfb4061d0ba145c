"""quantize.py: `colonnade quantize`: a detector into its int8 twin, a transformer into integers and tables."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from . import options, terminal
from .quantize_onnx import OnnxOptions, quantize_onnx

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
_TRANSFORMERS = "For transformers"
_METHOD = "percentile"  # as detector.quantise.METHOD, which cannot be imported before it is needed
_ONNX_METHOD = "mse"  # as runtime.transformer.quantise has it


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An embedded detector or its folder, in float32; or a transformer as .onnx."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder of the int8 model, or .onnx file.")
    ],
    frames: Annotated[
        list[Path] | None,
        typer.Option(
            "--frames",
            metavar="RECORDING",
            help="Frames to calibrate a detector on; may be given several times. A few dozen varied ones are enough.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="Top of the activations: percentile (for detectors), mse (for transformers) or min-max.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Read at most N frames of each recording."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="TEXT",
            help="What the frames are, for the manifest, with attributions; the recordings' names by default.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at OUT.")] = False,
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            metavar="NAME",
            help="Products: w8a8, w4a8, w4a8-dint4, ..., or float to leave them.",
            rich_help_panel=_TRANSFORMERS,
        ),
    ] = "w8a8",
    lut: Annotated[
        int,
        typer.Option(
            "--lut",
            metavar="N",
            min=0,
            max=256,
            help="Entries of the tables for GELU, SiLU, softmax and norms; 0 leaves those float.",
            rich_help_panel=_TRANSFORMERS,
        ),
    ] = 16,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="DATA.npz",
            help="Samples: one array for each input of the model, along the first axis.",
            rich_help_panel=_TRANSFORMERS,
        ),
    ] = None,
    calibration_length: Annotated[
        int | None,
        typer.Option(
            "--calibration-length",
            metavar="N",
            min=1,
            help="Positions of a sample that are used: as many as there will be in use.",
            rich_help_panel=_TRANSFORMERS,
        ),
    ] = None,
    reuse_attention: Annotated[
        str | None,
        typer.Option(
            "--reuse-attention",
            metavar="GROUPS",
            help="Layers that share the first one's attention, such as 1-2,3-4.",
            rich_help_panel=_TRANSFORMERS,
        ),
    ] = None,
    threads: options.ThreadsOption = None,
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Make the int8 form of a model, faster where the processor has the instructions for it.

    \b
    Examples:
      colonnade quantize minilm.onnx --calibrate sentences.npz -o minilm-int8.onnx
      colonnade quantize my-model/ --frames drive.mcap --limit 40 -o my-model-int8/
      colonnade quantize synthetic --frames street/frames -o mine/ --method min-max

    An int8 model that lies beside its float32 one as NAME-int8 is its twin: --precision int8 finds it, and it is taken
    by default where it is faster. The frames need no labels. The table gives the error of each layer's output, that of
    the layers before it included, as signal to quantisation noise; the boxes are compared on the same frames.
    Exit codes: as of `colonnade detect`; 3 = written, but corrupt frames were left out.
    """
    if model.lower().endswith(".onnx"):
        chosen = _ONNX_METHOD if method is None else method
        wanted = OnnxOptions(scheme, lut, calibrate, calibration_length, reuse_attention, chosen)
        _refuse_recording_options(frames, limit, source, format, topic, columns)
        quantize_onnx(Path(model), output, wanted, overwrite=overwrite, threads=threads, quiet=quiet)
        return
    if not frames:
        raise typer.BadParameter("a detector is calibrated on recordings; name one", param_hint="--frames")
    _quantize_detector(
        model,
        output,
        frames,
        _METHOD if method is None else method,
        limit,
        source,
        overwrite,
        threads,
        format,
        topic,
        columns,
        quiet,
    )


def _quantize_detector(
    model: str,
    output: Path,
    frames: list[Path],
    method: str,
    limit: int | None,
    source: str | None,
    overwrite: bool,
    threads: int | None,
    format: str | None,
    topic: str | None,
    columns: str | None,
    quiet: bool,
) -> None:
    from ...detector.checkpoints import find_model, load_checkpoint
    from ...detector.io import open_recording
    from ...detector.precision_loss import measure_loss
    from ...detector.quantise import apply_steps, calibrate, check_float
    from ...runtime.file_names import readable_name

    chosen = _check_method(method)
    folder = find_model(model)
    _check_output(output, folder, frames, overwrite)
    checkpoint = load_checkpoint(folder)
    check_float(checkpoint)
    skipped: list[CorruptFrameError] = []
    with ExitStack() as stack:
        recordings = [
            stack.enter_context(
                open_recording(
                    path, format=format, topic=topic, columns=columns, limit=limit, on_corrupt=skipped.append
                )
            )
            for path in frames
        ]
        total = _count_frames(recordings)
        with terminal.progress_bar("calibrating", total, quiet=quiet) as progress:
            steps = calibrate(checkpoint, _read_points(recordings, progress), method=chosen, threads=threads)
        for error in skipped:
            terminal.show_warning(f"frame skipped: {error}")
        if total is not None and steps.frames + len(skipped) < total:
            terminal.show_warning(
                f"{total - len(skipped) - steps.frames} of {total} frames have no point in the model's range"
            )
        is_partial = bool(skipped)
        names = ", ".join(readable_name(path.resolve().name) for path in frames)
        quantised = apply_steps(checkpoint, steps, source or names)
        with terminal.progress_bar("comparing", total, quiet=quiet) as progress:
            loss = measure_loss(
                checkpoint, quantised, steps, _read_points(recordings, progress), threads=threads
            )
    _write(quantised, output)
    _print_result(folder, output, steps, loss)
    if is_partial:
        raise typer.Exit(EXIT_SKIPPED)


def _refuse_recording_options(*given: object) -> None:
    from ...runtime.errors import UsageError

    if any(given):
        raise UsageError("a transformer is calibrated on --calibrate DATA.npz; recordings are for detectors")


def _check_method(method: str) -> Method:
    from ...runtime.errors import UsageError
    from ...runtime.quant import Method

    for known in get_args(Method):
        if method == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--method {method}: choose one of {', '.join(get_args(Method))}")


def _check_output(output: Path, model: Path, recordings: list[Path], overwrite: bool) -> None:
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
