"""reference.py: the sparse operations in plain NumPy, the brute force that tests compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .grid import PillarGrid
from .rescale import Dequantise, Rescale

Site = tuple[int, int]
Rules = list[tuple[list[int], list[int]]]


def output_shape(shape: Site, kind: str, kernel: int, stride: int) -> Site:
    """Return the grid of the outputs."""
    if kind == "transposed":
        return shape[0] * stride, shape[1] * stride
    pad = 0 if kernel == 2 else kernel // 2
    return (shape[0] + 2 * pad - kernel) // stride + 1, (shape[1] + 2 * pad - kernel) // stride + 1


def build_rules_reference(
    grid: PillarGrid, kind: str, *, kernel: int = 3, stride: int = 1
) -> tuple[list[Site], Rules]:
    """Return the sorted output sites and, per tap, the lists of input and output ranks.

    Looks up every tap of every input in a dictionary of sites.
    """
    rank_of = {(int(row), int(col)): rank for rank, (row, col) in enumerate(grid.coords)}
    height, width = output_shape(grid.shape, kind, kernel, stride)
    pad = 0 if kernel == 2 or kind == "transposed" else kernel // 2
    found: list[list[tuple[Site, int]]] = [[] for _ in range(kernel * kernel)]  # (output site, input rank)
    for (row, col), rank in rank_of.items():
        for ky in range(kernel):
            for kx in range(kernel):
                if kind == "transposed":
                    site = (row * stride + ky, col * stride + kx)
                else:
                    y, x = row + pad - ky, col + pad - kx
                    if (
                        y % stride
                        or x % stride
                        or not (0 <= y // stride < height and 0 <= x // stride < width)
                    ):
                        continue
                    site = (y // stride, x // stride)
                if kind != "submanifold" or site in rank_of:
                    found[ky * kernel + kx].append((site, rank))
    sites = sorted({site for pairs in found for site, _ in pairs})
    rank_of_output = {site: rank for rank, site in enumerate(sites)}
    rules: Rules = []
    for pairs in found:
        pairs.sort()
        rules.append(([rank for _, rank in pairs], [rank_of_output[site] for site, _ in pairs]))
    return sites, rules


def conv2d_reference(
    grid: PillarGrid,
    weight: npt.NDArray[Any],
    bias: npt.NDArray[Any] | None = None,
    *,
    kind: str = "submanifold",
    stride: int = 1,
    activation: str | None = None,
    rescale: Rescale | None = None,
) -> PillarGrid:
    """Convolve tap by tap: gather, multiply, add; in float64, or for uint8 features in int64. Arguments as `conv2d`."""
    out_channels, _, kernel, _ = weight.shape
    exact: type[Any] = np.int64 if grid.features.dtype == np.uint8 else np.float64
    sites, rules = build_rules_reference(grid, kind, kernel=kernel, stride=stride)
    output = np.zeros((len(sites), out_channels), exact)
    for tap, (inputs, outputs) in enumerate(rules):
        matrix = weight[:, :, tap // kernel, tap % kernel].astype(exact)
        output[outputs] += grid.features[inputs].astype(exact) @ matrix.T
    if bias is not None:
        output += bias
    if activation == "relu":
        output = np.maximum(output, 0)
    coords = np.array(sites, np.int32).reshape(-1, 2)
    shape = output_shape(grid.shape, kind, kernel, stride)
    values = output.astype(np.float32) if exact is np.float64 else rescale_reference(output, rescale)
    return PillarGrid.from_coords(coords, values, shape)


def rescale_reference(sums: npt.NDArray[np.int64], rescale: Rescale | None) -> npt.NDArray[Any]:
    """Turn exact sums (P, Cout) into int32, or uint8 or float32 as `rescale` says."""
    assert np.abs(sums).max(initial=0) < 2**31, "the sums do not fit int32"
    if rescale is None:
        return sums.astype(np.int32)
    scaled: npt.NDArray[np.float32] = sums.astype(np.float32) * rescale.scale
    if isinstance(rescale, Dequantise):
        return scaled
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def to_dense_reference(grid: PillarGrid) -> npt.NDArray[np.float32]:
    """Return the (C, H, W) map, written pillar by pillar."""
    dense = np.zeros((grid.channels, *grid.shape), grid.features.dtype)
    for (row, col), vector in zip(grid.coords, grid.features, strict=True):
        dense[:, row, col] = vector
    return dense


def concatenate_reference(grids: list[PillarGrid]) -> PillarGrid:
    """Concatenate channels over the union of the sites, through a dictionary per grid."""
    tables = [{(int(r), int(c)): f for (r, c), f in zip(g.coords, g.features, strict=True)} for g in grids]
    sites = sorted(set().union(*tables))
    features = np.zeros((len(sites), sum(grid.channels for grid in grids)), grids[0].features.dtype)
    for index, site in enumerate(sites):
        parts = [t.get(site, np.zeros(g.channels)) for t, g in zip(tables, grids, strict=True)]
        features[index] = np.concatenate(parts)
    return PillarGrid.from_coords(np.array(sites, np.int32).reshape(-1, 2), features, grids[0].shape)
