"""app.py: the program `colonnade`: its commands, its exit codes, and how errors reach the user."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from ...runtime.errors import ColonnadeError, UsageError
from . import (
    bench,
    convert,
    detect,
    doctor,
    evaluate,
    explore,
    profile,
    prune,
    quantize,
    simulate,
    train,
    transformer,
    warmup,
)
from .streams import forgiving_streams
from .terminal import show_error

EXIT_INPUT, EXIT_USAGE, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 70, 130

_HELP = """Finds cars, people and cyclists in LiDAR recordings, on a small computer without a GPU.

\b
Examples:
  colonnade detect drive.mcap                     boxes and a table
  colonnade detect kitti/velodyne --picture       and a picture of every frame
  colonnade detect drive.bag --movie drive.webp   and a movie
  colonnade convert kitti/velodyne drive.mcap     a recording for ROS tools
  colonnade simulate --sensor hdl64e street/      labelled synthetic frames
  colonnade eval --model default street/          how good is it there?
  colonnade prune my-pruned/ --keep 0.5 -o fast/   a faster, rougher form of a pruned model
  colonnade quantize my-model/ --frames drive.mcap -o my-model-int8/   its int8 form
  colonnade profile drive.mcap --html page.html   how fast would an accelerator be?
  colonnade transformer minilm                    its cycles on an accelerator
  colonnade doctor drive.mcap                     what does not fit the model?

\b
Exit codes:
  0    done
  1    input or environment at fault
  2    wrong usage
  3    done, but some frames were skipped (doctor: something was found)
  70   a fault in Colonnade
  130  interrupted; what was done is kept

Every command takes --debug, which shows the traceback of an error.
"""

app = typer.Typer(
    name="colonnade",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"colonnade {version('colonnade')}")
        raise typer.Exit


@app.callback(help=_HELP)
def _colonnade(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


app.command("detect")(detect.detect)
app.command("convert")(convert.convert)
app.command("eval")(evaluate.evaluate)
app.command("simulate")(simulate.simulate)
app.command("train")(train.train)
app.command("prune")(prune.prune)
app.command("quantize")(quantize.quantize)
app.command("transformer")(transformer.transformer)
app.add_typer(bench.app, name="bench")
app.command("profile")(profile.profile)
app.command("explore")(explore.explore)
app.command("doctor")(doctor.doctor)
app.command("warmup")(warmup.warmup)


def main() -> None:
    """Run the program; every way out of it is an exit code documented in --help."""
    arguments = sys.argv[1:]
    with forgiving_streams() as stdout:
        code = _run([argument for argument in arguments if argument != "--debug"], "--debug" in arguments)
        try:
            stdout.flush()
        except OSError as error:  # a full disk; a reader that has gone (`| head`) is no error
            stdout.discard()
            code = code or _report(error)
    raise SystemExit(code)


def _run(arguments: list[str], debug: bool) -> int | str | None:
    """Run a command and return the exit code."""
    try:
        app(args=arguments)
    except SystemExit as leaving:
        return leaving.code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error)
    return 0


def _report(error: Exception) -> int:
    """Show one line about an error and return the exit code."""
    if isinstance(error, ColonnadeError):
        show_error(str(error))
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_INPUT
    if isinstance(error, OSError):
        named = error.filename is not None and error.strerror is not None
        show_error(f"{error.filename}: {error.strerror}" if named else str(error))
        return EXIT_INPUT
    if isinstance(error, MemoryError):
        show_error("out of memory; try --limit, or close other programs")
        return EXIT_INPUT
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    show_error(f"unexpected {reason}; this is a fault in Colonnade: run again with --debug for the traceback")
    return EXIT_BUG
