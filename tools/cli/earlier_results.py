"""earlier_results.py: what an earlier run of `detect` left in a folder, told for certain from anybody else's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...detector.export.kitti_text import file_stem
from ...runtime.errors import UsageError
from ...runtime.files import find_final_name

CONFIG, SUMMARY, BOXES, KITTI, PICTURES = (
    "config.yaml",
    "summary.json",
    "detections.jsonl",
    "kitti",
    "pictures",
)
MARKER = "# Written by colonnade detect. The next run into this folder replaces what this run wrote here.\n"
_PER_FRAME = {KITTI: ".txt", PICTURES: ".png"}


@dataclass(frozen=True)
class EarlierResults:
    """What one run wrote.

    Attributes:
        files: in the order in which they can be removed: what tells that they are results comes last.
        folders: those that the files lie in.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]

    def remove(self) -> None:
        """Remove the files, and then the folders."""
        for path in self.files:
            path.unlink(missing_ok=True)
        for folder in self.folders:
            folder.rmdir()


def find_earlier_results(output: Path) -> EarlierResults:
    """Return what an earlier run wrote to the folder `output`; other files beside it are not part of that.

    Raises:
        UsageError: the folder holds no results, or some of what has the names of results is not of that run.
    """
    if not _is_ours(output / CONFIG):
        raise UsageError(f"--output {output}: the folder holds other files; choose an empty or a new one")
    named = [output / name for name in (SUMMARY, BOXES, KITTI, PICTURES)]
    if not any(path.is_symlink() or path.exists() for path in named):
        return EarlierResults((output / CONFIG,), ())
    stems = _read_stems(output / BOXES)
    if stems is None:
        raise _foreign(output, output / BOXES)
    files: list[Path] = []
    folders: list[Path] = []
    for name, suffix in _PER_FRAME.items():
        folder = output / name
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise _foreign(output, folder)
        if folder.is_dir():
            folders.append(folder)
            files += _list_frames(output, folder, {stem + suffix for stem in stems})
    if not _is_plain(output / SUMMARY) and (output / SUMMARY).exists():
        raise _foreign(output, output / SUMMARY)
    return EarlierResults((*files, output / SUMMARY, output / BOXES, output / CONFIG), tuple(folders))


def _list_frames(output: Path, folder: Path, expected: set[str]) -> list[Path]:
    """Return the files of a folder, all of which must be expected."""
    files = sorted(folder.iterdir())
    for path in files:
        if find_final_name(path.name) not in expected or not _is_plain(path):
            raise _foreign(output, path)
    return files


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_ours(config: Path) -> bool:
    if not _is_plain(config):
        return False
    with config.open("rb") as file:
        return file.read(len(MARKER)) == MARKER.encode()


def _read_stems(boxes: Path) -> set[str] | None:
    """Return how the files of the frames are called; None where these are not the boxes of a run."""
    if not _is_plain(boxes):
        return None
    stems = set()
    with boxes.open(encoding="utf-8") as file:
        try:
            for line in file:
                if line.endswith("\n"):  # else the last line of a run that was killed
                    stems.add(file_stem(json.loads(line)["frame_id"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
    return stems


def _foreign(output: Path, path: Path) -> UsageError:
    return UsageError(
        f"--output {output}: {path} is not of the run whose results the folder holds; "
        "choose an empty or a new folder"
    )
