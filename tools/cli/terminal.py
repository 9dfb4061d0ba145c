"""terminal.py: what the commands show: results on stdout; progress, notes and errors on stderr."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 100  # columns of a table that goes to a file or a pipe

notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def show_error(message: str) -> None:
    """Show why the program stops."""
    notes.print(Text.assemble(("error: ", "bold red"), message))


def show_warning(message: str) -> None:
    """Show what went wrong without stopping the program."""
    notes.print(Text.assemble(("warning: ", "yellow"), message))


def show_note(message: str) -> None:
    """Show something worth knowing."""
    notes.print(message)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 thread" or "2 threads"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> None:
    """Print a table to stdout: the first `names` columns to the left, the others to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < names else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    results = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    results.print(table)


def show_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Print lines of name and value to stdout."""
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        print(f"{name:<{width}}{value}")


class _RateColumn(ProgressColumn):
    """Frames per second of the last moments."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self._unit}/s", style="cyan")


@contextmanager
def progress_bar(
    label: str, total: int | None, *, quiet: bool = False, unit: str = "frames"
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the body runs; it gets a function that takes the number done so far.

    Nothing is shown when `quiet`, or when stderr is not a terminal.
    """
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(unit),
        TimeRemainingColumn(elapsed_when_finished=True),
    ]
    with Progress(*columns, console=notes, disable=quiet or not notes.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def step_bar(
    label: str, total: int | None, *, quiet: bool = False, unit: str = "frames"
) -> Iterator[Callable[[], None]]:
    """Show a progress bar as `progress_bar` does, for a body that calls after every step and does not count."""
    with progress_bar(label, total, quiet=quiet, unit=unit) as progress:
        done = itertools.count(1)
        yield lambda: progress(next(done))
