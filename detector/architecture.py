"""architecture.py: the network as data: which sparse convolution follows which, read by training and inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from ..runtime.errors import ConfigError, UsageError
from ..runtime.sparse import Kind
from ..runtime.sparse.rules import find_output_shape

KINDS: tuple[Kind, ...] = get_args(Kind)
Importance = Literal["l2", "l1", "learned"]
IMPORTANCES: tuple[Importance, ...] = get_args(Importance)
Variant = Literal["mixed", "dilating", "submanifold", "pruned"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
INPUT = "pillars"  # name of the encoder's output
BLOCKS = 3  # of the edge network
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
        keep: vector pruning behind the layer: only the ceil(keep · N) most important pillars stay, where N is how many
            pillars entered the layer's block: the active outputs of its strided layer, or in the first block the
            pillars of the frame; None keeps all.
        threshold: the other form of vector pruning: pillars less important than this go, in the units of the features
            that the layer hands on; None keeps all. A layer has `keep` or `threshold`, not both.
        importance: of a pillar's channel vector: its L2 or L1 norm, or a learned weighted sum of its channels.
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
    threshold: float | None = None
    importance: Importance = "l2"

    @property
    def pruned(self) -> bool:
        """Whether vector pruning follows the layer."""
        return self.keep is not None or self.threshold is not None


@dataclass(frozen=True)
class Architecture:
    """A network: encoder width, layers in the order they run, and the step from pillars to output cells.

    Attributes:
        encoder_channels: of the pillars.
        layers: in the order they run.
        output_stride: pillars per output cell along each axis.
        gate_channels: hidden channels of the encoder's density gates; 0 for an encoder without.

    Raises:
        ConfigError: a layer names an unknown kind or input, its channels do not add up, its inputs do not lie on the
            same cells, it keeps a share of nothing, `output_stride` is not what the strides of the layers make, or
            `gate_channels` is below 0.
    """

    encoder_channels: int
    layers: tuple[Layer, ...]
    output_stride: int
    gate_channels: int = 0

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
        if self.gate_channels < 0:
            raise ConfigError(f"gate_channels must be 0 or more, got {self.gate_channels}")
        made = strides[self.layers[-1].name]
        if made != self.output_stride:
            raise ConfigError(f"output_stride is {self.output_stride}, the strides of the layers make {made}")

    def find_entry(self, layer: Layer) -> str:
        """Return the name of what opens the block of `layer`: the nearest strided layer, itself or before it, or INPUT.

        Raises:
            ConfigError: a transposed layer or a concatenation stands between them.
        """
        by_name = {other.name: other for other in self.layers}
        found = layer
        while found.kind != "strided":
            if found.kind == "transposed" or len(found.inputs) > 1:
                raise ConfigError(
                    f"layer '{layer.name}': keep counts the pillars that enter a block, but a transposed layer or a "
                    "concatenation stands before it; leave keep out"
                )
            if found.inputs[0] == INPUT:
                return INPUT
            found = by_name[found.inputs[0]]
        return found.name

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
    _check_pruning(layer)


def _check_pruning(layer: Layer) -> None:
    if layer.keep is not None and not 0 < layer.keep < math.inf:
        raise ConfigError(f"layer '{layer.name}': keep must be above 0, got {layer.keep}")
    least = -math.inf if layer.importance == "learned" else 0  # only a learned sum can be negative
    if layer.threshold is not None and not (math.isfinite(layer.threshold) and layer.threshold >= least):
        wanted = "finite" if layer.importance == "learned" else "finite, and 0 or more"
        raise ConfigError(f"layer '{layer.name}': threshold must be {wanted}, got {layer.threshold}")
    if layer.keep is not None and layer.threshold is not None:
        raise ConfigError(f"layer '{layer.name}': give keep or threshold, not both")
    if layer.importance not in IMPORTANCES:
        raise ConfigError(
            f"layer '{layer.name}': unknown importance '{layer.importance}', expected one of {IMPORTANCES}"
        )
    if layer.pruned and not layer.relu:
        raise ConfigError(f"layer '{layer.name}': vector pruning needs the ReLU before it")


@dataclass(frozen=True)
class Widths:
    """Channels and depths from which `build_architecture` makes the edge network.

    Attributes:
        encoder: channels of a pillar.
        blocks, depths: channels of each block, and layers behind its strided one.
        dilating: how many layers of the third block dilate in the variant "mixed".
        ups: channels of the two inputs of the head.
        shared: channels of the head.
        gates: hidden channels of the encoder's density gates; 0 for an encoder without.

    Raises:
        ConfigError: a width below 1, or a depth below 0.
    """

    encoder: int = 48
    blocks: tuple[int, int, int] = (32, 64, 128)
    depths: tuple[int, int, int] = (2, 4, 4)
    dilating: int = 2
    ups: tuple[int, int] = (48, 64)
    shared: int = 64
    gates: int = 0

    def __post_init__(self) -> None:
        if min(self.encoder, *self.blocks, *self.ups, self.shared) < 1:
            raise ConfigError("widths: encoder, blocks, ups and shared must be 1 or more")
        if min(*self.depths, self.dilating, self.gates) < 0:
            raise ConfigError("widths: depths, dilating and gates must be 0 or more")


@dataclass(frozen=True)
class Sparsity:
    """Which pillars the layers of the blocks make active, and which of them stay.

    Attributes:
        variant: what the layers behind the strided ones (in the first block: all) are. "mixed": the first two blocks
            submanifold, the first `Widths.dilating` layers of the third dilating; "dilating": all (SpConv);
            "submanifold": all (SpConv-S); "pruned": all dilating, each followed by vector pruning (SpConv-P).
        keep: of "pruned": the `Layer.keep` of each block's layers. "mixed" takes it, too: there, the strided and the
            dilating layers are pruned and the last of the first block, so that layers behind share an active set.
        importance: where there is `keep`.

    Raises:
        ConfigError: an unknown variant or importance, or a keep that is missing, not above 0 or not wanted.

    Source: the names of the variants are those of SPADE / PillarAcc (arXiv 2305.07522).
    """

    variant: Variant = "mixed"
    keep: tuple[float, ...] = ()
    importance: Importance = "l2"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ConfigError(f"variant: expected one of {', '.join(VARIANTS)}, got '{self.variant}'")
        if self.importance not in IMPORTANCES:
            raise ConfigError(
                f"importance: expected one of {', '.join(IMPORTANCES)}, got '{self.importance}'"
            )
        allowed = {"pruned": (BLOCKS,), "mixed": (0, BLOCKS)}.get(self.variant, (0,))
        if len(self.keep) not in allowed:
            raise ConfigError(
                f"keep: 'pruned' needs a share for each of the {BLOCKS} blocks, 'mixed' may have them, others not; "
                f"got {list(self.keep)} for '{self.variant}'"
            )
        if not all(0 < share < math.inf for share in self.keep):
            raise ConfigError(f"keep: expected shares above 0, got {list(self.keep)}")


def build_architecture(widths: Widths, classes: int, sparsity: Sparsity = Sparsity()) -> Architecture:
    """Return the edge network: three blocks at strides 1, 2 and 4, head at stride 2.

    Unless `sparsity` says otherwise, the first two blocks keep the active set (SpConv-S), where it is small and fine;
    the third dilates, so that the centre of a car that shows only one side becomes active.
    """
    _, second, third = widths.blocks
    layers: list[Layer] = []
    source, width = INPUT, widths.encoder
    for block, channels, depth in zip((1, 2, 3), widths.blocks, widths.depths, strict=True):
        if block > 1:
            layers.append(
                _shape_layer(f"block{block}.0", source, width, channels, (block, 0), widths, sparsity)
            )
            source, width = layers[-1].name, channels
        for index in range(1, depth + 1):
            name = f"block{block}.{index - (block == 1)}"
            layers.append(_shape_layer(name, source, width, channels, (block, index), widths, sparsity))
            source, width = name, channels
    fine = f"block2.{widths.depths[1]}"
    layers.append(Layer("up2", "submanifold", (fine,), second, widths.ups[0], kernel=1))
    layers.append(Layer("up4", "transposed", (source,), third, widths.ups[1], kernel=2, stride=2))
    layers.append(Layer("shared", "submanifold", ("up2", "up4"), sum(widths.ups), widths.shared))
    layers.append(Layer("head", "submanifold", ("shared",), widths.shared, classes + REGRESSION, relu=False))
    return Architecture(widths.encoder, tuple(layers), output_stride=2, gate_channels=widths.gates)


def _shape_layer(
    name: str,
    source: str,
    width: int,
    channels: int,
    place: tuple[int, int],
    widths: Widths,
    sparsity: Sparsity,
) -> Layer:
    """Return the layer at `place`: block, and number within it; 0 is the strided one."""
    block, index = place
    if index == 0:
        kind: Kind = "strided"
    elif sparsity.variant == "mixed":
        kind = "dilating" if block == 3 and index <= widths.dilating else "submanifold"
    else:
        kind = "submanifold" if sparsity.variant == "submanifold" else "dilating"
    before_next = block == 1 and index == widths.depths[0]
    pruned = sparsity.variant == "pruned" or kind != "submanifold" or before_next
    keep = sparsity.keep[block - 1] if sparsity.keep and pruned else None
    stride = 2 if index == 0 else 1
    return Layer(name, kind, (source,), width, channels, 3, stride, True, keep, None, sparsity.importance)
