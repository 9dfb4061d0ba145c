"""export.py: from a trained torch network to a model folder: batch norm folded, taps in kernel order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..architecture import Architecture
from ..checkpoints import SCORE_EXPONENTS, Checkpoint, Manifest
from ..encoder import EncoderWeights
from ..gates import DensityGates
from ..network import LayerWeights
from .config import TrainingConfig
from .network import Gates, SparseLayer, SparseNetwork


def _fold(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return the scale and shift that the batch norm is at inference."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _fold_layer(layer: SparseLayer, kernel: int) -> LayerWeights:
    weight: Tensor = layer.weight  # (taps, Cin, Cout)
    bias: Tensor
    if layer.norm is None:
        assert layer.bias is not None
        bias = layer.bias
    else:
        scale, bias = _fold(layer.norm)
        weight = weight * scale
    _, width, out = weight.shape
    learned = layer.importance
    return LayerWeights(
        _to_numpy(weight.permute(2, 1, 0).reshape(out, width, kernel, kernel)),
        _to_numpy(bias),
        None if learned is None else _to_numpy(learned),
    )


def _convert_gates(gates: Gates) -> DensityGates:
    return DensityGates(
        _to_numpy(gates.middle),
        _to_numpy(gates.reach),
        _to_numpy(gates.hidden.weight.t()),
        _to_numpy(gates.hidden.bias),
        _to_numpy(gates.point.weight.t()),
        _to_numpy(gates.point.bias),
        _to_numpy(gates.pillar.weight.t()),
        _to_numpy(gates.pillar.bias),
    )


def fold_network(network: SparseNetwork, manifest: Manifest) -> Checkpoint:
    """Return the checkpoint that computes what `network` computes in evaluation mode."""
    encoder = network.encoder
    scale, shift = _fold(encoder.norm)
    layers = tuple(
        _fold_layer(module, spec.kernel)  # type: ignore[arg-type]
        for module, spec in zip(network.layers, network.architecture.layers, strict=True)
    )
    weights = EncoderWeights(
        _to_numpy(encoder.point),
        _to_numpy(scale),
        _to_numpy((encoder.pillar.weight * scale[:, None]).t()),
        _to_numpy(shift),
        None if encoder.gates is None else _convert_gates(encoder.gates),
    )
    return Checkpoint(manifest, weights, layers)


def describe_model(config: TrainingConfig, architecture: Architecture) -> Manifest:
    """Return the manifest of the model that a run trains; its hash is set when it is saved."""
    return Manifest(
        name=config.name,
        classes=config.classes,
        geometry=config.detection_grid,
        architecture=architecture,
        score=config.score,
        training_data=config.training_data,
        licence=config.licence,
        sha256="",
        score_exponents=config.score_exponents or (SCORE_EXPONENTS,) * len(config.classes),
    )
