"""scheme_names.py: schemes by name, such as w8a8 and w4a8-dint4."""

from __future__ import annotations

import re
from dataclasses import replace

from ..checks import check_instance
from ..errors import UsageError
from .activations import ActivationFormat
from .binary_coding import BinaryCodingFormat
from .dint import DIntFormat
from .formats import NumberFormat
from .matrices import WeightFormat
from .scheme import Scheme
from .ternary import TernaryFormat
from .uniform import UniformFormat

_HEAD = re.compile(r"w(\d{1,2})a(\d{1,2})", re.ASCII)
_GROUP = re.compile(r"g(\d{1,5})", re.ASCII)
_FLOATING = (16, 32)  # bits of activations that stay floating-point
_METHODS = {
    "unscaled": ("scaling", "none"),
    "smooth": ("scaling", "smooth"),
    "awq": ("scaling", "awq"),
    "aqas": ("scaling", "aqas"),
    "rtn": ("rounding", "nearest"),
    "gptq": ("rounding", "gptq"),
    "unclipped": ("clipping", "none"),
    "clip": ("clipping", "search"),
}


def parse_scheme(name: str) -> Scheme:
    """Return the scheme of a name: `wXaY`, then words that differ from what it would be, each after a hyphen.

    X and Y are the bits of weights and activations; a16 and a32 leave activations floating-point. Words:

    - number format: int (INT8 symmetric, fewer bits asymmetric), dint, ternary, bcq; the bits may follow, as in
      dint4; int unless told otherwise, but bcq with 1 bit;
    - granularity: tensor, or gN for groups of N columns; else one scale per output channel;
    - unscaled, smooth, awq or aqas; rtn or gptq; unclipped or clip.

    Weights of 8 bits are unscaled, rtn and unclipped unless told otherwise; others are aqas, gptq and clip.

    Raises:
        UsageError: the name is none, or says two things at once; the message names the word.
    """
    head, *words = check_instance("scheme", name, str).lower().split("-")
    match = _HEAD.fullmatch(head)
    if match is None:
        raise UsageError(f"a scheme is named such as w8a8, w4a8 or w4a8-dint4, got {name!r}")
    bits, input_bits = int(match[1]), int(match[2])
    seen: dict[str, str] = {}
    scheme = _start(bits, ActivationFormat(None if input_bits in _FLOATING else input_bits))
    for word in words:
        topic, scheme = _apply(scheme, word, bits, name)
        if topic in seen:
            raise UsageError(f"scheme {name!r}: '{seen[topic]}' and '{word}' say two things about {topic}")
        seen[topic] = word
    return scheme


def _start(bits: int, activations: ActivationFormat) -> Scheme:
    """Return the scheme of a name without words."""
    numbers = BinaryCodingFormat(1) if bits == 1 else UniformFormat(bits, symmetric=bits == 8)
    weights = WeightFormat(numbers)
    if bits == 8:
        return Scheme(weights, activations)
    return Scheme(weights, activations, scaling="aqas", rounding="gptq", clipping="search")


def _apply(scheme: Scheme, word: str, bits: int, name: str) -> tuple[str, Scheme]:
    """Return what a word is about, and the scheme with it."""
    if word in _METHODS:
        topic, value = _METHODS[word]
        return topic, replace(scheme, **{topic: value})  # type: ignore[arg-type]
    if word == "tensor":
        return "granularity", replace(scheme, weights=WeightFormat(scheme.weights.numbers, "tensor"))
    group = _GROUP.fullmatch(word)
    if group:
        weights = WeightFormat(scheme.weights.numbers, "group", int(group[1]))
        return "granularity", replace(scheme, weights=weights)
    numbers = _find_format(word, bits)
    if numbers is None:
        raise UsageError(
            f"scheme {name!r}: unknown word '{word}'; there are int, dint, ternary, bcq (with the {bits} bits "
            f"behind it, or none), tensor, gN, {', '.join(_METHODS)}"
        )
    return "the number format", replace(scheme, weights=replace(scheme.weights, numbers=numbers))


def _find_format(word: str, bits: int) -> NumberFormat | None:
    """Return the number format that a word names, or None."""
    stem = word.removesuffix(str(bits))
    if stem == "int":
        return UniformFormat(bits, symmetric=bits == 8)
    if stem == "dint":
        return DIntFormat(bits)
    if stem == "bcq":
        return BinaryCodingFormat(bits)
    return TernaryFormat() if stem == "ternary" and bits == 2 else None
