"""aqas.py: searches for channel scales: AWQ's, for weights alone, and AQAS, aware of both quantisers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .activations import ActivationFormat
from .distortion import Distortion
from .formats import Floats
from .smoothing import EXPONENTS, find_activation_scale, find_smooth_scale, normalise


def search_awq(distortion: Distortion) -> Floats:
    """Return AWQ's scale (in,): of mean|X_c|^r the best one with activations left floating-point.

    The grid is that of its public code, r = 0, 0.05 ... 0.95.
    """
    weights_only = replace(distortion, inputs=ActivationFormat(None))
    return _find_best(weights_only, _list_awq(distortion))


def search_aqas(distortion: Distortion) -> Floats:
    """Return the scale (in,) with the least objective while both quantisers are active.

    Lee et al. 2023 (arXiv 2311.05161), Eq. 1 and appendix A.4: a grid over max|X_c|^r / max|W_c|^(1 - r). That
    family holds neither s = 1 nor AWQ's scales, so these are added, and SmoothQuant's as it is; the result is never
    worse than any of them on the same activations.
    """
    return _find_best(distortion, _list_candidates(distortion))


def _list_candidates(distortion: Distortion) -> Iterable[Floats]:
    yield np.ones(distortion.weight.shape[1])
    yield find_smooth_scale(distortion.weight, distortion.activations)
    yield from _list_awq(distortion)
    for exponent in EXPONENTS:
        yield normalise(find_smooth_scale(distortion.weight, distortion.activations, exponent))


def _list_awq(distortion: Distortion) -> Iterable[Floats]:
    return (find_activation_scale(distortion.activations, exponent) for exponent in EXPONENTS)


def _find_best(distortion: Distortion, candidates: Iterable[Floats]) -> Floats:
    """Return the first of the candidates with the least objective."""
    listed = list(candidates)
    return listed[int(np.argmin([distortion.measure(scale) for scale in listed]))]
