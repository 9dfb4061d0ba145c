"""network.py: the sparse network at inference: the layers of an architecture run on the pillar engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..runtime.checks import check_instance
from ..runtime.errors import ModelError, UsageError
from ..runtime.sparse import (
    MOST_TAPS,
    Operation,
    PillarGrid,
    Rulebook,
    build_rules,
    concatenate,
    convolve_grid,
    pack_weight,
    prepare_float,
    prepare_integer,
)
from .architecture import INPUT, Architecture, Layer
from .pruning import count_kept, prune, prune_below


class Recorder(Protocol):
    """What `Network.run` reports to, layer by layer."""

    def record(
        self, name: str, inputs: list[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
    ) -> None:
        """Take note of a layer that ran: its inputs by name, its rules, and what it handed on."""


class RuleCache:
    """Rulebooks of one frame; layers over the same active sets share one."""

    def __init__(self) -> None:
        self._books: dict[tuple[tuple[int, ...], str, int, int], Rulebook] = {}

    def find(self, grids: PillarGrid | tuple[PillarGrid, ...], layer: Layer) -> Rulebook:
        """Return the rules of `layer` on the active sets of `grids`, built at most once."""
        # A submanifold layer hands its input's coordinate arrays on, so their identity names the active set;
        # the rulebook holds them, so an id cannot be reused while it is a key.
        sets = (grids,) if isinstance(grids, PillarGrid) else grids
        key = tuple(id(grid.row_ptr) for grid in sets), layer.kind, layer.kernel, layer.stride
        if key not in self._books:
            self._books[key] = build_rules(sets, layer.kind, kernel=layer.kernel, stride=layer.stride)
        return self._books[key]


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer with batch norm folded in.

    Attributes:
        weight, bias: (Cout, Cin, k, k) and (Cout,) float32.
        importance: (Cout,) float32 weights of the output's channels in the importance of a pillar, where vector pruning
            with a learned importance follows; else None.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    importance: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class QuantisedLayer:
    """Integer weights of one layer, for uint8 inputs with zero-point 0.

    Attributes:
        weight: (Cout, Cin, k, k) int8.
        bias: (Cout,) int32, in the units of the accumulators.
        scale: (Cout,) float32, from accumulators to the steps of the layer's output (with ReLU), or to its
            values (without, as in the head).
        importance: as of `LayerWeights`.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    importance: NDArray[np.float32] | None = None


class Network:
    """The layers of an architecture with their weights, ready to run in float32 or in integers.

    Args:
        architecture: the layers.
        weights: one per layer, in order: all `LayerWeights`, or all `QuantisedLayer`.

    Raises:
        ModelError: a weight does not have the shape or type that its layer needs, or is not finite.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: tuple[LayerWeights, ...] | tuple[QuantisedLayer, ...],
    ) -> None:
        self.architecture = architecture
        channels = {INPUT: architecture.encoder_channels}
        channels |= {layer.name: layer.out_channels for layer in architecture.layers}
        operations = []
        parts: tuple[LayerWeights | QuantisedLayer, ...] = weights
        for layer, part in zip(architecture.layers, parts, strict=True):
            _check_weights(layer, part)
            inputs = tuple(channels[name] for name in layer.inputs)
            operations.append(_prepare(layer, part, inputs if _reads_apart(layer) else (sum(inputs),)))
        self._operations = tuple(operations)
        self._importances = tuple(map(_weigh_channels, architecture.layers, parts))
        self._integer = any(isinstance(part, QuantisedLayer) for part in parts)

    def run(self, grid: PillarGrid, recorder: Recorder | None = None) -> PillarGrid:
        """Return the head's output, float32.

        Args:
            grid: encoded pillars (P, encoder_channels): float32, or uint8 for integer weights.
            recorder: told of every layer, or None.

        Raises:
            UsageError: the grid has another number of channels or dtype.
        """
        for layer, inputs, rulebook, output in self._steps(grid):
            if recorder is not None:
                recorder.record(layer.name, list(zip(layer.inputs, inputs, strict=True)), rulebook, output)
        return output

    def outputs(self, grid: PillarGrid) -> Iterator[tuple[Layer, PillarGrid]]:
        """Yield every layer with its output, in order."""
        for layer, _, _, output in self._steps(grid):
            yield layer, output

    def _steps(
        self, grid: PillarGrid
    ) -> Iterator[tuple[Layer, tuple[PillarGrid, ...], Rulebook, PillarGrid]]:
        """Run the layers; yield each with its inputs, its rules and its output."""
        check_instance("grid", grid, PillarGrid)
        wanted = self.architecture.encoder_channels, np.dtype(np.uint8 if self._integer else np.float32)
        if (grid.channels, grid.features.dtype) != wanted:
            raise UsageError(
                f"the network takes {wanted[0]} channels of {wanted[1]}, got {grid.channels} of {grid.features.dtype}"
            )
        known = {INPUT: grid}
        entered = {INPUT: len(grid)}  # pillars that entered the block of each layer
        rules = RuleCache()
        layers = zip(self.architecture.layers, self._operations, self._importances, strict=True)
        for layer, operation, importance in layers:
            inputs = tuple(known[name] for name in layer.inputs)
            read = inputs if _reads_apart(layer) else (concatenate(inputs),)
            rulebook = rules.find(read, layer)
            output = convolve_grid(read, rulebook, operation)
            entered[layer.name] = len(output) if layer.kind == "strided" else entered[layer.inputs[0]]
            if layer.keep is not None:
                output = prune(output, count_kept(layer.keep, entered[layer.name]), importance)
            elif layer.threshold is not None:
                output = prune_below(output, layer.threshold, importance)
            known[layer.name] = output
            yield layer, inputs, rulebook, output


def _reads_apart(layer: Layer) -> bool:
    """Tell whether a layer's inputs are convolved where they lie; else they are concatenated first."""
    return len(layer.inputs) == 1 or len(layer.inputs) * layer.kernel**2 <= MOST_TAPS


def _prepare(layer: Layer, part: LayerWeights | QuantisedLayer, in_channels: tuple[int, ...]) -> Operation:
    weight = pack_weight(part.weight, in_channels)
    if isinstance(part, LayerWeights):
        return prepare_float(weight, part.bias, relu=layer.relu)
    return prepare_integer(weight, part.bias, part.scale, requantise=layer.relu)


def _weigh_channels(layer: Layer, part: LayerWeights | QuantisedLayer) -> NDArray[np.float32] | None:
    """Return (Cout,) what `prune` weighs the channels behind a layer with, or None."""
    if layer.importance == "l1":
        return np.ones(layer.out_channels, np.float32)
    return part.importance if layer.importance == "learned" else None


def _check_weights(layer: Layer, part: LayerWeights | QuantisedLayer) -> None:
    expected = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    if part.weight.shape != expected or part.bias.shape != expected[:1]:
        raise ModelError(
            f"layer '{layer.name}': weight {part.weight.shape} and bias {part.bias.shape} "
            f"do not fit the expected {expected}; the model folder is damaged or of another version"
        )
    if isinstance(part, QuantisedLayer):
        types = str(part.weight.dtype), str(part.bias.dtype), str(part.scale.dtype)
        if types != ("int8", "int32", "float32") or part.scale.shape != expected[:1]:
            raise ModelError(
                f"layer '{layer.name}': an integer layer needs an int8 weight, an int32 bias and float32 scales, got "
                f"{types[0]}, {types[1]} and {types[2]} of shape {part.scale.shape}"
            )
        numbers: tuple[NDArray[np.float32], ...] = (part.scale,)
    else:
        numbers = (part.weight, part.bias)
    if layer.pruned and layer.importance == "learned":
        numbers += (_check_importance(layer, part),)
    if not all(np.isfinite(values).all() for values in numbers):
        raise ModelError(
            f"layer '{layer.name}': weight, bias, scale or importance holds NaN or infinity; "
            "the model is damaged, or its training diverged"
        )


def _check_importance(layer: Layer, part: LayerWeights | QuantisedLayer) -> NDArray[np.float32]:
    """Return the learned importance of a layer that needs it."""
    found = part.importance
    if found is None or found.shape != (layer.out_channels,) or found.dtype != np.float32:
        has = "none" if found is None else f"{found.dtype} {found.shape}"
        raise ModelError(
            f"layer '{layer.name}': pruning by a learned importance needs float32 weights of its "
            f"{layer.out_channels} channels, got {has}; the model folder is damaged or of another version"
        )
    return found
