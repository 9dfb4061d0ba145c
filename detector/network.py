"""network.py: the sparse network at inference: the layers of an architecture run on the pillar engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ModelError
from ..runtime.sparse import PackedWeight, PillarGrid, Rulebook, build_rules, concatenate, conv2d, pack_weight
from .architecture import INPUT, Architecture, Layer


class RuleCache:
    """Rulebooks of one frame; layers over the same active set share one."""

    def __init__(self) -> None:
        self._books: dict[tuple[int, str, int, int], Rulebook] = {}

    def find(self, grid: PillarGrid, layer: Layer) -> Rulebook:
        """Return the rules of `layer` on the active set of `grid`, built at most once."""
        # A submanifold layer hands its input's coordinate arrays on, so their identity names the active set;
        # the rulebook holds them, so an id cannot be reused while it is a key.
        key = id(grid.row_ptr), layer.kind, layer.kernel, layer.stride
        if key not in self._books:
            self._books[key] = build_rules(grid, layer.kind, kernel=layer.kernel, stride=layer.stride)
        return self._books[key]


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer with batch norm folded in: (Cout, Cin, k, k) and (Cout,) float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class QuantisedLayer:
    """Integer weights of one layer, for uint8 inputs with zero-point 0.

    Attributes:
        weight: (Cout, Cin, k, k) int8.
        bias: (Cout,) int32, in the units of the accumulators.
        scale: (Cout,) float32, from accumulators to the steps of the layer's output (with ReLU), or to its
            values (without, as in the head).
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]


class Network:
    """The layers of an architecture with their weights, ready to run.

    Args:
        architecture: the layers.
        weights: one per layer, in order.

    Raises:
        ModelError: a weight does not have the shape that its layer needs, or is not finite.
    """

    def __init__(self, architecture: Architecture, weights: tuple[LayerWeights, ...]) -> None:
        self.architecture = architecture
        packed: list[tuple[PackedWeight, NDArray[np.float32]]] = []
        for layer, part in zip(architecture.layers, weights, strict=True):
            expected = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            if part.weight.shape != expected or part.bias.shape != expected[:1]:
                raise ModelError(
                    f"layer '{layer.name}': weight {part.weight.shape} and bias {part.bias.shape} "
                    f"do not fit the expected {expected}; the model folder is damaged or of another version"
                )
            if not (np.isfinite(part.weight).all() and np.isfinite(part.bias).all()):
                raise ModelError(
                    f"layer '{layer.name}': weight or bias holds NaN or infinity; "
                    "the model is damaged, or its training diverged"
                )
            packed.append((pack_weight(part.weight), part.bias))
        self._packed = tuple(packed)

    def run(self, grid: PillarGrid) -> PillarGrid:
        """Return the head's output for encoded pillars (P, encoder_channels)."""
        outputs = {INPUT: grid}
        rules = RuleCache()
        for layer, (weight, bias) in zip(self.architecture.layers, self._packed, strict=True):
            inputs = [outputs[name] for name in layer.inputs]
            grid = inputs[0] if len(inputs) == 1 else concatenate(inputs)
            grid = conv2d(
                grid,
                weight,
                bias,
                kind=layer.kind,
                stride=layer.stride,
                activation="relu" if layer.relu else None,
                rulebook=rules.find(grid, layer),
            )
            outputs[layer.name] = grid
        return grid
