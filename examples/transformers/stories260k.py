"""stories260k.py: a tiny language model as an ONNX graph, its tokeniser, and its perplexity on stories."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from graph_builder import GraphBuilder, describe_tensor
from numpy.typing import NDArray

_STORY_START = re.compile(r"(Once upon a time|Once there|One day,? (a|there|in)|There (was|once)|In a )")
_NO_MERGE = float("-inf")
_CLOSED = -1e9  # added to the score of a later token
Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]
Remember = Callable[[str], str]  # from the keys or values of the new positions to those of all positions


@dataclass(frozen=True, eq=False)
class Weights:
    """Arrays of a llama2.c file, matrices (layers, out, in); `rotation` is cos and sin (2, seq, head/2)."""

    heads: int
    groups: int  # heads of keys and values
    embedding: NDArray[np.float32]
    attention_gain: NDArray[np.float32]
    query: NDArray[np.float32]
    key: NDArray[np.float32]
    value: NDArray[np.float32]
    out: NDArray[np.float32]
    feed_gain: NDArray[np.float32]
    gate: NDArray[np.float32]
    down: NDArray[np.float32]
    up: NDArray[np.float32]
    final_gain: NDArray[np.float32]
    rotation: NDArray[np.float32]


def read_weights(path: Path) -> Weights:
    """Read a llama2.c file with tied embeddings."""
    data = path.read_bytes()
    dim, hidden, layers, heads, groups, words, longest = struct.unpack("<7i", data[:28])
    numbers = np.frombuffer(data, np.float32, offset=28)
    size = dim // heads
    shapes = [
        (words, dim), (layers, dim), (layers, dim, dim), (layers, groups * size, dim),
        (layers, groups * size, dim), (layers, dim, dim), (layers, dim), (layers, hidden, dim),
        (layers, dim, hidden), (layers, hidden, dim), (dim,), (2, longest, size // 2),
    ]  # fmt: skip
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = [part.reshape(shape) for part, shape in zip(np.split(numbers, ends[:-1]), shapes, strict=True)]
    return Weights(heads, groups, *parts)


def build_stories(weights: Weights) -> onnx.ModelProto:
    """Return the decoder: `input_ids` int64 (batch, seq) to `logits` (batch, seq, words); no cache."""
    builder = GraphBuilder()
    builder.constant("start", [0], np.int64)
    builder.node("Shape", ["input_ids"], "end", start=1, end=2)
    write_decoder(builder, weights, lambda rows: rows)
    return builder.build("stories260K", [describe_ids()], [describe_logits(weights)])


def describe_ids() -> onnx.ValueInfoProto:
    """Return the decoder's first input."""
    return describe_tensor("input_ids", "int64", ["batch", "seq"])


def describe_logits(weights: Weights) -> onnx.ValueInfoProto:
    """Return the decoder's first output."""
    return describe_tensor("logits", "float", ["batch", "seq", len(weights.embedding)])


def write_decoder(builder: GraphBuilder, weights: Weights, remember: Remember) -> None:
    """Write what makes `logits` of `input_ids`, which stand at the positions from `start` to `end`, (1,) each.

    Args:
        builder: to write to; it holds the tensors `start` and `end`.
        weights: of the decoder.
        remember: called with the name of keys and of values (batch, seq, groups, size), layer after layer; returns the
            name of those of all positions up to `end`.
    """
    _store_constants(builder, weights)
    x = builder.node("Gather", [builder.constant("embedding", weights.embedding), "input_ids"], "embedded")
    for layer in range(len(weights.query)):
        x = _attend(builder, weights, layer, x, remember)
        x = _feed(builder, weights, layer, x)
    x = _norm(builder, x, weights.final_gain, "final")
    builder.linear(x, "logits", weights.embedding.T)


def _store_constants(builder: GraphBuilder, weights: Weights) -> None:
    _, dim = weights.embedding.shape
    longest, half = weights.rotation.shape[1:]
    size, heads, groups = 2 * half, weights.heads, weights.groups
    for name, value in (
        ("axis_0", [0]), ("axis_3", [3]), ("axis_last", [-1]), ("zero", [0]), ("both_axes", [0, 1]),
        ("query_shape", [0, 0, heads, size]), ("key_shape", [0, 0, groups, size]), ("joined_shape", [0, 0, dim]),
        ("repeats", [1, 1, 1, heads // groups, 1]),
    ):  # fmt: skip
        builder.constant(name, value, np.int64)
    builder.constant("epsilon", 1e-5)
    builder.constant("scale", size**-0.5)
    cosine, sine = np.repeat(weights.rotation, 2, axis=2).reshape(2, longest, 1, size)
    swap = np.zeros((size, size), np.float32)  # x @ swap turns each pair (a, b) into (-b, a)
    swap[np.arange(1, size, 2), np.arange(0, size, 2)] = -1
    swap[np.arange(0, size, 2), np.arange(1, size, 2)] = 1
    builder.constant("swap", swap)
    for name, table in (("cosine", cosine), ("sine", sine)):
        builder.node("Slice", [builder.constant(f"{name}_table", table), "start", "end", "axis_0"], name)
    builder.constant("whole_mask", np.triu(np.full((longest, longest), _CLOSED), 1))
    builder.node("Concat", ["start", "zero"], "corner", axis=0)
    builder.node("Concat", ["end", "end"], "ends", axis=0)
    builder.node("Slice", ["whole_mask", "corner", "ends", "both_axes"], "mask")


def _norm(builder: GraphBuilder, x: str, gain: NDArray[np.float32], name: str) -> str:
    builder.node("Mul", [x, x], f"{name}_square")
    builder.node("ReduceMean", [f"{name}_square", "axis_last"], f"{name}_mean", keepdims=1)
    builder.node("Add", [f"{name}_mean", "epsilon"], f"{name}_raised")
    builder.node("Sqrt", [f"{name}_raised"], f"{name}_root")
    builder.node("Div", [x, f"{name}_root"], f"{name}_unit")
    return builder.node("Mul", [f"{name}_unit", builder.constant(f"{name}_gain", gain)], f"{name}_norm")


def _rotate(builder: GraphBuilder, x: str) -> str:
    straight = builder.node("Mul", [x, "cosine"], f"{x}_straight")
    swapped = builder.node("MatMul", [x, "swap"], f"{x}_swapped")
    crossed = builder.node("Mul", [swapped, "sine"], f"{x}_crossed")
    return builder.node("Add", [straight, crossed], f"{x}_rotated")


def _repeat(builder: GraphBuilder, x: str) -> str:
    wide = builder.node("Unsqueeze", [x, "axis_3"], f"{x}_wide")
    tiled = builder.node("Tile", [wide, "repeats"], f"{x}_tiled")
    return builder.node("Reshape", [tiled, "query_shape"], f"{x}_repeated")


def _attend(builder: GraphBuilder, weights: Weights, layer: int, x: str, remember: Remember) -> str:
    at = f"layer{layer}"
    normed = _norm(builder, x, weights.attention_gain[layer], f"{at}_attention")

    def split(part: NDArray[np.float32], name: str, shape: str) -> str:
        rows = builder.linear(normed, f"{at}_{name}", part[layer].T)
        return builder.node("Reshape", [rows, shape], f"{at}_{name}_heads")

    query = _rotate(builder, split(weights.query, "query", "query_shape"))
    key = _repeat(builder, remember(_rotate(builder, split(weights.key, "key", "key_shape"))))
    value = _repeat(builder, remember(split(weights.value, "value", "key_shape")))
    query = builder.node("Transpose", [query], f"{at}_query_first", perm=[0, 2, 1, 3])
    key = builder.node("Transpose", [key], f"{at}_key_first", perm=[0, 2, 3, 1])
    value = builder.node("Transpose", [value], f"{at}_value_first", perm=[0, 2, 1, 3])
    builder.node("MatMul", [query, key], f"{at}_scores")
    builder.node("Mul", [f"{at}_scores", "scale"], f"{at}_scaled")
    builder.node("Add", [f"{at}_scaled", "mask"], f"{at}_masked")
    builder.node("Softmax", [f"{at}_masked"], f"{at}_map", axis=-1)
    builder.node("MatMul", [f"{at}_map", value], f"{at}_mixed")
    builder.node("Transpose", [f"{at}_mixed"], f"{at}_last", perm=[0, 2, 1, 3])
    builder.node("Reshape", [f"{at}_last", "joined_shape"], f"{at}_joined")
    out = builder.linear(f"{at}_joined", f"{at}_out", weights.out[layer].T)
    return builder.node("Add", [x, out], f"{at}_attended")


def _feed(builder: GraphBuilder, weights: Weights, layer: int, x: str) -> str:
    at = f"layer{layer}"
    normed = _norm(builder, x, weights.feed_gain[layer], f"{at}_feed")
    gate = builder.linear(normed, f"{at}_gate", weights.gate[layer].T)
    builder.node("Sigmoid", [gate], f"{at}_sigmoid")
    builder.node("Mul", [gate, f"{at}_sigmoid"], f"{at}_silu")
    up = builder.linear(normed, f"{at}_up", weights.up[layer].T)
    inner = builder.node("Mul", [f"{at}_silu", up], f"{at}_inner")
    down = builder.linear(inner, f"{at}_down", weights.down[layer].T)
    return builder.node("Add", [x, down], f"{at}_fed")


class StoryTokens:
    """The tokeniser that belongs to a llama2.c model."""

    def __init__(self, path: Path, words: int) -> None:
        data, place = path.read_bytes(), 4
        self.pieces: list[bytes] = []
        self._scores: list[float] = []
        for _ in range(words):
            score, length = struct.unpack("<fi", data[place : place + 8])
            self.pieces.append(data[place + 8 : place + 8 + length])
            self._scores.append(score)
            place += 8 + length
        self._ids: dict[bytes, int] = {}
        for number, piece in enumerate(self.pieces):
            self._ids.setdefault(piece, number)

    def encode(self, text: str, longest: int) -> list[int]:
        """Return the ids of a text after the start token, at most `longest` of them."""
        ids = [self._ids[b" "]] if text else []
        for character in text[: longest * 2 * max(map(len, self.pieces))]:  # more than they can hold
            data = character.encode("utf-8")
            ids += [self._ids[data]] if data in self._ids else [byte + 3 for byte in data]
        scores = [self._score_pair(*pair) for pair in pairwise(ids)]
        while scores and (best := max(scores)) > _NO_MERGE:
            at = scores.index(best)  # the first of equal ones
            ids[at : at + 2] = [self._ids[self.pieces[ids[at]] + self.pieces[ids[at + 1]]]]
            del scores[at]
            for place in range(max(at - 1, 0), min(at + 1, len(scores))):
                scores[place] = self._score_pair(ids[place], ids[place + 1])
        return [1, *ids][:longest]

    def _score_pair(self, left: int, right: int) -> float:
        """Return the score of the token that two neighbours make."""
        merged = self._ids.get(self.pieces[left] + self.pieces[right])
        return _NO_MERGE if merged is None else self._scores[merged]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        text = b""
        for before, number in zip([0, *ids], ids, strict=False):
            piece = self.pieces[number]
            piece = piece[1:] if before == 1 and piece[:1] == b" " else piece
            piece = bytes([int(piece[3:5], 16)]) if len(piece) == 6 and piece[:3] == b"<0x" else piece
            text += b"" if number in (1, 2) else piece
        return text.decode("utf-8", "replace")


def read_stories(path: Path) -> list[str]:
    """Return the stories of the file, which has no separator: a paragraph that begins like one starts the next."""
    paragraphs = [part for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    stories: list[list[str]] = []
    for paragraph in paragraphs:
        if not stories or _STORY_START.match(paragraph):
            stories.append([])
        stories[-1].append(paragraph)
    return ["\n\n".join(story).strip() for story in stories]


def measure_perplexity(logits: Logits, stories: Sequence[Sequence[int]]) -> float:
    """Return exp of the mean loss over all next tokens of the stories, each given as ids."""
    loss, count = 0.0, 0
    for ids in stories:
        rows = np.asarray(logits(np.array([ids], np.int64)), np.float64)[0]
        rows -= rows.max(axis=-1, keepdims=True)
        rows -= np.log(np.exp(rows).sum(axis=-1, keepdims=True))
        loss -= float(rows[np.arange(len(ids) - 1), list(ids[1:])].sum())
        count += len(ids) - 1
    return float(np.exp(loss / count))
