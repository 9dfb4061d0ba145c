"""view: pictures of frames and their boxes: bird's-eye images, movies, an interactive window, sheets of errors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .birdseye import draw_birdseye as draw_birdseye
    from .error_sheets import ErrorSheet as ErrorSheet
    from .error_sheets import draw_error_sheets as draw_error_sheets
    from .movie import MovieWriter as MovieWriter
    from .movie import write_movie as write_movie
    from .window import show_frames as show_frames

_PUBLIC = {
    "draw_birdseye": ".birdseye",
    "ErrorSheet": ".error_sheets",
    "draw_error_sheets": ".error_sheets",
    "MovieWriter": ".movie",
    "write_movie": ".movie",
    "show_frames": ".window",
}
__all__ = [
    "ErrorSheet",
    "MovieWriter",
    "draw_birdseye",
    "draw_error_sheets",
    "show_frames",
    "write_movie",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
