"""ranges.py: the range in which a number of a training configuration must lie."""

from __future__ import annotations

import math

from ...runtime.errors import ConfigError


def demand(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Check that a number is finite and lies in `low` to `high`.

    Raises:
        ConfigError: it does not; NaN never does.
    """
    if not low <= value <= high or value == math.inf:
        span = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
        raise ConfigError(f"{name}: expected {span}, got {value}")
