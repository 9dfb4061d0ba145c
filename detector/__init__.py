"""detector: LiDAR points in, boxes of cars, people and cyclists out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .standard import standard_network as standard_network

__all__ = ["standard_network"]


def __getattr__(name: str) -> Any:
    if name == "standard_network":  # loaded on first use: importing a part must not pull in the engine
        from .standard import standard_network

        return standard_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
