"""architecture.py: the network as data: which sparse convolution follows which, read by training and inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

from ..runtime.errors import ConfigError, UsageError
from ..runtime.sparse import Kind
from ..runtime.sparse.rules import find_output_shape

KINDS: tuple[Kind, ...] = get_args(Kind)
INPUT = "pillars"  # name of the encoder's output
REGRESSION = 10  # offset x, y [cells], z [m], log l, w, h, sin 2 yaw, cos 2 yaw, direction, quality


@dataclass(frozen=True)
class Layer:
    """One sparse convolution, with bias (folded batch norm) and, except in the head's last layer, ReLU.

    Attributes:
        name: unique within the network.
        kind: one of KINDS.
        inputs: names of the layers (or INPUT) whose outputs it reads; several are concatenated over the union
            of their active sites.
        in_channels, out_channels: channels, the former summed over `inputs`.
        kernel: side of the square kernel.
        stride: step of a strided or transposed layer, else 1.
        relu: whether ReLU follows.
        keep: vector pruning behind the layer: only the ceil(keep · N) pillars with the largest L2 norm stay, where N is
            the number of active outputs of the strided layer of its block, itself or before it; None keeps all.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    in_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    relu: bool = True
    keep: float | None = None


@dataclass(frozen=True)
class Architecture:
    """A network: encoder width, layers in the order they run, and the step from pillars to output cells.

    Raises:
        ConfigError: a layer names an unknown kind or input, its channels do not add up, its inputs do not lie on the
            same cells, it keeps a share of nothing, or `output_stride` is not what the strides of the layers make.
    """

    encoder_channels: int
    layers: tuple[Layer, ...]
    output_stride: int

    def __post_init__(self) -> None:
        channels = {INPUT: self.encoder_channels}
        strides = {INPUT: Fraction(1)}  # pillars per cell
        for layer in self.layers:
            _check_layer(layer, channels)
            channels[layer.name] = layer.out_channels
            steps = {strides[i] for i in layer.inputs}
            if len(steps) > 1:
                raise ConfigError(f"layer '{layer.name}': its inputs have cells of different sizes")
            step = Fraction(1, layer.stride) if layer.kind == "transposed" else Fraction(layer.stride)
            strides[layer.name] = steps.pop() * step
            if layer.keep is not None:
                self.find_entry(layer)
        if not self.layers:
            raise ConfigError("the network has no layers")
        made = strides[self.layers[-1].name]
        if made != self.output_stride:
            raise ConfigError(f"output_stride is {self.output_stride}, the strides of the layers make {made}")

    def find_entry(self, layer: Layer) -> Layer:
        """Return the strided layer that opens the block of `layer`: itself, or the nearest before it.

        Raises:
            ConfigError: between the network's input, a transposed layer or a concatenation and `layer` there is none.
        """
        by_name = {other.name: other for other in self.layers}
        found = layer
        while found.kind != "strided":
            if found.kind == "transposed" or len(found.inputs) > 1 or found.inputs[0] == INPUT:
                raise ConfigError(
                    f"layer '{layer.name}': keep needs a strided layer before it in its block; leave keep out"
                )
            found = by_name[found.inputs[0]]
        return found

    def check_grid(self, shape: tuple[int, int]) -> None:
        """Check that the network can run on a grid of `shape` rows and columns of pillars.

        Raises:
            ConfigError: a layer's kernel or stride is impossible, or its inputs come out with different shapes, as
                where a side of the grid cannot be halved as often as the network halves it.
        """
        shapes = {INPUT: shape}
        for layer in self.layers:
            inputs = {shapes[i] for i in layer.inputs}
            if len(inputs) > 1:
                raise ConfigError(
                    f"layer '{layer.name}': on a grid of {shape[0]} x {shape[1]} pillars its inputs have different "
                    f"shapes {sorted(inputs)}; choose ranges that can be halved as often as the network halves them"
                )
            try:
                shapes[layer.name] = find_output_shape(layer.kind, layer.kernel, layer.stride, inputs.pop())
            except UsageError as error:
                raise ConfigError(f"layer '{layer.name}': {error}") from error


def _check_layer(layer: Layer, channels: dict[str, int]) -> None:
    """Check one layer against the channels of those before it."""
    if layer.kind not in KINDS:
        raise ConfigError(f"layer '{layer.name}': unknown kind '{layer.kind}', expected one of {KINDS}")
    missing = [i for i in layer.inputs if i not in channels]
    if missing or not layer.inputs:
        raise ConfigError(f"layer '{layer.name}': inputs {missing} are not computed before it")
    total = sum(channels[i] for i in layer.inputs)
    if total != layer.in_channels:
        raise ConfigError(
            f"layer '{layer.name}': in_channels is {layer.in_channels}, its inputs bring {total}"
        )
    if layer.name in channels:
        raise ConfigError(f"layer name '{layer.name}' is used twice")
    if min(layer.in_channels, layer.out_channels, layer.kernel, layer.stride) < 1:
        raise ConfigError(f"layer '{layer.name}': channels, kernel and stride must be 1 or more")
    if layer.keep is not None and not 0 < layer.keep < math.inf:
        raise ConfigError(f"layer '{layer.name}': keep must be above 0, got {layer.keep}")


@dataclass(frozen=True)
class Widths:
    """Channels and depths from which `build_architecture` makes the edge-size network.

    Raises:
        ConfigError: a width below 1, or a depth below 0.
    """

    encoder: int = 48
    blocks: tuple[int, int, int] = (32, 64, 128)
    depths: tuple[int, int, int] = (2, 4, 4)
    dilating: int = 2
    ups: tuple[int, int] = (48, 64)
    shared: int = 64

    def __post_init__(self) -> None:
        if min(self.encoder, *self.blocks, *self.ups, self.shared) < 1:
            raise ConfigError("widths: encoder, blocks, ups and shared must be 1 or more")
        if min(*self.depths, self.dilating) < 0:
            raise ConfigError("widths: depths and dilating must be 0 or more")


def build_architecture(widths: Widths, classes: int) -> Architecture:
    """Return the edge network: submanifold at stride 1 and 2, dilating at stride 4, head at stride 2.

    The first two blocks keep the active set (SpConv-S), where it is small and fine; the third dilates, so that
    the centre of a car that shows only one side becomes active.
    """
    first, second, third = widths.blocks
    layers = []
    source, width = INPUT, widths.encoder
    for index in range(widths.depths[0]):
        layers.append(Layer(f"block1.{index}", "submanifold", (source,), width, first))
        source, width = layers[-1].name, first
    for block, channels, depth in ((2, second, widths.depths[1]), (3, third, widths.depths[2])):
        layers.append(Layer(f"block{block}.0", "strided", (source,), width, channels, stride=2))
        for index in range(1, depth + 1):
            kind: Kind = "dilating" if block == 3 and index <= widths.dilating else "submanifold"
            layers.append(Layer(f"block{block}.{index}", kind, (layers[-1].name,), channels, channels))
        source, width = layers[-1].name, channels
    fine = f"block2.{widths.depths[1]}"
    layers.append(Layer("up2", "submanifold", (fine,), second, widths.ups[0], kernel=1))
    layers.append(Layer("up4", "transposed", (source,), third, widths.ups[1], kernel=2, stride=2))
    layers.append(Layer("shared", "submanifold", ("up2", "up4"), sum(widths.ups), widths.shared))
    layers.append(Layer("head", "submanifold", ("shared",), widths.shared, classes + REGRESSION, relu=False))
    return Architecture(widths.encoder, tuple(layers), output_stride=2)
