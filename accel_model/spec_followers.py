"""spec_followers.py: values of a description that follow others: ports the array, efficiencies the memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from .spec import DramType, GatherSpec, Provenance, Spec

# (streaming, random), DRAMsim3, 500,000 cycles; HBM2 was not filled by one request per cycle: at least this.
_EFFICIENCIES: dict[DramType, tuple[float, float]] = {
    "lpddr4": (0.94, 0.90),
    "ddr4": (0.75, 0.66),
    "hbm2": (0.59, 0.24),
}
_SUM_BYTES = 4


def follow(base: Spec, changed: Spec, named: Collection[str]) -> Spec:
    """Return `changed` with what follows from its changes, but for the keys that were `named`.

    Ports and banks of a base that just suit its array suit the changed array, too: a vector of array.rows channels and
    one of array.columns sums per cycle. Another type of memory brings its own efficiencies.

    Args:
        base: where the description started.
        changed: after its own values.
        named: keys that were given by name; they stay as they are.
    """
    parts: dict[str, Any] = {}
    origins: dict[str, Provenance] = {}
    if changed.dram.type != base.dram.type:
        names = ("streaming_efficiency", "random_efficiency")
        found = dict(zip(names, _EFFICIENCIES[changed.dram.type], strict=True))
        new: dict[str, Any] = {name: value for name, value in found.items() if f"dram.{name}" not in named}
        parts["dram"] = replace(changed.dram, **new)
        origin = Provenance("derived", f"DRAMsim3, follows dram.type {changed.dram.type}")
        origins |= {f"dram.{name}": origin for name in new}
    if base.gather is not None and changed.gather is not None and base.array != changed.array:
        suited, fitting = _suit(base, base.gather), _suit(changed, changed.gather)
        ports: dict[str, Any] = {
            name: fitting[name]
            for name, value in suited.items()
            if getattr(base.gather, name) == value != fitting[name] and f"gather.{name}" not in named
        }
        parts["gather"] = replace(changed.gather, **ports)
        origin = Provenance("derived", "follows the array: a vector of channels and one of sums per cycle")
        origins |= {f"gather.{name}": origin for name in ports}
    if not parts:
        return changed
    return replace(changed, provenance={**changed.provenance, **origins}, **parts)


def _suit(spec: Spec, gather: GatherSpec) -> dict[str, int]:
    """Return ports and banks that just suit an array."""
    vector = spec.array.rows * spec.array.macs_per_pe * spec.element_bytes
    sums = spec.array.columns * _SUM_BYTES
    return {
        "gather_bytes_per_cycle": vector,
        "scatter_bytes_per_cycle": sums,
        "banks": math.ceil(max(vector, sums) / gather.bank_word_bytes),
    }
