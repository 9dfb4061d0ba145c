"""distortion.py: how far a quantised product is from the exact one, for a scale of its input channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .activations import ActivationFormat
from .formats import Floats
from .matrices import QuantisedTensor, WeightFormat
from .rounding import round_nearest


@dataclass(frozen=True, eq=False)
class Distortion:
    """The objective of channel scales: mean square of Q(X/s) Q(W·diag(s))ᵀ - X Wᵀ.

    Lee et al. 2023 (arXiv 2311.05161), Eq. 1, with both quantisers active; X has one sample a row here.

    Attributes:
        weight: (out, in).
        activations: (samples, in).
        weights, inputs: the two quantisers.
    """

    weight: Floats
    activations: Floats
    weights: WeightFormat
    inputs: ActivationFormat

    @cached_property
    def target(self) -> Floats:
        """The exact product, (samples, out)."""
        return self.activations @ self.weight.T

    @property
    def energy(self) -> float:
        """Mean square of the exact product."""
        return float((self.target**2).mean())

    def measure(self, scale: Floats) -> float:
        """Return the objective of a scale (in,) with weights rounded to nearest."""
        weight = self.weight * scale
        width = self.weights.width(weight.shape[1])
        return self.measure_tensor(round_nearest(weight, self.weights.fit(weight), width), scale)

    def measure_tensor(self, tensor: QuantisedTensor, scale: Floats) -> float:
        """Return the objective of weights that were quantised after the scale (in,) was multiplied into them."""
        error = self.inputs.approximate(self.activations / scale) @ tensor.decode().T
        error -= self.target
        return float((error * error).mean())
