"""conditions.py: what a figure of an accelerator rests on, in words: clock, precision, memory, energies."""

from __future__ import annotations

from collections import Counter

from ...accel_model.constants import list_constants
from ...accel_model.spec import Spec

_FORMATS = {
    "int8": "8-bit integers",
    "w4a8": "4-bit weights x 8-bit activations",
    "dint4": "4-bit dINT weights x 8-bit activations",
    "fp16": "16-bit floats",
}
_MEMORIES = {"lpddr4": "LPDDR4", "ddr4": "DDR4", "hbm2": "HBM2"}


def describe_conditions(spec: Spec) -> tuple[tuple[str, str], ...]:
    """Return names and texts of all that must stand beside a figure of this accelerator."""
    array, dram = spec.array, spec.dram
    constants = list_constants(spec)
    energies = {c.key: c for c in constants if c.key.startswith("energy.")}
    counts = Counter(constant.basis for constant in constants)
    reached = f"streams reach {dram.streaming_efficiency:.0%}, gathers {dram.random_efficiency:.0%}"
    facts = [
        ("array", f"{array.rows} x {array.columns}, {array.macs_per_cycle:,} MAC per cycle, {spec.kind}"),
        ("clock", f"{spec.clock_mhz:,g} MHz"),
        ("precision", _FORMATS[array.mac_format]),
        ("memory", f"{_MEMORIES[dram.type]}, {dram.bandwidth_gb_per_s:g} GB/s peak; {reached}"),
        ("energy", f"{spec.energy.node_nm} nm; {_join_energies(energies)}; leakage counts"),
        ("constants", ", ".join(f"{count} {basis}" for basis, count in sorted(counts.items()))),
    ]
    return tuple(facts)


def _join_energies(energies: dict[str, object]) -> str:
    names = (("energy.mac_pj", "MAC", "pJ"), ("energy.dram_stream_bits_pj", "memory", "pJ per bit"))
    return ", ".join(_word_energy(energies[key], name, unit) for key, name, unit in names if key in energies)


def _word_energy(constant: object, name: str, unit: str) -> str:
    value, low, high = (getattr(constant, key) for key in ("value", "low", "high"))
    return f"{name} {value:.3g} ({low:.3g} to {high:.3g}) {unit}"
