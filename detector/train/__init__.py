"""train: teaches the detector from synthetic and labelled scans, on the CPU; needs the extra [train]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from .loop import Progress as Progress
    from .loop import train_model as train_model

__all__ = ["Progress", "train_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import loop
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtraError("torch", "train", "training a detector") from error
        raise
    return getattr(loop, name)
