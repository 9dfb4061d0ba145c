"""quantise.py: a float32 model into its int8 twin: steps from calibration frames, weights per output channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ModelError, UsageError
from ..runtime.quant import (
    LARGEST_INT32,
    LARGEST_UINT8,
    METHODS,
    Method,
    ValueHistogram,
    find_top,
    largest_sum,
    quantise_weights,
)
from ..runtime.sparse import PillarGrid
from ..runtime.threads import thread_budget
from .architecture import INPUT, Architecture, Layer
from .checkpoints import TWIN_SUFFIX, Calibration, Checkpoint
from .density import measure_density
from .encoder import EncoderWeights, encode
from .ground import estimate_ground, split_columns
from .manifest import hash_origin
from .network import LayerWeights, Network, QuantisedLayer
from .pillars import PillarGeometry, pillarise

METHOD: Method = "percentile"  # the best on validation data, as is BALANCE: docs/quantisation.md
BALANCE = (
    0.25  # how far the step of a channel follows the channel's own top rather than that of the whole layer
)
LARGEST_BIAS = 2**30  # in the units of the sums: leaves as much again for the products
LEAST_STEP = 2.0**-60  # of activations; smaller ones are zero for every purpose
_LEAST_SHARE = 1e-3  # of the layer's top that a channel's counts for at least

Step = float | NDArray[np.float64]  # one for all channels, or (C,) one for each


@dataclass(frozen=True)
class Steps:
    """Values of one step of the activations, one number for all channels of an output, or one for each.

    Attributes:
        encoder: of its uint8 output.
        layers: of every layer's uint8 output, in order; 1 where the layer gives values as they are, as the head does.
        method: that chose them.
        frames: how many they were chosen on.
    """

    encoder: Step
    layers: tuple[Step, ...]
    method: Method
    frames: int


def quantise(
    checkpoint: Checkpoint,
    frames: Iterable[NDArray[np.floating]],
    *,
    method: Method = METHOD,
    source: str = "not told",
    threads: int | None = None,
) -> Checkpoint:
    """Return the int8 twin of a float32 model.

    Args:
        checkpoint: a float32 model.
        frames: points (N, >=3) of each calibration frame: x forward, y left, z up [m]. Read once, one at a time.
        method: how the top of the activations is chosen, see `runtime.quant.find_top`.
        source: what the frames are, in words, for the manifest.
        threads: Numba threads; None for all available.

    Raises:
        ModelError: the model is int8 already, or its numbers do not fit the integer format.
        UsageError: no frame with a point in the model's range, an unknown method or a frame that is not (N, >=3).
    """
    return apply_steps(checkpoint, calibrate(checkpoint, frames, method=method, threads=threads), source)


def calibrate(
    checkpoint: Checkpoint,
    frames: Iterable[NDArray[np.floating]],
    *,
    method: Method = METHOD,
    threads: int | None = None,
) -> Steps:
    """Return the steps that suit the activations of a float32 model on calibration frames.

    The network runs over the frames in float32, and the values of every layer's output, which ReLU keeps at 0 and
    above, give its steps. A channel's step lies between what the whole layer and what the channel alone would get:
    rounding then spoils small channels less, at no cost at run time. The order of the frames does not matter.
    Arguments and errors as those of `quantise`.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    manifest = checkpoint.manifest
    seen = _Ranges(manifest.architecture)
    with thread_budget(threads):
        network = Network(manifest.architecture, check_float(checkpoint))
        for points in frames:
            seen.observe(network, encode_points(points, manifest.geometry, checkpoint.encoder))
    if seen.frames == 0:
        raise UsageError(
            "no frame to calibrate on has a point in the model's range; give frames like those that it will see"
        )
    return seen.choose_steps(method)


def apply_steps(checkpoint: Checkpoint, steps: Steps, source: str) -> Checkpoint:
    """Return the int8 model whose activations have these steps; `source` tells in words what gave them.

    Raises:
        ModelError: the model is int8 already, or its numbers do not fit the integer format.
    """
    manifest = checkpoint.manifest
    quantised = replace(
        manifest,
        name=f"{manifest.name}{TWIN_SUFFIX}",
        architecture=scale_thresholds(manifest.architecture, steps),
        sha256="",
        precision="int8",
        calibration=Calibration(steps.method, steps.frames, source, hash_origin(manifest)),
    )
    layers = quantise_layers(manifest.architecture, check_float(checkpoint), steps)
    encoder, step = scale_encoder(checkpoint.encoder, steps.encoder)
    return Checkpoint(quantised, encoder, layers, step)


def scale_thresholds(architecture: Architecture, steps: Steps) -> Architecture:
    """Return the network whose thresholds count in steps of the activations; every importance is linear in them.

    Raises:
        ModelError: the channels of a layer with a threshold have different steps.
    """
    layers = []
    for layer, step in zip(architecture.layers, steps.layers, strict=True):
        if layer.threshold is not None:
            if np.ptp(step) > 0:
                raise ModelError(
                    f"layer '{layer.name}': its channels need one step, as a threshold follows it"
                )
            layer = replace(layer, threshold=layer.threshold / float(np.max(step)))
        layers.append(layer)
    return replace(architecture, layers=tuple(layers))


def scale_encoder(encoder: EncoderWeights, steps: Step) -> tuple[EncoderWeights, float]:
    """Return an encoder whose channels share one step, and that step: each channel multiplied by what it lacks.

    As the factors are above 0, they pass through the maximum and the ReLU. Gates are factors too, and stay as they are.
    """
    step = float(np.float32(np.max(steps)))
    factor = np.broadcast_to(step / np.asarray(steps), encoder.bias.shape).astype(np.float32)
    scaled = replace(
        encoder, scale=encoder.scale * factor, pillar=encoder.pillar * factor, bias=encoder.bias * factor
    )
    return scaled, step


def check_float(checkpoint: Checkpoint) -> tuple[LayerWeights, ...]:
    """Return the layers of a float32 model.

    Raises:
        ModelError: the model is int8.
    """
    layers = tuple(part for part in checkpoint.layers if isinstance(part, LayerWeights))
    if len(layers) < len(checkpoint.layers):
        raise ModelError(
            f"the model '{checkpoint.manifest.name}' is int8 already; give the float32 model that it came from"
        )
    return layers


def encode_points(
    points: NDArray[np.floating], geometry: PillarGeometry, encoder: EncoderWeights
) -> PillarGrid:
    """Return the float32 network's input for one frame of points (N, >=3), the ground estimated.

    Raises:
        UsageError: `points` has another shape.
    """
    rows = np.asarray(points)
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise UsageError(f"points must have shape (N, >=3), got {rows.shape}")
    cloud = np.ascontiguousarray(rows[:, :3], dtype=np.float32)
    ground = estimate_ground(cloud)
    pillars = pillarise(cloud, ground, geometry)
    density = measure_density(split_columns(cloud), ground, pillars, geometry) if encoder.gates else None
    return PillarGrid.from_coords(pillars.coords, encode(pillars, encoder, density), pillars.shape)


class _Ranges:
    """The distribution of the encoder's and of every layer's output over frames."""

    def __init__(self, architecture: Architecture) -> None:
        self._encoder = _OutputRange(architecture.encoder_channels, balance=BALANCE)
        # Pruning compares the importances of pillars, so that all channels must count in one unit.
        self._layers = tuple(
            _OutputRange(layer.out_channels, balance=0.0 if layer.pruned else BALANCE) if layer.relu else None
            for layer in architecture.layers
        )
        self.frames = 0

    def observe(self, network: Network, grid: PillarGrid) -> None:
        """Take a frame in; one without pillars says nothing and does not count."""
        if len(grid) == 0:
            return
        self._encoder.observe(grid)
        for seen, (_, output) in zip(self._layers, network.outputs(grid), strict=True):
            if seen is not None:
                seen.observe(output)
        self.frames += 1

    def choose_steps(self, method: Method) -> Steps:
        layers = (1.0 if seen is None else seen.choose_steps(method) for seen in self._layers)
        return Steps(self._encoder.choose_steps(method), tuple(layers), method, self.frames)


class _OutputRange:
    """The distribution of the values of every channel of one output."""

    def __init__(self, channels: int, *, balance: float) -> None:
        self._channels = tuple(ValueHistogram() for _ in range(channels))
        self._balance = balance

    def observe(self, output: PillarGrid) -> None:
        for seen, values in zip(self._channels, output.features.T, strict=True):
            seen.observe(values)

    def choose_steps(self, method: Method) -> NDArray[np.float64]:
        """Return (C,) the value of one uint8 step of each channel, as float32 holds it."""
        whole = ValueHistogram()
        for seen in self._channels:
            whole.merge(seen)
        top = find_top(whole, method)
        own = np.array([find_top(seen, method) if seen.total else 0.0 for seen in self._channels])
        share = np.clip(own / top, _LEAST_SHARE, 1.0)
        steps = np.maximum(top * share**self._balance / LARGEST_UINT8, LEAST_STEP)
        return steps.astype(np.float32).astype(np.float64)


def quantise_layers(
    architecture: Architecture, layers: tuple[LayerWeights, ...], steps: Steps
) -> tuple[QuantisedLayer, ...]:
    """Return the integer layers, in order.

    Args:
        architecture: the network; all its layers but the last have ReLU.
        layers: its float32 weights.
        steps: of its activations.

    Raises:
        ModelError: a layer other than the last has no ReLU, or its numbers do not fit the integer format.
    """
    by_channel = {INPUT: np.broadcast_to(steps.encoder, architecture.encoder_channels)}
    done = []
    for layer, part, step in zip(architecture.layers, layers, steps.layers, strict=True):
        if not layer.relu and layer is not architecture.layers[-1]:
            raise ModelError(
                f"layer '{layer.name}' has no ReLU, but is not the last; int8 needs values of 0 and above"
            )
        input_steps = np.concatenate([by_channel[name] for name in layer.inputs])
        done.append(quantise_layer(layer, part, input_steps, step))
        by_channel[layer.name] = np.broadcast_to(step, layer.out_channels)
    return tuple(done)


def quantise_layer(
    layer: Layer, part: LayerWeights, input_steps: NDArray[np.float64], output_step: Step
) -> QuantisedLayer:
    """Return one integer layer.

    The weights are multiplied by the steps of their inputs, each column by that of the branch it reads, and rounded
    with a step per output channel; the bias counts in the same units. So what the layer computes,
    (sum of weight * input + bias) * scale with scale = weight step / output step, is its output in its own steps.

    Args:
        layer: for its name.
        part: its float32 weights.
        input_steps: (Cin,) value of one step of each input channel.
        output_step: of its output, one or (Cout,).

    Raises:
        ModelError: a scale leaves float32, or sums could leave int32: |sum| <= 255 * sum |weight| + |bias|, which
            with |bias| <= 2^30 holds up to 33,000 inputs per output.
    """
    folded = part.weight.astype(np.float64) * input_steps[:, None, None]
    bias = part.bias.astype(np.float64)
    weights = quantise_weights(folded, np.abs(bias) / LARGEST_BIAS)
    whole = np.rint(bias / weights.step).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):
        scale = (weights.step / output_step).astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ModelError(f"layer '{layer.name}': its weights are too large or too small for a float32 scale")
    if largest_sum(weights.values, whole) > LARGEST_INT32:
        raise ModelError(
            f"layer '{layer.name}': its sums can leave int32; it has too many inputs per output for int8"
        )
    return QuantisedLayer(weights.values, whole, scale, part.importance)
