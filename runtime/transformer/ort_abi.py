"""ort_abi.py: the part of onnxruntime's C interface that custom operators need, as tables of machine words.

The wheel of onnxruntime brings no C headers. What stands here is read off `onnxruntime_c_api.h` and
`onnxruntime_c_api.cc` of onnxruntime 1.16 to 1.31. Both tables only ever grow at their ends: the sources pin the
places of the last functions of each version by `static_assert`, and `GetApi(version)` keeps old clients working.
"""

from __future__ import annotations

from enum import IntEnum

API_VERSION = 16  # onnxruntime 1.16, the first whose kernels may return a status
WORD = 8  # bytes of an address


class Api(IntEnum):
    """Places of functions in `struct OrtApi`, counted in addresses."""

    CREATE_STATUS = 0
    CREATE_CUSTOM_OP_DOMAIN = 26
    CUSTOM_OP_DOMAIN_ADD = 27
    ADD_CUSTOM_OP_DOMAIN = 28
    GET_TENSOR_MUTABLE_DATA = 51
    GET_DIMENSIONS_COUNT = 61
    GET_DIMENSIONS = 62
    GET_TENSOR_SHAPE_ELEMENT_COUNT = 64
    GET_TENSOR_TYPE_AND_SHAPE = 65
    GET_INPUT = 90
    GET_OUTPUT = 91
    RELEASE_TENSOR_TYPE_AND_SHAPE_INFO = 99


class Field(IntEnum):
    """Places of the members of `struct OrtCustomOp`, counted in words, and of our own behind its end."""

    VERSION = 0
    CREATE_KERNEL = 1
    GET_NAME = 2
    GET_EXECUTION_PROVIDER = 3
    GET_INPUT_TYPE = 4
    GET_INPUT_COUNT = 5
    GET_OUTPUT_TYPE = 6
    GET_OUTPUT_COUNT = 7
    KERNEL_COMPUTE = 8
    KERNEL_DESTROY = 9
    GET_INPUT_CHARACTERISTIC = 10
    GET_OUTPUT_CHARACTERISTIC = 11
    GET_INPUT_MEMORY_TYPE = 12
    GET_VARIADIC_INPUT_MINIMUM = 13
    GET_VARIADIC_INPUT_HOMOGENEITY = 14
    GET_VARIADIC_OUTPUT_MINIMUM = 15
    GET_VARIADIC_OUTPUT_HOMOGENEITY = 16
    CREATE_KERNEL_V2 = 17
    KERNEL_COMPUTE_V2 = 18
    NAME = 32
    INPUT_COUNT = 33
    OUTPUT_COUNT = 34
    INPUT_TYPES = 40
    OUTPUT_TYPES = 56
    WORDS = 64


class ElementType(IntEnum):
    """`ONNXTensorElementDataType`, which numbers the types as ONNX does."""

    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT32 = 6
    INT64 = 7


INVALID_ARGUMENT = 2  # OrtErrorCode ORT_INVALID_ARGUMENT
MAXIMUM_RANK = 16
MAXIMUM_SLOTS = 16  # inputs and the output of one operator


class Slot(IntEnum):
    """What kernels note of a tensor, counted in words."""

    DATA = 0  # address of the first element
    COUNT = 1  # of elements
    RANK = 2  # of axes; of inputs only
    SIZES = 3  # of the axes, the slowest first; of inputs only
    WORDS = SIZES + MAXIMUM_RANK
