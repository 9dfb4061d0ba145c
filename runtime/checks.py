"""checks.py: arguments are of the kind that is documented, or a UsageError says what was given in their place."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import UsageError

T = TypeVar("T")
_LONGEST = 60  # characters of a value that a message shows


def check_whole(name: str, value: Any, least: int | None = None) -> int:
    """Return a whole number of any integer type.

    Raises:
        UsageError: it is none, or below `least`.
    """
    number = _unwrap(value)
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise UsageError(f"{name} must be a whole number, got {show(value)}")
    if least is not None and number < least:
        raise UsageError(f"{name} must be {least} or more, got {number}")
    return int(number)


def check_number(name: str, value: Any) -> float:
    """Return a real number of any type.

    Raises:
        UsageError: it is none, or too large for a float.
    """
    number = _unwrap(value)
    if isinstance(number, bool) or not isinstance(number, Real):
        raise UsageError(f"{name} must be a number, got {show(value)}")
    try:
        return float(number)
    except OverflowError:
        raise UsageError(f"{name} must be a number that a float can hold, got {show(value)}") from None


def check_array(name: str, value: Any, kinds: str = "fiu") -> npt.NDArray[Any]:
    """Return an array, without a copy where it is one.

    Args:
        name: of the argument.
        value: an array, or nested sequences of numbers.
        kinds: letters of the `dtype.kind` that are taken.

    Raises:
        UsageError: it cannot be an array, or one of other things.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the `__array__` of another library's object raises
        raise UsageError(f"{name} must be an array of numbers: {error}") from error
    if array.dtype.kind not in kinds:
        raise UsageError(f"{name} must be an array of numbers, got {show(value)}")
    return array


def check_path(name: str, value: Any) -> Path:
    """Return a path.

    Raises:
        UsageError: it is neither text nor a path.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise UsageError(f"{name} must be text or a path, got {show(value)}")
    return Path(text)


def check_instance(name: str, value: Any, kind: type[T]) -> T:
    """Return an object of a class.

    Raises:
        UsageError: it is of another one.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}, got {show(value)}")
    return value


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of some words.

    Raises:
        UsageError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, got {show(value)}")
    return value


def show(value: Any) -> str:
    """Return a value as an error message shows it: short, and with its type where that is not plain to see."""
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{value.dtype} of shape {value.shape}" if value.shape else f"{value.dtype} {value}"
    if value is None or isinstance(value, (str, bool)):
        text, kind = repr(value), ""
    else:
        text, kind = repr(value), f" ({type(value).__name__})"
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…") + kind


def _unwrap(value: Any) -> Any:
    """Return what an array of no dimensions holds; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
