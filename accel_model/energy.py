"""energy.py: what each action costs on an accelerator, and what counted actions cost together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..runtime.errors import ConfigError
from .cost import ActionCounts
from .energy_tables import (
    ALADDIN_OVER_HOROWITZ,
    COMPARE_PJ,
    JOUPPI_7NM,
    LEAKAGE_HIGH,
    LEAKAGE_LOW,
    LIBRARY_MAC_PJ,
    MULTIPLY_PJ,
    REGISTER_PJ,
    SRAM_HIGH,
    SRAM_LOW,
    NodeScaling,
    Operations,
    compose_mac,
    look_up_dram,
    look_up_leakage_mw,
    look_up_sram,
    scale_library,
    scale_operations,
    scale_stillmaker_baas,
)
from .report import Band, ComponentEnergy
from .spec import ActionEnergy, Basis, DramSpec, NonlinearSpec, Spec

ACTIONS = tuple(f.name for f in fields(ActionCounts))
COMPONENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mac", ("mac",)),
    ("array", ("idle_pe", "register_bits")),
    ("input_sram", ("input_read_bytes", "input_write_bytes")),
    ("weight_sram", ("weight_read_bytes", "weight_write_bytes")),
    ("psum_sram", ("psum_read_bytes", "psum_write_bytes")),
    ("output_sram", ("output_read_bytes", "output_write_bytes")),
    ("rules", ("rule_compares", "rule_read_bytes", "rule_write_bytes")),
    ("nonlinear", ("nonlinear",)),
    ("dram", ("dram_stream_bits", "dram_random_bits")),
    ("leakage", ("cycles",)),
)
IDLE_SHARE = 0.1  # of a MAC, at most: a guess, see `_derive_array`
_TABLE_BITS = 64  # that an element reads: a slope and an intercept


@dataclass(frozen=True)
class EnergyTable:
    """Energy of each action, by the fields of `ActionCounts`."""

    entries: Mapping[str, ActionEnergy]


def derive_energies(spec: Spec, scale: NodeScaling = scale_stillmaker_baas) -> EnergyTable:
    """Return what each action costs on an accelerator; what `spec.energy.overrides` names is taken from there.

    Args:
        spec: the accelerator: node, sizes of its memories, format of its multipliers, type of its main memory.
        scale: of energies with the node, against 45 nm; not used at 7 nm, for which there are published figures.

    Raises:
        ConfigError: an override names no action.

    Source: `energy_tables`; every entry names its own.
    """
    unknown = sorted(set(spec.energy.overrides) - set(ACTIONS))
    if unknown:
        raise ConfigError(f"energy.overrides: unknown actions {unknown}; known are {', '.join(ACTIONS)}")
    entries = (
        _derive_array(spec, scale)
        | _derive_memories(spec, scale)
        | _derive_dram(spec.dram)
        | {
            "nonlinear": _derive_nonlinear(spec.nonlinear, spec.energy.node_nm, scale),
            "cycles": _derive_leakage(spec),
        }
        | dict(spec.energy.overrides)
    )
    return EnergyTable({action: entries[action] for action in ACTIONS})


def price(actions: ActionCounts, table: EnergyTable) -> tuple[ComponentEnergy, ...]:
    """Return the energy of each component, in the order of `COMPONENTS`: sums of count times energy [pJ]."""
    parts = []
    for component, names in COMPONENTS:
        counted = [(getattr(actions, name), table.entries[name]) for name in names]
        band = Band(
            float(sum(count * entry.low_pj for count, entry in counted)),
            float(sum(count * entry.value_pj for count, entry in counted)),
            float(sum(count * entry.high_pj for count, entry in counted)),
        )
        parts.append(ComponentEnergy(component, band))
    return tuple(parts)


def _derive_array(spec: Spec, scale: NodeScaling) -> dict[str, ActionEnergy]:
    """Return the energies of multipliers, registers and comparators.

    No source tells what an idle element costs: none with its clock gated, which is assumed, and a tenth of a MAC at
    most. The highest MAC is as far above ours as a published one (arXiv 2311.05161) is at 7 nm.
    """
    node = spec.energy.node_nm
    ops, source = scale_operations(node, scale)
    value, low, made = compose_mac(spec.array.mac_format, ops)
    above = LIBRARY_MAC_PJ / (JOUPPI_7NM.int8_multiply + JOUPPI_7NM.int32_add)
    basis: Basis = "assumed" if spec.array.mac_format in ("w4a8", "fp16") else "derived"
    return {
        "mac": ActionEnergy(value, low, value * above, basis, f"{made}; {source}"),
        "idle_pe": ActionEnergy(
            0.0, 0.0, IDLE_SHARE * value, "assumed", "clock-gated: nothing; at most a tenth of a MAC"
        ),
        "register_bits": _price_library(REGISTER_PJ, node, scale, "register bit"),
        "rule_compares": _price_library(COMPARE_PJ, node, scale, "32-bit comparator"),
    }


def _price_library(value: float, node_nm: int, scale: NodeScaling, what: str) -> ActionEnergy:
    """Return a figure of Aladdin's library at a node; libraries differ by the factor of their adders."""
    factor, source = scale_library(node_nm, scale)
    scaled, spread = value * factor, ALADDIN_OVER_HOROWITZ
    source = f"{what} {value} pJ, Aladdin 40 nm library; {source}"
    return ActionEnergy(scaled, scaled / spread, scaled * spread, "derived", source)


def _derive_memories(spec: Spec, scale: NodeScaling) -> dict[str, ActionEnergy]:
    """Return the energies of a byte of each buffer; of those with two halves an access touches one.

    At 7 nm only narrow words are published: the low end is that of 22 nm, where wide words are cheaper.
    """
    sram, node = spec.sram, spec.energy.node_nm
    two_ports = spec.gather is None or spec.gather.psum_ports == "one_read_one_write"
    buffers = (
        ("input", sram.input_kib / 2, False),
        ("weight", sram.weight_kib, False),
        ("psum", sram.psum_kib, two_ports),
        ("output", sram.output_kib / 2, False),
        ("rule", sram.rule_kib / 2, False),
    )
    entries = {}
    for name, kib, ports in buffers:
        found = look_up_sram(node, kib, sram.word_bytes, ports, scale)
        least = look_up_sram(22, kib, sram.word_bytes, ports, scale) if node == 7 else found
        for action, value, low in (
            ("read", found.read_pj, least.read_pj),
            ("write", found.write_pj, least.write_pj),
        ):
            entries[f"{name}_{action}_bytes"] = ActionEnergy(
                value, SRAM_LOW * min(value, low), value * SRAM_HIGH, "derived", found.source
            )
    return entries


def _derive_dram(dram: DramSpec) -> dict[str, ActionEnergy]:
    """Return the energies of a bit of main memory, in a stream and in random bursts.

    A random burst costs the core more, not the interface: the difference of cores is added to a stream. At most it
    costs the ratio of cores.
    """
    found = look_up_dram(dram.type)
    extra, ratio = found.core_random - found.core_stream, found.core_random / found.core_stream
    source = f"{found.source}; core in random bursts + {extra:.3g} pJ/bit (DRAMsim3)"
    return {
        "dram_stream_bits": ActionEnergy(found.value, found.low, found.high, "assumed", found.source),
        "dram_random_bits": ActionEnergy(
            found.value + extra, found.low + extra, found.high * ratio, "assumed", source
        ),
    }


def _derive_nonlinear(unit: NonlinearSpec | None, node_nm: int, scale: NodeScaling) -> ActionEnergy:
    """Return the energy of one step of a lane of the operator unit.

    NN-LUT: comparisons as a tree, a read of its table, a multiplication, an addition, all of 32 bits; at least in
    fp16, at most one comparison per entry and the multiplier of Aladdin's library. The others: a multiply-add of 32
    bits (exact: fp32); half to twice. How many steps an element takes is counted, not priced: `nonlinear.py`.
    """
    if unit is None:
        return ActionEnergy(0.0, 0.0, 0.0, "assumed", "no such unit")
    ops, source = scale_operations(node_nm, scale)
    if unit.unit == "nn_lut":
        return _derive_table_unit(unit.entries, ops, node_nm, scale)
    one = ops.fp32_multiply + ops.fp32_add if unit.unit == "exact" else ops.int32_multiply + ops.int32_add
    return ActionEnergy(one, one / 2, one * 2, "assumed", f"one multiply-add of 32 bits; {source}")


def _derive_table_unit(entries: int, ops: Operations, node_nm: int, scale: NodeScaling) -> ActionEnergy:
    """Return the energy of a step of NN-LUT (arXiv 2112.02191, which publishes no figure)."""
    factor, source = scale_library(node_nm, scale)
    compare, read = COMPARE_PJ * factor, _TABLE_BITS * REGISTER_PJ * factor
    tree = math.ceil(math.log2(entries))
    value = tree * compare + read + ops.int32_multiply + ops.int32_add
    low = min(value, tree * compare + read + ops.fp16_multiply + ops.fp16_add)
    high = max(value, entries * compare + read + MULTIPLY_PJ * factor + ops.int32_add)
    made = f"{tree} comparisons, {_TABLE_BITS} bits of registers, one 32-bit multiply and add"
    return ActionEnergy(value, low, high, "assumed", f"{made}; Aladdin 40 nm library, {source}")


def _derive_leakage(spec: Spec) -> ActionEnergy:
    """Return what all memories leak in one cycle; logic is not counted."""
    sram, node = spec.sram, spec.energy.node_nm
    halves = (sram.input_kib / 2, sram.output_kib / 2, sram.rule_kib / 2)
    milliwatts = sum(2 * look_up_leakage_mw(node, kib) for kib in halves)
    milliwatts += look_up_leakage_mw(node, sram.weight_kib) + look_up_leakage_mw(node, sram.psum_kib)
    value = milliwatts * 1e3 / spec.clock_mhz
    source = (
        f"CACTI 7: memories leak {milliwatts:.4g} mW, high-performance cells at 360 K; logic is not counted"
    )
    if node == 7:
        source += "; no figure for 7 nm, that of 22 nm stands in"
    return ActionEnergy(
        value, value * LEAKAGE_LOW, value * LEAKAGE_HIGH, "assumed" if node == 7 else "derived", source
    )
