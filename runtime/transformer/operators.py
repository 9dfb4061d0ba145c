"""operators.py: the operators that onnxruntime can be given, each a signature and a function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..jit import kernel, numba
from .ort_abi import ElementType, Slot
from .ort_calls import count_elements, find_data, open_tensors, place_text, point_to, refuse, reserve_slots

DOMAIN = "colonnade"
_carray = numba.carray
_SLOT = int(Slot.WORDS)


@dataclass(frozen=True)
class Operator:
    """An operator.

    Attributes:
        name: in the domain "colonnade".
        inputs, outputs: the types of their elements.
        compute: takes the addresses of onnxruntime's functions and of the call; returns a status or zero.
    """

    name: str
    inputs: tuple[ElementType, ...]
    outputs: tuple[ElementType, ...]
    compute: Callable[[int, int], int]


@kernel
def _look_up(values, table, results):
    for index in range(values.size):
        results[index] = table[values[index]]


def _compute_lookup(api: int, context: int) -> int:
    slots = reserve_slots()
    status = open_tensors(api, context, 2, slots)
    if status != 0:
        return status
    if count_elements(slots, 1) != 256:
        return refuse(api, place_text("Lookup8: the table must have 256 entries"))
    count = count_elements(slots, 0)
    values = _carray(point_to(find_data(slots, 0), np.uint8), (count,))
    table = _carray(point_to(find_data(slots, 1), np.uint8), (256,))
    results = _carray(point_to(find_data(slots, 2), np.uint8), (count,))
    _look_up(values, table, results)
    return 0

U8=ElementType.UINT8
OPERATORS = (Operator("Lookup8", (U8, U8), (U8,), _compute_lookup),)
