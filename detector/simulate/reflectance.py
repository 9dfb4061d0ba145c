"""reflectance.py: how much light surfaces send back, and what share of the returns is detected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .mesh import Material

F32 = NDArray[np.float32]

REFLECTIVITY = np.zeros(len(Material), np.float32)
"""Diffuse reflectivity at 905 nm by `Material`, 0..1 (typical; an object's paint and cloth are drawn)."""
for _material, _value in {
    Material.GROUND: 0.22,
    Material.GRASS: 0.30,
    Material.WALL: 0.40,
    Material.VEGETATION: 0.32,
    Material.METAL: 0.40,
    Material.SIGN: 0.95,
    Material.PAINT: 0.40,
    Material.GLASS: 0.06,
    Material.RUBBER: 0.08,
    Material.CLOTH: 0.35,
    Material.FENCE: 0.35,
    Material.SKIN: 0.40,
}.items():
    REFLECTIVITY[_material] = _value

SIGN_GAIN = 30.0  # a retro-reflector sends back far more than a perfect diffuser
SPECKLE = 0.25  # log-normal spread of the reflectivity from spot to spot
DETECTION_SLOPE = 2.2  # steepness of the detection probability over the logarithm of the received power
REFERENCE_REFLECTIVITY = 0.10  # target that defines `Sensor.reach`


@dataclass(frozen=True)
class Conditions:
    """Weather and state of the sensor during one scan.

    Attributes:
        gain: factor on the received power (age and dirt of the unit, sunlight).
        wet: 0 on a dry road; up to 1: share of the light that a wet road mirrors away at grazing incidence.
        drop: share of the returns lost at random.
        mixing: share of the pixels at depth edges that return a range between both surfaces.
        stray: number of returns from nothing (dust, rain, cross-talk).
        smudges: (K, 2) first column and width of the column blocks that dirt hides, as share of a turn.
        dead_rings: share of the rings that returned nothing.
    """

    gain: float
    wet: float
    drop: float
    mixing: float
    stray: int
    smudges: NDArray[np.float64]
    dead_rings: float


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """Return the conditions of one scan; most are dry with a clean sensor."""
    smudge_count = int(rng.integers(1, 6)) if rng.random() < 0.3 else 0
    return Conditions(
        gain=float(np.exp(rng.normal(0.0, 0.4))),
        wet=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.1 else 0.0,
        drop=float(min(rng.exponential(0.012), 0.2)),
        mixing=float(rng.uniform(0.02, 0.25)),
        stray=int(rng.integers(0, 30)),
        smudges=np.stack([rng.random(smudge_count), rng.uniform(0.0005, 0.006, smudge_count)], axis=1),
        dead_rings=float(rng.uniform(0.01, 0.06)) if rng.random() < 0.04 else 0.0,
    )


def received_power(reflectivity: F32, cosines: F32, ranges: F32, reach: float) -> F32:
    """Return the received power relative to the detection limit.

    It is 1 for a target of 10 % reflectivity at normal incidence and a distance of `reach` [m]. The
    angular law is a blend of a diffuse and an isotropic surface, the distance law 1 / r^2.
    """
    angular = 0.15 + 0.85 * cosines
    power: F32 = (
        reflectivity / np.float32(REFERENCE_REFLECTIVITY) * angular * (np.float32(reach) / ranges) ** 2
    )
    return power


def detection_probability(power: F32) -> F32:
    """Return the share of returns of relative `power` that are detected (logistic in log power, 0.5 at 1)."""
    return np.asarray(1.0 / (1.0 + np.maximum(power, 1e-9) ** np.float32(-DETECTION_SLOPE)), np.float32)


def wet_loss(cosines: F32, wet: float) -> F32:
    """Return the factor on the power that a wet road leaves: little at grazing incidence, most from above."""
    factor: F32 = (1.0 - wet * (1.0 - cosines) ** 2).astype(np.float32)
    return factor
