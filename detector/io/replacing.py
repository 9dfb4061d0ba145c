"""replacing.py: what a recording may be written over: recordings as they are written here, never other files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...runtime.errors import RecordingError
from .sniffing import FORMATS

FRAME_STEM = r"[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,99}"  # how the files of a written folder may be called
_FRAME_FILES = re.compile(rf"{FRAME_STEM}(\.bin|\.pcd|\.npy)")
_HEAD_BYTES = 4096


def check_replaceable(target: Path, source: Path | None) -> None:
    """Make sure that nothing but a recording is lost when `target` is replaced.

    Args:
        target: exists, maybe as a broken link.
        source: the recording that is being read; None where there is none.

    Raises:
        RecordingError: the target holds other files, cannot be read, or holds or lies in the source.
    """
    if source is not None:
        _check_apart(target, source)
    try:
        foreign = _find_foreign(target) if target.is_dir() else None
        is_recording = target.is_dir() or not target.exists() or _is_recording(target)
    except OSError as error:
        raise RecordingError(
            f"{target}: is not replaced, because it cannot be read: {error.strerror or error}; choose another name"
        ) from error
    if foreign is not None:
        raise RecordingError(
            f"{target}: is not replaced, because {foreign.name} in it is not of a recording as it is written here; "
            "choose another name"
        )
    if not is_recording:
        raise RecordingError(f"{target}: is not replaced, because it is no recording; choose another name")


def _check_apart(target: Path, source: Path) -> None:
    ours, theirs = target.resolve(), source.resolve()
    if ours == theirs and not ours.is_dir():
        return  # one file onto itself, read to the end before it is replaced
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        relation = "is" if ours == theirs else "holds" if ours in theirs.parents else "lies in"
        raise RecordingError(
            f"{target}: is not replaced, because it {relation} what is read, {source}; choose another name"
        )


def _find_foreign(folder: Path) -> Path | None:
    """Return something in the folder that `write_recording` does not write, or None."""
    entries = sorted(folder.iterdir())
    names = [path.name for path in entries]
    if len(names) == 2 and "metadata.yaml" in names and any(name.endswith(".db3") for name in names):
        expected = set(names)
    else:
        # All of one kind, as of the first.
        kind = next((match[1] for name in names if (match := _FRAME_FILES.fullmatch(name))), None)
        expected = {name for name in names if (match := _FRAME_FILES.fullmatch(name)) and match[1] == kind}
    return next(
        (path for path in entries if path.name not in expected or path.is_symlink() or not path.is_file()),
        None,
    )


def _is_recording(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        length = os.fstat(file.fileno()).st_size
    if path.suffix.lower() == ".bin" and length % 16 == 0:  # rows of four float32, whatever they hold
        return True
    return not head or any(item.matches(path, head) for item in FORMATS.values())
