"""json_lines.py: files of one JSON object per line, read strictly and written whole; errors name the line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .checks import check_path
from .errors import ConfigError, UsageError
from .files import replace_file


@dataclass
class LineReader:
    """The lines of a file, parsed one by one; knows where it is."""

    path: str
    lines: Iterator[tuple[int, str]]
    count: int
    number: int = 0

    @classmethod
    def open(cls, path: str | Path) -> LineReader:
        """Read a file.

        Raises:
            ConfigError: it cannot be read as text.
        """
        try:
            lines = check_path("path", path).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as a trace ({type(error).__name__})") from error
        return cls(str(path), enumerate(lines, start=1), len(lines))

    @property
    def where(self) -> str:
        """The file and the line that was read last, for messages."""
        return f"{self.path}, line {self.number}"

    @property
    def has_more(self) -> bool:
        """Whether lines are left."""
        return self.number < self.count

    def next(self) -> dict[str, Any]:
        """Return the JSON object of the next line.

        Raises:
            ConfigError: there is none, or it is not a JSON object.
        """
        self.number, line = next(self.lines, (self.number + 1, None))
        if line is None:
            raise ConfigError(f"{self.where}: missing; the file was cut off, trace again")
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.where}: not JSON; the file is damaged, trace again") from error
        if not isinstance(entry, dict):
            raise ConfigError(f"{self.where}: not a JSON object; the file is damaged, trace again")
        return entry


def check_values(entry: dict[str, Any], record: type, where: str) -> None:
    """Check that `entry` has the fields of a record class, and values of their types.

    Raises:
        ConfigError: it has not; names `where`.
    """
    expected = {f.name: str(f.type) for f in fields(record)}
    if set(entry) != set(expected):
        wrong = sorted(set(entry) ^ set(expected))
        raise ConfigError(f"{where}: fields missing or unknown: {', '.join(wrong)}; trace again")
    for key, kind in expected.items():
        if not has_type(entry[key], kind):
            raise ConfigError(
                f"{where}: '{key}' is not of the expected type; the file is damaged, trace again"
            )


def has_type(value: Any, kind: str) -> bool:
    """Tell whether a JSON value can stand in a field annotated with `kind`."""
    if kind in ("str", "OperationKind"):
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int", "SiteMap"):
        return type(value) is int and value >= 0
    if not isinstance(value, list):
        return False
    counts = not kind.endswith("Record, ...]")
    pair = kind == "tuple[int, int]"
    return not counts or (all(has_type(v, "int") for v in value) and (not pair or len(value) == 2))


def write_lines(path: str | Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write a file, which appears whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    try:
        replace_file(check_path("path", path), text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be written ({reason}); choose another place") from error
