"""Number formats: dINT as Eq. 5 and 6 give it, uniform, ternary; their error tables, codes and integer images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.runtime.errors import UsageError
from colonnade.runtime.quant import (
    BinaryCodingFormat,
    DIntFormat,
    QuantisedTensor,
    TernaryFormat,
    UniformFormat,
    WeightFormat,
    pack_codes,
    unpack_codes,
)
from colonnade.runtime.quant.dint import DIntLevels
from colonnade.runtime.quant.formats import NumberFormat
from colonnade.runtime.quant.matrices import list_groups
from colonnade.runtime.quant.rounding import round_nearest

FORMATS: tuple[NumberFormat, ...] = (
    UniformFormat(8),
    UniformFormat(8, symmetric=False),
    UniformFormat(4),
    UniformFormat(4, symmetric=False),
    UniformFormat(2, symmetric=False),
    DIntFormat(6),
    DIntFormat(4),
    DIntFormat(3),
    DIntFormat(2),
    TernaryFormat(),
    BinaryCodingFormat(1, "greedy"),
    BinaryCodingFormat(3, "refined"),
    BinaryCodingFormat(2, "alternating"),
)
MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6, width=32)
)
LAYOUTS = st.sampled_from([("tensor", 0), ("channel", 0), ("group", 1), ("group", 4), ("group", 100)])


def quantise(weight: np.ndarray, weights: WeightFormat) -> QuantisedTensor:
    values = np.asarray(weight, np.float64)
    return round_nearest(values, weights.fit(values), weights.width(values.shape[1]))


def find_shares(values: np.ndarray, numbers: NumberFormat) -> tuple[float, float, float]:
    """Return the error and the energy that became 0, both relative to all energy, and the fraction of zeros."""
    levels = numbers.fit(values)
    decoded = levels.decode(levels.encode(values))
    energy = float((values**2).sum())
    lost = float((values[decoded == 0] ** 2).sum())
    return float(((decoded - values) ** 2).sum()) / energy, lost / energy, float((decoded == 0).mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_dint_encodes_and_decodes_as_its_equations_say(bits: int) -> None:
    largest = 2**bits - 3
    for zero in range(largest + 1):
        step = 0.375  # quarters of it are exact
        levels = DIntLevels(np.array([[step]]), np.array([[zero]]), bits)
        values = np.arange(-2 * 64 * largest, 2 * 64 * largest + 1)[None] * (
            step / 64
        )  # ±2 · range, all ties
        codes = levels.encode(values)
        expected = np.clip(np.rint(values / step) + zero, 0, largest)
        expected[(values > step / 4) & (values <= 3 * step / 4)] = 2**bits - 1
        expected[(values >= -3 * step / 4) & (values < -step / 4)] = 2**bits - 2
        assert np.array_equal(codes, expected)
        decoded = (codes.astype(float) - zero) * step
        decoded[codes == 2**bits - 1] = step / 2
        decoded[codes == 2**bits - 2] = -step / 2
        assert np.array_equal(levels.decode(codes), decoded)
        assert np.array_equal(levels.encode(levels.decode(codes)), codes)


def test_the_boundaries_of_dint_are_open_and_closed_as_in_equation_5() -> None:
    levels = DIntLevels(np.ones((1, 1)), np.array([[6]]), 4)
    above = [np.nextafter(edge, 9) for edge in (0.25, 0.75)]
    values = np.array([[0.25, above[0], 0.5, 0.75, above[1]]])
    assert levels.decode(levels.encode(values)).tolist() == [[0.0, 0.5, 0.5, 0.5, 1.0]]
    assert levels.decode(levels.encode(-values)).tolist() == [[0.0, -0.5, -0.5, -0.5, -1.0]]
    assert levels.encode(values).tolist() == [[6, 15, 15, 15, 7]]
    assert levels.encode(-values).tolist() == [[6, 14, 14, 14, 5]]


@pytest.mark.parametrize("bits", [3, 4])
def test_dint_has_as_many_numbers_as_codes(bits: int) -> None:
    levels = DIntFormat(bits).fit(np.linspace(-1, 1, 1001)[None])
    codes = np.arange(2**bits, dtype=np.uint8)[None]
    assert len(np.unique(levels.decode(codes))) == 2**bits
    assert np.array_equal(levels.encode(levels.decode(codes)), codes)
    assert len(np.unique(levels.encode(np.linspace(-2, 2, 100_001)[None]))) == 2**bits


# Relative error, energy lost to underflow, fraction of zeros, of asymmetric min-max; see docs/number_formats.md.
TABLE = {
    ("gauss", 128): ((0.01011, 0.00141, 0.137), (0.01024, 0.00027, 0.080), (0.0464, 0.0134, 0.289),
                     (0.0415, 0.0047, 0.205)),
    ("gauss", 4096): ((0.0195, 0.0037, 0.191), (0.0176, 0.0007, 0.111), (0.0895, 0.0344, 0.395),
                      (0.0590, 0.0123, 0.283)),
    ("laplace", 128): ((0.0169, 0.0045, 0.269), (0.0135, 0.0010, 0.166), (0.0744, 0.0331, 0.487),
                       (0.0523, 0.0133, 0.374)),
    ("laplace", 4096): ((0.0491, 0.0189, 0.422), (0.0299, 0.0043, 0.271), (0.199, 0.117, 0.689),
                        (0.115, 0.052, 0.559)),
    ("student", 128): ((0.0211, 0.0061, 0.245), (0.0155, 0.0013, 0.144), (0.0929, 0.0456, 0.478),
                       (0.0591, 0.0184, 0.354)),
    ("student", 4096): ((0.125, 0.067, 0.546), (0.056, 0.017, 0.348), (0.406, 0.300, 0.838),
                        (0.253, 0.161, 0.711)),
}  # fmt: skip


@pytest.mark.parametrize(("data", "group"), TABLE)
def test_the_error_table_of_dint_is_reproduced(data: str, group: int) -> None:
    rng = np.random.default_rng(0)
    shape = (2_000_000 // group, group)
    values = {
        "gauss": rng.normal(size=shape),
        "laplace": rng.laplace(size=shape),
        "student": rng.standard_t(4, shape),
    }[data]
    formats = (UniformFormat(4, False), DIntFormat(4), UniformFormat(3, False), DIntFormat(3))
    found = [find_shares(values, numbers) for numbers in formats]
    heavy = (data, group) == ("student", 4096)  # so few and so wild largest values that draws differ
    assert np.asarray(found) == pytest.approx(
        np.asarray(TABLE[data, group]), rel=0.15 if heavy else 0.04, abs=4e-5
    )
    assert found[1][1] < found[0][1]  # less energy lost than with integers
    assert found[3][1] < found[2][1]


def test_ternary_weights_have_the_published_moments() -> None:
    values = np.random.default_rng(0).normal(size=(1, 400_000))
    levels = TernaryFormat().fit(values)
    assert levels.threshold.item() == pytest.approx(0.5585, abs=0.003)
    assert levels.scale.item() == pytest.approx(1.1842, abs=0.005)
    error, _, zeros = find_shares(values, TernaryFormat())
    assert zeros == pytest.approx(0.4235, abs=0.003)
    assert error == pytest.approx(0.1916, abs=0.002)


@settings(deadline=None, max_examples=60)
@given(MATRICES, st.sampled_from(FORMATS), LAYOUTS)
def test_integer_images_are_the_decoded_weights(
    weight: np.ndarray, numbers: NumberFormat, layout: tuple[str, int]
) -> None:
    tensor = quantise(weight, WeightFormat(numbers, *layout))  # type: ignore[arg-type]
    image = tensor.integers()
    rows, columns = weight.shape
    groups = list_groups(columns, tensor.width)
    assert image.values.shape[1:] == weight.shape
    assert image.scale.shape == (len(image.values), rows, len(groups))
    assert np.array_equal(image.scale, image.scale.astype(np.float32))
    wide = numbers == UniformFormat(8, symmetric=False)
    assert image.values.dtype == (np.int16 if wide else np.int8)
    scale = np.repeat(image.scale, [group.stop - group.start for group in groups], axis=2)
    assert np.array_equal((image.values * scale).sum(axis=0), tensor.decode())
    assert int(tensor.codes.max()) < 2**tensor.bits


@pytest.mark.parametrize("numbers", [n for n in FORMATS if n != UniformFormat(8, symmetric=False)], ids=str)
@pytest.mark.parametrize("layout", [("tensor", 0), ("channel", 0), ("group", 32)], ids=str)
def test_a_product_of_integers_is_the_product_of_decoded_weights_exactly(
    numbers: NumberFormat, layout: tuple[str, int]
) -> None:
    rng = np.random.default_rng(3)
    tensor = quantise(rng.normal(size=(7, 96)), WeightFormat(numbers, *layout))  # type: ignore[arg-type]
    inputs = rng.integers(0, 256, (5, 96))
    image = tensor.integers()
    assert image.values.dtype == np.int8
    for index, columns in enumerate(list_groups(96, tensor.width)):
        expected = inputs[:, columns].astype(np.float64) @ tensor.decode()[:, columns].T
        found = np.zeros(expected.shape)
        for values, scale in zip(image.values, image.scale, strict=True):
            sums = inputs[:, columns].astype(np.int32) @ values[:, columns].astype(np.int32).T
            found += sums * scale[:, index]
        assert np.array_equal(found, expected)  # scales are float32 values, so float64 holds every product


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6)
    ),
    st.sampled_from([f for f in FORMATS if isinstance(f, UniformFormat)]),
)
def test_uniform_numbers_move_by_half_a_step_at_most(weight: np.ndarray, numbers: UniformFormat) -> None:
    levels = numbers.fit(weight)
    moved = np.abs(levels.decode(levels.encode(weight)) - weight)
    # The zero-point is rounded too, which can push an end of the range half a step outside.
    assert (moved <= levels.step * (0.5 if numbers.symmetric else 1.0) * (1 + 1e-5)).all()
    assert np.array_equal(levels.decode(levels.encode(np.zeros_like(weight))), np.zeros_like(weight))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (3, count)).astype(np.uint8)
    packed = pack_codes(codes, bits)
    assert packed.shape == (3, -(-count * bits // 8))
    assert np.array_equal(unpack_codes(packed, bits, count), codes)


def test_codes_lie_in_bytes_as_documented() -> None:
    assert pack_codes([1, 2, 15], 4).tolist() == [0x21, 0x0F]
    assert pack_codes(np.arange(8), 3).tolist() == [0b10_001_000, 0b1_100_011_0, 0b111_110_10]
    assert unpack_codes(pack_codes(np.arange(16), 4), 4, 16).tolist() == list(range(16))


@pytest.mark.parametrize("numbers", FORMATS, ids=str)
def test_bytes_are_those_of_packed_codes_and_scales(numbers: NumberFormat) -> None:
    tensor = quantise(np.random.default_rng(0).normal(size=(6, 50)), WeightFormat(numbers, "group", 20))
    floats, zeros = 6 * 3, 0
    if isinstance(numbers, BinaryCodingFormat):
        floats *= numbers.bits
    if isinstance(numbers, DIntFormat) or (isinstance(numbers, UniformFormat) and not numbers.symmetric):
        zeros = 6 * 3
    assert tensor.nbytes == tensor.pack().nbytes + 4 * floats + zeros


def test_rows_can_be_taken_apart() -> None:
    weight = np.random.default_rng(0).normal(size=(9, 20))
    for numbers in FORMATS:
        for layout in (("tensor", 0), ("channel", 0), ("group", 8)):
            tensor = quantise(weight, WeightFormat(numbers, *layout))  # type: ignore[arg-type]
            assert np.array_equal(tensor.take_rows(3, 7).decode(), tensor.decode()[3:7])


def test_zero_points_are_the_codes_of_zero() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 8))
    for numbers in (UniformFormat(4), UniformFormat(4, symmetric=False), DIntFormat(4)):
        tensor = quantise(np.zeros((3, 8)), WeightFormat(numbers, "group", 4))
        assert np.array_equal(np.repeat(tensor.zeros(), 4, axis=1), tensor.codes)
    with pytest.raises(UsageError, match="zero-point"):
        quantise(weight, WeightFormat(TernaryFormat())).zeros()


def test_what_no_format_has_is_refused() -> None:
    for make in (UniformFormat, DIntFormat):
        for bits in (1, 9, 4.0, None):
            with pytest.raises(UsageError, match="bits"):
                make(bits)  # type: ignore[arg-type]
    for bits in (0, 7):
        with pytest.raises(UsageError, match="bits"):
            BinaryCodingFormat(bits)
    with pytest.raises(UsageError, match="solver"):
        BinaryCodingFormat(2, "guess")  # type: ignore[arg-type]
    for layout in (("group", 0), ("channel", 8), ("rows", 0), ("group", -1)):
        with pytest.raises(UsageError):
            WeightFormat(UniformFormat(4), *layout)  # type: ignore[arg-type]


@pytest.mark.parametrize("codes", [[16], [-1], [0.5], 3])
def test_codes_that_do_not_fit_are_refused(codes: object) -> None:
    with pytest.raises(UsageError, match="codes"):
        pack_codes(codes, 4)


def test_packed_bytes_that_are_no_such_codes_are_refused() -> None:
    packed = pack_codes(np.arange(8), 3)
    for bytes_, count in ((packed, 9), (packed, 5), (packed.astype(np.uint16), 8), (packed[0], 2)):
        with pytest.raises(UsageError, match="bytes"):
            unpack_codes(bytes_, 3, count)
    with pytest.raises(UsageError, match="bits"):
        unpack_codes(packed, 9, 8)


@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_int4_is_what_the_block_operator_of_onnxruntime_reads(symmetric: bool) -> None:
    """Codes, steps and zero-points go into MatMulNBits as they are."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    rows, columns, block = 24, 64, 32
    tensor = quantise(
        rng.normal(size=(rows, columns)), WeightFormat(UniformFormat(4, symmetric), "group", block)
    )
    arrays = {
        "b": tensor.pack().reshape(rows, columns // block, block // 2),
        "scales": tensor.integers().scale[0].astype(np.float32).ravel(),
        "zeros": pack_codes(tensor.zeros(), 4).ravel(),
    }
    node = onnx.helper.make_node(
        "MatMulNBits",
        ["x", *arrays],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=rows,
        bits=4,
        block_size=block,
    )
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])
        for name, width in (("x", columns), ("y", rows))
    ]
    initialisers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph([node], "product", values[:1], values[1:], initialisers)
    domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = rng.normal(size=(5, columns)).astype(np.float32)
    found = session.run(None, {"x": inputs})[0]
    assert found == pytest.approx(inputs @ tensor.decode().T, abs=1e-4)
