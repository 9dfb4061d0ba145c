"""Colonnade: finds cars, people and cyclists in LiDAR recordings on a small computer without a GPU."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detector.detections import Detections as Detections
    from .detector.detector import Detector as Detector
    from .detector.detector import load as load
    from .detector.frames import Frame as Frame
    from .detector.io import open_recording as open_recording
    from .runtime.errors import ColonnadeError as ColonnadeError

__version__ = "0.1.0"

# Loaded on first use: importing a sub-package must not pull in the detector.
_PUBLIC = {
    "load": ".detector.detector",
    "Detector": ".detector.detector",
    "Detections": ".detector.detections",
    "Frame": ".detector.frames",
    "open_recording": ".detector.io",
    "ColonnadeError": ".runtime.errors",
}
__all__ = ["ColonnadeError", "Detections", "Detector", "Frame", "__version__", "load", "open_recording"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
