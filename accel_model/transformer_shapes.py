"""transformer_shapes.py: dimensions of transformers, and the operations of one over a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..runtime.errors import ConfigError, UsageError
from ..runtime.operations import OperandRecord, OperationKind, OperationRecord, OperationTrace

FLOAT_BITS = 32  # of a network as it was trained; an accelerator stores operands in its own format


@dataclass(frozen=True)
class TransformerShape:
    """The dimensions of a transformer.

    Attributes:
        name: of the network.
        layers, hidden, heads, mlp: blocks, width, heads of attention, width inside the MLP.
        key_heads: heads of keys and values; as many as `heads`, or fewer that several heads share.
        activation: of the MLP.
        gated: the MLP multiplies the activation of one product with another product (SwiGLU).
        norm: before attention and MLP and once at the end, or (`norm_first` false) after each.
        rotary: queries and keys are rotated by their position.
        vocabulary: outputs of a last product over all positions; 0 without one.

    Raises:
        ConfigError: a dimension is not above 0, or heads do not divide.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    mlp: int
    key_heads: int
    activation: Literal["gelu", "silu"]
    norm: Literal["layer_norm", "rms_norm"]
    norm_first: bool
    gated: bool = False
    rotary: bool = False
    vocabulary: int = 0

    def __post_init__(self) -> None:
        if min(self.layers, self.hidden, self.heads, self.mlp, self.key_heads) < 1 or self.vocabulary < 0:
            raise ConfigError(f"{self.name}: every dimension must be above 0")
        if self.hidden % self.heads or self.heads % self.key_heads:
            raise ConfigError(f"{self.name}: heads must divide the width, and key heads the heads")

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def key_width(self) -> int:
        """Width of all keys, or of all values."""
        return self.key_heads * self.head_width


# Dimensions as the models' files state them.
SHAPES: Mapping[str, TransformerShape] = MappingProxyType(
    {
        shape.name: shape
        for shape in (
            TransformerShape("minilm", 6, 384, 12, 1536, 12, "gelu", "layer_norm", norm_first=False),
            TransformerShape(
                "stories260k", 5, 64, 8, 172, 4, "silu", "rms_norm",
                norm_first=True, gated=True, rotary=True, vocabulary=512,
            ),
            TransformerShape(
                "smollm2-135m", 30, 576, 9, 1536, 3, "silu", "rms_norm",
                norm_first=True, gated=True, rotary=True, vocabulary=49152,
            ),
            TransformerShape("vit-mnist", 6, 64, 8, 128, 8, "gelu", "layer_norm", norm_first=True),
        )
    }
)  # fmt: skip


def find_shape(name: str) -> TransformerShape:
    """Return a known shape.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in SHAPES:
        raise UsageError(f"no transformer '{name}'; choose one of {', '.join(SHAPES)}")
    return SHAPES[name]


def list_operations(shape: TransformerShape, sequence: int) -> OperationTrace:
    """Return the operations of one sequence through all blocks: prefill of a decoder, or an encoder.

    Queries, keys and values are one product, as are the two of a gated MLP. Scores are computed in full, also where a
    causal mask will discard half. Embeddings, masks and requantising cost no operation of their own.

    Args:
        shape: the network.
        sequence: positions, a classification token included.

    Raises:
        UsageError: the sequence is empty.
    """
    if sequence < 1:
        raise UsageError(f"a sequence of {sequence} positions cannot run; give at least 1")
    writer = _Writer(shape, sequence, [])
    stream = "embeddings"
    for index in range(shape.layers):
        stream = _write_block(writer, f"layer{index}", stream)
    if shape.norm_first:
        stream = writer.operate("norm", shape.norm, shape.hidden, stream)
    if shape.vocabulary:
        writer.project("head", shape.hidden, shape.vocabulary, stream)
    return OperationTrace(f"{shape.name}, sequence {sequence}", tuple(writer.operations))


@dataclass
class _Writer:
    """Appends operations over one sequence; each call returns the name of what it wrote."""

    shape: TransformerShape
    sequence: int
    operations: list[OperationRecord]

    def project(self, name: str, inner: int, columns: int, source: str) -> str:
        """A product with weights."""
        operands = (
            OperandRecord(source, False, self.sequence * inner, FLOAT_BITS),
            OperandRecord(f"{name}.weight", True, inner * columns, FLOAT_BITS),
        )
        return self._append(
            OperationRecord(name, "matmul", 1, self.sequence, inner, columns, operands, FLOAT_BITS)
        )

    def attend(self, name: str, inner: int, columns: int, sources: tuple[str, str], first: int) -> str:
        """A product of activations per head; `first` elements of the first operand, keys or values as the second."""
        second = self.sequence * self.shape.key_width
        operands = (
            OperandRecord(sources[0], False, first, FLOAT_BITS),
            OperandRecord(sources[1], False, second, FLOAT_BITS),
        )
        heads = self.shape.heads
        return self._append(
            OperationRecord(name, "matmul", heads, self.sequence, inner, columns, operands, FLOAT_BITS)
        )

    def operate(self, name: str, kind: OperationKind, columns: int, *sources: str, batch: int = 1) -> str:
        """An operator on rows of `columns` elements."""
        elements = batch * self.sequence * columns
        operands = tuple(OperandRecord(source, False, elements, FLOAT_BITS) for source in sources)
        return self._append(
            OperationRecord(name, kind, batch, self.sequence, 0, columns, operands, FLOAT_BITS)
        )

    def _append(self, operation: OperationRecord) -> str:
        self.operations.append(operation)
        return operation.name


def _write_block(writer: _Writer, name: str, stream: str) -> str:
    """Append attention and MLP, each with its norm and its residual; return the name of the new stream."""
    shape = writer.shape
    for part, write in (("attention", _write_attention), ("mlp", _write_mlp)):
        read = stream
        if shape.norm_first:
            read = writer.operate(f"{name}.{part}_norm", shape.norm, shape.hidden, stream)
        made = write(writer, name, read)
        stream = writer.operate(f"{name}.{part}_add", "add", shape.hidden, made, stream)
        if not shape.norm_first:
            stream = writer.operate(f"{name}.{part}_norm", shape.norm, shape.hidden, stream)
    return stream


def _write_attention(writer: _Writer, name: str, stream: str) -> str:
    shape, sequence = writer.shape, writer.sequence
    joint = writer.project(f"{name}.qkv", shape.hidden, shape.hidden + 2 * shape.key_width, stream)
    turned = joint
    if shape.rotary:
        turned = writer.operate(f"{name}.rotate", "rotate", shape.hidden + shape.key_width, joint)
    queries = sequence * shape.hidden
    scores = writer.attend(f"{name}.scores", shape.head_width, sequence, (turned, turned), queries)
    shares = writer.operate(f"{name}.softmax", "softmax", sequence, scores, batch=shape.heads)
    weights = shape.heads * sequence * sequence
    mixed = writer.attend(f"{name}.values", sequence, shape.head_width, (shares, joint), weights)
    return writer.project(f"{name}.attention_out", shape.hidden, shape.hidden, mixed)


def _write_mlp(writer: _Writer, name: str, stream: str) -> str:
    shape = writer.shape
    wide = writer.project(f"{name}.mlp_in", shape.hidden, shape.mlp * (2 if shape.gated else 1), stream)
    active = writer.operate(f"{name}.{shape.activation}", shape.activation, shape.mlp, wide)
    if shape.gated:
        active = writer.operate(f"{name}.gate", "multiply", shape.mlp, active, wide)
    return writer.project(f"{name}.mlp_out", shape.mlp, shape.hidden, active)
