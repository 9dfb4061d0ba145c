"""test_patterns.py: every spelling of a norm, a curve and an attention is found; what only looks like one is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import helper, numpy_helper

from colonnade.runtime.transformer.graph import Graph
from colonnade.runtime.transformer.patterns import Patterns, find_patterns


def find(lines: str, opset: int = 17, outputs: str = "y", **constants) -> Patterns:
    """Find patterns in a graph of lines such as "y = Add x one"; x is (batch, seq, 8)."""
    nodes = []
    for line in lines.strip().splitlines():
        output, call = line.strip().split(" = ")
        operator, *inputs = call.split()
        attributes = {}
        while inputs and "=" in inputs[-1]:
            name, value = inputs.pop().split("=")
            attributes[name] = [int(part) for part in value.split(",")] if "," in value else int(value)
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
    values = {
        "one": 1.0,
        "half": 0.5,
        "two": 2.0,
        "three": 3.0,
        "root2": math.sqrt(2),
        "iroot2": math.sqrt(0.5),
    }
    values |= {"eps": 1e-5, "minus_half": -0.5, "c": 0.044715, "k": math.sqrt(2 / math.pi), **constants}
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()]
    stored.append(numpy_helper.from_array(np.array([-1], np.int64), "last"))
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [make("x", 1, ["batch", "seq", 8]), make("z", 1, ["batch", "seq", 8])],
        [make(name, 1, None) for name in outputs.split()],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return find_patterns(Graph(model))


GAIN, BIAS = np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8)
ERF = "a = Div x root2\nb = Erf a\nc1 = Add b one\n"
TANH = "p = Pow x three\nq = Mul p c\nr = Add x q\ns = Mul r k\nt = Tanh s\nu = Add t one\n"


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ("y = Gelu x", "gelu"),
        (ERF + "d = Mul x c1\ny = Mul d half", "gelu"),
        (ERF + "d = Mul x half\ny = Mul d c1", "gelu"),
        (ERF + "d = Mul c1 half\ny = Mul d x", "gelu"),
        ("a = Mul x iroot2\nb = Erf a\nc1 = Add one b\nd = Mul c1 x\ny = Div d two", "gelu"),
        (TANH + "v = Mul x half\ny = Mul v u", "gelu_tanh"),
        (TANH + "v = Mul u x\ny = Mul half v", "gelu_tanh"),
        ("a = Sigmoid x\ny = Mul x a", "silu"),
        ("a = Sigmoid x\ny = Mul a x", "silu"),
        ("y = Sigmoid x", "sigmoid"),
        ("y = Tanh x", "tanh"),
    ],
)
def test_curves(lines: str, kind: str) -> None:
    opset = 20 if "Gelu" in lines else 12
    found = find(lines, opset)
    assert [(curve.kind, curve.input, curve.output) for curve in found.curves] == [(kind, "x", "y")]
    assert len(found.curves[0].nodes) == len(lines.strip().splitlines())
    assert found.others == ()


def test_a_curve_whose_middle_is_used_elsewhere_shrinks() -> None:
    found = find("a = Sigmoid x\nb = Mul x a\ny = Add a b")
    assert [(curve.kind, curve.output) for curve in found.curves] == [("sigmoid", "a")]


@pytest.mark.parametrize(
    "lines", ["y = HardSwish x", "a = Sigmoid x\nb = Mul a z\ny = Add b b", "y = Relu x", "y = Elu x"]
)
def test_other_curves_are_left_alone(lines: str) -> None:
    kinds = [curve.kind for curve in find(lines).curves]
    assert kinds == (["sigmoid"] if "Sigmoid" in lines else [])


@pytest.mark.parametrize("square", ["p = Pow d two", "p = Mul d d"])
@pytest.mark.parametrize(
    "division",
    ["s = Sqrt e\nn = Div d s", "s = Sqrt e\nt = Reciprocal s\nn = Mul d t", "s = Pow e minus_half\nn = Mul s d",
     "s = Pow e half\nn = Div d s", "s = Sqrt e\nt = Div one s\nn = Mul d t"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norms_in_parts(kind: str, division: str, square: str) -> None:
    head = "m = ReduceMean x last keepdims=1\nd = Sub x m\n" if kind == "layer" else ""
    body = f"{square}\nv = ReduceMean p last keepdims=1\ne = Add v eps\n{division}\nw = Mul n gain\n"
    lines = head + body + ("y = Add w bias" if kind == "layer" else "y = Mul w one")
    if kind == "rms":
        lines = lines.replace(" d", " x")
    found = find(lines, 18, gain=GAIN, bias=BIAS)
    (norm,) = found.norms
    assert (norm.kind, norm.input) == (kind, "x")
    assert norm.output == ("y" if kind == "layer" else "w")
    assert norm.epsilon == pytest.approx(1e-5)
    assert norm.gain == pytest.approx(GAIN)
    assert (norm.bias is not None) == (kind == "layer")


def test_a_norm_with_a_shared_or_double_subtraction() -> None:
    rest = "p = Pow d two\nv = ReduceMean p last keepdims=1\ne = Add v eps\ns = Sqrt e\n"
    double = (
        "m = ReduceMean x last keepdims=1\nd = Sub x m\nd2 = Sub x m\n"
        + rest
        + "n = Div d2 s\ny = Mul n gain"
    )
    assert [norm.kind for norm in find(double, 18, gain=GAIN).norms] == ["layer"]
    leaking = (
        "m = ReduceMean x last keepdims=1\nd = Sub x m\n" + rest + "n = Div d s\nw = Mul n gain\ny = Add w m"
    )
    assert find(leaking, 18, gain=GAIN).norms == ()


@pytest.mark.parametrize(
    "scores",
    [
        "b = Mul a half\nd = Add b mask",
        "b = Div a two\nd = Add mask b",
        "d = Add a mask",
    ],
)
def test_attention(scores: str) -> None:
    lines = f"t = Transpose z perm=0,2,1\na = MatMul x t\n{scores}\ns = Softmax d axis=-1\ny = MatMul s z"
    (attention,) = find(lines, mask=np.zeros((1, 5))).attentions
    assert (attention.left, attention.right, attention.mask) == ("x", "t", "mask")
    assert attention.scale == (0.5 if "b" in scores else 1.0)
    assert [(mix.value, mix.output) for mix in attention.mixes] == [("z", "y")]


def test_a_mask_that_is_scaled_with_the_scores_is_not_an_attention() -> None:
    scores = "t = Transpose z perm=0,2,1\na = MatMul x t\nb = Add a mask\nd = Mul b half\n"
    lines = scores + "s = Softmax d axis=-1\ny = MatMul s z"
    found = find(lines, mask=np.zeros((1, 5)))
    assert found.attentions == ()
    assert len(found.softmaxes) == 1


@pytest.mark.parametrize(("axis", "count"), [(-1, 1), (2, 1), (1, 0)])
def test_softmax_over_the_last_axis_only(axis: int, count: int) -> None:
    assert len(find(f"y = Softmax x axis={axis}").softmaxes) == count


def test_linears() -> None:
    weight = np.arange(24.0).reshape(8, 3)
    (linear,) = find("a = MatMul x w\ny = Add b a", w=weight, b=[1, 2, 3]).linears
    assert (linear.output, linear.bias.tolist()) == ("y", [1, 2, 3])
    (linear,) = find("a = MatMul x w\ny = Add a a", w=weight).linears
    assert (linear.output, linear.bias) == ("a", None)
    (linear,) = find("t = Reshape x flat\ny = Gemm t w b transB=1", w=weight.T, b=[1, 2, 3], flat=0).linears
    assert np.array_equal(linear.weight, weight)
    (linear,) = find("v = Transpose w perm=1,0\ny = MatMul x v", w=weight.T).linears
    assert np.array_equal(linear.weight, weight)


def test_what_is_left_is_told() -> None:
    found = find("a = Relu x\nb = Relu a\nc1 = Elu b\ny = Softmax c1 axis=-1")
    assert found.others == (("Relu", 2), ("Elu", 1))
