"""actors.py: the parametric actors of a street scene and the mixture in which vehicles occur."""

from __future__ import annotations

from numpy.random import Generator

from .actor import Actor
from .cycles import build_bicycle, build_cyclist, build_motorcycle
from .people import build_pedestrian, build_seated_person
from .trucks import build_bus, build_trailer, build_truck
from .vehicles import build_car, build_pickup, build_van

__all__ = [
    "Actor",
    "build_bicycle",
    "build_bus",
    "build_car",
    "build_cyclist",
    "build_motorcycle",
    "build_pedestrian",
    "build_pickup",
    "build_seated_person",
    "build_trailer",
    "build_truck",
    "build_van",
    "build_vehicle",
]

# Cumulative shares of the street mixture; more than half of the vans are pickups, labelled as cars.
_CARS, _VANS, _TRUCKS, _BUSES = 0.87, 0.95, 0.98, 0.99


def build_vehicle(rng: Generator) -> Actor:
    """Return a vehicle of the street: 87 % cars, 8 % vans and pickups, 5 % trucks, buses and trailers."""
    luck = rng.random()
    if luck < _CARS:
        return build_car(rng)
    if luck < _VANS:
        return build_van(rng)
    if luck < _TRUCKS:
        return build_truck(rng)
    return build_bus(rng) if luck < _BUSES else build_trailer(rng)
