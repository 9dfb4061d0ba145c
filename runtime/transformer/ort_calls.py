"""ort_calls.py: how a compiled kernel talks to onnxruntime: reads words, calls functions by address, opens tensors.

Nothing here is bound to a process: the address of onnxruntime's table of functions arrives as an argument, so that
kernels can be kept in the cache of compiled kernels.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..jit import kernel, numba
from .ort_abi import INVALID_ARGUMENT, MAXIMUM_RANK, MAXIMUM_SLOTS, WORD, Api, Slot

Word = Any  # an int64; what compiled functions return is not known to type checkers
_types: Any = numba.types
_intrinsic: Any = numba.extending.intrinsic
_WORD = ir.IntType(8 * WORD)
_CALL = ir.FunctionType(_WORD, [_WORD] * 5)


@_intrinsic  # type: ignore[untyped-decorator]
def load_word(typing_context: Any, address: Any) -> Any:
    """Return the int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], _WORD.as_pointer()))

    return _types.int64(_types.int64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store_word(typing_context: Any, address: Any, value: Any) -> Any:
    """Write an int64 to an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], builder.inttoptr(arguments[0], _WORD.as_pointer()))
        return context.get_dummy_value()

    return _types.void(_types.int64, _types.int64), generate


def _make_reserve(words: int) -> Any:
    """Return an intrinsic that takes no argument and returns the address of int64 words on its caller's stack."""

    @_intrinsic  # type: ignore[untyped-decorator]
    def reserve(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            with builder.goto_entry_block():
                place = builder.alloca(_WORD, words)
            return builder.ptrtoint(place, _WORD)

        return _types.int64(), generate

    return reserve


reserve_word = _make_reserve(1)
reserve_slots = _make_reserve(MAXIMUM_SLOTS * Slot.WORDS)


@_intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def place_text(typing_context: Any, text: Any) -> Any:
    """Return the address of a literal text, as C has it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(context.insert_const_string(builder.module, text.literal_value), _WORD)

    return _types.int64(text), generate


@_intrinsic  # type: ignore[untyped-decorator]
def call_address(typing_context: Any, function: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Call a C function with five words and return its result.

    A function of fewer arguments leaves the rest alone: on the supported systems all five travel in registers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.inttoptr(arguments[0], _CALL.as_pointer()), list(arguments[1:]))

    return _types.int64(*[_types.int64] * 6), generate


@_intrinsic  # type: ignore[untyped-decorator]
def point_to(typing_context: Any, address: Any, element: Any) -> Any:
    """Return an address as a pointer to elements of a NumPy type, for `carray`."""
    pointer = _types.CPointer(element.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(_types.int64, element), generate


_CREATE_STATUS = WORD * Api.CREATE_STATUS
_GET_INPUT, _GET_OUTPUT = WORD * Api.GET_INPUT, WORD * Api.GET_OUTPUT
_GET_DATA = WORD * Api.GET_TENSOR_MUTABLE_DATA
_GET_SHAPE, _RELEASE_SHAPE = (
    WORD * Api.GET_TENSOR_TYPE_AND_SHAPE,
    WORD * Api.RELEASE_TENSOR_TYPE_AND_SHAPE_INFO,
)
_GET_RANK, _GET_SIZES = WORD * Api.GET_DIMENSIONS_COUNT, WORD * Api.GET_DIMENSIONS
_GET_COUNT = WORD * Api.GET_TENSOR_SHAPE_ELEMENT_COUNT
_DATA, _COUNT, _RANK, _SIZES, _SLOT = (
    WORD * word for word in (Slot.DATA, Slot.COUNT, Slot.RANK, Slot.SIZES, Slot.WORDS)
)
_INVALID, _MAXIMUM_RANK = int(INVALID_ARGUMENT), int(MAXIMUM_RANK)


@kernel
def refuse(api: int, text: int) -> Word:
    """Return a status of onnxruntime that says what is wrong with the inputs; it becomes an exception there."""
    return call_address(load_word(api + _CREATE_STATUS), _INVALID, text, 0, 0, 0)


@kernel
def open_tensors(api: int, context: int, inputs: int, slots: int) -> Word:
    """Fill one slot per input and one for the output, which takes the shape of the first input.

    Args:
        api: address of onnxruntime's functions.
        context: of this call of the operator.
        inputs: how many there are.
        slots: address of (inputs + 1, Slot.WORDS) int64.

    Returns:
        Zero, or onnxruntime's account of what went wrong, to be handed back to it.
    """
    for index in range(inputs):
        status = _open_input(api, context, index, slots + _SLOT * index)
        if status != 0:
            return status
    value, slot = reserve_word(), slots + _SLOT * inputs
    rank = load_word(slots + _RANK)
    status = call_address(load_word(api + _GET_OUTPUT), context, 0, slots + _SIZES, rank, value)
    if status != 0:
        return status
    store_word(slot + _COUNT, load_word(slots + _COUNT))
    return call_address(load_word(api + _GET_DATA), load_word(value), slot + _DATA, 0, 0, 0)


@kernel
def _open_input(api: int, context: int, index: int, slot: int) -> Word:
    value, shape = reserve_word(), reserve_word()
    status = call_address(load_word(api + _GET_INPUT), context, index, value, 0, 0)
    if status != 0:
        return status
    status = call_address(load_word(api + _GET_DATA), load_word(value), slot + _DATA, 0, 0, 0)
    if status != 0:
        return status
    status = call_address(load_word(api + _GET_SHAPE), load_word(value), shape, 0, 0, 0)
    if status != 0:
        return status
    status = _read_shape(api, load_word(shape), slot)
    call_address(load_word(api + _RELEASE_SHAPE), load_word(shape), 0, 0, 0, 0)
    return status


@kernel
def _read_shape(api: int, shape: int, slot: int) -> Word:
    status = call_address(load_word(api + _GET_COUNT), shape, slot + _COUNT, 0, 0, 0)
    if status != 0:
        return status
    status = call_address(load_word(api + _GET_RANK), shape, slot + _RANK, 0, 0, 0)
    if status != 0:
        return status
    rank = load_word(slot + _RANK)
    if rank > _MAXIMUM_RANK:
        return refuse(api, place_text("an input of a colonnade operator has more than 16 axes"))
    return call_address(load_word(api + _GET_SIZES), shape, slot + _SIZES, rank, 0, 0)


@kernel
def count_elements(slots: int, index: int) -> Word:
    """Return how many elements a slot's tensor has."""
    return load_word(slots + _SLOT * index + _COUNT)


@kernel
def find_last_size(slots: int, index: int) -> Word:
    """Return the size of the last axis of a slot's tensor, 1 where it has no axes."""
    slot = slots + _SLOT * index
    rank = load_word(slot + _RANK)
    return load_word(slot + _SIZES + 8 * (rank - 1)) if rank > 0 else 1


@kernel
def find_data(slots: int, index: int) -> Word:
    """Return the address of a slot's first element."""
    return load_word(slots + _SLOT * index + _DATA)
