"""test_network.py: the network on the engine equals its layers run one by one by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.detector import pruning_reference
from colonnade.detector.architecture import INPUT, Architecture, Layer, Widths, build_architecture
from colonnade.detector.network import LayerWeights, Network
from colonnade.detector.pruning import count_kept
from colonnade.runtime.errors import ModelError
from colonnade.runtime.sparse import PillarGrid
from colonnade.runtime.sparse.reference import concatenate_reference, conv2d_reference

NETWORK_TOLERANCE = 1e-4  # float32 sums in another order, over a dozen layers

SMALL = build_architecture(Widths(8, (8, 8, 16), (1, 1, 2), 1, (8, 8), 8), 3)
TWO_STRIDES = Architecture(
    8,
    (
        Layer("half", "strided", (INPUT,), 8, 8, 2, 2),
        Layer("back", "transposed", ("half",), 8, 8, 2, 2),
        Layer("same", "submanifold", (INPUT,), 8, 8, 1, 1),
        Layer("near", "submanifold", (INPUT,), 8, 8, 3, 1),
        Layer("head", "submanifold", ("back", "same", "near"), 24, 5, 3, 1, relu=False),
    ),
    1,
)


PRUNED = Architecture(
    8,
    (
        Layer("first", "dilating", (INPUT,), 8, 8, keep=1.2),
        Layer("second", "submanifold", ("first",), 8, 8, keep=0.8, importance="l1"),
        Layer("entry", "strided", ("second",), 8, 8, stride=2, keep=0.9),
        Layer("grown", "dilating", ("entry",), 8, 8, keep=1.3, importance="learned"),
        Layer("bound", "dilating", ("grown",), 8, 8, threshold=0.6),
        Layer("light", "submanifold", ("bound",), 8, 8, threshold=2.0, importance="l1"),
        Layer("taught", "dilating", ("light",), 8, 8, threshold=-0.1, importance="learned"),
        Layer("back", "transposed", ("taught",), 8, 8, 2, 2),
        Layer("head", "submanifold", ("back", "second"), 16, 5, relu=False),
    ),
    1,
)


def prune_reference(layer: Layer, part: LayerWeights, grid: PillarGrid, entered: int) -> PillarGrid:
    """Prune behind a layer by the twins."""
    weights = {"l2": None, "l1": np.ones(grid.channels, np.float32), "learned": part.importance}
    if layer.keep is not None:
        count = count_kept(layer.keep, entered)
        return pruning_reference.prune(grid, count, weights[layer.importance])
    if layer.threshold is not None:
        return pruning_reference.prune_below(grid, layer.threshold, weights[layer.importance])
    return grid


def run_reference(
    architecture: Architecture, layers: tuple[LayerWeights, ...], grid: PillarGrid
) -> PillarGrid:
    """Run the layers by brute force."""
    outputs = {INPUT: grid}
    entered = len(grid)
    for layer, part in zip(architecture.layers, layers, strict=True):
        inputs = [outputs[name] for name in layer.inputs]
        outputs[layer.name] = conv2d_reference(
            inputs[0] if len(inputs) == 1 else concatenate_reference(inputs),
            part.weight,
            part.bias,
            kind=layer.kind,
            stride=layer.stride,
            activation="relu" if layer.relu else None,
        )
        output = outputs[layer.name]
        entered = len(output) if layer.kind == "strided" else entered
        outputs[layer.name] = prune_reference(layer, part, output, entered)
    return outputs[architecture.layers[-1].name]


@pytest.mark.parametrize("architecture", [SMALL, TWO_STRIDES, PRUNED])
def test_the_network_equals_brute_force(architecture):
    rng = np.random.default_rng(9)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = tuple(
        LayerWeights(
            draw(layer.out_channels, layer.in_channels, layer.kernel, layer.kernel),
            draw(layer.out_channels),
            draw(layer.out_channels) if layer.importance == "learned" else None,
        )
        for layer in architecture.layers
    )
    coords = np.argwhere(rng.random((16, 24)) < 0.2).astype(np.int32)
    features = rng.normal(size=(len(coords), architecture.encoder_channels)).astype(np.float32)
    grid = PillarGrid.from_coords(coords, features, (16, 24))
    found = Network(architecture, layers).run(grid)
    expected = run_reference(architecture, layers, grid)
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_allclose(found.features, expected.features, atol=NETWORK_TOLERANCE)
    assert (found.features < 0).any()


@pytest.mark.parametrize(
    ("importance", "complaint"),
    [
        (None, "got none"),
        (np.ones(7, np.float32), r"got float32 \(7,\)"),
        (np.ones(8), "got float64"),
        (np.full(8, np.nan, np.float32), "NaN"),
    ],
)
def test_a_learned_importance_must_fit(importance, complaint):
    layers = (
        Layer("one", "dilating", (INPUT,), 8, 8, keep=1.0, importance="learned"),
        Layer("head", "submanifold", ("one",), 8, 5, relu=False),
    )
    parts = (
        LayerWeights(np.zeros((8, 8, 3, 3), np.float32), np.zeros(8, np.float32), importance),
        LayerWeights(np.zeros((5, 8, 3, 3), np.float32), np.zeros(5, np.float32)),
    )
    with pytest.raises(ModelError, match=complaint):
        Network(Architecture(8, layers, 1), parts)
