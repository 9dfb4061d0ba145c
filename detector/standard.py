"""standard.py: the standard network: PointPillars' backbone, upsampling and heads on the KITTI grid."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.checks import check_array, check_choice, check_instance, check_number, check_whole, show
from ..runtime.errors import UsageError
from ..runtime.memory import keep_heap_steady
from ..runtime.quant import quantise_unsigned
from ..runtime.sparse import Kind, PillarGrid
from ..runtime.threads import resolve_threads, thread_budget
from ..runtime.trace import Trace, TraceRecorder
from .architecture import INPUT, REGRESSION, Architecture, Layer
from .checkpoints import Checkpoint
from .manifest import PRECISIONS, Manifest, Precision
from .network import LayerWeights, Network, QuantisedLayer
from .pillars import PillarGeometry
from .quantise import encode_points, quantise, quantise_layers
from .standard_weights import (
    INPUT_STEP,
    aim_head,
    draw_encoder,
    draw_sample,
    draw_street,
    draw_weights,
    measure_steps,
)

Variant = Literal["dense", "dilating", "submanifold", "submanifold-2x2", "pruned"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

SHAPE = (496, 432)  # rows along y, columns along x: pillars of 0.16 m
CHANNELS = 64  # of a pillar
HEAD_CHANNELS = 72  # 18 classes, 42 boxes and 12 directions of six anchors
DENSE_MACS = 34_173_812_736  # of the dense network, padding included; savings of all variants refer to it
_BLOCKS = ((64, 3), (128, 5), (256, 5))  # channels, convolutions behind the strided one
_UP_CHANNELS = 128
GEOMETRY = PillarGeometry(0.0, -39.68, 69.12, 39.68, -1.27, 2.73, 0.16)  # of KITTI, sensor at 1.73 m
_CLASSES = ("car", "pedestrian", "cyclist")


class StandardNetwork:
    """The standard network with its weights; calls keep no state.

    Attributes:
        architecture: its layers.
        variant, precision: as given to `standard_network`.
        weights: one per layer, in order.
        threads: Numba threads per call.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: tuple[LayerWeights, ...] | tuple[QuantisedLayer, ...],
        variant: Variant,
        precision: Precision,
        threads: int | None,
    ) -> None:
        self.architecture = architecture
        self.variant, self.precision = variant, precision
        self.weights = weights
        self.threads = resolve_threads(threads)
        keep_heap_steady()
        self._network = Network(architecture, weights)

    def run(self, grid: PillarGrid) -> PillarGrid:
        """Return the heads' output (A, HEAD_CHANNELS) float32 on 248 × 216 cells.

        Args:
            grid: SHAPE, features (P, CHANNELS): float32, or for int8 uint8 in steps of 1/64.

        Raises:
            UsageError: the grid has another shape, number of channels or dtype.
        """
        with thread_budget(self.threads):
            return self._network.run(self._prepare(grid))

    def trace(self, grid: PillarGrid) -> tuple[PillarGrid, Trace]:
        """As `run`, with the record of the layers; the same bits."""
        recorder = TraceRecorder(f"standard {self.variant} {self.precision}")
        with thread_budget(self.threads):
            heads = self._network.run(self._prepare(grid), recorder)
        return heads, recorder.finish()

    def _prepare(self, grid: PillarGrid) -> PillarGrid:
        check_instance("grid", grid, PillarGrid)
        wanted = np.dtype(np.uint8 if self.precision == "int8" else np.float32)
        found = (grid.shape, grid.channels, grid.features.dtype)
        if found != (SHAPE, CHANNELS, wanted):
            raise UsageError(
                f"the standard network in {self.precision} takes {SHAPE[0]} x {SHAPE[1]} pillars with {CHANNELS} "
                f"channels of {wanted}, got {grid.shape[0]} x {grid.shape[1]} with {grid.channels} of {found[2]}"
            )
        return fill_grid(grid) if self.variant == "dense" else grid


def standard_network(
    variant: Variant = "submanifold",
    precision: Precision = "fp32",
    keep: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    *,
    weights: tuple[LayerWeights | QuantisedLayer, ...] | None = None,
) -> StandardNetwork:
    """Build the PointPillars network of OpenPCDet's KITTI configuration, for benchmarks and accelerator models.

    Variants (the 3 × 3 layers of a block behind its strided layer):
        "dense": all pillars active, those that the frame does not have with zeros; the dense network's values.
        "dilating": 3 × 3 dilation in every layer (SpConv).
        "submanifold": the active set is kept (SpConv-S); "submanifold-2x2" enters its blocks by 2 × 2 windows.
        "pruned": dilating, then of each layer's outputs the ceil(keep · N) with the largest L2 norm, N being the number
            of active outputs of the block's strided layer (SpConv-P).

    Args:
        variant: one of VARIANTS.
        precision: "fp32" or "int8".
        keep: for "pruned" only, above 0; None is 1.
        seed: of the random weights; the layers that two variants share have the same.
        threads: Numba threads per call; None for all available.
        weights: imported weights, one per layer of `standard_architecture`; float ones are quantised for "int8". None
            draws random ones, of which int8 takes the quantised form.

    Raises:
        UsageError: an unknown variant, precision or thread count, a negative seed, a keep that does not fit, or weights
            that do not fit the precision or the number of layers.
        ModelError: a weight has not the shape of its layer, or is not finite.

    Source: OpenPCDet kitti_models/pointpillar.yaml; sparse forms as SPADE / PillarAcc (arXiv 2305.07522) names them.
    """
    check_choice("precision", precision, PRECISIONS)
    architecture = standard_architecture(variant, keep=keep)
    seed = check_whole("seed", seed, 0)
    given = draw_weights(architecture, seed) if weights is None else weights
    if not isinstance(given, (tuple, list)) or len(given) != len(architecture.layers):
        got = len(given) if isinstance(given, (tuple, list)) else show(given)
        raise UsageError(f"weights must be {len(architecture.layers)} layers, got {got}")
    chosen = _choose_weights(architecture, given, precision, dense=variant == "dense")
    return StandardNetwork(architecture, chosen, variant, precision, threads)


def standard_architecture(
    variant: Variant = "submanifold", *, keep: float | None = None, head_channels: int = HEAD_CHANNELS
) -> Architecture:
    """Return the 20 layers: three blocks, three upsamplings to half the resolution of the pillars, the heads as one.

    The heads, 1 × 1, read the three upsamplings, concatenated to 384 channels. "dense" has submanifold layers: on a
    full grid all kinds are the same, and submanifold ones share their rules.

    Raises:
        UsageError: an unknown variant, or a keep that does not fit.
    """
    check_choice("variant", variant, VARIANTS)
    kind: Kind = "dilating" if variant in ("dilating", "pruned") else "submanifold"
    entry_kernel = 2 if variant == "submanifold-2x2" else 3
    share = _check_keep(variant, keep)
    layers, ups = [], []
    source, width = INPUT, CHANNELS
    for index, (channels, depth) in enumerate(_BLOCKS):
        name = f"block{index + 1}"
        layers.append(Layer(f"{name}.0", "strided", (source,), width, channels, entry_kernel, stride=2))
        for number in range(1, depth + 1):
            before = (layers[-1].name,)
            layers.append(Layer(f"{name}.{number}", kind, before, channels, channels, keep=share))
        source, width, stride = layers[-1].name, channels, 2**index
        up: Kind = "transposed" if stride > 1 else "submanifold"
        ups.append(Layer(f"up{stride}", up, (source,), width, _UP_CHANNELS, stride, stride))
    joined = tuple(up.name for up in ups)
    heads = Layer("heads", "submanifold", joined, 3 * _UP_CHANNELS, head_channels, kernel=1, relu=False)
    return Architecture(CHANNELS, (*layers, *ups, heads), output_stride=2)


def standard_checkpoint(
    variant: Variant = "submanifold",
    seed: int = 0,
    *,
    precision: Precision = "fp32",
    keep: float | None = None,
) -> Checkpoint:
    """Return a detector around the standard network with random weights: points in, meaningless boxes out, honest time.

    It has the pillars of OpenPCDet's KITTI configuration (z from -3 to 1 m of a sensor 1.73 m above the ground, here
    measured from the ground), our encoder with CHANNELS channels, and the standard backbone and upsampling. In place of
    the 72 channels of anchor heads stands our centre head of 13 in one 1 × 1 layer; that is the one departure, 4 % of
    the dense network's work. The head's biases are set on a synthetic frame so that few dozen cells pass the score.

    Args:
        variant: one of VARIANTS but "dense", which needs pillars that a frame does not have.
        seed: of the random weights.
        precision: "fp32", or "int8" for its quantised form.
        keep: as in `standard_network`.

    Raises:
        UsageError: an unknown variant or precision, "dense", or a keep that does not fit.
    """
    check_choice("variant", variant, VARIANTS)
    if variant == "dense":
        raise UsageError(
            "a detector runs on the pillars of its frame only; choose a variant other than 'dense'"
        )
    check_choice("precision", precision, PRECISIONS)
    seed = check_whole("seed", seed, 0)
    head_channels = len(_CLASSES) + REGRESSION
    architecture = standard_architecture(variant, keep=keep, head_channels=head_channels)
    encoder = draw_encoder(CHANNELS, seed)
    points = draw_street()
    street = encode_points(points, GEOMETRY, encoder)
    layers = aim_head(architecture, draw_weights(architecture, seed), street, len(_CLASSES))
    manifest = Manifest(
        name=f"standard-{variant}",
        classes=_CLASSES,
        geometry=GEOMETRY,
        architecture=architecture,
        score=0.5,
        training_data="none: random weights, for benchmarks only",
        licence="Apache-2.0",
        sha256="",
        score_exponents=((1.0, 0.0),) * len(_CLASSES),
    )
    checkpoint = Checkpoint(manifest, encoder, layers)
    return checkpoint if precision == "fp32" else quantise(checkpoint, [points], source="a synthetic street")


def fill_grid(grid: PillarGrid) -> PillarGrid:
    """Return the grid with all pillars active; those that were not hold zeros. A full grid is returned as it is."""
    height, width = grid.shape
    if len(grid) == height * width:
        return grid
    features = np.zeros((height * width, grid.channels), grid.features.dtype)
    rows = np.repeat(np.arange(height), np.diff(grid.row_ptr))
    features[rows * width + grid.cols] = grid.features
    return PillarGrid.full(grid.shape, features)


def draw_pillars(coords: ArrayLike, precision: Precision = "fp32", seed: int = 0) -> PillarGrid:
    """Return a frame for the standard network: pillars at `coords` with random features, half of them zero.

    Args:
        coords: (P, 2) row, column of the active pillars.
        precision: "fp32" for float32 features, "int8" for the same in uint8 steps of 1/64.
        seed: of the features.

    Raises:
        UsageError: an unknown precision, or coordinates outside the grid or named twice.
    """
    check_choice("precision", precision, PRECISIONS)
    sites = np.atleast_1d(check_array("coords", coords))
    rng = np.random.default_rng(check_whole("seed", seed, 0))
    noise = rng.standard_normal((len(sites), CHANNELS), np.float32)
    features: NDArray[np.float32] | NDArray[np.uint8] = np.maximum(noise, 0)
    if precision == "int8":
        features = quantise_unsigned(features, INPUT_STEP)
    return PillarGrid.from_coords(sites, features, SHAPE)


def _check_keep(variant: Variant, keep: float | None) -> float | None:
    if variant != "pruned":
        if keep is not None:
            raise UsageError(f"keep is for the variant 'pruned'; leave it out for '{variant}'")
        return None
    share = 1.0 if keep is None else check_number("keep", keep)
    if not 0.0 < share <= 9.0:  # a 3 x 3 dilation makes nine pillars of one at most
        raise UsageError(f"keep must be above 0 and at most 9, got {keep}")
    return share


def _choose_weights(
    architecture: Architecture,
    given: tuple[LayerWeights | QuantisedLayer, ...],
    precision: Precision,
    *,
    dense: bool,
) -> tuple[LayerWeights, ...] | tuple[QuantisedLayer, ...]:
    """Return weights of the wanted precision: the given ones, or float ones quantised."""
    floats = tuple(part for part in given if isinstance(part, LayerWeights))
    integers = tuple(part for part in given if isinstance(part, QuantisedLayer))
    if precision == "fp32" and len(floats) == len(given):
        return floats
    if precision == "int8" and len(integers) == len(given):
        return integers
    if precision == "int8" and len(floats) == len(given):
        steps = measure_steps(architecture, floats, draw_sample(CHANNELS, dense=dense))
        return quantise_layers(architecture, floats, steps)
    raise UsageError(
        f"weights for {precision} must all be float, or for int8 all integer; got a mixture or integers"
    )
