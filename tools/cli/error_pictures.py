"""error_pictures.py: the folder that `eval --pictures` fills with contact sheets of misses and false alarms."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ...detector.evaluate import Dataset, EvaluationReport, FrameResult
from ...detector.export.kitti_text import file_stem
from ...runtime.errors import UsageError
from . import terminal


class ErrorPictures:
    """Writes the sheets of one run, those of each dataset under its name.

    Args:
        folder: made where it is missing; sheets of the same names are replaced, other files are left alone.

    Raises:
        UsageError: there can be no such folder, or nothing can be written to it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UsageError(f"--pictures {folder}: a file of this name exists; choose a folder") from None
        except OSError as error:
            raise UsageError(f"--pictures {folder}: the folder cannot be made: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"--pictures {folder}: the folder cannot be written to; choose another one")
        self._folder = folder
        self._stems: set[str] = set()

    def write(
        self,
        report: EvaluationReport,
        results: Sequence[FrameResult],
        dataset: Dataset,
        progress: Callable[[int], None],
    ) -> str:
        """Write the sheets of one dataset; return one sentence that says where they are.

        Raises:
            ColonnadeError: a sheet cannot be written, or a frame cannot be read once more.
        """
        from ...detector.view import draw_error_sheets

        stem, count = self._name(report.dataset), 0
        for sheet in draw_error_sheets(report, results, dataset, progress=progress):
            sheet.save(self._folder / f"{stem}-{file_stem(sheet.name)}.png")
            count += 1
        pictures = terminal.count(count, "picture")
        return f"{pictures} of misses and false alarms: {self._folder / f'{stem}-*.png'}"

    def _name(self, dataset: str) -> str:
        """Return how the file names of a dataset begin: differently for two of the same name."""
        plain = file_stem(dataset)
        stem, number = plain, 1
        while stem in self._stems:
            number += 1
            stem = f"{plain}-{number}"
        self._stems.add(stem)
        return stem
