"""forms.py: the forms of the micro-kernel, one per kind of CPU and element type, and the choice among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import llvmlite.binding as llvm

from ..cpu import find_usable_features, request_tiles

Dot = Literal["fma", "multiply-add", "vpdpbusd", "usdot", "pairs", "tiles"]

UNROLLED_WORDS = 2  # words per turn of the micro-kernel's inner loop
_TILE_WORDS = 16  # input channels of a tile, in words


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


ARCHITECTURE = llvm.get_default_triple().split("-")[0]
_FEATURES = find_usable_features()
FLOAT_FORM = choose_float_form(ARCHITECTURE, _FEATURES)
INTEGER_FORM = choose_integer_form(ARCHITECTURE, _FEATURES)
VECTOR_INTEGER_FORM = choose_integer_form(ARCHITECTURE, _FEATURES - {"amx-int8"})
"""The integer form of the vector unit; INTEGER_FORM itself where that is not the one of the tile unit."""
HAS_FAST_INT8 = INTEGER_FORM.dot in ("tiles", "vpdpbusd", "usdot")
"""Whether the integer form multiplies four channels per lane and instruction, four times the float32 rate."""
