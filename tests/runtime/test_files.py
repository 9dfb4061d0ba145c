"""test_files.py: a file is replaced whole or not at all, and what was made on the way to a failure goes again."""

import os
import threading
from pathlib import Path

import pytest

from colonnade.runtime.files import find_final_name, make_folder, making_folder, replace_file, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["a line\nümläut\n", b"\x00\xff\r\n"])
def test_the_content_is_written_as_it_is(tmp_path: Path, content: str | bytes) -> None:
    for _ in range(2):
        replace_file(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    replace_file(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "file").write_text("before")

    def fail(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    for path in (tmp_path / "file", tmp_path / "other"):
        with pytest.raises(error):
            fail(path)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_nothing_is_seen_before_all_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "file.txt").exists()
        assert find_final_name(temporary.name) == "file.txt"
    assert find_final_name("file.txt") == "file.txt"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "folder", "text")
    assert names(tmp_path) == ["folder"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    replace_file(pipe, "through")
    reader.join(30)
    assert read == [b"through"]
    assert pipe.is_fifo()


def test_folders_go_with_what_they_were_made_for(tmp_path: Path) -> None:
    (tmp_path / "present").mkdir()

    def fail(*kept: str) -> None:
        with making_folder(tmp_path / "present" / "a" / "b"):
            for name in kept:
                (tmp_path / "present" / "a" / name).touch()
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert names(tmp_path / "present") == []
    with pytest.raises(ValueError):
        fail("kept")
    assert names(tmp_path / "present" / "a") == ["kept"]
    with making_folder(tmp_path / "c" / "d"):
        pass
    assert (tmp_path / "c" / "d").is_dir()


def test_folders_that_cannot_be_made_leave_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "a" / "b")
    with pytest.raises(OSError):
        make_folder(tmp_path / "new" / ("x" * 300) / "b")
    assert names(tmp_path) == ["file"]
