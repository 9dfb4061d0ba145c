"""spec_limits.py: what each value of a hardware description may be, and which parts and values go together."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from ..runtime.errors import ConfigError
from .cost import ActionCounts
from .energy_tables import NODES
from .spec import (
    ActionEnergy,
    ArraySpec,
    Basis,
    DataflowSpec,
    DramSpec,
    GatherSpec,
    Kind,
    MappingSpec,
    NonlinearSpec,
    Spec,
    SramSpec,
)

ACTIONS = tuple(f.name for f in fields(ActionCounts))
BASES: tuple[str, ...] = get_args(Basis)
SECTIONS: dict[str, type[Any]] = {
    "array": ArraySpec,
    "sram": SramSpec,
    "dram": DramSpec,
    "mapping": MappingSpec,
    "gather": GatherSpec,
    "dataflow": DataflowSpec,
    "nonlinear": NonlinearSpec,
}
_EVERY = ("array", "sram", "dram")
PARTS: dict[Kind, tuple[str, ...]] = {
    "pillar": (*_EVERY, "mapping", "gather", "dataflow"),
    "dense": _EVERY,
    "transformer": (*_EVERY, "nonlinear"),
}

_COUNT, _KIB = (1, 4096), (0.25, 262_144)
_RANGES: dict[str, tuple[float, float]] = {
    "clock_mhz": (1, 10_000),
    "array.rows": _COUNT,
    "array.columns": _COUNT,
    "array.macs_per_pe": (1, 64),
    "sram.input_kib": _KIB,
    "sram.weight_kib": _KIB,
    "sram.psum_kib": _KIB,
    "sram.output_kib": _KIB,
    "sram.rule_kib": (0, 262_144),
    "sram.word_bytes": (1, 1024),
    "dram.bandwidth_gb_per_s": (0.01, 100_000),
    "dram.streaming_efficiency": (0.001, 1),
    "dram.random_efficiency": (0.001, 1),
    "mapping.lanes": _COUNT,
    "mapping.row_overhead_cycles": (0, 4096),
    "mapping.pipeline_cycles": (0, 4096),
    "gather.banks": _COUNT,
    "gather.bank_word_bytes": (1, 65_536),
    "gather.gather_bytes_per_cycle": (1, 65_536),
    "gather.scatter_bytes_per_cycle": (1, 65_536),
    "dataflow.tile_inputs": (1, 2**24),
    "nonlinear.lanes": _COUNT,
    "nonlinear.pipeline_cycles": (1, 4096),
    "nonlinear.entries": (2, 4096),
}
_PICOJOULES = (0.0, 1e9)
_LONGEST_TEXT = 2000
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")  # 1e3: text to YAML 1.1, which wants 1.0e+3


@dataclass(frozen=True)
class Leaf:
    """What one value may be: of a type, within a range, or one of some choices."""

    type: type[Any]
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def describe(self) -> str:
        """Return it in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return f"text of 1 to {_LONGEST_TEXT} characters"
        return f"a {'whole ' if self.type is int else ''}number from {self.low:.10g} to {self.high:.10g}"

    def check(self, key: str, value: object) -> Any:
        """Return a value as its type.

        Raises:
            ConfigError: it has another type, is not finite, outside the range or none of the choices.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if self.type is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
            value = float(value)
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if self.low <= value <= self.high else value
        if self.type is str and isinstance(value, str):
            value = value.strip()  # a folded block ends with a line break
        fits = type(value) is self.type
        if fits and self.choices:
            fits = value in self.choices
        elif fits and isinstance(value, str):
            fits = 0 < len(value) <= _LONGEST_TEXT and value.isprintable()
        elif fits and isinstance(value, (int, float)) and self.type is not bool:
            fits = self.low <= value <= self.high  # false for NaN
        if not fits:
            raise ConfigError(f"{key}: expected {self.describe()}, got {shorten(value)}")
        return value


TEXT = Leaf(str)
PICOJOULES = Leaf(float, *_PICOJOULES)


def _collect() -> dict[str, Leaf]:
    """Return what each key may be, from the types of the fields and the ranges above."""
    leaves = {
        "name": TEXT,
        "description": TEXT,
        "kind": Leaf(str, choices=get_args(Kind)),
        "clock_mhz": Leaf(float, *_RANGES["clock_mhz"]),
        "energy.node_nm": Leaf(int, choices=NODES),
    }
    for section, kind in SECTIONS.items():
        for name, hint in get_type_hints(kind).items():
            key = f"{section}.{name}"
            if get_origin(hint) is Literal:
                leaves[key] = Leaf(str, choices=get_args(hint))
            else:
                leaves[key] = Leaf(hint, *_RANGES.get(key, ()))
    return leaves


LEAVES = _collect()
DEFAULTS = {
    f"{section}.{f.name}": f.default
    for section, kind in SECTIONS.items()
    for f in fields(kind)
    if f.default is not MISSING
}


def check_value(key: str, value: object) -> Any:
    """Return the value of a key such as "array.rows" as its type; of "energy.overrides.mac", an `ActionEnergy`.

    Raises:
        ConfigError: there is no such key, or it may not have that value; says which are near or allowed.
    """
    leaf = LEAVES.get(key)
    if leaf is not None:
        return leaf.check(key, value)
    section, _, action = key.rpartition(".")
    if section == "energy.overrides" and action in ACTIONS:
        if isinstance(value, ActionEnergy):
            return check_action(key, value)
        pico = PICOJOULES.check(key, value)
        return ActionEnergy(pico, pico, pico, "given", "")
    raise ConfigError(f"{key[:100]}: no such key; {suggest(key, (*LEAVES, *_override_keys()))}")


def check_action(key: str, energy: ActionEnergy) -> ActionEnergy:
    """Return an energy whose band is in order.

    Raises:
        ConfigError: it is not.
    """
    for name in ("value_pj", "low_pj", "high_pj"):
        PICOJOULES.check(f"{key}.{name}", getattr(energy, name))
    if not energy.low_pj <= energy.value_pj <= energy.high_pj:
        raise ConfigError(
            f"{key}: expected low_pj <= value_pj <= high_pj, got {energy.low_pj}, {energy.value_pj}, {energy.high_pj}"
        )
    return energy


def check_whole(spec: Spec) -> Spec:
    """Return an accelerator whose parts go together.

    Raises:
        ConfigError: a part is missing or does not belong to the kind, or two values cannot be true of one machine.
    """
    parts = PARTS[spec.kind]
    for section in SECTIONS:
        present = getattr(spec, section) is not None
        if present and section not in parts:
            raise ConfigError(
                f"{section}: an accelerator of kind {spec.kind} has no such part; it has {', '.join(parts)}"
            )
        if section in parts and not present:
            raise ConfigError(
                f"{section}: missing; an accelerator of kind {spec.kind} has {', '.join(parts)}"
            )
    array, dram = spec.array, spec.dram
    if dram.random_efficiency > dram.streaming_efficiency:
        raise ConfigError(
            f"dram.random_efficiency: {dram.random_efficiency:g} is above dram.streaming_efficiency, "
            f"{dram.streaming_efficiency:g}; random bursts are never faster than a stream"
        )
    if spec.kind == "pillar" and array.tap_packing == "packed":
        raise ConfigError(
            "array.tap_packing: expected by_tap for kind pillar, got packed, which is for dense layers"
        )
    if spec.kind == "pillar" and spec.sram.rule_kib == 0:
        raise ConfigError("sram.rule_kib: an accelerator of kind pillar keeps rules; expected more than 0")
    _check_memories(spec)
    return spec


def _check_memories(spec: Spec) -> None:
    """Check that each buffer holds the least that the array takes at once."""
    array, sram = spec.array, spec.sram
    least = (
        ("input_kib", 2 * array.rows * spec.element_bytes, "two vectors of array.rows values"),
        (
            "weight_kib",
            array.rows * array.columns * array.macs_per_pe * spec.weight_bits / 8,
            "the weights of one fold, array.rows x array.columns x array.macs_per_pe",
        ),
        ("psum_kib", 4 * array.columns, "a vector of array.columns sums of 4 bytes"),
        ("output_kib", 2 * array.columns * spec.element_bytes, "two vectors of array.columns values"),
    )
    for name, needed, what in least:
        kib = getattr(sram, name)
        if kib * 1024 < needed:
            raise ConfigError(
                f"sram.{name}: {kib:g} KiB do not hold {what}; expected at least {needed / 1024:g}"
            )


def suggest(key: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" with the nearest key, by its whole name or its last part, or all that are known."""
    known = list(known)
    last = {name.rpartition(".")[2]: name for name in reversed(known)}
    key = key[:100]
    for word, names in ((key, {name: name for name in known}), (key.rpartition(".")[2], last)):
        near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
        if near:
            return f"did you mean {names[near[0]]}?"
    return f"known are {', '.join(known)}"


def shorten(value: object) -> str:
    """Return a value as it may stand in a message."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a whole number of about {int(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, (Mapping, list, set)):
        return f"a {'mapping' if isinstance(value, Mapping) else type(value).__name__} of {len(value)}"
    if isinstance(value, (str, bytes)):
        value = value[:100]  # the repr() of a long one would be long to make
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _override_keys() -> tuple[str, ...]:
    return tuple(f"energy.overrides.{action}" for action in ACTIONS)
