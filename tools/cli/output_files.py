"""output_files.py: the files that options name: whether they can be written is found out before the work begins."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from ...runtime.errors import UsageError
from ...runtime.files import make_folder, remove_empty


def check_file(option: str, path: Path, *, may_make: bool = False) -> None:
    """Make sure that a file can be written, without leaving anything of it.

    Args:
        option: its name, for the message.
        path: the file.
        may_make: the folder that it lies in may be missing, and is made later.

    Raises:
        UsageError: there can be no such file, or it cannot be written.
    """
    if path.is_dir():
        raise UsageError(f"{option} {path}: this is a folder; name a file")
    if path.exists() and not path.is_file():  # /dev/stdout, a named pipe
        return
    try:
        check_folder(path.parent, make=may_make)
    except OSError as error:
        raise UsageError(
            f"{option} {path}: cannot be written: {error.strerror or error}; name a file in a folder of yours"
        ) from error


def check_report(option: str, path: Path, keys: Collection[str]) -> None:
    """Make sure that a JSON report can be written, and that what it replaces is an earlier one: it has these keys.

    Raises:
        UsageError: there can be no such file, it cannot be written, or it holds something else.
    """
    check_file(option, path)
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        content = None
    if not (isinstance(content, dict) and content.keys() >= set(keys)):
        raise UsageError(
            f"{option} {path}: the file exists and is no earlier report of this kind; choose another name"
        )


def check_folder(folder: Path, *, make: bool = False) -> None:
    """Raise OSError where no file can be made in `folder`, which with `make` may be missing, and is so again after."""
    made = make_folder(folder) if make else ()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".colonnade-", suffix=".part"):
            pass
    finally:
        remove_empty(made)


def check_apart(option: str, path: Path, recording: Path, noun: str = "recording") -> None:
    """Raise UsageError where a file or folder to write is, holds or lies in what is read."""
    ours, theirs = path.resolve(), recording.resolve()
    if ours == theirs:
        relation = f"is the {noun} itself"
    elif theirs in ours.parents:
        relation = f"lies in the {noun} {recording}"
    elif ours in theirs.parents:
        relation = f"holds the {noun} {recording}"
    else:
        return
    raise UsageError(f"{option} {path}: {relation}, which is left as it is; choose another place")


def check_earlier(option: str, path: Path, opening: str, noun: str) -> None:
    """Make sure that a text file can be written, and that what it replaces is an earlier one: it begins with `opening`.

    Args:
        option: its name, for the message.
        path: the file.
        opening: first characters of every such file.
        noun: what such a file is, for the message.

    Raises:
        UsageError: there can be no such file, it cannot be written, or it holds something else.
    """
    check_file(option, path)
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if file.read(len(opening.encode())) != opening.encode():
            raise UsageError(
                f"{option} {path}: the file exists and is no {noun} of ours; choose another name"
            )


def check_different(files: Mapping[str, Path | None]) -> None:
    """Raise UsageError where two options name the same file."""
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is None or (path.exists() and not path.is_file()):
            continue
        other = seen.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(f"{option} {path}: {other} names the same file; give each its own")
