"""files.py: files that appear whole or not at all, and folders that go again when what they were made for fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.part", re.DOTALL)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` for the body to write to, and give that file its own name afterwards.

    Where the body fails, `path` stays as it was and nothing else is left. A pipe or a device is yielded itself.

    Raises:
        OSError: the file cannot be given its name.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8 with the line ends that it has; see `replacing`.

    Raises:
        OSError: it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def find_final_name(name: str) -> str:
    """Return the name that a file is to have: its own, or that for which a process that was killed wrote it."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else name


def make_folder(folder: Path) -> tuple[Path, ...]:
    """Make a folder with its parents; return those that were not there, the innermost first.

    Raises:
        OSError: there can be no such folder; none is left.
    """
    missing = tuple(place for place in (folder, *folder.parents) if not place.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def making_folder(folder: Path) -> Iterator[None]:
    """Make a folder with its parents for the body; where the body fails, those go again that hold nothing.

    Raises:
        OSError: there can be no such folder.
    """
    made = make_folder(folder)
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise
