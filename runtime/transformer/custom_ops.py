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
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..kernel_cache import STORE
from .elf_shim import find_obstacle, load_shim
from .onnx_wire import Function, Model, read_fields, read_text
from .operators import DOMAIN, OPERATORS, Operator
from .ort_abi import API_VERSION, Api

SWITCH = "COLONNADE_OPERATORS"  # "portable" turns compiled operators off
_TEST_SECONDS = 180.0
_RETRY_SECONDS = 24 * 3600.0  # a failure may have been a machine short of memory
_PASSED = "passed"
_TEST = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); sys.path[:] = sys.argv[2:]; "
    "import importlib; importlib.import_module(sys.argv[1]).check_operators()"
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
def find_verdict() -> Verdict:
    """Return whether compiled operators work here; takes some seconds once per version, then milliseconds."""
    wanted = os.environ.get(SWITCH, "").strip().lower()
    if wanted == "portable":
        return Verdict(False, f"{SWITCH}=portable turns fast operators off")
    obstacle = find_obstacle() or _find_interpreter_obstacle()
    if obstacle:
        return Verdict(False, obstacle)
    name = _name_verdict()
    return _read_verdict(name) or _write_verdict(name, _run_test())


def available() -> bool:
    """Return whether `register` will succeed; see `find_verdict`."""
    return find_verdict().usable


def register(session_options: Any, names: Iterable[str] | None = None) -> bool:
    """Give the sessions that will be made with these options compiled operators, if they work here.

    Call it once per SessionOptions: onnxruntime refuses a second set of operators of the same domain.

    Args:
        session_options: an `onnxruntime.SessionOptions`.
        names: of the operators; None for all. Unknown names are left out.

    Returns:
        Whether it was done. If not, `find_verdict` says why, and models must keep their functions.
    """
    return available() and register_untested(session_options, names)


def register_untested(session_options: Any, names: Iterable[str] | None = None) -> bool:
    """As `register`, without asking whether it works: for the self-test."""
    wanted = None if names is None else frozenset(names)
    chosen = tuple(operator for operator in OPERATORS if wanted is None or operator.name in wanted)
    library = _open_library(chosen)
    session_options.register_custom_ops_library(library.path)
    return library.is_accepted


def bind_fast_operators(model: bytes) -> bytes:
    """Return an ONNX file without those functions for which there is a compiled operator of the same name.

    The nodes that called them then find the operators that `register` brings, which give the same integers.

    Raises:
        ModelError: these bytes are no ONNX file.
    """
    fast = {operator.name for operator in OPERATORS}
    kept = [field.whole for field in read_fields(model) if not (_find_function(field) in fast)]
    return b"".join(kept)


def find_functions(model: bytes) -> frozenset[str]:
    """Return the names of the functions of an ONNX file that compiled operators can stand in for.

    Raises:
        ModelError: these bytes are no ONNX file.
    """
    names = {_find_function(field) for field in read_fields(model)}
    return frozenset(names & {operator.name for operator in OPERATORS})
