"""scheme.py: one object that says how matrices are quantised, and the function that does so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_choice, check_instance, check_whole
from .activations import ActivationFormat
from .aqas import search_aqas, search_awq
from .calibration import thin_rows
from .distortion import Distortion
from .formats import Floats, check_matrix
from .gptq import find_hessian, round_gptq
from .matrices import QuantisedTensor, WeightFormat
from .rounding import round_nearest
from .smoothing import find_smooth_scale
from .weight_clipping import find_limits

Scaling = Literal["none", "smooth", "awq", "aqas"]
Rounding = Literal["nearest", "gptq"]
Clipping = Literal["none", "search"]


@dataclass(frozen=True)
class Scheme:
    """How the matrices of a model are quantised.

    Attributes:
        weights: number format and granularity of weights.
        activations: format of what they are multiplied with.
        scaling: of input channels: "smooth" is SmoothQuant with strength 0.5, "awq" and "aqas" search.
        rounding: "nearest" or "gptq".
        clipping: "search" looks for the clipping of each group of weights with the least output error.
        calibration_length: positions of a calibration sample (SLAC); None takes samples as they are.
        search_rows: calibration rows that the searches use, evenly spaced; GPTQ and the errors take all.

    Raises:
        UsageError: a value is outside its domain.
    """

    weights: WeightFormat
    activations: ActivationFormat = field(default_factory=ActivationFormat)
    scaling: Scaling = "none"
    rounding: Rounding = "nearest"
    clipping: Clipping = "none"
    calibration_length: int | None = None
    search_rows: int = 512

    def __post_init__(self) -> None:
        check_instance("weights", self.weights, WeightFormat)
        check_instance("activations", self.activations, ActivationFormat)
        check_choice("scaling", self.scaling, get_args(Scaling))
        check_choice("rounding", self.rounding, get_args(Rounding))
        check_choice("clipping", self.clipping, get_args(Clipping))
        check_whole("search_rows", self.search_rows, least=1)
        if self.calibration_length is not None:
            check_whole("calibration_length", self.calibration_length, least=1)


@dataclass(frozen=True, eq=False)
class QuantisedMatrix:
    """A quantised weight matrix and what it costs.

    Attributes:
        tensor: the weights, channel scale multiplied in.
        channel_scale: (in,) float64 > 0; the activations must be divided by it, in the operator before.
        error_nearest: mean squared error of the output if weights were rounded to nearest, unscaled and unclipped.
        error: mean squared error of the output as it is.
        energy: mean square of the exact output.
    """

    tensor: QuantisedTensor
    channel_scale: Floats
    error_nearest: float
    error: float
    energy: float

    @property
    def relative_error(self) -> float:
        """Error over energy; 0 where the output is 0 throughout."""
        return self.error / self.energy if self.energy > 0 else 0.0

    def take_rows(self, start: int, stop: int) -> QuantisedTensor:
        """Return some rows of the weights; see `QuantisedTensor.take_rows`."""
        return self.tensor.take_rows(start, stop)


def quantise_matrix(weight: ArrayLike, activations: ArrayLike, scheme: Scheme) -> QuantisedMatrix:
    """Quantise a weight matrix so that its outputs on calibration activations change little.

    Matrices with the same input, such as those of queries, keys and values, need the same channel scale: stack
    their rows, quantise once, and take the rows apart again.

    Args:
        weight: (out, in) finite numbers.
        activations: (samples, in) finite numbers that it is multiplied with.
        scheme: what to do.

    Raises:
        UsageError: a matrix is empty, not finite, or the two do not fit.
    """
    matrix = check_matrix("weight", weight)
    inputs = check_matrix("activations", activations, columns=matrix.shape[1])
    width = scheme.weights.width(matrix.shape[1])
    distortion = Distortion(matrix, inputs, scheme.weights, scheme.activations)
    batch = replace(distortion, activations=thin_rows(inputs, scheme.search_rows))
    scale = _find_scale(batch, scheme.scaling)
    scaled = matrix * scale
    limits = _find_limits(batch, scale, scheme)
    levels = scheme.weights.fit(scaled, limits)
    if scheme.rounding == "gptq":
        hessian = find_hessian(scheme.activations.approximate(inputs / scale))
        tensor = round_gptq(scaled, levels, width, hessian)
    else:
        tensor = round_nearest(scaled, levels, width)
    return QuantisedMatrix(
        tensor=tensor,
        channel_scale=scale,
        error_nearest=distortion.measure(np.ones(matrix.shape[1])),
        error=distortion.measure_tensor(tensor, scale),
        energy=distortion.energy,
    )


def _find_scale(batch: Distortion, scaling: Scaling) -> Floats:
    """Return the channel scale (in,)."""
    if scaling == "aqas":
        return search_aqas(batch)
    if scaling == "awq":
        return search_awq(batch)
    if scaling == "smooth":
        return find_smooth_scale(batch.weight, batch.activations)
    return np.ones(batch.weight.shape[1])


def _find_limits(batch: Distortion, scale: Floats, scheme: Scheme) -> Floats | None:
    """Return what weights are clipped to, or None."""
    if scheme.clipping == "none":
        return None
    seen = scheme.activations.approximate(batch.activations / scale)
    return find_limits(batch.weight * scale, seen, scheme.weights)
