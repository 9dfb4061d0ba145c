"""profile_outputs.py: the files that `colonnade profile` writes: checked before the work begins, written after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ..profile.runs import Profile
    from ..profile.traces import TracedFrame

_JSON_KEYS, _TRACE_KEYS = ("schema", "designs", "host_energy"), ("schema", "traceEvents")


class Outputs:
    """The files that were asked for; None for those that were not."""

    def __init__(
        self,
        save_trace: Path | None,
        json: Path | None,
        csv: Path | None,
        html: Path | None,
        trace: Path | None,
    ) -> None:
        self._save_trace, self._json, self._csv, self._html, self._trace = save_trace, json, csv, html, trace
        self._files = {
            "--save-trace": save_trace,
            "--json": json,
            "--csv": csv,
            "--html": html,
            "--trace": trace,
        }
        self._traces: list[TracedFrame] = []

    def check(self, recording: Path) -> None:
        """Raise UsageError where a file cannot be written or would replace something that is not ours."""
        from ...accel_model import report_csv
        from ..profile import page, traces
        from .output_files import check_apart, check_different, check_earlier, check_report

        check_different(self._files)
        for option, path in self._files.items():
            if path is not None and path.exists():
                check_apart(option, path, recording)
        openings = (
            ("--save-trace", traces.OPENING, "file of traces"),
            ("--csv", report_csv.OPENING, "table of layers"),
            ("--html", page.OPENING, "page"),
        )
        for option, opening, noun in openings:
            path = self._files[option]
            if path is not None:
                check_earlier(option, path, opening, noun)
        for option, keys in (("--json", _JSON_KEYS), ("--trace", _TRACE_KEYS)):
            path = self._files[option]
            if path is not None:
                check_report(option, path, keys)

    def keep_traces(self, frames: Iterator[TracedFrame]) -> Iterator[TracedFrame]:
        """Yield the frames, and keep their traces where they are to be written."""
        from ..profile.traces import TracedFrame, forget_cells

        for frame in frames:
            if self._save_trace is not None:
                self._traces.append(TracedFrame(frame.name, forget_cells(frame.trace)))
            yield frame

    def write(self, result: Profile) -> None:
        """Write the files."""
        from ...accel_model.chrome_trace import format_trace
        from ...accel_model.report_csv import format_layers
        from ...runtime.files import replace_file
        from ...runtime.trace_files import save_traces
        from ..profile.page import format_page
        from ..profile.runs import format_profile

        shown = [run.shown for run in result.runs]
        if self._save_trace is not None:
            save_traces(self._save_trace, [frame.trace for frame in self._traces])
        if self._json is not None:
            replace_file(self._json, format_profile(result))
        if self._csv is not None:
            replace_file(self._csv, format_layers(shown))
        if self._html is not None:
            replace_file(self._html, format_page(result))
        if self._trace is not None:
            replace_file(self._trace, format_trace(shown))

    def tell(self, *, quiet: bool) -> None:
        """Show what was written."""
        names = [str(path) for path in self._files.values() if path is not None]
        if names and not quiet:
            terminal.show_note(f"written: {', '.join(names)}")
