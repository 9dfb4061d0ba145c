"""constants.py: the constants that a report rests on, each with its basis and source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

from .energy import derive_energies
from .spec import Basis, Spec

_NO_CONSTANTS = ("name", "description", "kind", "provenance", "overrides")


@dataclass(frozen=True)
class Constant:
    """One constant of an accelerator.

    Attributes:
        key: such as "array.rows" or "energy.mac_pj"; the unit is in the name.
        value: of it; a word for a choice.
        low, high: what it may be; None where there is no band.
        basis: published, derived, assumed, or given by the user.
        source: where it comes from.
    """

    key: str
    value: float | str
    low: float | None
    high: float | None
    basis: Basis
    source: str


def list_constants(spec: Spec) -> tuple[Constant, ...]:
    """Return the constants of an accelerator: those of its description, then the energy of each action [pJ]."""
    described = tuple(_describe(spec, key, value) for key, value in _list_leaves(spec, ""))
    energies = tuple(
        Constant(f"energy.{action}_pj", e.value_pj, e.low_pj, e.high_pj, e.basis, e.source)
        for action, e in derive_energies(spec).entries.items()
    )
    return described + energies


def _describe(spec: Spec, key: str, value: float | str) -> Constant:
    origin = spec.provenance.get(key)
    if origin is None:
        return Constant(key, value, None, None, "given", "")
    return Constant(key, value, None, None, origin.basis, origin.source)


def _list_leaves(part: object, prefix: str) -> Iterator[tuple[str, float | str]]:
    """Yield the keys and values of a dataclass and of those in it."""
    assert is_dataclass(part)
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in _NO_CONSTANTS or value is None:
            continue
        if is_dataclass(value):
            yield from _list_leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value
