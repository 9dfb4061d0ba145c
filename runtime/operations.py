"""operations.py: the record of what a transformer runs, operation by operation: products, operators, operands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import ConfigError
from .json_lines import LineReader, check_values, has_type, write_lines

OperationKind = Literal[
    "matmul", "softmax", "gelu", "silu", "layer_norm", "rms_norm", "add", "multiply", "rotate"
]
ROW_KINDS: tuple[OperationKind, ...] = ("softmax", "layer_norm", "rms_norm")  # need whole rows

FORMAT = "colonnade-operations"
VERSION = 1


@dataclass(frozen=True)
class OperandRecord:
    """One input of an operation.

    Attributes:
        source: name of the operation that made it; any other name is an input of the network, or a weight's.
        weight: a constant, read from memory; else an activation.
        elements: that are read; fewer than the source made where only a part of it is.
        bits: of an element.
    """

    source: str
    weight: bool
    elements: int
    bits: int

    @property
    def bytes(self) -> int:
        """Bytes of all elements, rounded up."""
        return -(-self.elements * self.bits // 8)


@dataclass(frozen=True)
class OperationRecord:
    """One operation.

    A matmul is `batch` products (rows, inner) × (inner, columns), each with a second operand of its own: heads of
    attention. A linear layer has batch 1 and a weight as second operand. The others work on batch · rows rows of
    `columns` elements; softmax and the norms along them, the rest element by element.

    Attributes:
        name: unlike that of any other operation of the trace.
        kind: what it does; "multiply" and "add" take two operands, "rotate" is a rotary embedding of positions.
        batch, rows, inner, columns: the shape; inner is 0 for all but a matmul.
        operands: what it reads, in order; two of a matmul, the second stands still on a weight-stationary array.
        out_bits: of an element of the result.
    """

    name: str
    kind: OperationKind
    batch: int
    rows: int
    inner: int
    columns: int
    operands: tuple[OperandRecord, ...]
    out_bits: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a matmul, batch · rows · inner · columns; 0 for the others."""
        return self.batch * self.rows * self.inner * self.columns

    @property
    def elements(self) -> int:
        """Elements of the result."""
        return self.batch * self.rows * self.columns

    @property
    def bytes_in(self) -> int:
        """Bytes of the activations that are read."""
        return sum(operand.bytes for operand in self.operands if not operand.weight)

    @property
    def bytes_weights(self) -> int:
        """Bytes of the weights that are read."""
        return sum(operand.bytes for operand in self.operands if operand.weight)

    @property
    def bytes_out(self) -> int:
        """Bytes of the result."""
        return -(-self.elements * self.out_bits // 8)


@dataclass(frozen=True)
class OperationTrace:
    """The operations of one run, each after those that it reads.

    Attributes:
        name: what ran.
        operations: its records.
    """

    name: str
    operations: tuple[OperationRecord, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return sum(operation.macs for operation in self.operations)

    def save(self, path: str | Path) -> None:
        """Write JSON lines that `load_operations` reads: a header, then a line per operation; whole or not at all.

        Raises:
            UsageError: the file cannot be written.
        """
        write_lines(path, _list_entries(self))


def load_operations(path: str | Path) -> OperationTrace:
    """Read what `OperationTrace.save` wrote.

    Raises:
        ConfigError: the file cannot be read, is no trace of operations, or is damaged; the message names the line.
    """
    reader = LineReader.open(path)
    header = reader.next()
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ConfigError(
            f"{reader.where}: not a trace of operations of version {VERSION}; write it with OperationTrace.save"
        )
    name, count = header.get("name"), header.get("operations")
    if not isinstance(name, str) or not has_type(count, "int"):
        raise ConfigError(f"{reader.where}: the header is damaged; trace again")
    assert isinstance(count, int)
    seen: set[str] = set()
    operations = tuple(_read_operation(reader, seen) for _ in range(count))
    if reader.has_more:
        raise ConfigError(
            f"{reader.path}, line {reader.number + 1}: more than the {count} operations announced"
        )
    return OperationTrace(name, operations)


def _list_entries(trace: OperationTrace) -> Iterator[dict[str, Any]]:
    yield {"format": FORMAT, "version": VERSION, "name": trace.name, "operations": len(trace.operations)}
    yield from map(asdict, trace.operations)


def _read_operation(reader: LineReader, seen: set[str]) -> OperationRecord:
    """Return the next operation; its name joins those `seen`."""
    entry, where = reader.next(), reader.where
    check_values(entry, OperationRecord, where)
    if entry["kind"] not in get_args(OperationKind):
        raise ConfigError(f"{where}: 'kind' must be one of {', '.join(get_args(OperationKind))}")
    if not all(isinstance(operand, dict) for operand in entry["operands"]):
        raise ConfigError(f"{where}: 'operands' is not a list of records; the file is damaged, trace again")
    for operand in entry["operands"]:
        check_values(operand, OperandRecord, where)
    operands = tuple(OperandRecord(**operand) for operand in entry["operands"])
    operation = OperationRecord(**(entry | {"operands": operands}))
    _check_operation(operation, seen, where)
    seen.add(operation.name)
    return operation


def _check_operation(operation: OperationRecord, seen: set[str], where: str) -> None:
    """Check what types cannot tell."""
    if operation.name in seen:
        raise ConfigError(f"{where}: a second operation '{operation.name}'; give each a name of its own")
    if any(operand.source == operation.name for operand in operation.operands):
        raise ConfigError(f"{where}: '{operation.name}' reads itself; the file is damaged, trace again")
    matmul = operation.kind == "matmul"
    if matmul != (operation.inner > 0):
        raise ConfigError(f"{where}: 'inner' must be above 0 in a matmul and 0 elsewhere; trace again")
    if min(operation.batch, operation.rows, operation.columns) < 1:
        raise ConfigError(f"{where}: 'batch', 'rows' and 'columns' must be above 0; trace again")
    if not operation.operands or (matmul and len(operation.operands) != 2):
        raise ConfigError(f"{where}: a matmul has two operands, the others at least one; trace again")
    if min(operation.out_bits, *(operand.bits for operand in operation.operands)) < 1:
        raise ConfigError(f"{where}: 'bits' and 'out_bits' must be above 0; trace again")
