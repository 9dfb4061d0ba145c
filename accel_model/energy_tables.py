"""energy_tables.py: published energies and areas of operations, memories and DRAM, and how they scale with the node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..runtime.errors import ConfigError
from .spec import DramType, MacFormat, NonlinearUnit

NODES = (45, 40, 32, 28, 22, 7)  # [nm] between 22 and 7 no source holds
NodeScaling = Callable[[int], float]  # energy of an operation at a node over that at 45 nm

# a, b, c of energy ~ a V² + b V + c. Source: Stillmaker & Baas, Integration 58 (2017).
_COEFFICIENTS = (
    (7, 0.1776, -0.09097, 0.02447),
    (10, 0.2068, -0.09311, 0.02375),
    (14, 0.2363, -0.09675, 0.02239),
    (16, 0.2958, -0.1241, 0.03024),
    (20, 0.373, -0.1582, 0.04104),
    (32, 0.9559, -0.7823, 0.471),
    (45, 1.103, -0.362, 0.2767),
    (65, 3.755, -4.398, 1.975),
)
_VOLTS = 0.8
# Area of logic over that at 45 nm, same source.
_AREAS = ((7, 0.059), (10, 0.10), (16, 0.19), (20, 0.21), (32, 0.46), (45, 1.0))


def scale_stillmaker_baas(node_nm: int) -> float:
    """Return the energy of an operation at a node over that at 45 nm, both at 0.8 V: 0.66 at 32 nm, 0.51 at 28 nm.

    Nodes without coefficients lie on a line between their neighbours. Below 22 nm it is 2.5 to 5 times more hopeful
    than Jouppi's table; `derive_energies` does not use it there.

    Raises:
        ConfigError: the node lies outside 7 to 65 nm.

    Source: Stillmaker & Baas, Integration 58 (2017).
    """
    nodes = [row[0] for row in _COEFFICIENTS]
    if not nodes[0] <= node_nm <= nodes[-1]:
        raise ConfigError(f"node_nm: expected a node from {nodes[0]} to {nodes[-1]} nm, got {node_nm!r}")
    energies = [a * _VOLTS**2 + b * _VOLTS + c for _, a, b, c in _COEFFICIENTS]
    return float(np.interp(node_nm, nodes, energies)) / energies[nodes.index(45)]


def scale_area(node_nm: int) -> float:
    """Return the area of logic at a node, 7 to 45 nm, over that at 45 nm. Source: Stillmaker & Baas (2017)."""
    nodes, areas = zip(*_AREAS, strict=True)
    return float(np.interp(node_nm, nodes, areas))


@dataclass(frozen=True)
class Operations:
    """Energies of operations [pJ]."""

    int8_multiply: float
    int32_add: float
    int32_multiply: float
    fp16_multiply: float
    fp16_add: float
    fp32_multiply: float
    fp32_add: float


HOROWITZ_45NM = Operations(0.2, 0.1, 3.1, 1.1, 0.4, 3.7, 0.9)  # Horowitz, ISSCC 2014
JOUPPI_7NM = Operations(0.07, 0.03, 1.48, 0.34, 0.16, 1.31, 0.38)  # Jouppi et al., ISCA 2021, Table 2

# Aladdin's library at 40 nm, as in hwcomponents of the Accelergy project.
COMPARE_PJ = 0.0295  # 32 bits
MULTIPLY_PJ = 12.68  # 32 bits
REGISTER_PJ = 0.009  # a bit
ALADDIN_OVER_HOROWITZ = 0.21 / (
    0.1 * 0.869
)  # their 32-bit adders, both at 40 nm: what two libraries differ by
ADDER_UM2, MULTIPLIER_UM2, COMPARATOR_UM2, REGISTER_UM2 = (
    278.0,
    6350.0,
    71.0,
    5.98,
)  # 32 bits; the last one bit

# Chen et al., arXiv 2311.05161, Table 2: an INT8 MAC in a 7 nm library, and what dINT4 x INT8 saves against it.
LIBRARY_MAC_PJ = 0.1595
DINT_POWER_SAVING = 2.56
DINT_AREA_SAVING = 1.93

# Multiply-adds that a lane holds, for the area; the last two are guesses.
MULTIPLY_ADDS: dict[NonlinearUnit, int] = {
    "nn_lut": 1,
    "polynomial": 2,
    "exact": 6,
}


def scale_operations(node_nm: int, scale: NodeScaling) -> tuple[Operations, str]:
    """Return the energies of operations at a node, and their source: at 7 nm Jouppi's, else Horowitz's, scaled."""
    if node_nm == 7:
        return JOUPPI_7NM, "Jouppi et al., ISCA 2021, Table 2 (7 nm)"
    factor = scale(node_nm)
    values = [value * factor for value in vars(HOROWITZ_45NM).values()]
    return Operations(*values), f"Horowitz, ISSCC 2014 (45 nm), x {factor:.3g} by {scale.__name__}"


def scale_library(node_nm: int, scale: NodeScaling) -> tuple[float, str]:
    """Return the energy of logic at a node over that in Aladdin's library at 40 nm, and the source of the factor."""
    if node_nm == 7:
        factor = JOUPPI_7NM.int32_add / HOROWITZ_45NM.int32_add / scale(40)
        return factor, f"x {factor:.3g}: 32-bit adders of Jouppi (7 nm) and Horowitz (45 nm)"
    factor = scale(node_nm) / scale(40)
    return factor, f"x {factor:.3g} by {scale.__name__}"


def compose_mac(mac_format: MacFormat, ops: Operations) -> tuple[float, float, str]:
    """Return energy and lowest energy of a MAC [pJ], and how they are put together.

    A product and the addition to a 32-bit sum; the lowest has a 24-bit sum (or, for fp16, adds in fp16). Energy of a
    multiplier grows with the product of its widths (w4a8). dint4 takes what arXiv 2311.05161 saves against int8.
    """
    add, narrow = ops.int32_add, 0.75 * ops.int32_add
    if mac_format == "fp16":
        return (
            ops.fp16_multiply + ops.fp32_add,
            ops.fp16_multiply + ops.fp16_add,
            "fp16 multiply + fp32 add",
        )
    if mac_format == "w4a8":
        half = ops.int8_multiply / 2
        return half + add, half + narrow, "half an 8-bit multiply + 32-bit add"
    value, low = ops.int8_multiply + add, ops.int8_multiply + narrow
    if mac_format == "dint4":
        return (
            value / DINT_POWER_SAVING,
            low / DINT_POWER_SAVING,
            "int8 MAC / 2.56 (arXiv 2311.05161, Table 2)",
        )
    return value, low, "8-bit multiply + 32-bit add"


def smooth(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the nearest values that nowhere fall: neighbours in the wrong order become their mean."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return tuple(total / count for total, count in pools for _ in range(count))


# CACTI 7 (HewlettPackard/cacti): RAM, one shared port, ITRS-HP cells, 360 K; as it prints them, unsmoothed.
_SIZES_KIB = (8.0, 32.0, 64.0, 128.0, 256.0)
_CACTI_NODES = (22, 32, 45)
_ACCESS_PJ = {  # (node, bytes of a word): read, write
    (45, 8): ((4.9, 9.6, 13.4, 29.6, 38.7), (10.4, 20.8, 24.6, 22.8, 31.9)),
    (45, 64): ((28.5, 36.7, 47.5, 91.9, 115.1), (41.8, 91.9, 158.6, 181.5, 337.9)),
    (32, 8): ((3.3, 7.7, 7.6, 14.8, 21.6), (3.9, 6.6, 13.4, 12.5, 17.3)),
    (32, 64): ((15.6, 20.6, 27.2, 52.7, 86.9), (22.7, 50.1, 86.6, 99.2, 133.4)),
    (22, 8): ((1.7, 4.0, 5.3, 7.4, 10.3), (1.9, 3.2, 4.6, 6.0, 9.6)),
    (22, 64): ((8.2, 11.1, 15.0, 29.2, 47.3), (11.8, 26.1, 45.2, 51.8, 69.9)),
}
_LEAKAGE_MW = {
    45: (10.8, 41.4, 82.0, 150.0, 326.0),
    32: (5.8, 22.0, 43.5, 79.6, 159.0),
    22: (2.8, 10.6, 20.9, 38.6, 77.3),
}
_AREA_MM2 = {
    45: (0.058, 0.132, 0.231, 0.445, 0.980),
    32: (0.030, 0.067, 0.117, 0.225, 0.619),
    22: (0.014, 0.032, 0.055, 0.107, 0.293),
}
_SMOOTH_PJ = {key: (smooth(read), smooth(write)) for key, (read, write) in _ACCESS_PJ.items()}
_CACTI_FOR_NODE = {45: 45, 40: 45, 32: 32, 28: 32, 22: 22}
_JOUPPI_SIZES_KIB, _JOUPPI_PJ = (8.0, 32.0, 1024.0), (7.5, 8.5, 14.0)  # per 8 bytes

# One read and one write port over one shared: mean of four sizes at 32 nm, 64 B words; none is off by more than 4 %.
TWO_PORTS_READ = float(np.mean([21.6 / 15.6, 27.8 / 20.6, 36.1 / 27.2, 70.5 / 52.7]))
TWO_PORTS_WRITE = float(np.mean([30.7 / 22.7, 65.1 / 50.1, 111.0 / 86.6, 129.1 / 99.2]))

SRAM_LOW = 1 / 2.1  # low-operating-power cells: CACTI's reads at 32 nm are 1.2 to 2.1 times lower
SRAM_HIGH = 20 / 9.6  # Horowitz's 32 KB (with tags) over CACTI's, 8 B words, 45 nm
LEAKAGE_LOW = 1 / 6.0  # low-operating-power cells at 32 nm leak 4.5 to 6 times less
LEAKAGE_HIGH = 108 / 78  # at 22 nm, 256 KB, they leak more


@dataclass(frozen=True)
class SramFigures:
    """Energies of one memory [pJ per byte]."""

    read_pj: float
    write_pj: float
    source: str


@lru_cache(maxsize=4096)
def look_up_sram(
    node_nm: int,
    kib: float,
    word_bytes: int,
    two_ports: bool = False,
    scale: NodeScaling = scale_stillmaker_baas,
) -> SramFigures:
    """Return what a byte costs in a memory; nowhere less in a larger one.

    Logarithmic interpolation in size, and in width between 8 and 64 bytes. A memory beyond the table is several
    macros of its largest size (256 KiB, with two ports 128 KiB), one of which is accessed; one below 8 KiB costs as
    much as 8 KiB. Narrower words cost what 8 bytes cost, wider ones as much a byte as 64. 40 and 28 nm come from 45
    and 32 nm by `scale`. At 7 nm the only published width is 8 bytes, and reads cost as much as writes.

    Args:
        node_nm: one of `NODES`.
        kib: size.
        word_bytes: width of an access.
        two_ports: one port to read and one to write, instead of one for both.
        scale: of energies with the node.

    Source: CACTI 7, smoothed; Jouppi et al., ISCA 2021, Table 2.
    """
    ports = (TWO_PORTS_READ, TWO_PORTS_WRITE) if two_ports else (1.0, 1.0)
    kind = "one read and one write port" if two_ports else "one port"
    size = min(kib, 128.0 if two_ports else 256.0)
    if node_nm == 7:
        value = _interpolate(_JOUPPI_SIZES_KIB, _JOUPPI_PJ, kib) / 8
        return SramFigures(value, value, f"Jouppi et al., ISCA 2021, Table 2: 7 nm, 8 B words, {kib:g} KiB")
    table_node = _CACTI_FOR_NODE[node_nm]
    factor = 1.0 if table_node == node_nm else scale(node_nm) / scale(table_node)
    width = math.log(min(max(word_bytes, 8), 64) / 8) / math.log(8)
    per_byte = []
    for access, port in enumerate(ports):
        narrow = _interpolate(_SIZES_KIB, _SMOOTH_PJ[table_node, 8][access], size)
        wide = _interpolate(_SIZES_KIB, _SMOOTH_PJ[table_node, 64][access], size)
        access_pj = narrow ** (1 - width) * wide**width
        per_byte.append(access_pj * port * factor / min(word_bytes, 64))
    source = f"CACTI 7: {table_node} nm, {word_bytes} B words, {max(size, 8):g} KiB, {kind}"
    if factor != 1:
        source += f"; x {factor:.3g} to {node_nm} nm by {scale.__name__}"
    return SramFigures(per_byte[0], per_byte[1], source)


def look_up_leakage_mw(node_nm: int, kib: float) -> float:
    """Return what a memory leaks [mW] at 360 K with high-performance cells.

    Source: CACTI 7, 64 B words; 40 and 28 nm lie on a line between their neighbours; 7 nm takes the column of 22 nm.
    """
    return _interpolate_nodes(_LEAKAGE_MW, node_nm, kib)


def look_up_area_mm2(node_nm: int, kib: float) -> float:
    """Return the area of a memory [mm²].

    Source: CACTI 7, 64 B words; 40 and 28 nm lie on a line between their neighbours; 7 nm is 22 nm by `scale_area`.
    """
    shrink = scale_area(7) / scale_area(22) if node_nm == 7 else 1.0
    return _interpolate_nodes(_AREA_MM2, node_nm, kib) * shrink


def _interpolate_nodes(table: Mapping[int, tuple[float, ...]], node_nm: int, kib: float) -> float:
    """Return the value for a size, in proportion to it outside the table, at a node between those of CACTI."""
    inside = min(max(kib, _SIZES_KIB[0]), _SIZES_KIB[-1])
    values = [_interpolate(_SIZES_KIB, table[node], inside) for node in _CACTI_NODES]
    return float(np.interp(node_nm, _CACTI_NODES, values)) * kib / inside


def _interpolate(sizes: tuple[float, ...], values: tuple[float, ...], size: float) -> float:
    """Return the value at a size on straight lines between logarithms; the nearest outside."""
    if size <= sizes[0]:
        return values[0]
    return math.exp(float(np.interp(math.log(size), np.log(sizes), np.log(values))))


@dataclass(frozen=True)
class DramFigures:
    """Energy of a bit in a stream, with its band, and in random bursts over a stream in the device's core [pJ].

    `core_stream` and `core_random` are device cores from IDD currents, without interface: DRAMsim3.
    """

    low: float
    value: float
    high: float
    core_stream: float
    core_random: float
    source: str


_DRAM: dict[DramType, DramFigures] = {
    "lpddr4": DramFigures(
        6.0, 10.0, 14.0, 9.7, 16.7, "LPDDR4: between 6.0 (DRAMsim3, dynamic) and 14 (published)"
    ),
    "ddr4": DramFigures(
        11.0, 15.0, 20.0, 10.8, 27.5, "DDR4: between 10.8 (DRAMsim3, core) and 20.3 (Horowitz; Jouppi)"
    ),
    "hbm2": DramFigures(3.9, 5.0, 7.0, 2.3, 4.7, "HBM2: between 3.9 and 7.0 (Jouppi et al., ISCA 2021)"),
}


def look_up_dram(dram_type: DramType) -> DramFigures:
    """Return the energies of a type of main memory; a value between published ones, with them as its band."""
    return _DRAM[dram_type]
