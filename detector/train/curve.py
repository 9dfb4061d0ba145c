"""curve.py: the learning curve of a run: a file with one line of JSON per entry, each with the step it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...runtime.files import replace_file


class Curve:
    """The file that a run writes its entries to.

    A run may begin before the last entry that is there: it was restarted, or it ended after its last checkpoint. What
    lies behind its beginning is then of steps that the run takes again, and goes when the run first writes.

    Args:
        path: of the file.
        begin: the step after which this run writes.
    """

    def __init__(self, path: Path, begin: int) -> None:
        self._path, self._begin, self._trimmed = path, begin, False

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry."""
        self.trim()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def trim(self) -> None:
        """Take out the entries behind the beginning of this run, once."""
        if self._trimmed:
            return
        self._trimmed = True
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if self._is_before(line)]
        if len(kept) < len(lines):
            replace_file(self._path, "".join(kept))

    def _is_before(self, line: str) -> bool:
        """Tell whether a line is a whole entry of an earlier step."""
        try:
            return line.endswith("\n") and int(json.loads(line)["step"]) <= self._begin
        except (ValueError, KeyError, TypeError):
            return False
