"""transformer.py: `colonnade transformer`: a transformer on accelerator models, over lengths of its sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from . import terminal

if TYPE_CHECKING:
    from ...accel_model.sequence_lengths import LengthComparison, LengthResult
    from ...accel_model.spec import NonlinearUnit

_LENGTHS = (16, 64, 256, 1024)
_LONGEST = 65_536  # positions; scores grow with the square
_UNITS = ("nn_lut", "polynomial")
_KEYS = ("format", "shape", "published", "results")


def transformer(
    shape: Annotated[
        str,
        typer.Argument(
            metavar="SHAPE", help="minilm, stories260k, smollm2-135m or vit-mnist: dimensions only."
        ),
    ],
    on: Annotated[
        str,
        typer.Option("--on", metavar="NAME|FILE", help="Accelerator: a preset, or a YAML file."),
    ] = "transformer-int8",
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="NAME|FILE", help="Another accelerator; may be given several times."
        ),
    ] = None,
    sequence: Annotated[
        list[int] | None,
        typer.Option(
            "--sequence",
            metavar="N",
            min=1,
            max=_LONGEST,
            help=f"Positions; may be given several times; {', '.join(map(str, _LENGTHS))} by default.",
        ),
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(
            "--unit",
            metavar="NAME",
            help="Operator unit: nn_lut, polynomial (I-BERT-like) or exact; may be given several times; the first two"
            " by default.",
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON, too.")
    ] = None,
) -> None:
    """Cycles, energy and the share of GELU, softmax and norms of a transformer on accelerator models.

    \b
    Examples:
      colonnade transformer minilm --sequence 16 --sequence 128 --sequence 1024
      colonnade transformer smollm2-135m --on transformer-int8 --against transformer-dint4 --json lengths.json

    No accelerator was built or measured: cycles follow from equations, of which the documents say what they are exact
    against. "array" is its utilisation; "ops" the share of GELU, softmax, norms and additions in the cycles that array
    and operator unit are busy; "time" and "busy" are against the first line of the same length: all cycles, and those
    busy ones.
    """
    from ...accel_model.sequence_lengths import compare_lengths
    from ...accel_model.spec_files import load_spec
    from ...accel_model.transformer_shapes import find_shape
    from ...runtime.files import replace_file
    from .output_files import check_report

    units = [_check_unit(name) for name in unit or _UNITS]
    found = find_shape(shape)
    specs = [load_spec(name) for name in dict.fromkeys([on, *(against or [])])]
    if json is not None:
        check_report("--json", json, _KEYS)
    comparison = compare_lengths(found, specs, sequence or _LENGTHS, units)
    if json is not None:
        replace_file(json, comparison.to_json() + "\n")
    _print(comparison)


def _check_unit(name: str) -> NonlinearUnit:
    from ...accel_model.spec import NonlinearUnit
    from ...runtime.errors import UsageError

    for known in get_args(NonlinearUnit):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--unit {name}: choose one of {', '.join(get_args(NonlinearUnit))}")


def _print(comparison: LengthComparison) -> None:
    columns = ("accelerator", "unit", "length", "ms", "array", "ops", "mJ", "time", "busy")
    terminal.show_table(columns, [_format(comparison, result) for result in comparison.results], names=2)
    if {"nn_lut", "polynomial"} <= {result.unit for result in comparison.results}:
        known = comparison.published
        shares = f"{known.share_at_shortest:.1%} at {known.shortest}, {known.share_at_longest:.1%} at {known.longest}"
        gain = f"with NN-LUT up to {known.speed_up_at_most}x faster"
        terminal.show_facts(
            [("published", f"operators of I-BERT {shares}; {gain}"), ("source", known.source)]
        )


def _format(comparison: LengthComparison, result: LengthResult) -> tuple[str, ...]:
    first = comparison.find_first(result.sequence)
    energy = result.millijoules
    return (
        result.accelerator,
        result.unit,
        f"{result.sequence:,}",
        f"{1e3 * result.seconds:,.3f}",
        f"{result.utilisation:.1%}",
        f"{result.nonlinear_share:.1%}",
        f"{_round(energy.nominal, 3)} ({_round(energy.low, 2)}-{_round(energy.high, 2)})",
        f"{result.cycles / first.cycles:.2f}",
        f"{result.compute_cycles / first.compute_cycles:.2f}",
    )


def _round(millijoules: float, digits: int) -> str:
    """Return an energy with so many digits, and no power of ten where there are more."""
    return f"{millijoules:,.0f}" if millijoules >= 99.5 else f"{millijoules:.{digits}g}"
