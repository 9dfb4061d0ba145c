"""op_table.py: writes `struct OrtCustomOp`, whose functions answer onnxruntime's questions about an operator.

The answers stand behind the end of the struct, and the functions that read them are compiled: onnxruntime may ask
from any thread, and destroys kernels while Python is shutting down.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from ..jit import compile_callback
from .operators import Operator
from .ort_abi import API_VERSION, WORD, Field
from .ort_calls import Word, load_word

_NAME, _INPUT_COUNT, _OUTPUT_COUNT, _INPUT_TYPES, _OUTPUT_TYPES = (
    WORD * field
    for field in (
        Field.NAME,
        Field.INPUT_COUNT,
        Field.OUTPUT_COUNT,
        Field.INPUT_TYPES,
        Field.OUTPUT_TYPES,
    )
)


def _create_kernel(operator: int, api: int, info: int) -> Word:
    return api  # which is all that a kernel needs to know


def _get_name(operator: int) -> Word:
    return load_word(operator + _NAME)


def _count_inputs(operator: int) -> Word:
    return load_word(operator + _INPUT_COUNT)


def _count_outputs(operator: int) -> Word:
    return load_word(operator + _OUTPUT_COUNT)


def _get_input_type(operator: int, index: int) -> Word:
    return load_word(operator + _INPUT_TYPES + 8 * index)


def _get_output_type(operator: int, index: int) -> Word:
    return load_word(operator + _OUTPUT_TYPES + 8 * index)


def _answer_zero(operator: int, index: int) -> Word:
    return 0  # the CPU; an input that must be there; memory of the CPU; nothing to destroy


_ANSWERS = (
    (Field.CREATE_KERNEL, _create_kernel),
    (Field.GET_NAME, _get_name),
    (Field.GET_EXECUTION_PROVIDER, _answer_zero),
    (Field.GET_INPUT_TYPE, _get_input_type),
    (Field.GET_INPUT_COUNT, _count_inputs),
    (Field.GET_OUTPUT_TYPE, _get_output_type),
    (Field.GET_OUTPUT_COUNT, _count_outputs),
    (Field.KERNEL_DESTROY, _answer_zero),
    (Field.GET_INPUT_CHARACTERISTIC, _answer_zero),
    (Field.GET_OUTPUT_CHARACTERISTIC, _answer_zero),
    (Field.GET_INPUT_MEMORY_TYPE, _answer_zero),
)


def write_table(operator: Operator) -> tuple[NDArray[np.int64], ctypes.Array[ctypes.c_char]]:
    """Return the struct (Field.WORDS,) int64 and the name that it points to; both must outlive every session."""
    name = ctypes.create_string_buffer(operator.name.encode())
    table = np.zeros(Field.WORDS, np.int64)
    table[Field.VERSION] = API_VERSION
    for field, answer in _ANSWERS:
        table[field] = compile_callback(answer)
    table[Field.KERNEL_COMPUTE_V2] = compile_callback(operator.compute)
    table[Field.NAME] = ctypes.addressof(name)
    table[Field.INPUT_COUNT], table[Field.OUTPUT_COUNT] = len(operator.inputs), 1
    table[Field.INPUT_TYPES : Field.INPUT_TYPES + len(operator.inputs)] = operator.inputs
    table[Field.OUTPUT_TYPES] = operator.output
    return table, name
