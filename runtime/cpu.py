"""cpu.py: the instructions that kernels may use: what the CPU has, less what the environment or the system forbids."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

import llvmlite.binding as llvm
import numba

from .errors import ConfigError

NAMES = ("amx", "vnni", "avx512", "avx2", "generic")  # what COLONNADE_KERNEL may ask for
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18  # Linux x86-64: asm/unistd_64.h, asm/prctl.h


def find_usable_features() -> frozenset[str]:
    """Return LLVM's names of the features that the forms of the kernels are chosen by.

    Raises:
        ConfigError: as `restrict_features`.
    """
    features = restrict_features(_find_features(), os.environ.get("COLONNADE_KERNEL"))
    return features if "amx-int8" in features and request_tiles() else features - {"amx-int8"}


def request_tiles() -> bool:
    """Ask the operating system for the tile registers, once per process; return whether it gives them."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    syscall = getattr(ctypes.CDLL(None), "syscall", None)
    return syscall is not None and syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0


def _find_features() -> frozenset[str]:
    """Return the features of the CPU that Numba compiles for, which its environment variables may restrict."""
    config: Any = numba.config
    if config.CPU_FEATURES is not None:
        names = config.CPU_FEATURES.split(",")
        return frozenset(name[1:] for name in names if name.startswith("+"))
    if not config.ENABLE_AVX:
        return frozenset()
    present = llvm.get_host_cpu_features()
    return frozenset(name for name, has in present.items() if has)


_BEYOND = {  # features that a forced form may not use
    "amx": frozenset[str](),
    "vnni": frozenset({"amx-int8"}),
    "avx512": frozenset({"amx-int8", "avx512vnni", "avxvnni"}),
    "avx2": frozenset({"amx-int8", "avx512vnni", "avxvnni", "avx512f", "avx512bw"}),
    "generic": frozenset({"amx-int8", "avx512vnni", "avxvnni", "avx512f", "avx512bw", "avx2", "i8mm"}),
}
_NEEDED = {"amx": "amx-int8", "vnni": "avx512vnni", "avx512": "avx512bw", "avx2": "avx2"}


def restrict_features(features: frozenset[str], wanted: str | None) -> frozenset[str]:
    """Return the features that the form named by COLONNADE_KERNEL may use; None takes all.

    Raises:
        ConfigError: no such form, or the CPU lacks its instructions, or the operating system refuses them.
    """
    if not wanted:
        return features
    if wanted not in NAMES:
        raise ConfigError(f"COLONNADE_KERNEL={wanted}: choose one of {', '.join(NAMES)}, or unset it")
    needed = _NEEDED.get(wanted)
    if needed is not None and needed not in features:
        raise ConfigError(
            f"COLONNADE_KERNEL={wanted}: this CPU has no {needed} instructions; choose another or unset it"
        )
    if wanted == "amx" and not request_tiles():
        raise ConfigError(
            "COLONNADE_KERNEL=amx: the operating system refuses the tile registers; choose another or unset it"
        )
    return features - _BEYOND[wanted]
