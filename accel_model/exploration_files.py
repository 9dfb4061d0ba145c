"""exploration_files.py: results of an exploration as JSON lines that grow point by point, and as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..runtime.errors import ConfigError
from .exploration import OBJECTIVES, Point, PointResult, Space, Value

SCHEMA, VERSION = "colonnade-exploration", 1
OPENING = f'{{"schema": "{SCHEMA}", "version": {VERSION}}}\n'  # first line of the JSON lines
_FIGURES = ("milliseconds", "millijoules", "low_mj", "high_mj", "area_mm2", "utilisation")


class ResultLog:
    """A file to which results are added one by one; those that it holds need not be computed again.

    A last line that was cut off, as by a full disk or a lost computer, is removed.

    Args:
        path: of the file; it is made where it is missing.

    Raises:
        ConfigError: the file is no such log, or is damaged.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, PointResult] = {}
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole and not whole.startswith(OPENING.encode()):
            raise ConfigError(
                f"{path}: is no log of an exploration of version {VERSION}; choose another folder"
            )
        if not whole and not OPENING.encode().startswith(text):
            raise ConfigError(f"{path}: is no log of an exploration; choose another folder")
        for number, line in enumerate(whole.splitlines()[1:], start=2):
            result = self._parse(line, number)
            self.found[result.point.key] = result
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(len(whole))
        self._file.seek(0, os.SEEK_END)
        if not whole:
            self._file.write(OPENING.encode())
            self._file.flush()

    def __enter__(self) -> ResultLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, result: PointResult) -> None:
        """Write a result; it is in the file when this returns."""
        self._file.write(json.dumps(_describe(result)).encode() + b"\n")
        self._file.flush()
        self.found[result.point.key] = result

    def _parse(self, line: bytes, number: int) -> PointResult:
        try:
            entry = json.loads(line)
            point = Point(str(entry["key"]), tuple(entry["values"].items()))
            if entry["problem"] is not None:
                return PointResult(point, problem=str(entry["problem"]))
            return PointResult(point, **{name: float(entry[name]) for name in _FIGURES})  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{self._path}, line {number}: damaged; remove the line to go on") from error


def _describe(result: PointResult) -> dict[str, object]:
    figures = {name: getattr(result, name) if result.problem is None else None for name in _FIGURES}
    values: dict[str, Value] = dict(result.point.values)
    return {"key": result.point.key, "values": values, **figures, "problem": result.problem}


def format_results(results: Sequence[PointResult], front: Sequence[PointResult]) -> str:
    """Return results as CSV: a column per key of the space, then figures, whether on the front, and the problem."""
    keys = tuple(dict.fromkeys(key for result in results for key, _ in result.point.values))
    on_front = {result.point.key for result in front}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*keys, *_FIGURES, "on_front", "problem"))
    for result in results:
        values = dict(result.point.values)
        figures = (getattr(result, name) if result.problem is None else "" for name in _FIGURES)
        is_best = result.point.key in on_front
        writer.writerow((*(values.get(key, "") for key in keys), *figures, is_best, result.problem or ""))
    return text.getvalue()


def format_exploration(
    space: Space, results: Sequence[PointResult], front: Sequence[PointResult], frames: Sequence[str]
) -> str:
    """Return an exploration as one JSON object: the space, the frames, the front, and all points."""
    body = {
        "schema": SCHEMA,
        "version": VERSION,
        "base": space.base.name,
        "values": {key: list(values) for key, values in space.values.items()},
        "sample": space.sample,
        "seed": space.seed,
        "frames": list(frames),
        "objectives": list(OBJECTIVES),
        "front": [_describe(result) for result in front],
        "points": [_describe(result) for result in results],
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"
