"""stories_generation.py: writes stories token by token, with a graph that takes and gives its keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np
import onnx
from graph_builder import GraphBuilder, describe_tensor
from numpy.typing import NDArray
from stories260k import Logits, Weights, describe_ids, describe_logits, write_decoder

START = 1  # the token before every story
Cache = tuple[
    NDArray[np.float32], ...
]  # keys, values of each layer in turn, (batch, positions, groups, size)
Step = Callable[..., Sequence[NDArray[np.float32]]]  # (ids, *cache) to (logits, *cache)


def build_cached_stories(weights: Weights) -> onnx.ModelProto:
    """Return the decoder with a cache, for one token or many at a time.

    `input_ids` int64 (batch, seq) and `past_0`, `past_1`, ... (batch, past, groups, size), keys and values of each
    layer in turn, become `logits` (batch, seq, words) and `present_0`, ... (batch, past + seq, groups, size).
    """
    builder = GraphBuilder()
    builder.node("Shape", ["past_0"], "start", start=1, end=2)
    builder.node("Shape", ["input_ids"], "length", start=1, end=2)
    builder.node("Add", ["start", "length"], "end")
    numbers = iter(range(_count_arrays(weights)))

    def remember(rows: str) -> str:
        number = next(numbers)
        return builder.node("Concat", [f"past_{number}", rows], f"present_{number}", axis=1)

    write_decoder(builder, weights, remember)
    inputs, outputs = (_describe_cache(weights, name) for name in ("past", "present"))
    return builder.build(
        "stories260K, cached", [describe_ids(), *inputs], [describe_logits(weights), *outputs]
    )


def make_cache(weights: Weights, batch: int = 1) -> Cache:
    """Return the cache before the first token: no positions."""
    empty = np.zeros((batch, 0, *_find_row(weights)), np.float32)
    return tuple(repeat(empty, _count_arrays(weights)))


def generate(run: Step, cache: Cache, start: Sequence[int], count: int) -> list[int]:
    """Return `start` and the `count` likeliest next tokens, each chosen after those before it.

    Args:
        run: the graph of `build_cached_stories`.
        cache: of what comes before `start`.
        start: one token or more; they go through the graph in one call.
        count: how many tokens to add.
    """
    ids, fresh = list(start), list(start)
    for _ in range(count):
        logits, *present = run(np.array([fresh], np.int64), *cache)
        cache, fresh = tuple(present), [_choose(logits)]
        ids += fresh
    return ids


def generate_anew(run: Logits, start: Sequence[int], count: int) -> list[int]:
    """Return what `generate` returns, by the graph without a cache: all tokens go through it again each time."""
    ids = list(start)
    for _ in range(count):
        ids.append(_choose(run(np.array([ids], np.int64))))
    return ids


def _choose(logits: NDArray[np.float32]) -> int:
    return int(logits[0, -1].argmax())


def _count_arrays(weights: Weights) -> int:
    return 2 * len(weights.key)


def _find_row(weights: Weights) -> tuple[int, int]:
    """Return groups and size: the shape of one position's keys or values."""
    return weights.groups, weights.key.shape[1] // weights.groups


def _describe_cache(weights: Weights, name: str) -> list[onnx.ValueInfoProto]:
    shape = ["batch", f"{name}_positions", *_find_row(weights)]
    return [describe_tensor(f"{name}_{number}", "float", shape) for number in range(_count_arrays(weights))]
