"""forms.py: the forms of the micro-kernel, one per kind of CPU and element type, and the choice among them."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any, Literal

import llvmlite.binding as llvm

from ..errors import ConfigError
from ..jit import numba

Dot = Literal["fma", "multiply-add", "vpdpbusd", "usdot", "pairs", "tiles"]

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18  # Linux x86-64: asm/unistd_64.h, asm/prctl.h
UNROLLED_WORDS = 2  # words per turn of the micro-kernel's inner loop
_TILE_WORDS = 16  # input channels of a tile, in words
NAMES = ("amx", "vnni", "avx512", "avx2", "generic")  # what COLONNADE_KERNEL may ask for


@dataclass(frozen=True)
class Form:
    """How one micro-kernel call multiplies, and how much of the output it keeps in registers.

    Every form works on 32-bit words: it broadcasts a word of input channels to all lanes, multiplies it with a
    vector of such words of weights, one per output channel, and adds into one 32-bit sum per lane. A word holds
    one float32, four uint8 (times four int8), or two int16 (the pair form, into which uint8 is widened).

    Attributes:
        name: for people.
        dot: the word product: "fma" and "multiply-add" are float32; "vpdpbusd" (x86), "usdot" (AArch64) and
            "pairs" (any CPU; LLVM makes it `vpmaddwd` on x86) are integer and exact, hence bit-identical; so is
            "tiles", whose kernel has a module of its own.
        lanes: 32-bit lanes per vector register.
        vectors: vector registers per output row, in the widest panel.
        rows: output rows.
    """

    name: str
    dot: Dot
    lanes: int
    vectors: int
    rows: int

    @property
    def word_channels(self) -> int:
        """Input channels in one word."""
        return {"fma": 1, "multiply-add": 1, "pairs": 2}.get(self.dot, 4)

    def count_words(self, channels: int) -> int:
        """Return how many words hold `channels` input channels, in whole turns of the kernel's inner loop."""
        turn = self.word_channels * (_TILE_WORDS if self.dot == "tiles" else UNROLLED_WORDS)
        return -(-channels // turn) * turn // self.word_channels

    @property
    def padding(self) -> int:
        """Output channels are padded to a multiple of it."""
        return self.vectors * self.lanes if self.dot == "tiles" else self.lanes

    @property
    def panel_vectors(self) -> tuple[int, ...]:
        """Widths of panels [vectors], widest first: each is half the one before."""
        widths = [self.vectors]
        while widths[-1] > 1:
            widths.append(widths[-1] // 2)
        return tuple(widths)


def choose_float_form(architecture: str, features: frozenset[str]) -> Form:
    """Return the float32 form for a CPU: sums, a row of weights and a broadcast must fit its registers."""
    if architecture in ("aarch64", "arm64"):
        return Form("neon", "fma", lanes=4, vectors=4, rows=6)  # 32 registers of 128 bits
    if "avx512f" in features:
        return Form("avx512", "fma", lanes=16, vectors=4, rows=6)  # 32 registers of 512 bits
    if {"avx2", "fma"} <= features:
        return Form("avx2", "fma", lanes=8, vectors=2, rows=6)  # 16 registers of 256 bits
    # SSE2 and unknown CPUs: 16 registers of 128 bits; without the instruction llvm.fma is a slow library call.
    return Form("generic", "multiply-add", lanes=4, vectors=2, rows=4)


def request_tiles() -> bool:
    """Ask the operating system for the tile registers, once per process; return whether it gives them."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    syscall = getattr(ctypes.CDLL(None), "syscall", None)
    return syscall is not None and syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0


def choose_integer_form(architecture: str, features: frozenset[str]) -> Form:
    """Return the uint8 × int8 form for a CPU."""
    if architecture in ("aarch64", "arm64"):
        dot: Dot = "usdot" if "i8mm" in features else "pairs"
        return Form(f"neon-{dot}", dot, lanes=4, vectors=4, rows=6 if dot == "usdot" else 4)
    if {"amx-int8", "avx512bw"} <= features and request_tiles():
        return Form("amx", "tiles", lanes=16, vectors=2, rows=32)
    if "avx512vnni" in features:
        return Form("vnni", "vpdpbusd", lanes=16, vectors=4, rows=6)
    if "avx512bw" in features:
        # Five rows, not six: a product takes a register before it is added.
        return Form("avx512", "pairs", lanes=16, vectors=4, rows=5)
    if "avxvnni" in features:
        return Form("avx-vnni", "vpdpbusd", lanes=8, vectors=2, rows=6)
    if "avx2" in features:
        return Form("avx2", "pairs", lanes=8, vectors=2, rows=5)
    return Form("generic", "pairs", lanes=4, vectors=2, rows=4)


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


ARCHITECTURE = llvm.get_default_triple().split("-")[0]
_FEATURES = restrict_features(_find_features(), os.environ.get("COLONNADE_KERNEL"))
FLOAT_FORM = choose_float_form(ARCHITECTURE, _FEATURES)
INTEGER_FORM = choose_integer_form(ARCHITECTURE, _FEATURES)
VECTOR_INTEGER_FORM = choose_integer_form(ARCHITECTURE, _FEATURES - {"amx-int8"})
"""The integer form of the vector unit; INTEGER_FORM itself where that is not the one of the tile unit."""
HAS_FAST_INT8 = INTEGER_FORM.dot in ("tiles", "vpdpbusd", "usdot")
"""Whether the integer form multiplies four channels per lane and instruction, four times the float32 rate."""
