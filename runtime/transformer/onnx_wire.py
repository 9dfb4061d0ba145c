"""onnx_wire.py: reads and writes the few fields of an ONNX file that loading needs, without the package onnx.

An ONNX file is one protobuf message (protobuf.dev/programming-guides/encoding); the numbers of the fields are those
of `onnx.proto` in ONNX 1.8 to 1.18. Fields that are not asked for pass through byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ..errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = ((_FIXED64, 8), (_FIXED32, 4))


class Model(IntEnum):
    """Fields of ModelProto."""

    IR_VERSION = 1
    GRAPH = 7
    OPSETS = 8
    FUNCTIONS = 25


class Function(IntEnum):
    """Fields of FunctionProto."""

    NAME = 1
    NODES = 7
    DOMAIN = 10


class Node(IntEnum):
    """Fields of NodeProto."""

    INPUTS = 1
    OUTPUTS = 2
    NAME = 3
    OPERATOR = 4
    ATTRIBUTES = 5
    DOMAIN = 7


class Graph(IntEnum):
    """Fields of GraphProto."""

    NODES = 1
    NAME = 2
    INPUTS = 11
    OUTPUTS = 12


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: which field it is.
        content: of a text, a message or packed numbers; empty for a single number.
        whole: the field with its tag, as it stands in the file.
    """

    number: int
    content: memoryview
    whole: memoryview


def read_fields(message: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in the order of the file.

    Raises:
        ModelError: these bytes are no protobuf message.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        start = at
        tag, at = _read_varint(view, at)
        kind, first = tag & 7, at
        if kind == _VARINT:
            _, at = _read_varint(view, at)
            first = at
        elif kind == _BYTES:
            size, first = _read_varint(view, at)
            at = first + size
        else:
            sizes = [size for fixed, size in _FIXED_SIZES if fixed == kind]
            at = first = at + (sizes[0] if sizes else len(view) + 1)
        if at > len(view):
            raise ModelError(
                f"not an ONNX file, or cut short: byte {start} of {len(view)} starts no whole field"
            )
        yield Field(tag >> 3, view[first:at], view[start:at])


def read_text(message: bytes | memoryview, number: int) -> str:
    """Return the text in a field of a message, empty where it has none.

    Raises:
        ModelError: these bytes are no protobuf message.
    """
    for field in read_fields(message):
        if field.number == number:
            return bytes(field.content).decode("utf-8", "replace")
    return ""


def write_number(number: int, value: int) -> bytes:
    """Return a field that holds a number, 0 or more."""
    return _write_varint(number << 3 | _VARINT) + _write_varint(value)


def write_bytes(number: int, content: bytes | str) -> bytes:
    """Return a field that holds a text or a message."""
    data = content.encode() if isinstance(content, str) else content
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(data)) + data


def write_model(
    name: str, domain: str, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]
) -> bytes:
    """Return an ONNX file with one node and no declared shapes.

    Args:
        name, domain: of its operator.
        inputs, outputs: names and element types, as ONNX numbers them.
    """
    node = b"".join(write_bytes(Node.INPUTS, label) for label, _ in inputs)
    node += b"".join(write_bytes(Node.OUTPUTS, label) for label, _ in outputs)
    node += write_bytes(Node.OPERATOR, name) + write_bytes(Node.DOMAIN, domain)
    graph = write_bytes(Graph.NODES, node) + write_bytes(Graph.NAME, name)
    graph += b"".join(write_bytes(Graph.INPUTS, _write_value(*value)) for value in inputs)
    graph += b"".join(write_bytes(Graph.OUTPUTS, _write_value(*value)) for value in outputs)
    opsets = b"".join(
        write_bytes(Model.OPSETS, write_bytes(1, opset) + write_number(2, version))
        for opset, version in (("", 17), (domain, 1))
    )
    return write_number(Model.IR_VERSION, 8) + write_bytes(Model.GRAPH, graph) + opsets


def _write_value(label: str, element: int) -> bytes:
    tensor_type = write_number(1, element)  # TypeProto.Tensor without a shape
    return write_bytes(1, label) + write_bytes(2, write_bytes(1, tensor_type))


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ModelError(f"not an ONNX file, or cut short: no number at byte {at} of {len(view)}")


def _write_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)
