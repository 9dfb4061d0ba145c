"""trace.py: the record of what a sparse network ran on one frame, layer by layer: rules, multiplications, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # whoever reads a saved trace needs no engine
    from .sparse import PillarGrid, Rulebook

PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class SiteMap:
    """The active cells of a grid.

    Attributes:
        shape: rows and columns.
        packed: one bit per cell in row-major order, as `np.packbits` gives them.
    """

    shape: tuple[int, int]
    packed: bytes

    @classmethod
    def from_cells(cls, active: npt.NDArray[np.bool_]) -> SiteMap:
        """Keep an (H, W) map."""
        height, width = active.shape
        return cls((height, width), np.packbits(active).tobytes())

    @cached_property
    def cells(self) -> npt.NDArray[np.bool_]:
        """The (H, W) map."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=self.shape[0] * self.shape[1])
        return bits.view(np.bool_).reshape(self.shape)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.cells))


@dataclass(frozen=True)
class EncoderRecord:
    """What the pillar encoder did: one linear layer over points and pillars, and a maximum over a pillar's points.

    Attributes:
        points, pillars: that it read and wrote.
        point_features: values of a point that are multiplied.
        pillar_features: values that all points of a pillar share, multiplied once per pillar.
        channels: of a pillar.
        precision: "fp32" or "int8", of what it wrote.
    """

    points: int
    pillars: int
    point_features: int
    pillar_features: int
    channels: int
    precision: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the points' part and of the pillars' part."""
        return (self.points * self.point_features + self.pillars * self.pillar_features) * self.channels


@dataclass(frozen=True)
class BranchRecord:
    """One input of a layer.

    Attributes:
        source: name of the layer (or of the network's input) that it comes from.
        channels: its channels.
        active: its active sites.
        rules: per tap, how many outputs have one of its sites under that tap.
    """

    source: str
    channels: int
    active: int
    rules: tuple[int, ...]


@dataclass(frozen=True)
class LayerRecord:
    """What one sparse convolution did.

    A rule is an active input under a tap of an active output; it stands for Cin · Cout multiplications. A layer that
    reads several inputs concatenates their channels over the union of their active sites: `rules` counts that union,
    as a machine does that knows whole pillars only, and `branches` counts each input by itself.

    Attributes:
        name, kind, kernel, stride: the layer, as in `build_rules`.
        in_channels, out_channels: Cin, summed over the inputs, and Cout.
        in_shape, out_shape: rows and columns of the grids.
        active_inputs: active sites of the input, or of the union of the inputs.
        active_outputs: sites that were computed.
        kept_outputs: sites that were handed on; fewer where vector pruning follows.
        rules: per tap in row-major order, kernel² of them.
        branches: the inputs, in order; one for most layers.
        bytes_in: of the features read, each input once.
        bytes_weights: of the weights, without biases and scales.
        bytes_out: of the features handed on.
        precision: "fp32" or "int8", of the multiplications.
        in_sites: the active sites of the input, or of the union of the inputs.
        out_sites: the sites that were computed.
        kept_sites: the sites that were handed on.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_shape: tuple[int, int]
    out_shape: tuple[int, int]
    active_inputs: int
    active_outputs: int
    kept_outputs: int
    rules: tuple[int, ...]
    branches: tuple[BranchRecord, ...]
    bytes_in: int
    bytes_weights: int
    bytes_out: int
    precision: str
    in_sites: SiteMap
    out_sites: SiteMap
    kept_sites: SiteMap

    @property
    def macs(self) -> int:
        """Multiply-accumulates: rules · Cin · Cout, over the union of the inputs."""
        return sum(self.rules) * self.in_channels * self.out_channels

    @property
    def branch_macs(self) -> int:
        """Multiply-accumulates where a branch is skipped at sites that it does not have, as the engine does."""
        return sum(sum(b.rules) * b.channels for b in self.branches) * self.out_channels

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the dense layer on the whole grid, those with the padding included."""
        taps = 1 if self.kind == "transposed" else self.kernel**2
        return self.out_shape[0] * self.out_shape[1] * taps * self.in_channels * self.out_channels


@dataclass(frozen=True)
class Trace:
    """The layers of one run, in order.

    Attributes:
        name: what ran.
        layers: its records.
        encoder: what made the network's input from points, where that was part of the run.
    """

    name: str
    layers: tuple[LayerRecord, ...]
    encoder: EncoderRecord | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers, each over the union of its inputs."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the same network on full grids."""
        return sum(layer.dense_macs for layer in self.layers)

    @property
    def saving(self) -> float:
        """Share of the dense multiply-accumulates that sparsity saves, 0..1; the last layer is counted sparse too."""
        return 1.0 - self.macs / self.dense_macs if self.layers else 0.0

    def save(self, path: str | Path) -> None:
        """Write JSON lines that `load_trace` reads; the file appears whole or not at all.

        Raises:
            UsageError: the file cannot be written.
        """
        from .trace_files import save_traces  # it reads and writes what is defined here

        save_traces(path, (self,))


class TraceRecorder:
    """Collects the records of one run; hand it to what runs the layers, then call `finish`.

    Args:
        name: of what runs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._layers: list[LayerRecord] = []
        self._encoder: EncoderRecord | None = None

    def record(
        self, name: str, inputs: Sequence[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
    ) -> None:
        """Add a layer that ran; arguments as `describe_layer`."""
        self._layers.append(describe_layer(name, inputs, rulebook, output))

    def record_encoder(self, encoder: EncoderRecord) -> None:
        """Add what made the network's input."""
        self._encoder = encoder

    def finish(self) -> Trace:
        """Return the trace of all that was recorded."""
        return Trace(self._name, tuple(self._layers), self._encoder)


def describe_layer(
    name: str, inputs: Sequence[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
) -> LayerRecord:
    """Return the record of one layer; rules are counted from the active sites alone, not from what the engine keeps.

    Args:
        name: of the layer.
        inputs: names of its sources and their grids, in the order of its channels.
        rulebook: the convolution and the sites that it computed.
        output: what it handed on, after vector pruning where that follows.
    """
    grids = [grid for _, grid in inputs]
    maps = [_map_sites(grid.row_ptr, grid.cols, grid.shape) for grid in grids]
    union = np.logical_or.reduce(maps)
    computed = SiteMap.from_cells(_map_sites(rulebook.row_ptr, rulebook.cols, rulebook.shape))
    kept = computed
    if len(output) != rulebook.cols.size:
        kept = SiteMap.from_cells(_map_sites(output.row_ptr, output.cols, output.shape))
    branches = tuple(
        BranchRecord(source, grid.channels, len(grid), _count_rules(active, rulebook))
        for (source, grid), active in zip(inputs, maps, strict=True)
    )
    in_channels = sum(grid.channels for grid in grids)
    item = grids[0].features.itemsize
    return LayerRecord(
        name=name,
        kind=rulebook.kind,
        kernel=rulebook.kernel,
        stride=rulebook.stride,
        in_channels=in_channels,
        out_channels=output.channels,
        in_shape=grids[0].shape,
        out_shape=rulebook.shape,
        active_inputs=int(union.sum()),
        active_outputs=int(rulebook.cols.size),
        kept_outputs=len(output),
        rules=_count_rules(union, rulebook),
        branches=branches,
        bytes_in=sum(grid.features.nbytes for grid in grids),
        bytes_weights=rulebook.kernel**2 * in_channels * output.channels * item,
        bytes_out=output.features.nbytes,
        precision="int8" if item == 1 else "fp32",
        in_sites=SiteMap.from_cells(union),
        out_sites=computed,
        kept_sites=kept,
    )


def _map_sites(
    row_ptr: npt.NDArray[np.integer], cols: npt.NDArray[np.integer], shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return the (H, W) map of the active sites."""
    active = np.zeros(shape, np.bool_)
    active[np.repeat(np.arange(shape[0]), np.diff(row_ptr)), cols] = True
    return active


def _count_rules(active: npt.NDArray[np.bool_], rulebook: Rulebook) -> tuple[int, ...]:
    """Return how many of the outputs have an active input under each tap."""
    kernel, stride = rulebook.kernel, rulebook.stride
    if rulebook.kind == "transposed":
        return (int(active.sum()),) * kernel**2
    pad = 0 if kernel == 2 else kernel // 2
    framed = np.pad(active, ((pad, kernel), (pad, kernel)))
    rows = stride * np.repeat(np.arange(rulebook.shape[0]), np.diff(rulebook.row_ptr))
    cols = stride * rulebook.cols
    return tuple(int(framed[rows + ky, cols + kx].sum()) for ky in range(kernel) for kx in range(kernel))
