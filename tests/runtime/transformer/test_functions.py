"""test_functions.py: the ONNX functions give the integers of lut.reference, on onnxruntime alone."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from colonnade.runtime.lut import Levels, build_norm, build_softmax, fit, quantise_affine, reference  # noqa: E402
from colonnade.runtime.transformer.function_writer import DOMAIN  # noqa: E402
from colonnade.runtime.transformer.functions import write_function  # noqa: E402
from colonnade.runtime.transformer.session import make_session  # noqa: E402

OPSETS = (12, 13, 17, 18, 20)


def run_function(name, opset, *arrays):
    """Run one function on constants and one input, the first array."""
    helper, make = onnx.helper, onnx.numpy_helper.from_array
    names = [f"i{place}" for place in range(len(arrays))]
    kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    graph = helper.make_graph(
        [helper.make_node(name, names, ["y"], domain=DOMAIN)],
        "one",
        [helper.make_tensor_value_info("i0", kind, [None] * arrays[0].ndim)],
        [helper.make_empty_tensor_value_info("y")],
        [make(array, label) for array, label in zip(arrays[1:], names[1:], strict=True)],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        graph, opset_imports=opsets, functions=[write_function(name, opset)], ir_version=8
    )
    return make_session(model, 1).run(None, {"i0": arrays[0]})[0]


def unpack(table):
    limits = (table.shift, table.input_low, table.input_high, table.low, table.high)
    return table.breakpoints, table.slopes, table.intercepts, np.array(limits, np.int64)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("function", ["gelu", "silu", "sigmoid", "tanh"])
def test_tables(function: str, opset: int) -> None:
    x = np.concatenate([np.arange(-(2**15), 2**15), [-(2**31), 2**31 - 1, 10**6, -(10**6)]]).astype(np.int32)
    inputs = Levels.signed(8.0 / 2**15, 16)
    byte = fit(function).to_levels(inputs, Levels.unsigned(8.0 / 255, 8, 20))
    wide = fit(function).to_levels(inputs, Levels.signed(8.0 / 2**15, 16))
    for name, table in (("TableU8", byte), ("TableI32", wide)):
        found = run_function(name, opset, x.reshape(4, -1), *unpack(table))
        expected = reference.apply(x.reshape(4, -1), table)
        assert found.dtype == (np.uint8 if name == "TableU8" else np.int32)
        assert np.array_equal(found, expected)
        assert len(np.unique(found)) > 30


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("name", "bits"), [("SoftmaxU8", 8), ("SoftmaxU16", 16)])
def test_softmax(name: str, bits: int, opset: int) -> None:
    generator = np.random.default_rng(opset)
    for scale, width in ((5e-4, 33), (1 / 16, 128), (3.0, 7), (2e-4, 1)):
        tables = build_softmax(scale, output_bits=bits)
        x = np.rint(generator.normal(0, 3, (2, 5, width)) / scale).astype(np.int32)
        x[0, 0, width // 2 :] = -(2**24)  # masked
        x[0, 1] = -(2**29)
        x[0, 2] = 2**29
        found = run_function(name, opset, x, *unpack(tables.exponential), *unpack(tables.reciprocal))
        expected = reference.softmax(x, tables)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", ["LayerNormU8", "LayerNormI32", "RmsNormU8", "RmsNormI32"])
def test_norms(name: str, opset: int) -> None:
    generator = np.random.default_rng(opset)
    norm = reference.layer_norm if name.startswith("Layer") else reference.rms_norm
    ends = (0, 255) if name.endswith("U8") else (-(2**15), 2**15 - 1)
    for width in (1, 63, 384):
        gamma, beta = quantise_affine(
            generator.normal(1, 0.3, width),
            generator.normal(0, 1, width),
            6 / ends[1],
            100 if ends[0] == 0 else 0,
        )
        for spread in (0, 2, 300, 20_000, 10**7):
            tables = build_norm(1e-3, 1e-5, low=ends[0], high=ends[1])
            x = np.rint(generator.normal(spread / 3, spread, (3, 4, width))).astype(np.int32)
            levels = np.array([tables.epsilon, tables.low, tables.high], np.int64)
            found = run_function(name, opset, x, *unpack(tables.rsqrt), levels, gamma, beta)
            assert np.array_equal(found, norm(x, tables, gamma, beta))
