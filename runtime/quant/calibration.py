"""calibration.py: samples to calibrate on, cut to the length that the model will be used at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_array, check_whole
from ..errors import UsageError
from .formats import Floats


def cut_stream(
    tokens: npt.ArrayLike, length: int, count: int = 128, *, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Return windows of a long text, at random places, each as long as the sequences the model is meant for.

    SLAC, Lee et al. 2023 (arXiv 2311.05161): the length of the calibration sequences should be that of
    the task, because the range of activations, and with it GPTQ's corrections, depend on it.

    Args:
        tokens: (T,) whole numbers.
        length: of a window, at most T.
        count: of windows.
        seed: of their places.

    Returns:
        (count, length) int64.

    Raises:
        UsageError: the text is shorter than a window, or is no row of whole numbers.
    """
    stream = check_array("tokens", tokens, "iu")
    size, number = check_whole("length", length, least=1), check_whole("count", count, least=1)
    if stream.ndim != 1 or len(stream) < size:
        raise UsageError(f"tokens must be a row of {size} or more to cut such windows, got {stream.shape}")
    starts = np.random.default_rng(seed).integers(0, len(stream) - size + 1, number)
    return np.asarray(stream[starts[:, None] + np.arange(size)], np.int64)


def cut_samples(samples: npt.ArrayLike, length: int | None) -> npt.NDArray[Any]:
    """Return samples without what lies beyond the calibration length; None leaves them as they are.

    Args:
        samples: (n, T) or (n, T, ...), T positions each.
        length: positions to keep, at most T.

    Raises:
        UsageError: the samples have no second axis, or are shorter than `length`.
    """
    array = check_array("samples", samples, "fiub")
    if length is None:
        return array
    size = check_whole("length", length, least=1)
    if array.ndim < 2 or array.shape[1] < size:
        raise UsageError(
            f"samples must have {size} or more positions on axis 1 for that calibration length, "
            f"got shape {array.shape}; give longer samples or a smaller length"
        )
    return array[:, :size]


def thin_rows(activations: Floats, count: int) -> Floats:
    """Return at most `count` rows of (samples, in), evenly spaced."""
    if len(activations) <= count:
        return activations
    return activations[np.arange(count) * len(activations) // count]
