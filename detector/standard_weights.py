"""standard_weights.py: the standard network's seeded random weights and their int8 form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.quant import quantise_weights
from ..runtime.sparse import PillarGrid
from .architecture import INPUT, REGRESSION, Architecture, Layer
from .encoder import EncoderWeights, encode
from .ground import estimate_ground
from .network import LayerWeights, Network, QuantisedLayer
from .pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry, pillarise

INPUT_STEP = 1.0 / 64.0  # value of one step of the pillars' uint8 features
LARGEST_BIAS = 0.1  # a little above zero, so that activations stay alive through sixteen layers
_SAMPLE_SIDE = 96  # pillars of the calibration grid
_SAMPLE_SEED = 1
_ENCODER_STREAM = 1000  # of random numbers, beyond those of the layers
_PASSING = 30  # cells of each class whose heat passes one half on the synthetic street
_LARGEST_BIAS_UNITS = 2**30  # of the sums, half of what int32 holds
_TOP = 99.9  # percentile of the activations that becomes 255; the few above saturate

Steps = tuple[
    float, ...
]  # value of one step of the uint8 features: of the input, then of each layer's output


def draw_weights(architecture: Architecture, seed: int) -> tuple[LayerWeights, ...]:
    """Return He-normal weights and small positive biases, one stream of random numbers per layer."""
    return tuple(_draw_layer(layer, (seed, index)) for index, layer in enumerate(architecture.layers))


def _draw_layer(layer: Layer, seed: tuple[int, int]) -> LayerWeights:
    rng = np.random.default_rng(seed)
    taps = 1 if layer.kind == "transposed" else layer.kernel**2  # that meet in one output
    deviation = np.float32(np.sqrt((2.0 if layer.relu else 1.0) / (layer.in_channels * taps)))
    shape = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
    weight = rng.standard_normal(shape, np.float32) * deviation
    bias = rng.random(layer.out_channels, np.float32) * np.float32(LARGEST_BIAS)
    return LayerWeights(weight, bias)


def draw_sample(channels: int, *, dense: bool = False) -> PillarGrid:
    """Return the calibration grid: patches of pillars as objects and walls leave them, features as of a ReLU."""
    rng = np.random.default_rng(_SAMPLE_SEED)
    patches = np.kron(rng.random((12, 12)) < 0.4, np.ones((8, 8), bool))
    active = np.ones_like(patches) if dense else patches & (rng.random(patches.shape) < 0.5)
    coords = np.argwhere(active).astype(np.int32)
    features = np.maximum(rng.standard_normal((len(coords), channels), np.float32), 0)
    return PillarGrid.from_coords(coords, features, (_SAMPLE_SIDE, _SAMPLE_SIDE))


def measure_steps(
    architecture: Architecture, weights: tuple[LayerWeights, ...], sample: PillarGrid, input_step: float
) -> Steps:
    """Return the step of every layer's output, so that its activations on the sample spread over 0..255."""
    outputs = Network(architecture, weights).outputs(sample)
    return input_step, *(find_step(grid) for _, grid in outputs)


def find_step(grid: PillarGrid) -> float:
    """Return the step with which nearly all float32 features of a grid fit 0..255."""
    return max(float(np.percentile(grid.features, _TOP)), 1e-6) / 255.0


def quantise_layers(
    architecture: Architecture, weights: tuple[LayerWeights, ...], steps: Steps
) -> tuple[QuantisedLayer, ...]:
    """Return int8 weights with one step per output channel; each input's step is folded into its columns."""
    by_channel = {INPUT: np.full(architecture.encoder_channels, steps[0])}
    layers = []
    for layer, part, step in zip(architecture.layers, weights, steps[1:], strict=True):
        input_steps = np.concatenate([by_channel[name] for name in layer.inputs])
        layers.append(_quantise_layer(layer, part, input_steps, step))
        by_channel[layer.name] = np.full(layer.out_channels, step)
    return tuple(layers)


def _quantise_layer(
    layer: Layer, part: LayerWeights, input_steps: NDArray[np.float64], output_step: float
) -> QuantisedLayer:
    folded = part.weight.astype(np.float64) * input_steps[:, None, None]
    least = np.abs(part.bias.astype(np.float64)) / _LARGEST_BIAS_UNITS
    weight = quantise_weights(folded, least)
    bias = np.rint(part.bias / weight.step).astype(np.int32)
    scale = weight.step / output_step if layer.relu else weight.step
    return QuantisedLayer(weight.values, bias, scale.astype(np.float32))


def draw_encoder(channels: int, seed: int) -> EncoderWeights:
    """Return He-normal weights of a pillar encoder."""
    rng = np.random.default_rng((seed, _ENCODER_STREAM))
    point = rng.standard_normal((POINT_FEATURES, channels), np.float32) * np.float32(POINT_FEATURES**-0.5)
    pillar = rng.standard_normal((PILLAR_FEATURES, channels), np.float32) * np.float32(PILLAR_FEATURES**-0.5)
    bias = rng.random(channels, np.float32) * np.float32(LARGEST_BIAS)
    return EncoderWeights(point, np.ones(channels, np.float32), pillar, bias)


def aim_head(
    architecture: Architecture, weights: tuple[LayerWeights, ...], street: PillarGrid, classes: int
) -> tuple[LayerWeights, ...]:
    """Return the weights with a centre head that finds a few dozen boxes about as large as cars on the street."""
    outputs = Network(architecture, weights).run(street).features.astype(np.float64)
    aim = np.zeros(classes + REGRESSION)  # what an output of `center` becomes
    aim[classes + 2 : classes + 6] = 0.8, *np.log((3.9, 1.6, 1.5))  # z [m], length, width, height [m]
    center = outputs.mean(axis=0)
    center[:classes] = np.sort(outputs[:, :classes], axis=0)[-_PASSING]
    spread = np.full(classes + REGRESSION, 0.25)  # regressions stay near what they aim at
    spread[:classes] = 2.0
    gain = spread / np.maximum(outputs.std(axis=0), 1e-6)
    head = weights[-1]
    weight = (head.weight * gain[:, None, None, None]).astype(np.float32)
    bias = ((head.bias - center) * gain + aim).astype(np.float32)
    return *weights[:-1], LayerWeights(weight, bias)


def encode_street(encoder: EncoderWeights, geometry: PillarGeometry) -> PillarGrid:
    """Return the encoded pillars of the synthetic street."""
    points = draw_street()
    pillars = pillarise(points, estimate_ground(points), geometry)
    return PillarGrid.from_coords(pillars.coords, encode(pillars, encoder), pillars.shape)


def draw_street() -> NDArray[np.float32]:
    """Return (N, 3) float32 points of a street: rings on the ground 1.73 m below the sensor, and walls."""
    rng = np.random.default_rng(_SAMPLE_SEED)
    radius = 1.73 / np.tan(np.radians(np.linspace(1.5, 24.0, 48)))
    angle = np.linspace(-0.9, 0.9, 500)
    ground = np.stack([np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle))], -1).reshape(-1, 2)
    corners = rng.uniform((4, -30), (65, 30), (60, 2))
    sides = rng.uniform(0.5, 8.0, (60, 2)) * (rng.random((60, 1)) < (0.5, 0.5))
    along = rng.random((60, 150, 1))
    walls = (corners[:, None] + along * sides[:, None]).reshape(-1, 2)
    xy = np.concatenate([ground, walls]) + rng.normal(0, 0.02, (len(ground) + len(walls), 2))
    z = np.concatenate([np.zeros(len(ground)), rng.uniform(0, 2.0, len(walls))]) - 1.73
    return np.column_stack([xy, z]).astype(np.float32)
