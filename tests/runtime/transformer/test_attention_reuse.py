"""test_attention_reuse.py: layers that share an attention map: exact where they must be, else refused."""

from __future__ import annotations

import graph_builder
import numpy as np
import onnx
import pytest
from conftest_models import build_small, draw_samples
from onnx import numpy_helper

from colonnade.runtime.errors import UsageError
from colonnade.runtime.quant import parse_scheme
from colonnade.runtime.transformer.attention_reuse import parse_groups, reuse_attention
from colonnade.runtime.transformer.graph import Graph
from colonnade.runtime.transformer.patterns import find_patterns
from colonnade.runtime.transformer.quantise import quantize_model
from colonnade.runtime.transformer.session import make_session


def share(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    graph = Graph(model)
    reuse_attention(graph, find_patterns(graph).attentions, parse_groups(text))
    return graph.finish()


def run(model: onnx.ModelProto) -> np.ndarray:
    session = make_session(model, 1)
    return np.concatenate([session.run(None, sample)[0].ravel() for sample in draw_samples(4)])


def test_groups_of_one_change_nothing() -> None:
    model = build_small(3)
    assert np.array_equal(run(share(model, "1,2-2,3")), run(model))


def test_equal_layers_may_share() -> None:
    """With the first layer's queries and keys, and its input, a second layer has the first one's map."""
    model = build_small(2)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for part in ("q_weight", "q_bias", "k_weight", "k_bias"):
        array = numpy_helper.to_array(stored[f"l0{part}"])
        stored[f"l1{part}"].CopyFrom(numpy_helper.from_array(array, f"l1{part}"))
    for node in model.graph.node:
        if node.output[0] in ("l1q_product", "l1k_product"):
            node.input[0] = "x"
    assert np.array_equal(run(share(model, "1-2")), run(model))
    assert not np.array_equal(run(share(build_small(2), "1-2")), run(build_small(2)))


def test_what_is_not_needed_goes() -> None:
    model = share(build_small(4), "1-2,3-4")
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Softmax") == 2
    assert operators.count("MatMul") == 4 * 8 - 2 * 3 + 1
    names = {tensor.name for tensor in model.graph.initializer}
    assert "l1v_weight" in names
    assert not {"l1q_weight", "l1k_weight", "l3q_bias"} & names


def test_shared_maps_are_quantised() -> None:
    samples = draw_samples(4)
    result = quantize_model(build_small(3), parse_scheme("w8a8"), samples, reuse=parse_groups("1-3"))
    operators = [node.op_type for node in result.model.graph.node]
    assert (operators.count("SoftmaxU8"), operators.count("MatMulInteger")) == (1, 1)
    exact, found = run(share(build_small(3), "1-3")), run(result.model)
    assert 10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()) > 25


@pytest.mark.parametrize("text", ["", "0-1", "2-1", "1-2,2-3", "1;2", "a", "1-", "1-2-3"])
def test_wrong_groups(text: str) -> None:
    with pytest.raises(UsageError, match=r"1-2,3-6|one group only"):
        parse_groups(text)


def test_layers_that_are_not_there() -> None:
    assert parse_groups("1-2, 4") == ((0, 1), (3,))
    with pytest.raises(UsageError, match="layer 4 cannot share attention: 2 attention layers"):
        share(build_small(2), "1-2,4")


def test_maps_of_different_shapes() -> None:
    builder = graph_builder.GraphBuilder()
    inputs, outputs = [], []
    for length in (5, 7):
        shapes = {"q": [1, 2, length, 16], "k": [1, 2, 16, length], "v": [1, 2, length, 16]}
        inputs += [graph_builder.describe_tensor(f"{part}{length}", "float", shapes[part]) for part in shapes]
        scores = builder.node("MatMul", [f"q{length}", f"k{length}"], f"scores{length}")
        shares = builder.node("Softmax", [scores], f"map{length}", axis=-1)
        builder.node("MatMul", [shares, f"v{length}"], f"y{length}")
        outputs.append(graph_builder.describe_tensor(f"y{length}", "float", shapes["v"]))
    with pytest.raises(
        UsageError, match=r"layers 1 and 2 cannot share attention: their maps are .*5, 5.*7, 7"
    ):
        share(builder.build("two", inputs, outputs), "1-2")
