"""custom_ops.py: gives a session of onnxruntime Colonnade's compiled operators, if they have shown that they work here.

The operators are bound to onnxruntime through an interface that Colonnade declares by hand (ort_abi.py). Before the
first use, a process of its own runs every operator and compares the results (self_test.py); what it finds is kept in
the cache of compiled kernels, for this onnxruntime, this version of Colonnade and this processor. Where the test
fails or crashes, models run their portable functions, with the same results.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..kernel_cache import STORE
from .elf_shim import find_obstacle, load_shim
from .onnx_wire import Field, Function, Model, read_fields, read_text
from .op_table import write_table
from .operators import DOMAIN, OPERATORS, Operator
from .ort_abi import API_VERSION, WORD, Api

SWITCH = "COLONNADE_OPERATORS"  # "portable" turns compiled operators off
_TEST_SECONDS = 180.0
_RETRY_SECONDS = 24 * 3600.0  # a failure may have been a machine short of memory
_PASSED = "passed"
_NAMES = frozenset(operator.name for operator in OPERATORS)
_PROBE = frozenset({"LookupU8"})
_LOCK = threading.Lock()
_TEST = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
    "import importlib; importlib.import_module(sys.argv[1]).check_operators(sys.argv[2].split(','))"
)


@dataclass(frozen=True)
class Verdict:
    """Whether compiled operators may be used in this process.

    Attributes:
        usable: they may.
        reason: why not, in a sentence; empty where they may.
    """

    usable: bool
    reason: str = ""


@cache
def find_verdict(names: frozenset[str] = _PROBE) -> Verdict:
    """Return whether compiled operators work here.

    Takes some seconds per operator when a version first meets it, then milliseconds.

    Args:
        names: of the operators; as they stand, the smallest one, which goes all the way through onnxruntime.
    """
    if os.environ.get(SWITCH, "").strip().lower() == "portable":
        return Verdict(False, f"{SWITCH}=portable turns fast operators off")
    obstacle = find_obstacle() or _find_interpreter_obstacle()
    if obstacle:
        return Verdict(False, obstacle)
    wanted = sorted(names & _NAMES)
    kept = [_read_verdict(name) for name in wanted]
    failed = [verdict for verdict in kept if verdict is not None and not verdict.usable]
    if failed:
        return failed[0]
    untested = [name for name, verdict in zip(wanted, kept, strict=True) if verdict is None]
    verdict = _run_test(untested) if untested else Verdict(True)
    for name in untested:
        _write_verdict(name, verdict)
    return verdict


def available() -> bool:
    """Return whether compiled operators can be brought into onnxruntime here; see `find_verdict`."""
    return find_verdict().usable


def register(session_options: Any, names: Iterable[str] | None = None) -> bool:
    """Give the sessions that will be made with these options compiled operators, if they work here.

    Call it once per SessionOptions: onnxruntime refuses a second set of operators of the same domain.

    Args:
        session_options: an `onnxruntime.SessionOptions`.
        names: of the operators, as `find_functions` returns them; None for all. Unknown names are left out.

    Returns:
        Whether it was done. If not, `find_verdict` says why, and models must keep their functions.
    """
    wanted = _NAMES if names is None else _NAMES & set(names)
    return find_verdict(wanted).usable and register_untested(session_options, wanted)


def register_untested(session_options: Any, names: frozenset[str]) -> bool:
    """As `register`, without asking whether it works: for the self-test."""
    chosen = tuple(operator for operator in OPERATORS if operator.name in names)
    with _LOCK:
        library = _open_library(chosen)
        session_options.register_custom_ops_library(library.shim.path)
        return library.is_accepted


def bind_fast_operators(model: bytes) -> bytes:
    """Return an ONNX file without those functions for which there is a compiled operator of the same name.

    The nodes that called them then find the operators that `register` brings, which give the same integers. Nothing
    else changes, and a file without such functions comes back as it is.

    Raises:
        ModelError: these bytes are no ONNX file.
    """
    return b"".join(field.whole for field in read_fields(model) if _name_function(field) not in _NAMES)


def find_functions(model: bytes) -> frozenset[str]:
    """Return the names of the functions of an ONNX file that compiled operators can stand in for.

    Raises:
        ModelError: these bytes are no ONNX file.
    """
    return _NAMES & {_name_function(field) for field in read_fields(model)}


def make_fast(model: bytes, session_options: Any) -> bytes:
    """Return a model whose functions are compiled operators, which `session_options` bring; or the model itself.

    Args:
        model: an ONNX file, which may hold functions of the domain "colonnade".
        session_options: a fresh `onnxruntime.SessionOptions`, to make the session of what is returned with.

    Raises:
        ModelError: these bytes are no ONNX file.
    """
    names = find_functions(model)
    return bind_fast_operators(model) if names and register(session_options, names) else model


def _name_function(field: Field) -> str:
    """Return the name of the function of our domain that a field of a model holds, or nothing."""
    if field.number != Model.FUNCTIONS or read_text(field.content, Function.DOMAIN) != DOMAIN:
        return ""
    return read_text(field.content, Function.NAME)


class _Library:
    """A shim whose function gives sessions one set of operators; lives as long as the process, as sessions may.

    Args:
        operators: which.
    """

    def __init__(self, operators: tuple[Operator, ...]) -> None:
        self.is_accepted = False  # by the last call of the function
        self._tables = [write_table(operator) for operator in operators]
        self._domain: int | None = None
        self._name = ctypes.create_string_buffer(DOMAIN.encode())
        self._function = _REGISTER(self._add_to_options)
        self.shim = load_shim(ctypes.cast(self._function, ctypes.c_void_p).value or 0)

    def _add_to_options(self, options: int, base: int) -> None:
        """Do what `RegisterCustomOps` is for; called by onnxruntime with `OrtSessionOptions*` and `OrtApiBase*`."""
        self.is_accepted = False
        get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(_read_word(base))
        api = get_api(API_VERSION)
        if not api:
            return
        if self._domain is None:
            self._domain = self._make_domain(api)
        if self._domain is not None and not _call(api, Api.ADD_CUSTOM_OP_DOMAIN, options, self._domain):
            self.is_accepted = True

    def _make_domain(self, api: int) -> int | None:
        domain = ctypes.c_void_p()
        name, place = ctypes.addressof(self._name), ctypes.addressof(domain)
        if _call(api, Api.CREATE_CUSTOM_OP_DOMAIN, name, place) or not domain.value:
            return None
        for table, _ in self._tables:
            if _call(api, Api.CUSTOM_OP_DOMAIN_ADD, domain.value, table.ctypes.data):
                return None
        return domain.value


_REGISTER = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def _call(api: int, place: Api, first: int, second: int) -> int | None:
    """Call one of onnxruntime's functions of two arguments; return its status, None where all is well."""
    function = _REGISTER(_read_word(api + WORD * place))
    status: int | None = function(first, second)
    return status


def _read_word(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


@cache
def _open_library(operators: tuple[Operator, ...]) -> _Library:
    return _Library(operators)


def _find_interpreter_obstacle() -> str:
    """Return why the self-test cannot be run by a process of its own, or nothing."""
    if not sys.executable or "python" not in Path(sys.executable).name.lower():
        return "fast operators are tested by a Python of their own, and this program is not started by one"
    return ""


def _name_verdict(operator: str) -> str:
    import onnxruntime

    build = f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"
    return f"{operator}-{hashlib.sha256(build.encode()).hexdigest()[:24]}"


def _read_verdict(operator: str) -> Verdict | None:
    """Return the verdict of an earlier test; None where there is none, or an old failure."""
    data = STORE.read(_name_verdict(operator))
    if data is None:
        return None
    word, _, rest = data.decode("utf-8", "replace").partition("\n")
    if word == _PASSED:
        return Verdict(True)
    when, _, reason = rest.partition("\n")
    is_recent = when.isdecimal() and 0 <= time.time() - int(when) < _RETRY_SECONDS
    return Verdict(False, reason) if is_recent else None


def _write_verdict(operator: str, verdict: Verdict) -> None:
    text = _PASSED if verdict.usable else f"failed\n{int(time.time())}\n{verdict.reason}"
    STORE.write(_name_verdict(operator), text.encode())


def _run_test(names: list[str]) -> Verdict:
    """Run the self-test of some operators in a process of its own."""
    command = [sys.executable, "-c", _TEST, f"{__package__}.self_test", ",".join(names), *sys.path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(False, f"the test of fast operators took longer than {_TEST_SECONDS:.0f} s")
    except OSError as error:
        return Verdict(False, f"the test of fast operators could not be started ({error.strerror or error})")
    if done.returncode == 0:
        return Verdict(True)
    if done.returncode < 0:
        return Verdict(False, f"the test of fast operators was ended by signal {-done.returncode}")
    lines = done.stderr.strip().splitlines()
    return Verdict(False, f"the test of fast operators failed: {lines[-1] if lines else 'it says nothing'}")
