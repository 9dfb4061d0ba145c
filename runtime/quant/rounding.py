"""rounding.py: round to nearest, the simplest way from weights to codes."""

from __future__ import annotations

import numpy as np

from .formats import Floats, Levels
from .matrices import QuantisedTensor, list_groups


def round_nearest(weight: Floats, levels: tuple[Levels, ...], width: int) -> QuantisedTensor:
    """Return the code of each weight, whatever the others are.

    Args:
        weight: (out, in) finite numbers.
        levels: of each group of columns, as `WeightFormat.fit` finds them.
        width: columns of a group.
    """
    groups = list_groups(weight.shape[1], width)
    codes = [found.encode(weight[:, columns]) for found, columns in zip(levels, groups, strict=True)]
    return QuantisedTensor(np.hstack(codes), levels, width)
