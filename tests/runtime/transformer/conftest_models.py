"""conftest_models.py: a small transformer of random weights, and samples for it."""

from __future__ import annotations

import graph_builder
import numpy as np

from colonnade.runtime.transformer.samples import Samples

WIDTH, HEADS, INNER, WORDS = 32, 2, 64, 300


def build_small(layers: int = 2, *, extra: str | None = None):
    """Return a decoder-like encoder: post-norm, GELU, a mask; `extra` is an operator put behind the last layer."""
    generator = np.random.default_rng(0)
    builder = graph_builder.GraphBuilder()
    draw = lambda *shape: generator.normal(0, 0.3, shape)  # noqa: E731
    x = builder.node("Gather", [builder.constant("words", draw(WORDS, WIDTH)), "ids"], "x")
    builder.constant("parted", [0, 0, HEADS, WIDTH // HEADS], np.int64)
    builder.constant("joined", [0, 0, WIDTH], np.int64)
    builder.constant("scale", (WIDTH // HEADS) ** -0.5)
    for name, value in (("one", 1.0), ("closed", -10000.0)):
        builder.constant(name, value)
    builder.constant("axes", [1, 2], np.int64)
    builder.node("Cast", ["mask"], "mask_float", to=1)
    builder.node("Unsqueeze", ["mask_float", "axes"], "mask_wide")
    builder.node("Sub", ["one", "mask_wide"], "mask_inverse")
    builder.node("Mul", ["mask_inverse", "closed"], "mask_bias")
    for layer in range(layers):
        at = f"l{layer}"
        parts = []
        for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            rows = builder.linear(x, f"{at}{part}", draw(WIDTH, WIDTH), draw(WIDTH))
            parted = builder.node("Reshape", [rows, "parted"], f"{at}{part}_parted")
            parts.append(builder.node("Transpose", [parted], f"{at}{part}_first", perm=order))
        scores = builder.node("MatMul", parts[:2], f"{at}_scores")
        scaled = builder.node("Mul", [scores, "scale"], f"{at}_scaled")
        masked = builder.node("Add", [scaled, "mask_bias"], f"{at}_masked")
        shares = builder.node("Softmax", [masked], f"{at}_map", axis=-1)
        mixed = builder.node("MatMul", [shares, parts[2]], f"{at}_mixed")
        last = builder.node("Transpose", [mixed], f"{at}_last", perm=[0, 2, 1, 3])
        rows = builder.node("Reshape", [last, "joined"], f"{at}_rows")
        y = builder.node(
            "Add", [x, builder.linear(rows, f"{at}o", draw(WIDTH, WIDTH), draw(WIDTH))], f"{at}_y"
        )
        y = norm(builder, y, f"{at}_norm1", draw)
        inner = builder.node(
            "Gelu", [builder.linear(y, f"{at}f1", draw(WIDTH, INNER), draw(INNER))], f"{at}_gelu"
        )
        z = builder.node(
            "Add", [y, builder.linear(inner, f"{at}f2", draw(INNER, WIDTH), draw(WIDTH))], f"{at}_z"
        )
        x = norm(builder, z, f"{at}_norm2", draw)
    if extra is not None:
        x = builder.node(extra, [x], "extra")
    builder.linear(x, "out", draw(WIDTH, 40), draw(40))
    inputs = [graph_builder.describe_tensor(name, "int64", ["batch", "seq"]) for name in ("ids", "mask")]
    return builder.build(
        "small", inputs, [graph_builder.describe_tensor("out", "float", ["batch", "seq", 40])]
    )


def norm(builder, x, name, draw):
    gain, bias = (
        builder.constant(f"{name}_gain", 1 + draw(WIDTH)),
        builder.constant(f"{name}_bias", draw(WIDTH)),
    )
    return builder.node("LayerNormalization", [x, gain, bias], name, axis=-1, epsilon=1e-6)


def draw_samples(count: int = 12, length: int = 20) -> Samples:
    """Return random ids whose ends are padding."""
    generator = np.random.default_rng(1)
    ids = generator.integers(0, WORDS, (count, length))
    mask = (np.arange(length) < generator.integers(length // 2, length + 1, (count, 1))).astype(np.int64)
    return Samples({"ids": ids * mask, "mask": mask})
