"""quantize_onnx.py: the part of `colonnade quantize` that takes a transformer in ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ...runtime.transformer.quantise import Quantised
    from ...runtime.transformer.report import Comparison

_MOST_OTHERS = 8  # kinds of operators that were left alone, by name


@dataclass(frozen=True)
class OnnxOptions:
    """What the command takes for a transformer.

    Attributes:
        scheme: name of how products become integers; "float" leaves them.
        lut: entries of the tables; 0 leaves the operators float.
        calibrate: .npz file of samples.
        calibration_length: positions of a sample, or None.
        reuse_attention: groups of layers, or None.
        method: of the ranges of activations.
    """

    scheme: str
    lut: int
    calibrate: Path | None
    calibration_length: int | None
    reuse_attention: str | None
    method: str


def quantize_onnx(
    model: Path, output: Path, options: OnnxOptions, *, overwrite: bool, threads: int | None, quiet: bool
) -> None:
    """Quantise an ONNX file, then show what became of it: errors, size, speed."""
    from ...runtime.checks import check_choice
    from ...runtime.files import making_folder
    from ...runtime.transformer.attention_reuse import parse_groups
    from ...runtime.transformer.onnx_files import read_model
    from ...runtime.transformer.quantise import RANGE_METHODS, count_steps, find_inputs, quantize
    from ...runtime.transformer.report import compare
    from ...runtime.transformer.samples import read_samples

    data = _check(model, output, options, overwrite)
    check_choice("--method", options.method, RANGE_METHODS)
    reuse = () if options.reuse_attention is None else parse_groups(options.reuse_attention)
    source = read_model(model)
    samples = read_samples(data, find_inputs(source), options.calibration_length)
    with (
        making_folder(output.parent),
        terminal.progress_bar(
            "quantising", count_steps(source, samples), quiet=quiet, unit="steps"
        ) as progress,
    ):
        result = quantize(
            model,
            output,
            scheme=None if options.scheme == "float" else options.scheme,
            calibration=samples,
            entries=options.lut or None,
            method=options.method,  # type: ignore[arg-type]
            reuse=reuse,
            threads=threads,
            progress=progress,
        )
    _show_layers(result)
    comparison = compare(model, output, samples, threads=threads)
    _show_comparison(output, len(samples), result, comparison)


def _check(model: Path, output: Path, options: OnnxOptions, overwrite: bool) -> Path:
    """Return the file of samples; make sure that the output can be written."""
    from ...runtime.errors import UsageError
    from .output_files import check_apart, check_file

    if options.calibrate is None:
        raise UsageError(
            "--calibrate is missing: an .npz file with one array for each input of the model, the first axis being the "
            "samples"
        )
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"--output {output}: a transformer is written as an .onnx file")
    check_apart("--output", output, model, "model")
    check_apart("--output", output, options.calibrate, "calibration data")
    if output.exists() and not overwrite:
        raise UsageError(f"--output {output}: exists; --overwrite replaces it")
    check_file("--output", output, may_make=True)
    return options.calibrate


def _show_layers(result: Quantised) -> None:
    if result.linears:
        rows = [(item.name, item.form, _format_error(item.relative_error)) for item in result.linears]
        terminal.show_table(("product with weights", "now", "error of its output"), rows, names=2)
    others = ", ".join(f"{count} {name}" for name, count in result.patterns.others[:_MOST_OTHERS])
    more = len(result.patterns.others) - _MOST_OTHERS
    if others:
        terminal.show_note(f"left as they are: {others}{f' and {more} other kinds' if more > 0 else ''}")


def _show_comparison(output: Path, samples: int, result: Quantised, comparison: Comparison) -> None:
    found = result.patterns
    tables = f"{len(found.norms)} norms, {len(found.curves)} curves, {len(found.softmaxes)} softmaxes"
    rows = [
        ("written", str(output)),
        ("samples", f"{samples:,}"),
        ("integers", f"{len(result.linears)} of {len(found.linears)} products with weights, "
                     f"{result.integer_attentions} of {len(found.attentions)} attentions"),
        ("tables", tables if result.with_tables else "none"),
        ("size", f"{comparison.bytes / 1e6:.2f} MB, float {comparison.float_bytes / 1e6:.2f} MB"),
        ("speed", f"{comparison.seconds * 1e3:.2f} ms a sample, float {comparison.float_seconds * 1e3:.2f} ms: "
                  f"{_format_speed(comparison.speedup)} on this processor"),
    ]  # fmt: skip
    rows += [
        (f"output {error.name}", f"SQNR {error.sqnr_db:.1f} dB, same choice {error.same_choice:.1%}")
        for error in comparison.outputs
    ]
    terminal.show_facts(rows)
    if comparison.speedup < 1.0:
        terminal.show_warning("the quantised model is slower than the float one on this processor")


def _format_speed(speedup: float) -> str:
    return f"{speedup:.2f} times as fast" if speedup >= 1.0 else f"{1.0 / speedup:.2f} times SLOWER"


def _format_error(error: float) -> str:
    return f"{error:.2%}"
