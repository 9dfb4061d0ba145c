"""conditions.py: what a figure of an accelerator rests on, in words: clock, precision, memory, energies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...accel_model.constants import Constant, list_constants
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
    counts = Counter(constant.basis for constant in constants)
    reached = f"streams reach {dram.streaming_efficiency:.0%}, gathers {dram.random_efficiency:.0%}"
    facts = [
        ("array", f"{array.rows} x {array.columns}, {array.macs_per_cycle:,} MAC per cycle, {spec.kind}"),
        ("clock", f"{spec.clock_mhz:,g} MHz"),
        ("precision", _FORMATS[array.mac_format]),
        ("memory", f"{_MEMORIES[dram.type]}, {dram.bandwidth_gb_per_s:g} GB/s peak; {reached}"),
        ("energy", f"{spec.energy.node_nm} nm; {_join_energies(constants)}; leakage counts"),
        ("constants", ", ".join(f"{count} {basis}" for basis, count in sorted(counts.items()))),
    ]
    return tuple(facts)


def _join_energies(constants: Sequence[Constant]) -> str:
    names = (("energy.mac_pj", "MAC", "pJ"), ("energy.dram_stream_bits_pj", "memory", "pJ per bit"))
    found = {constant.key: constant for constant in constants}
    return ", ".join(_word_energy(found[key], name, unit) for key, name, unit in names if key in found)


def _word_energy(constant: Constant, name: str, unit: str) -> str:
    band = "" if constant.low is None else f" ({constant.low:.3g} to {constant.high:.3g})"
    return f"{name} {constant.value:.3g}{band} {unit}"
