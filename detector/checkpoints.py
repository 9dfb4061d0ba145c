"""checkpoints.py: a model as a folder: manifest.yaml says what it is, weights.safetensors holds the numbers."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialise_tensors

from ..runtime.errors import ConfigError, ModelError
from .architecture import REGRESSION, Architecture, Layer
from .encoder import EncoderWeights
from .network import LayerWeights
from .pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry

FORMAT = 1
SCORE_EXPONENTS = (0.85, 0.15)  # of heat and quality in a score, where the manifest does not tell
MANIFEST, WEIGHTS = "manifest.yaml", "weights.safetensors"
MODELS = Path(__file__).parent / "models"  # the models that come with the package


@dataclass(frozen=True)
class Manifest:
    """What a model is.

    Attributes:
        name: of the model.
        classes: in the order of the heatmaps.
        geometry: the pillar grid it was made for.
        architecture: its network.
        score: default detection threshold.
        training_data: what it was trained on, in words, with attributions.
        licence: of the weights.
        sha256: hash of the weights file.
        score_exponents: a, b of each class, whose score is heat^a * quality^b.
    """

    name: str
    classes: tuple[str, ...]
    geometry: PillarGeometry
    architecture: Architecture
    score: float
    training_data: str
    licence: str
    sha256: str
    score_exponents: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Checkpoint:
    """A manifest and its weights."""

    manifest: Manifest
    encoder: EncoderWeights
    layers: tuple[LayerWeights, ...]


def _replace_file(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the model folder; the hash in the manifest is computed here."""
    tensors: dict[str, NDArray[np.float32]] = {
        "encoder.point": checkpoint.encoder.point,
        "encoder.scale": checkpoint.encoder.scale,
        "encoder.pillar": checkpoint.encoder.pillar,
        "encoder.bias": checkpoint.encoder.bias,
    }
    manifest = checkpoint.manifest
    for layer, part in zip(manifest.architecture.layers, checkpoint.layers, strict=True):
        tensors[f"{layer.name}.weight"] = part.weight
        tensors[f"{layer.name}.bias"] = part.bias
    content = serialise_tensors({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()})
    description: dict[str, Any] = {
        "format": FORMAT,
        "name": manifest.name,
        "classes": list(manifest.classes),
        "score": manifest.score,
        "score_exponents": [list(pair) for pair in manifest.score_exponents],
        "training_data": manifest.training_data,
        "licence": manifest.licence,
        "sha256": hashlib.sha256(content).hexdigest(),
        "geometry": asdict(manifest.geometry),
        "encoder": {
            "channels": manifest.architecture.encoder_channels,
            "point_features": POINT_FEATURES,
            "pillar_features": PILLAR_FEATURES,
        },
        "output_stride": manifest.architecture.output_stride,
        "layers": [asdict(layer) | {"inputs": list(layer.inputs)} for layer in manifest.architecture.layers],
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace_file(folder / WEIGHTS, content)
    _replace_file(folder / MANIFEST, yaml.safe_dump(description, sort_keys=False, width=110).encode())


def find_model(name_or_path: str | Path) -> Path:
    """Return the folder of a model: a path to one, or the name of one that comes with the package.

    Raises:
        ModelError: there is no such model.
    """
    path = Path(name_or_path)
    if (path / MANIFEST).is_file():
        return path
    if (MODELS / str(name_or_path) / MANIFEST).is_file():
        return MODELS / str(name_or_path)
    known = ", ".join(sorted(p.parent.name for p in MODELS.glob(f"*/{MANIFEST}"))) or "none"
    raise ModelError(
        f"no model '{name_or_path}': neither a folder with a {MANIFEST} nor the name of an embedded model ({known})"
    )


def _field(source: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = source.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ModelError(
            f"{where}: '{key}' is missing or not of the expected type; take the folder from its source again"
        )
    return value


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        source = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: cannot be read as YAML ({type(error).__name__})") from error
    if not isinstance(source, dict) or source.get("format") != FORMAT:
        raise ModelError(f"{path}: not a model manifest of format {FORMAT}")
    return source


def _read_geometry(source: dict[str, Any], where: str) -> PillarGeometry:
    inside = f"{where}: geometry"
    return PillarGeometry(**{str(key): float(_field(source, key, (int, float), inside)) for key in source})


def _read_layer(entry: Any, where: str) -> Layer:
    known = {f.name for f in fields(Layer)}
    if not isinstance(entry, dict) or set(entry) != known:
        raise ModelError(f"{where}: a layer is not described by {sorted(known)}")
    inside = f"{where}: layer '{entry['name']}'"
    for key in ("name", "kind"):
        _field(entry, key, str, inside)
    for key in ("in_channels", "out_channels", "kernel", "stride"):
        _field(entry, key, int, inside)
    _field(entry, "relu", bool, inside)
    inputs = _field(entry, "inputs", list, inside)
    return Layer(**(entry | {"inputs": tuple(map(str, inputs))}))


def _read_architecture(source: dict[str, Any], where: str) -> Architecture:
    encoder = _field(source, "encoder", dict, where)
    if (encoder.get("point_features"), encoder.get("pillar_features")) != (POINT_FEATURES, PILLAR_FEATURES):
        raise ModelError(f"{where}: the encoder takes other features than this version of colonnade computes")
    layers = tuple(_read_layer(entry, where) for entry in _field(source, "layers", list, where))
    return Architecture(
        _field(encoder, "channels", int, f"{where}: encoder"),
        layers,
        _field(source, "output_stride", int, where),
    )


def _read_classes(source: dict[str, Any], where: str) -> tuple[str, ...]:
    classes = _field(source, "classes", list, where)
    if not classes or not all(isinstance(c, str) and c for c in classes) or len(set(classes)) < len(classes):
        raise ModelError(f"{where}: classes must be different names, got {classes}")
    return tuple(classes)


def _read_exponents(
    source: dict[str, Any], classes: tuple[str, ...], where: str
) -> tuple[tuple[float, float], ...]:
    pairs = source.get("score_exponents", [list(SCORE_EXPONENTS)] * len(classes))
    if isinstance(pairs, list) and len(pairs) == len(classes) and all(map(_is_exponents, pairs)):
        return tuple((float(heat), float(quality)) for heat, quality in pairs)
    raise ModelError(f"{where}: score_exponents must be two numbers in 0..4 for each class, got {pairs}")


def _is_exponents(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(number) in (int, float) and 0.0 <= number <= 4.0 for number in pair)
    )


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.yaml.

    Raises:
        ModelError: it is missing, malformed, of another format, or describes an impossible network.
    """
    path = folder / MANIFEST
    source, where = _read_mapping(path), str(path)
    try:
        geometry = _read_geometry(_field(source, "geometry", dict, where), where)
        architecture = _read_architecture(source, where)
        architecture.check_grid(geometry.shape)
    except (TypeError, OverflowError, ConfigError) as error:
        raise ModelError(f"{path}: {error}") from error
    classes = _read_classes(source, where)
    head = architecture.layers[-1]
    if head.out_channels != len(classes) + REGRESSION or head.relu:
        raise ModelError(
            f"{path}: the last layer must have {len(classes)} + {REGRESSION} channels and no ReLU behind it"
        )
    score = _field(source, "score", (int, float), where)
    if not 0.0 <= score <= 1.0:
        raise ModelError(f"{path}: score must lie in 0..1, got {score}")
    return Manifest(
        name=_field(source, "name", str, where),
        classes=classes,
        geometry=geometry,
        architecture=architecture,
        score=float(score),
        training_data=_field(source, "training_data", str, where),
        licence=_field(source, "licence", str, where),
        sha256=_field(source, "sha256", str, where),
        score_exponents=_read_exponents(source, classes, where),
    )


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a model folder and check its hash, every shape and every number.

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
    try:
        tensors = parse_tensors(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from error

    def take(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype != np.float32:
            found = "missing" if tensor is None else f"{tensor.dtype} {tensor.shape}"
            raise ModelError(f"{path}: tensor '{name}' is {found}, expected float32 {shape}")
        if not np.isfinite(tensor).all():
            raise ModelError(
                f"{path}: tensor '{name}' holds NaN or infinity; its training diverged, take another model"
            )
        return tensor

    width = manifest.architecture.encoder_channels
    encoder = EncoderWeights(
        take("encoder.point", (POINT_FEATURES, width)),
        take("encoder.scale", (width,)),
        take("encoder.pillar", (PILLAR_FEATURES, width)),
        take("encoder.bias", (width,)),
    )
    layers = tuple(
        LayerWeights(
            take(f"{layer.name}.weight", (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)),
            take(f"{layer.name}.bias", (layer.out_channels,)),
        )
        for layer in manifest.architecture.layers
    )
    return Checkpoint(manifest, encoder, layers)
