"""dense_cases.py: layers of PointPillars on KITTI's grid and dense accelerators, for tests of the models."""

from __future__ import annotations

import math

from colonnade.accel_model.spec import (
    ArraySpec,
    DramSpec,
    EnergySpec,
    MacFormat,
    Spec,
    SramSpec,
    TapPacking,
    WeightPreload,
)
from colonnade.runtime.trace import LayerRecord, SiteMap

ROOMY = SramSpec(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 10)  # any layer in one tile
NO_SITES = SiteMap((0, 0), b"")  # a dense accelerator does not look at them


def make_layer(
    kind: str, kernel: int, stride: int, channels: tuple[int, int], shape: tuple[int, int]
) -> LayerRecord:
    """Return a layer from its kind, kernel, stride, (Cin, Cout) and input shape."""
    out = {
        "transposed": (shape[0] * stride, shape[1] * stride),
        "strided": tuple((n + 1) // 2 if kernel == 3 else n // 2 for n in shape),
    }.get(kind, shape)
    sites = (NO_SITES, NO_SITES, NO_SITES)
    name = f"{kind} {channels[0]}->{channels[1]}"
    return LayerRecord(
        name, kind, kernel, stride, *channels, shape, out, 0, 0, 0, (), (), 0, 0, 0, "int8", *sites
    )


def list_backbone() -> list[LayerRecord]:
    """Return the 16 convolutions of the three blocks."""
    layers, shape, before = [], (496, 432), 64
    for channels, more in ((64, 3), (128, 5), (256, 5)):
        layers.append(make_layer("strided", 3, 2, (before, channels), shape))
        shape = layers[-1].out_shape
        layers += [make_layer("dilating", 3, 1, (channels, channels), shape)] * more
        before = channels
    return layers


def list_neck() -> list[LayerRecord]:
    """Return the three transposed convolutions."""
    return [
        make_layer("transposed", 1, 1, (64, 128), (248, 216)),
        make_layer("transposed", 2, 2, (128, 128), (124, 108)),
        make_layer("transposed", 4, 4, (256, 128), (62, 54)),
    ]


def make_head(columns: int) -> LayerRecord:
    """Return a 1 × 1 head over the three concatenated maps."""
    return make_layer("submanifold", 1, 1, (384, columns), (248, 216))


def make_spec(
    rows: int,
    columns: int | None = None,
    *,
    sram: SramSpec = ROOMY,
    preload: WeightPreload = "double_buffered",
    packing: TapPacking = "by_tap",
    bandwidth: float = math.inf,
    mac_format: MacFormat = "int8",
    macs_per_pe: int = 1,
) -> Spec:
    """Return a dense accelerator at 1 GHz whose main memory reaches all of its bandwidth [GB/s]."""
    array = ArraySpec(rows, columns or rows, preload, packing, mac_format, macs_per_pe)
    dram = DramSpec("lpddr4", bandwidth, 1.0, 1.0)
    return Spec("test", "a test", "dense", 1000.0, array, sram, dram, EnergySpec(28))
