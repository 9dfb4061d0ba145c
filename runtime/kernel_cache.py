"""kernel_cache.py: compiled kernels on disk: never stale, torn or another user's, and never in the way."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import serialize
from numba.core.compiler import CompileResult

from .cpu import find_usable_features

_PACKAGE = Path(__file__).resolve().parents[1]
_PREFIX, _SUFFIX = "kernels-", ".kernel"
_rebuild: Any = CompileResult._rebuild  # Numba's types end here
_dumps: Any = serialize.dumps
_DIGEST_BYTES = hashlib.sha256().digest_size
_KEPT = 8  # folders of other versions that stay, whatever their age
_UNUSED = 24 * 3600.0  # [s] after which further ones go
# Settings of Numba that change the code that it makes, but not the name under which it would look for it.
_SETTINGS = (
    "CPU_NAME",
    "CPU_FEATURES",
    "ENABLE_AVX",
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
)


@dataclass(frozen=True)
class CacheReport:
    """The state of the cache.

    Attributes:
        folder: where this version's kernels lie; None where there is no place for them.
        kernels: how many there are, one per function and types.
        size: of all of them [B].
        problem: why nothing is read or written there; empty where all is well.
    """

    folder: Path | None
    kernels: int
    size: int
    problem: str


class KernelStore:
    """One folder of compiled kernels, for one state of the sources, one processor and one Numba.

    Each kernel is a file of its own, under a name that says what it was made from, and appears whole or not at
    all: processes that start together need no lock, and a folder that is removed under them costs time only.
    Nothing here raises: what cannot be read is compiled, what cannot be written is compiled again next time.

    Args:
        root: folder that holds one folder per version; None keeps nothing.
        key: names the version.
    """

    def __init__(self, root: Path | None, key: str) -> None:
        self.root = root
        self.folder = None if root is None else root / f"{_PREFIX}{key}"
        self._is_marked = False

    def read(self, name: str) -> bytes | None:
        """Return what was written under `name`, or None where it is missing, damaged or not to be trusted."""
        if self.folder is None or self._find_distrust():
            return None
        try:
            whole = (self.folder / (name + _SUFFIX)).read_bytes()
        except OSError:
            return None
        if not self._is_marked:
            self._is_marked = True
            with suppress(OSError):
                os.utime(self.folder)  # the folders unused for longest go first
        digest, data = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        return data if hashlib.sha256(data).digest() == digest else None

    def write(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`, if that can be done."""
        with suppress(OSError):
            self._write(name, data)

    def report(self) -> CacheReport:
        """Return the state of the cache, after trying to write to it."""
        if self.folder is None:
            return CacheReport(None, 0, 0, "there is no home folder")
        problem = self._find_distrust()
        if not problem:
            try:
                self._write("trial", b"")
                (self.folder / f"trial{_SUFFIX}").unlink()
            except OSError as error:
                problem = f"it cannot be written to ({error.strerror or error})"
        sizes = []
        with suppress(OSError):
            sizes = [entry.stat().st_size for entry in self.folder.glob(f"*{_SUFFIX}")]
        return CacheReport(self.folder, len(sizes), sum(sizes), problem)

    def is_waiting(self) -> bool:
        """Return whether no kernel is there yet, though kernels can be written."""
        try:
            if self.folder is None or any(self.folder.glob(f"*{_SUFFIX}")):
                return False
        except OSError:
            return False
        return not self.report().problem

    def _write(self, name: str, data: bytes) -> None:
        if self.root is None or self.folder is None:
            return
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        is_new = not self.folder.is_dir()
        if is_new:
            self.folder.mkdir(mode=0o755, exist_ok=True)
        if self._find_distrust():
            return
        if is_new:
            _prune(self.root, self.folder)
        temporary = self.folder / f"{uuid.uuid4().hex}.tmp"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(temporary, self.folder / (name + _SUFFIX))
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _find_distrust(self) -> str:
        """Return why the folder may hold what somebody else put there, or nothing.

        Reading a kernel runs code that the file holds, so the file must be ours, or the administrator's: nobody else
        may write to the folder, or put another one in its place.
        """
        if self.root is None or self.folder is None or not hasattr(os, "getuid"):
            return ""
        try:
            root, folder = self.root.stat(), self.folder.lstat()
        except OSError:
            return ""  # nothing there to be read
        if not stat.S_ISDIR(folder.st_mode):
            return "it is not a folder"
        for name, status in (("it", folder), ("the folder that it lies in", root)):
            if status.st_uid not in (os.getuid(), 0):
                return f"{name} belongs to another user"
            is_sticky = (
                status is root and status.st_mode & stat.S_ISVTX
            )  # as /tmp: others cannot rename what is ours
            if status.st_mode & 0o022 and not is_sticky:
                return f"other users can write to {name}"
        return ""


def _prune(root: Path, own: Path) -> None:
    """Remove the kernels of versions that have not been used for long; only ever files of our own naming."""
    try:
        others = [path for path in root.glob(f"{_PREFIX}*") if path != own and not path.is_symlink()]
        by_use = sorted(((path.stat().st_mtime, path) for path in others), reverse=True)
    except OSError:
        return
    for used, path in by_use[_KEPT:]:
        if time.time() - used > _UNUSED:
            with suppress(OSError):
                for file in path.iterdir():
                    if file.suffix in (_SUFFIX, ".tmp"):
                        file.unlink()
                path.rmdir()


class KernelCache:
    """The cache of one kernel, in the form in which a Numba dispatcher asks for it.

    Numba's own cache knows a function by the text of its file; it sees no edit to what the function calls in
    another file, or to the generator of an intrinsic. Its index files also lose entries, or mix them up, where
    several processes start at once.

    Args:
        function: the Python function, from a file.
        store: where its compiled forms go.
    """

    def __init__(self, function: Callable[..., Any], store: KernelStore) -> None:
        self._function, self._store = function, store
        self._sources = hash_sources(Path(function.__code__.co_filename).parent)

    @property
    def cache_path(self) -> str:
        """The folder, as text."""
        return str(self._store.folder or "")

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the kernel compiled for `signature`, or None."""
        target_context.refresh()
        data = self._store.read(self._name_entry(signature, target_context.codegen()))
        if data is None:
            return None
        try:
            stored, state = pickle.loads(data)
            if stored != signature:
                return None
            return _rebuild(target_context, *state)
        except Exception:  # whatever is wrong with the entry, compiling is right
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled kernel, unless it holds addresses of this process."""
        if result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in result.lifted):
            return
        data = _dumps((signature, result._reduce()))
        self._store.write(self._name_entry(signature, result.codegen), data)

    def enable(self) -> None:
        """Part of what a dispatcher expects; the cache is always on."""

    def disable(self) -> None:
        """Part of what a dispatcher expects; the cache is always on."""

    def flush(self) -> None:
        """Part of what a dispatcher expects; entries are never wrong, only unused."""

    def _name_entry(self, signature: Any, codegen: Any) -> str:
        function = self._function
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        parts = (
            self._sources,
            function.__module__,
            str(function.__code__.co_firstlineno),
            repr(signature),
            repr(codegen.magic_tuple()),
            _dumps(cells).hex() if cells else "",
        )
        return f"{function.__name__}-{_hash_parts(parts)[:24]}"


def find_cache_root() -> Path | None:
    """Return the folder for compiled kernels: as the environment says, else in the user's cache folder."""
    named = os.environ.get("COLONNADE_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    try:
        if named:
            return Path(named).expanduser().absolute()
        if sys.platform == "win32":
            return (
                Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
                / "colonnade"
                / "Cache"
            )
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "colonnade"
        given = Path(os.environ.get("XDG_CACHE_HOME") or "")
        return (given if given.is_absolute() else Path.home() / ".cache") / "colonnade"
    except (RuntimeError, OSError):  # no home folder, or no current one
        return None


def find_version_key() -> str:
    """Return what the compiled kernels depend on besides their own folder's sources, as a short name.

    These are the sources of the runtime and of the detector's own modules, whose functions and constants kernels
    of other folders use; Python, Numba and LLVM; the processor and what the environment says of it.

    Raises:
        ConfigError: COLONNADE_KERNEL names no form that can run here.
    """
    folders = [_PACKAGE / "detector", _PACKAGE / "runtime"]
    folders += sorted(path for path in (_PACKAGE / "runtime").iterdir() if (path / "__init__.py").is_file())
    features = sorted(name for name, has in llvm.get_host_cpu_features().items() if has)
    parts = [hash_sources(folder) for folder in folders]
    parts += [sys.version, numba.__version__, llvmlite.__version__, llvm.get_process_triple()]
    parts += [llvm.get_host_cpu_name(), ",".join(features)]
    parts += [repr(getattr(numba.config, name, None)) for name in _SETTINGS]
    parts.append(",".join(sorted(find_usable_features())))  # by which the forms of the kernels are chosen
    return _hash_parts(parts)[:16]


@cache
def hash_sources(folder: Path) -> str:
    """Return a hash of the names and texts of the Python files in a folder, as they are when first asked for."""
    parts: list[str | bytes] = []
    for path in sorted(folder.glob("*.py")):
        parts += [path.name, path.read_bytes()]
    return _hash_parts(parts)


def _hash_parts(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _open_store() -> KernelStore:
    try:
        return KernelStore(find_cache_root(), find_version_key())
    except OSError:  # the package is not made of files, so an edit to it could not be seen
        return KernelStore(None, "")


STORE = _open_store()
"""The cache of this process, named by the sources as they were when it started."""
