"""test_network.py: the network on the engine equals its layers run one by one by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.detector.architecture import INPUT, Architecture, Layer, Widths, build_architecture
from colonnade.detector.network import LayerWeights, Network
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


def run_reference(
    architecture: Architecture, layers: tuple[LayerWeights, ...], grid: PillarGrid
) -> PillarGrid:
    """Run the layers by brute force."""
    outputs = {INPUT: grid}
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
    return outputs[architecture.layers[-1].name]


@pytest.mark.parametrize("architecture", [SMALL, TWO_STRIDES])
def test_the_network_equals_brute_force(architecture):
    rng = np.random.default_rng(9)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = tuple(
        LayerWeights(
            draw(layer.out_channels, layer.in_channels, layer.kernel, layer.kernel),
            draw(layer.out_channels),
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
