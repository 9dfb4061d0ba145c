"""The cache of compiled kernels: right after every edit, quiet where it cannot be, safe with many processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colonnade.runtime import cpu, kernel_cache
from colonnade.runtime.errors import ConfigError
from colonnade.runtime.kernel_cache import KernelStore, find_cache_root, find_version_key, hash_sources

KERNELS = """
from colonnade.runtime.jit import kernel
from generator import scale

@kernel
def scaled(values):
    total = 0.0
    for value in values:
        total += scale(value)
    return total

@kernel
def shifted(value):
    return scale(value) + 1
"""
GENERATOR = """
from colonnade.runtime.jit import numba

@numba.extending.intrinsic
def scale(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.fmul(arguments[0], arguments[0].type({factor}.0))
    return numba.types.float64(numba.types.float64), generate
"""
RUN = """
import numpy as np
from kernels import scaled, shifted
print(scaled(np.ones(3)), shifted(2.0), sum(sum(k.stats.cache_hits.values()) for k in (scaled, shifted)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a module of kernels, and one that generates code for them."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    (tmp_path / "generator.py").write_text(GENERATOR.format(factor=2))
    return tmp_path


def start(folder: Path, cache: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "COLONNADE_CACHE_DIR": str(cache)}
    command = [sys.executable, "-B", "-c", RUN]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(folder: Path, cache: Path) -> str:
    out, err = start(folder, cache).communicate()
    assert not err  # neither a traceback nor a warning
    return out.strip()


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("kernels-*/*.kernel"))


def test_an_edited_generator_in_another_file_is_never_stale(folder: Path) -> None:
    cache = folder / "cache"
    assert run(folder, cache) == "6.0 5.0 0"
    assert run(folder, cache) == "6.0 5.0 2"
    (folder / "generator.py").write_text(GENERATOR.format(factor=3))
    assert run(folder, cache) == "9.0 7.0 0"


def test_damaged_entries_are_compiled_again(folder: Path) -> None:
    cache = folder / "cache"
    run(folder, cache)
    cut, garbage = entries(cache)
    cut.write_bytes(cut.read_bytes()[:-100])
    garbage.write_bytes(os.urandom(2000))
    assert run(folder, cache) == "6.0 5.0 0"
    assert run(folder, cache) == "6.0 5.0 2"


def test_processes_that_start_together_share_one_cache(folder: Path) -> None:
    cache = folder / "cache"
    processes = [start(folder, cache) for _ in range(4)]
    for process in processes:
        out, err = process.communicate()
        assert (out[:7], err) == ("6.0 5.0", "")
    assert run(folder, cache) == "6.0 5.0 2"
    assert len(entries(cache)) == 2
    assert not list(cache.rglob("*.tmp"))


def test_kernels_run_where_nothing_can_be_written(folder: Path) -> None:
    assert run(folder, folder / "kernels.py" / "cache") == "6.0 5.0 0"


def test_what_is_written_is_read_again_if_it_is_whole(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "root", "0")
    assert store.read("a") is None
    store.write("a", b"code")
    assert store.read("a") == b"code"
    (path,) = entries(tmp_path / "root")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:10], bytes([whole[0] ^ 1]) + whole[1:]):
        path.write_bytes(damaged)
        assert store.read("a") is None


def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "root", "0")
    store.write("a", b"code")
    assert not store.report().problem
    assert store.folder is not None
    store.folder.chmod(0o777)
    store.write("b", b"code")
    assert store.read("a") is None
    assert len(entries(tmp_path / "root")) == 1
    assert store.report().problem == "other users can write to it"
    store.folder.chmod(0o755)
    assert store.read("a") == b"code"
    for mode in (0o777, 0o775, 0o757):
        tmp_path.joinpath("root").chmod(mode)
        store.write("b", b"code")
        assert store.read("a") is None
        assert len(entries(tmp_path / "root")) == 1
        assert store.report().problem == "other users can write to the folder that it lies in"
    tmp_path.joinpath("root").chmod(0o1777)  # as /tmp: others cannot rename what is ours
    assert store.read("a") == b"code"


def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KernelStore(tmp_path / "root", "0")
    store.write("a", b"code")
    assert store.folder is not None
    status = store.folder.lstat()
    foreign = os.stat_result((*status[:4], 12345, *status[5:]))
    monkeypatch.setattr(Path, "lstat", lambda path: foreign)
    assert store.read("a") is None
    assert store.report().problem == "it belongs to another user"


def test_a_folder_in_that_of_another_user_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KernelStore(tmp_path / "root", "0")
    store.write("a", b"code")
    status, find_status = (tmp_path / "root").stat(), Path.stat
    foreign = os.stat_result((*status[:4], 12345, *status[5:]))
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **options: foreign if path == store.root else find_status(path, **options),
    )
    assert store.read("a") is None
    assert store.report().problem == "the folder that it lies in belongs to another user"


def test_nothing_is_cleared_away_where_others_can_write(tmp_path: Path) -> None:
    for age in range(12):  # days
        folder = tmp_path / f"kernels-{age}"
        folder.mkdir()
        (folder / "a.kernel").touch()
        os.utime(folder, (86400.0 * age, 86400.0 * age))
    tmp_path.chmod(0o777)
    KernelStore(tmp_path, "new").write("a", b"code")
    assert len(list(tmp_path.glob("*/a.kernel"))) == 12


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "kernels-0").symlink_to(tmp_path / "elsewhere")
    store = KernelStore(tmp_path, "0")
    store.write("a", b"code")
    assert store.read("a") is None
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_is_no_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = KernelStore(tmp_path, "0")
    monkeypatch.setattr(os, "replace", refuse)
    store.write("a", b"code")
    assert store.read("a") is None
    assert store.report().problem == "it cannot be written to (No space left on device)"
    assert not list(tmp_path.glob("*/*"))


def test_no_home_folder_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    for name in ("COLONNADE_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    store = KernelStore(find_cache_root(), "0")
    store.write("a", b"code")
    assert store.read("a") is None
    assert store.report().problem == "there is no home folder"


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "own"))
    assert find_cache_root() == tmp_path / "own"
    monkeypatch.delenv("COLONNADE_CACHE_DIR")
    assert find_cache_root() == tmp_path / "numba"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="XDG folders are those of Linux")
def test_the_users_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLONNADE_CACHE_DIR", raising=False)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for given, expected in (("", tmp_path / ".cache"), ("relative", tmp_path / ".cache"), ("/x", Path("/x"))):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert find_cache_root() == expected / "colonnade"


def test_the_key_follows_sources_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("detector", "runtime/sparse"):
        (tmp_path / name).mkdir(parents=True)
    generator = tmp_path / "runtime" / "sparse" / "microkernel.py"
    (generator.parent / "__init__.py").touch()
    monkeypatch.setattr(kernel_cache, "_PACKAGE", tmp_path)
    keys = []
    for text, form in (("a", ""), ("b", ""), ("b", "generic")):
        generator.write_text(text)
        monkeypatch.setenv("COLONNADE_KERNEL", form)
        hash_sources.cache_clear()
        keys += [find_version_key(), find_version_key()]
    hash_sources.cache_clear()
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 3


def test_the_key_is_that_of_the_form_whatever_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = frozenset({"amx-int8", "avx512vnni", "avx512bw", "avx512f", "avx2", "fma"})
    monkeypatch.setattr(cpu, "_find_features", lambda: everything)

    def find_key(name: str) -> str:
        monkeypatch.setenv("COLONNADE_KERNEL", name)
        return find_version_key()

    monkeypatch.setattr(cpu, "request_tiles", lambda: True)
    keys = {name: find_key(name) for name in cpu.NAMES}
    assert len(set(keys.values())) == len(cpu.NAMES)
    assert find_key("") == keys["amx"]
    monkeypatch.setattr(cpu, "request_tiles", lambda: False)  # as a sandbox does
    assert find_key("") == keys["vnni"]
    with pytest.raises(ConfigError, match="tile registers"):
        find_key("amx")


def test_old_versions_go_when_there_are_many(tmp_path: Path) -> None:
    now = time.time()
    for age in range(14):  # days
        folder = tmp_path / f"kernels-{age:02}"
        folder.mkdir()
        (folder / "a.kernel").touch()
        if age == 13:
            (folder / "notes.txt").touch()
        os.utime(folder, (now - 86400 * age - 60, now - 86400 * age - 60))
    (tmp_path / "other").mkdir()
    KernelStore(tmp_path, "new").write("a", b"code")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [*(f"kernels-{age:02}" for age in range(8)), "kernels-13", "kernels-new", "other"]
    assert [path.name for path in (tmp_path / "kernels-13").iterdir()] == ["notes.txt"]


def test_versions_in_use_stay(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"kernels-{number}").mkdir()
    KernelStore(tmp_path, "new").write("a", b"code")
    assert len(list(tmp_path.iterdir())) == 13


def test_a_store_waits_for_kernels_only_where_it_can_keep_them(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "root", "0")
    assert store.is_waiting()
    store.write("kernel", b"code")
    assert not store.is_waiting()
    assert not KernelStore(None, "0").is_waiting()
    (tmp_path / "file").write_bytes(b"")
    assert not KernelStore(tmp_path / "file", "0").is_waiting()
