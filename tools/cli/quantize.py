"""quantize.py: `colonnade quantize`: a detector into its int8 twin, a transformer into integers and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .calibration_frames import CalibrationOptions
from .quantize_detector import DetectorOptions, quantize_detector
from .quantize_onnx import OnnxOptions, quantize_onnx

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
    chosen = _METHOD if method is None else method
    calibration = CalibrationOptions(tuple(frames), limit, format, topic, columns)
    asked = DetectorOptions(calibration, chosen, source)
    quantize_detector(model, output, asked, overwrite=overwrite, threads=threads, quiet=quiet)


def _refuse_recording_options(*given: object) -> None:
    from ...runtime.errors import UsageError

    if any(given):
        raise UsageError("a transformer is calibrated on --calibrate DATA.npz; recordings are for detectors")
