"""area.py: a proxy of an accelerator's area, good enough to rank designs and not to build one."""

from __future__ import annotations

import math

from .energy_tables import (
    ADDER_UM2,
    COMPARATOR_UM2,
    DINT_AREA_SAVING,
    MULTIPLIER_UM2,
    MULTIPLY_ADDS,
    REGISTER_UM2,
    look_up_area_mm2,
    scale_area,
)
from .spec import MacFormat, MappingSpec, NonlinearSpec, Spec

_MERGE_WAYS = 3  # comparators of a lane of the streaming unit: three rows are merged


def estimate_area_mm2(spec: Spec) -> float:
    """Return a proxy of the area [mm²]: multipliers, adders, registers, comparators and memories, nothing between them.

    Wires, control, interfaces, ports of memories and spare room are not in it; real chips are larger. Use it to
    compare designs of one node.

    Source: Aladdin's 40 nm library (hwcomponents) and CACTI 7, scaled by Stillmaker & Baas (2017).
    """
    array = spec.array
    element = (
        array.macs_per_pe * estimate_mac_um2(array.mac_format) + _count_register_bits(spec) * REGISTER_UM2
    )
    logic = array.rows * array.columns * element
    logic += _estimate_mapping_um2(spec.mapping) + _estimate_nonlinear_um2(spec.nonlinear)
    node = spec.energy.node_nm
    sram = spec.sram
    sizes = (sram.input_kib, sram.weight_kib, sram.psum_kib, sram.output_kib, sram.rule_kib)
    memories = sum(look_up_area_mm2(node, kib) for kib in sizes)
    return logic * scale_area(node) / scale_area(40) / 1e6 + memories


def estimate_mac_um2(mac_format: MacFormat) -> float:
    """Return the area of a multiply-accumulate at 40 nm [µm²]: a multiplier as the product of its widths, an adder.

    fp16 is a 16-bit multiplier without the logic of exponents; dint4 is int8 / 1.93 (arXiv 2311.05161, Table 2).
    """
    if mac_format == "dint4":
        return estimate_mac_um2("int8") / DINT_AREA_SAVING
    products = {"int8": 8 * 8, "w4a8": 4 * 8, "fp16": 16 * 16}
    return MULTIPLIER_UM2 * products[mac_format] / 32**2 + ADDER_UM2


def _count_register_bits(spec: Spec) -> int:
    """Return the bits of a processing element: an input, a sum, a weight (two where the next one waits)."""
    weights = 2 if spec.array.weight_preload == "double_buffered" else 1
    return 8 * spec.element_bytes + 32 + weights * spec.weight_bits * spec.array.macs_per_pe


def _estimate_mapping_um2(mapping: MappingSpec | None) -> float:
    """Return the comparators: three a lane (streaming), a bitonic merger of twice the lanes, or one a bank (hash)."""
    if mapping is None:
        return 0.0
    lanes = mapping.lanes
    merger = lanes * math.ceil(math.log2(2 * lanes))
    comparators = {"streaming": _MERGE_WAYS * lanes, "merge_sort": merger, "hash": lanes}
    return comparators[mapping.method] * COMPARATOR_UM2


def _estimate_nonlinear_um2(unit: NonlinearSpec | None) -> float:
    """Return the 32-bit multipliers and adders of the operator unit, and NN-LUT's comparators and table."""
    if unit is None:
        return 0.0
    lane = MULTIPLY_ADDS[unit.unit] * (MULTIPLIER_UM2 + ADDER_UM2)
    if unit.unit == "nn_lut":
        lane += unit.entries * (COMPARATOR_UM2 + 64 * REGISTER_UM2)
    return unit.lanes * lane
