"""view: pictures of frames and their boxes: bird's-eye images, movies, an interactive window."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .birdseye import draw_birdseye as draw_birdseye
    from .movie import MovieWriter as MovieWriter
    from .movie import write_movie as write_movie
    from .window import show_frames as show_frames

_PUBLIC = {
    "draw_birdseye": ".birdseye",
    "MovieWriter": ".movie",
    "write_movie": ".movie",
    "show_frames": ".window",
}
__all__ = ["MovieWriter", "draw_birdseye", "show_frames", "write_movie"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
