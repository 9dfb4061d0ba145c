"""checkpoints.py: a model as a folder: manifest.yaml says what it is, weights.safetensors holds the numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialise_tensors

from ..runtime.checks import check_path
from ..runtime.errors import ModelError
from ..runtime.files import making_folder, replace_file
from ..runtime.quant import LARGEST_INT32, largest_sum
from .architecture import Architecture, Layer
from .density import SCALES
from .encoder import EncoderWeights
from .gates import DensityGates
from .manifest import MANIFEST as MANIFEST
from .manifest import PRECISIONS as PRECISIONS
from .manifest import SCORE_EXPONENTS as SCORE_EXPONENTS
from .manifest import Calibration as Calibration
from .manifest import Manifest as Manifest
from .manifest import Precision as Precision
from .manifest import describe_manifest, hash_origin
from .manifest import read_manifest as read_manifest
from .network import LayerWeights, QuantisedLayer, check_importance
from .pillars import PILLAR_FEATURES, POINT_FEATURES

WEIGHTS = "weights.safetensors"
MODELS = Path(__file__).parent / "models"  # the models that come with the package
TWIN_SUFFIX = "-int8"  # a model's int8 twin lies beside it under its name and this


@dataclass(frozen=True)
class Checkpoint:
    """A manifest and its weights.

    Attributes:
        manifest: what the model is.
        encoder: float32 in every precision; with gates of as many hidden channels as the architecture says.
        layers: of the kind that the manifest's precision tells.
        encoder_step: value of one step of the encoder's uint8 output; None for float32.

    Raises:
        ModelError: the encoder's gates are not those of the architecture.
    """

    manifest: Manifest
    encoder: EncoderWeights
    layers: tuple[LayerWeights, ...] | tuple[QuantisedLayer, ...]
    encoder_step: float | None = None

    def __post_init__(self) -> None:
        gates, expected = self.encoder.gates, self.manifest.architecture.gate_channels
        found = 0 if gates is None else len(gates.point_weight)
        if found != expected:
            raise ModelError(
                f"model '{self.manifest.name}': its encoder has gates of {found} hidden channels, its architecture "
                f"says {expected}; give it the gates of its own training"
            )


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the model folder; the hash in the manifest is computed here.

    Raises:
        OSError: the folder or a file in it cannot be written.
        ModelError: a layer lacks its learned importance.
    """
    content = serialise_tensors(dict(_name_tensors(checkpoint)))
    description = describe_manifest(checkpoint.manifest, hashlib.sha256(content).hexdigest())
    with making_folder(folder):
        replace_file(folder / WEIGHTS, content)
        replace_file(folder / MANIFEST, yaml.safe_dump(description, sort_keys=False, width=110).encode())


def _name_tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the tensors of a weights file with their names."""
    encoder = checkpoint.encoder
    for name in ("point", "scale", "pillar", "bias"):
        yield f"encoder.{name}", _contiguous(getattr(encoder, name), np.float32)
    if encoder.gates is not None:
        for field in fields(DensityGates):
            yield f"encoder.gates.{field.name}", _contiguous(getattr(encoder.gates, field.name), np.float32)
    if checkpoint.encoder_step is not None:
        yield "encoder.step", np.array([checkpoint.encoder_step], np.float32)
    parts: tuple[LayerWeights | QuantisedLayer, ...] = checkpoint.layers
    for layer, part in zip(checkpoint.manifest.architecture.layers, parts, strict=True):
        if isinstance(part, QuantisedLayer):
            yield f"{layer.name}.weight", _contiguous(part.weight, np.int8)
            yield f"{layer.name}.bias", _contiguous(part.bias, np.int32)
            yield f"{layer.name}.scale", _contiguous(part.scale, np.float32)
        else:
            yield f"{layer.name}.weight", _contiguous(part.weight, np.float32)
            yield f"{layer.name}.bias", _contiguous(part.bias, np.float32)
        if _learns_importance(layer):
            yield f"{layer.name}.importance", check_importance(layer, part)


def _learns_importance(layer: Layer) -> bool:
    return layer.pruned and layer.importance == "learned"


def _contiguous(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=kind)


def find_model(name_or_path: str | Path) -> Path:
    """Return the folder of a model: a path to one, or the name of one that comes with the package.

    Raises:
        UsageError: it is neither text nor a path.
        ModelError: there is no such model.
    """
    path = check_path("the model", name_or_path)
    for folder in (path, MODELS / path):
        with suppress(OSError, ValueError):  # no file can be called so
            if (folder / MANIFEST).is_file():
                return folder
    known = ", ".join(sorted(p.parent.name for p in MODELS.glob(f"*/{MANIFEST}"))) or "none"
    raise ModelError(
        f"no model '{name_or_path}': neither a folder with a {MANIFEST} nor the name of an embedded model ({known})"
    )


def find_twin(folder: Path) -> Path | None:
    """Return the folder of a model's int8 twin, or None.

    It lies beside the model as NAME-int8, was made from the very weights and thresholds that the model has now, and
    keeps the same shares.

    Raises:
        ModelError: one of the manifests is damaged.
    """
    place = folder.resolve()
    twin = place.with_name(f"{place.name}{TWIN_SUFFIX}")
    if not (twin / MANIFEST).is_file():
        return None
    try:
        found = read_manifest(twin)
    except ModelError as error:
        raise ModelError(f"{error} (the int8 twin of {folder}: mend or remove it, or use fp32)") from error
    own = read_manifest(folder)
    same = found.calibration is not None and found.calibration.model_sha256 == hash_origin(own)
    return twin if same and _prune_alike(found, own) else None


def _prune_alike(ours: Manifest, theirs: Manifest) -> bool:
    """Tell whether two models keep the same shares and have thresholds, each in its own units, at the same layers."""
    shares = (
        [(layer.keep, layer.threshold is None) for layer in manifest.architecture.layers]
        for manifest in (ours, theirs)
    )
    return next(shares) == next(shares)


class _Tensors:
    """The content of a weights file, of which every tensor is checked when it is taken."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        try:
            self._tensors = parse_tensors(content)
        except SafetensorError as error:
            raise ModelError(f"{path}: not a safetensors file ({error})") from error

    def take(self, name: str, shape: tuple[int, ...], kind: type[np.generic] = np.float32) -> NDArray[Any]:
        """Return a tensor of the type and shape that the manifest asks for.

        Raises:
            ModelError: it is missing, of another shape or type, or not finite.
        """
        tensor: NDArray[Any] | None = self._tensors.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype != kind:
            found = "missing" if tensor is None else f"{tensor.dtype} {tensor.shape}"
            raise ModelError(f"{self._path}: tensor '{name}' is {found}, expected {np.dtype(kind)} {shape}")
        if not np.isfinite(tensor).all():
            raise ModelError(
                f"{self._path}: tensor '{name}' holds NaN or infinity; its training diverged, take another model"
            )
        return tensor

    def take_positive(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a float32 tensor of numbers above 0, as steps, scales and reaches are.

        Raises:
            ModelError: as `take`, or a number is not above 0.
        """
        tensor = self.take(name, shape)
        if not (tensor > 0).all():
            raise ModelError(
                f"{self._path}: tensor '{name}' must be above 0; take the folder from its source again"
            )
        return tensor


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a model folder and check its hash, every shape, type and number.

    Raises:
        ModelError: a file is missing or damaged, or a tensor does not fit the manifest or is not finite.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise ModelError(f"{path}: its SHA-256 is not the manifest's; the file is damaged or was exchanged")
    tensors, layers = _Tensors(path, content), manifest.architecture.layers
    encoder = _take_encoder(tensors, manifest.architecture)
    if manifest.precision == "fp32":
        return Checkpoint(manifest, encoder, tuple(_take_float(tensors, layer) for layer in layers))
    step = float(tensors.take_positive("encoder.step", (1,))[0])
    return Checkpoint(manifest, encoder, tuple(_take_integer(tensors, layer) for layer in layers), step)


def _take_encoder(tensors: _Tensors, architecture: Architecture) -> EncoderWeights:
    width, gates = architecture.encoder_channels, architecture.gate_channels
    return EncoderWeights(
        tensors.take("encoder.point", (POINT_FEATURES, width)),
        tensors.take("encoder.scale", (width,)),
        tensors.take("encoder.pillar", (PILLAR_FEATURES, width)),
        tensors.take("encoder.bias", (width,)),
        _take_gates(tensors, gates, width) if gates else None,
    )


def _take_gates(tensors: _Tensors, hidden: int, width: int) -> DensityGates:
    return DensityGates(
        tensors.take("encoder.gates.middle", (SCALES,)),
        tensors.take_positive("encoder.gates.reach", (SCALES,)),
        tensors.take("encoder.gates.hidden_weight", (SCALES, 2 * hidden)),
        tensors.take("encoder.gates.hidden_bias", (2 * hidden,)),
        tensors.take("encoder.gates.point_weight", (hidden, width)),
        tensors.take("encoder.gates.point_bias", (width,)),
        tensors.take("encoder.gates.pillar_weight", (hidden, width)),
        tensors.take("encoder.gates.pillar_bias", (width,)),
    )


def _weight_shape(layer: Layer) -> tuple[int, int, int, int]:
    return layer.out_channels, layer.in_channels, layer.kernel, layer.kernel


def _take_float(tensors: _Tensors, layer: Layer) -> LayerWeights:
    return LayerWeights(
        tensors.take(f"{layer.name}.weight", _weight_shape(layer)),
        tensors.take(f"{layer.name}.bias", (layer.out_channels,)),
        _take_importance(tensors, layer),
    )


def _take_importance(tensors: _Tensors, layer: Layer) -> NDArray[np.float32] | None:
    if not _learns_importance(layer):
        return None
    return tensors.take(f"{layer.name}.importance", (layer.out_channels,))


def _take_integer(tensors: _Tensors, layer: Layer) -> QuantisedLayer:
    """Return an integer layer whose sums cannot leave int32."""
    part = QuantisedLayer(
        tensors.take(f"{layer.name}.weight", _weight_shape(layer), np.int8),
        tensors.take(f"{layer.name}.bias", (layer.out_channels,), np.int32),
        tensors.take_positive(f"{layer.name}.scale", (layer.out_channels,)),
        _take_importance(tensors, layer),
    )
    if largest_sum(part.weight, part.bias) > LARGEST_INT32:
        raise ModelError(f"layer '{layer.name}': its sums can leave int32; quantise the model again")
    return part
