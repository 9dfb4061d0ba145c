"""manifest.py: what a model is, and manifest.yaml, which says so."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from ..runtime.errors import ConfigError, ModelError
from .architecture import REGRESSION, Architecture, Layer
from .pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry

FORMAT = 1
SCORE_EXPONENTS = (0.85, 0.15)  # of heat and quality in a score, where the manifest does not tell
MANIFEST = "manifest.yaml"

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_OPTIONAL: dict[str, type | tuple[type, ...]] = {  # fields of a layer that is pruned
    "keep": (int, float),
    "threshold": (int, float),
    "importance": str,
}


@dataclass(frozen=True)
class Calibration:
    """How an int8 model came from a float32 one.

    Attributes:
        method: that chose the steps of the activations, one of `runtime.quant.METHODS`.
        frames: how many the activations were observed on.
        source: what frames these were, in words, with attributions.
        model_sha256: hash of the model that was quantised, see `hash_origin`.
    """

    method: str
    frames: int
    source: str
    model_sha256: str


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
        precision: number format of the network.
        calibration: where an int8 model came from; None for float32.
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
    precision: Precision = "fp32"
    calibration: Calibration | None = None


def hash_origin(manifest: Manifest) -> str:
    """Return what an int8 model knows its float32 one by: the hash of the weights, with the thresholds if it has some.

    An int8 model has thresholds in other units, so that they cannot be compared later.
    """
    thresholds = [layer.threshold for layer in manifest.architecture.layers]
    if all(threshold is None for threshold in thresholds):
        return manifest.sha256
    return hashlib.sha256(f"{manifest.sha256} {thresholds}".encode()).hexdigest()


def describe_manifest(manifest: Manifest, sha256: str) -> dict[str, Any]:
    """Return the content of manifest.yaml."""
    return {
        "format": FORMAT,
        "name": manifest.name,
        **_describe_precision(manifest),
        "classes": list(manifest.classes),
        "score": manifest.score,
        "score_exponents": [list(pair) for pair in manifest.score_exponents],
        "training_data": manifest.training_data,
        "licence": manifest.licence,
        "sha256": sha256,
        "geometry": asdict(manifest.geometry),
        "encoder": {
            "channels": manifest.architecture.encoder_channels,
            "point_features": POINT_FEATURES,
            "pillar_features": PILLAR_FEATURES,
            **({"gate_channels": gates} if (gates := manifest.architecture.gate_channels) else {}),
        },
        "output_stride": manifest.architecture.output_stride,
        "layers": [_describe_layer(layer) for layer in manifest.architecture.layers],
    }


def _describe_precision(manifest: Manifest) -> dict[str, Any]:
    if manifest.calibration is None:  # float32 manifests stay as they were before there was another precision
        return {}
    return {"precision": manifest.precision, "calibration": asdict(manifest.calibration)}


def _describe_layer(layer: Layer) -> dict[str, Any]:
    described = asdict(layer) | {"inputs": list(layer.inputs)}
    for name in _OPTIONAL:  # as in manifests from before there was pruning
        if not layer.pruned or described[name] is None:
            del described[name]
    return described


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
    known = {f.name for f in fields(Layer)} - _OPTIONAL.keys()
    if not isinstance(entry, dict) or set(entry) - _OPTIONAL.keys() != known:
        raise ModelError(f"{where}: a layer is not described by {sorted(known)}")
    inside = f"{where}: layer '{entry['name']}'"
    for key in ("name", "kind"):
        _field(entry, key, str, inside)
    for key in ("in_channels", "out_channels", "kernel", "stride"):
        _field(entry, key, int, inside)
    _field(entry, "relu", bool, inside)
    pruning: dict[str, Any] = {}
    for key, kind in _OPTIONAL.items():
        if entry.get(key) is not None:
            value = _field(entry, key, kind, inside)
            pruning[key] = value if kind is str else float(value)
    inputs = _field(entry, "inputs", list, inside)
    return Layer(**(entry | pruning | {"inputs": tuple(map(str, inputs))}))


def _read_architecture(source: dict[str, Any], where: str) -> Architecture:
    encoder = _field(source, "encoder", dict, where)
    if (encoder.get("point_features"), encoder.get("pillar_features")) != (POINT_FEATURES, PILLAR_FEATURES):
        raise ModelError(f"{where}: the encoder takes other features than this version of colonnade computes")
    layers = tuple(_read_layer(entry, where) for entry in _field(source, "layers", list, where))
    return Architecture(
        _field(encoder, "channels", int, f"{where}: encoder"),
        layers,
        _field(source, "output_stride", int, where),
        _field({"gate_channels": 0} | encoder, "gate_channels", int, f"{where}: encoder"),
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


def _read_precision(source: dict[str, Any], where: str) -> Precision:
    precision = source.get("precision", "fp32")  # older manifests do not tell
    if precision not in PRECISIONS:
        raise ModelError(f"{where}: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return next(known for known in PRECISIONS if known == precision)


def _read_calibration(source: dict[str, Any], precision: Precision, where: str) -> Calibration | None:
    if precision == "fp32":
        return None
    entry, inside = _field(source, "calibration", dict, where), f"{where}: calibration"
    kinds = {field.name: int if field.name == "frames" else str for field in fields(Calibration)}
    return Calibration(**{name: _field(entry, name, kind, inside) for name, kind in kinds.items()})


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
    precision = _read_precision(source, where)
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
        precision=precision,
        calibration=_read_calibration(source, precision, where),
    )
