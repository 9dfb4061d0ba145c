"""operation_steps.py: operations of a transformer as steps of an accelerator, and the bytes that each moves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from ..runtime.errors import ConfigError
from ..runtime.operations import ROW_KINDS, OperandRecord, OperationKind, OperationRecord, OperationTrace
from .spec import ArraySpec, DramSpec, NonlinearSpec, Spec, SramSpec


@dataclass(frozen=True)
class Engine:
    """The parts of a `Spec` that a transformer meets; hashable, so that equal steps are costed once."""

    array: ArraySpec
    sram: SramSpec
    dram: DramSpec
    unit: NonlinearSpec
    clock_mhz: float
    element_bytes: int
    weight_bits: int

    @classmethod
    def of(cls, spec: Spec) -> Engine:
        """Return the parts of a spec.

        Raises:
            ConfigError: the accelerator runs no transformers.
        """
        if spec.kind != "transformer" or spec.nonlinear is None:
            raise ConfigError(
                f"{spec.name}: runs no transformers; choose an accelerator of kind 'transformer'"
            )
        return cls(
            spec.array,
            spec.sram,
            spec.dram,
            spec.nonlinear,
            spec.clock_mhz,
            spec.element_bytes,
            spec.weight_bits,
        )

    @property
    def input_half(self) -> int:
        """Bytes of one half of the input buffer."""
        return int(self.sram.input_kib * 1024) // 2

    def count_bits(self, operand: OperandRecord) -> int:
        """Return bits of a stored element: the accelerator's own format, or the operand's where that is narrower."""
        return min(operand.bits, self.weight_bits if operand.weight else 8 * self.element_bytes)

    def count_bytes(self, operand: OperandRecord) -> int:
        """Return bytes of a stored operand."""
        return -(-operand.elements * self.count_bits(operand) // 8)

    def count_result_bytes(self, operation: OperationRecord) -> int:
        """Return bytes of a stored result."""
        return -(-operation.elements * min(operation.out_bits, 8 * self.element_bytes) // 8)


@dataclass(frozen=True)
class Operator:
    """An operator on rows of `width` elements."""

    kind: OperationKind
    rows: int
    width: int


@dataclass(frozen=True)
class Product:
    """A matmul: `batch` products (rows, inner) × (inner, columns); bits of a stored element of the second operand."""

    batch: int
    rows: int
    inner: int
    columns: int
    second_bits: int


@dataclass(frozen=True)
class Step:
    """A product with the operators behind it, or operators alone.

    Attributes:
        product: on the array; None for operators alone.
        operators: in order, each on what the one before made.
        first_bytes, second_bytes: of the product's operands, read from main memory; 0 for one that is on the chip.
        other_bytes: of what the operators read from main memory besides.
        store_bytes: written to main memory.
        kept_bytes: handed to the next step on the chip.
    """

    product: Product | None
    operators: tuple[Operator, ...]
    first_bytes: int
    second_bytes: int
    other_bytes: int
    store_bytes: int
    kept_bytes: int

    @property
    def needs_rows(self) -> bool:
        """Whether an operator works along whole rows."""
        return any(operator.kind in ROW_KINDS for operator in self.operators)


Group = tuple[OperationRecord, ...]


def list_groups(trace: OperationTrace) -> tuple[Group, ...]:
    """Return the operations in groups: a product, or an operator, and the operators that follow it directly.

    An operator joins if it reads the result before it, on as many rows, of no more columns.
    """
    groups: list[list[OperationRecord]] = []
    for operation in trace.operations:
        if groups and _follows(operation, groups[-1]):
            groups[-1].append(operation)
        else:
            groups.append([operation])
    return tuple(map(tuple, groups))


def _follows(operation: OperationRecord, group: list[OperationRecord]) -> bool:
    head, last = group[0], group[-1]
    return (
        operation.kind != "matmul"
        and any(operand.source == last.name for operand in operation.operands)
        and operation.batch * operation.rows == head.batch * head.rows
        and operation.columns <= head.columns
    )


class MemoryPlan:
    """Which results stay on the chip between groups.

    A result stays if the next group alone reads it and its piece fits one half of the input buffer. The piece is what
    one of `batch` independent products needs where maker and reader have the same batch (heads run one by one), else
    the whole result. Everything else is written to main memory once and read from there by each group that needs it;
    what the next group reads of it comes from the chip if the piece fits.
    """

    def __init__(self, trace: OperationTrace, engine: Engine) -> None:
        self._engine = engine
        self.groups = list_groups(trace)
        self._group_of = {op.name: index for index, group in enumerate(self.groups) for op in group}
        self._operations = {op.name: op for op in trace.operations}
        self._readers: dict[str, list[OperationRecord]] = defaultdict(list)
        for operation in trace.operations:
            for name in dict.fromkeys(operand.source for operand in operation.operands):
                self._readers[name].append(operation)

    def make_step(self, index: int) -> Step:
        """Return a group as one step."""
        group = self.groups[index]
        product, operators = _split(group)
        first, second = (
            (self._count_load(operand, product) for operand in product.operands) if product else (0, 0)
        )
        return Step(
            product=self._describe(product) if product else None,
            operators=_describe_operators(operators),
            first_bytes=first,
            second_bytes=second,
            other_bytes=self._count_other(operators, index),
            store_bytes=sum(map(self._count_store, group)),
            kept_bytes=sum(map(self._count_kept, group)),
        )

    def make_two_steps(self, index: int) -> tuple[Step, Step]:
        """Return a group of a product and operators as two steps, the product's result put down between them."""
        group = self.groups[index]
        product, operators = _split(group)
        assert product is not None
        first, second = (self._count_load(operand, product) for operand in product.operands)
        between = self._engine.count_result_bytes(product)
        fits = between <= self._engine.input_half * product.batch
        own = self._count_store(product)
        alone = Step(
            product=self._describe(product),
            operators=(),
            first_bytes=first,
            second_bytes=second,
            other_bytes=0,
            store_bytes=own if fits else between,
            kept_bytes=between if fits else 0,
        )
        rest = Step(
            product=None,
            operators=_describe_operators(operators),
            first_bytes=0,
            second_bytes=0,
            other_bytes=self._count_other(operators, index) + (0 if fits else between),
            store_bytes=sum(map(self._count_store, operators)),
            kept_bytes=sum(map(self._count_kept, operators)),
        )
        return alone, rest

    def _describe(self, product: OperationRecord) -> Product:
        bits = self._engine.count_bits(product.operands[1])
        return Product(product.batch, product.rows, product.inner, product.columns, bits)

    def _count_other(self, operators: Group, index: int) -> int:
        """Return bytes that operators read from main memory: operands from outside their group."""
        return sum(
            self._count_load(operand, operator)
            for operator in operators
            for operand in operator.operands
            if self._group_of.get(operand.source) != index
        )

    def _count_load(self, operand: OperandRecord, reader: OperationRecord) -> int:
        maker = self._operations.get(operand.source)
        if maker is not None and self._is_next(maker, reader) and self._fits(maker, reader):
            return 0
        return self._engine.count_bytes(operand)

    def _count_store(self, operation: OperationRecord) -> int:
        readers = self._list_outside(operation)
        inside = len(readers) < len(self._readers[operation.name])
        if not readers and inside:
            return 0
        if readers and all(self._is_next(operation, r) and self._fits(operation, r) for r in readers):
            return 0
        return self._engine.count_result_bytes(operation)

    def _count_kept(self, operation: OperationRecord) -> int:
        readers = self._list_outside(operation)
        kept = any(self._is_next(operation, r) and self._fits(operation, r) for r in readers)
        return self._engine.count_result_bytes(operation) if kept else 0

    def _list_outside(self, operation: OperationRecord) -> list[OperationRecord]:
        home = self._group_of[operation.name]
        return [r for r in self._readers[operation.name] if self._group_of[r.name] != home]

    def _is_next(self, maker: OperationRecord, reader: OperationRecord) -> bool:
        return self._group_of[reader.name] == self._group_of[maker.name] + 1

    def _fits(self, maker: OperationRecord, reader: OperationRecord) -> bool:
        pieces = maker.batch if maker.batch == reader.batch else 1
        return self._engine.count_result_bytes(maker) <= pieces * self._engine.input_half


def _split(group: Group) -> tuple[OperationRecord | None, Group]:
    return (group[0], group[1:]) if group[0].kind == "matmul" else (None, group)


def _describe_operators(operators: Group) -> tuple[Operator, ...]:
    return tuple(Operator(op.kind, op.batch * op.rows, op.columns) for op in operators)
