"""test_stories_generation.py: a decoder that keeps its keys and values writes what it writes without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import stories260k
import stories_generation as generation

from colonnade.runtime.quant import parse_scheme
from colonnade.runtime.transformer.onnx_files import write_model
from colonnade.runtime.transformer.quantise import quantize_model
from colonnade.runtime.transformer.samples import Samples
from colonnade.runtime.transformer.session import load, make_session

INNER, WORDS, LONGEST = 48, 40, 64
OPENING = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high"
)


def open_model(model: onnx.ModelProto) -> generation.Step:
    session = make_session(model, 1)
    names = [entry.name for entry in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def open_whole(model: onnx.ModelProto) -> stories260k.Logits:
    run = open_model(model)
    return lambda ids: run(ids)[0]


def draw_weights(size: int = 8) -> stories260k.Weights:
    """Return a decoder of two layers, four heads that share two groups of keys and values, and random weights."""
    generator = np.random.default_rng(0)
    draw = lambda *shape: generator.normal(0, 0.3, shape).astype(np.float32)  # noqa: E731
    width = 4 * size
    angles = np.arange(LONGEST)[:, None] / 10.0 ** np.arange(size // 2)
    gains = np.ones((2, width), np.float32)
    return stories260k.Weights(
        4, 2, draw(WORDS, width), gains, draw(2, width, width), draw(2, 2 * size, width), draw(2, 2 * size, width),
        draw(2, width, width), gains, draw(2, INNER, width), draw(2, width, INNER), draw(2, INNER, width),
        np.ones(width, np.float32), np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32),
    )  # fmt: skip


def run_in_parts(
    run: generation.Step, cache: generation.Cache, ids: np.ndarray, ends: Sequence[int]
) -> np.ndarray:
    """Return the logits of ids (batch, seq) that go through the graph in several calls."""
    rows = []
    for part in np.split(ids, ends, axis=1):
        logits, *present = run(part, *cache)
        cache = tuple(present)
        rows.append(logits)
    return np.concatenate(rows, axis=1)


@pytest.mark.parametrize("ends", [(), (1,), (7, 8, 9), range(1, 30)])
def test_parts_give_what_the_whole_gives(ends) -> None:
    weights = draw_weights()
    ids = np.random.default_rng(1).integers(0, WORDS, (3, 30))
    whole = open_whole(stories260k.build_stories(weights))(ids)
    run = open_model(generation.build_cached_stories(weights))
    parts = run_in_parts(run, generation.make_cache(weights, 3), ids, ends)
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    assert np.ptp(whole, axis=1).max() > 1


def test_the_cache_is_of_use() -> None:
    """Another past gives other logits, and a row's position counts."""
    weights = draw_weights()
    run = open_model(generation.build_cached_stories(weights))
    token = np.array([[3]])
    first = run(token, *generation.make_cache(weights))
    second = run(token, *first[1:])
    other = run(token, *run(np.array([[9]]), *generation.make_cache(weights))[1:])
    assert [array.shape for array in second[1:]] == [(1, 2, 2, 8)] * 4
    assert np.abs(second[0] - other[0]).max() > 0.01
    assert not np.array_equal(second[1][:, 0], second[1][:, 1])


def test_wide_heads_in_integers() -> None:
    """Where attention is integers throughout, a cache changes no bit."""
    weights = draw_weights(16)
    ids = np.random.default_rng(1).integers(0, WORDS, (8, 30))
    empty = {f"past_{n}": array for n, array in enumerate(generation.make_cache(weights, len(ids)))}
    scheme = parse_scheme("w8a8")
    whole = quantize_model(stories260k.build_stories(weights), scheme, Samples({"input_ids": ids}))
    cached = quantize_model(
        generation.build_cached_stories(weights), scheme, Samples({"input_ids": ids} | empty)
    )
    assert whole.integer_attentions == cached.integer_attentions == 2
    exact = open_whole(whole.model)(ids)
    parts = run_in_parts(open_model(cached.model), generation.make_cache(weights, 8), ids, (4, 5, 6, 20))
    assert np.array_equal(parts, exact)
    assert len(np.unique(exact)) > 1000


@pytest.fixture(scope="module")
def weights(model_folder: Path) -> stories260k.Weights:
    path = model_folder / "stories260k" / "stories260K.bin"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return stories260k.read_weights(path)


@pytest.fixture(scope="module")
def tokens(weights, model_folder: Path) -> stories260k.StoryTokens:
    return stories260k.StoryTokens(model_folder / "stories260k" / "tok512.bin", len(weights.embedding))


def test_stories_in_float(weights, tokens) -> None:
    run = open_model(generation.build_cached_stories(weights))
    written = generation.generate(run, generation.make_cache(weights), [generation.START], 120)
    assert tokens.decode(written).startswith(OPENING)
    whole = open_whole(stories260k.build_stories(weights))
    assert generation.generate_anew(whole, [generation.START], 120) == written


def test_stories_in_integers(weights, tokens, data_folder, tmp_path: Path) -> None:
    """Both graphs have the same ranges and rounding; the same tokens come, from a start of one token and of many."""
    texts = stories260k.read_stories(data_folder / "text" / "tinystories" / "validation_first_half.txt")
    stories = [tokens.encode(text, 512) for text in texts]
    ids = np.array([story[:256] for story in stories[150:] if len(story) >= 256][:32])
    empty = {f"past_{n}": array for n, array in enumerate(generation.make_cache(weights, len(ids)))}
    scheme = parse_scheme("w8a8")
    whole = quantize_model(stories260k.build_stories(weights), scheme, Samples({"input_ids": ids}), threads=1)
    cached = quantize_model(
        generation.build_cached_stories(weights), scheme, Samples({"input_ids": ids} | empty), threads=1
    )
    assert [item.name for item in cached.linears] == [item.name for item in whole.linears]
    write_model(cached.model, tmp_path / "cached.onnx")
    session = load(tmp_path / "cached.onnx", threads=1)

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return list(session.run(dict(zip(session.inputs, arrays, strict=True))).values())

    anew = open_whole(whole.model)
    for start in ([generation.START], stories[0][:20], stories[1][:60]):
        written = generation.generate(run, generation.make_cache(weights), start, 100)
        assert generation.generate_anew(anew, start, 100) == written
    written = generation.generate(run, generation.make_cache(weights), [generation.START], 100)
    # The same girl; what she does next hangs on the ranges, where two tokens are nearly as likely.
    assert tokens.decode(written).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play"
    )
