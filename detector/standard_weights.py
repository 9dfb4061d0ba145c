"""standard_weights.py: the standard network's seeded random weights and their int8 form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.quant import LARGEST_UINT8, ValueHistogram, find_top
from ..runtime.sparse import PillarGrid
from .architecture import REGRESSION, Architecture, Layer
from .encoder import EncoderWeights
from .network import LayerWeights, Network
from .pillars import PILLAR_FEATURES, POINT_FEATURES
from .quantise import Steps

INPUT_STEP = 1.0 / 64.0  # value of one step of the pillars' uint8 features
LARGEST_BIAS = 0.1  # a little above zero, so that activations stay alive through sixteen layers
_SAMPLE_SIDE = 96  # pillars of the calibration grid
_SAMPLE_SEED = 1
_ENCODER_STREAM = 1000  # of random numbers, beyond those of the layers
_PASSING = 30  # cells of each class whose heat passes one half on the synthetic street
_PERCENT = 99.9  # of the activations above 0 that the uint8 range holds; the others saturate


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


def measure_steps(architecture: Architecture, weights: tuple[LayerWeights, ...], sample: PillarGrid) -> Steps:
    """Return INPUT_STEP and the steps with which the layers' activations on the sample spread over 0..255."""
    outputs = Network(architecture, weights).outputs(sample)
    layers = tuple(_find_step(grid) if layer.relu else 1.0 for layer, grid in outputs)
    return Steps(INPUT_STEP, layers, "percentile", frames=1)


def _find_step(grid: PillarGrid) -> float:
    seen = ValueHistogram()
    seen.observe(grid.features)
    return find_top(seen, "percentile", percent=_PERCENT) / LARGEST_UINT8


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
