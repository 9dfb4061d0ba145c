"""lut_speed.py: integer operators beside onnxruntime's native float operators, one thread, in turns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from ...runtime.errors import MissingExtraError
from ...runtime.lut import build_norm, build_softmax, fit, kernels, quantise_affine
from .engine_report import round_figures
from .hardware import Hardware, describe_hardware

GELU_SHAPE = (1, 128, 1536)
SOFTMAX_SHAPE = (1, 12, 128, 128)
NORM_SHAPE = (1, 128, 384)
_SCALE = 2.0**-8
Call = Callable[[], object]


@dataclass(frozen=True)
class OperatorSpeed:
    """Medians [µs] of one operator: integer, and onnxruntime's in float32."""

    operator: str
    shape: tuple[int, ...]
    integer_us: float
    float_us: float

    @property
    def ratio(self) -> float:
        """Integer time over float time."""
        return self.integer_us / self.float_us


@dataclass(frozen=True)
class SpeedReport:
    """Speeds of all operators on one machine."""

    hardware: Hardware
    rounds: int
    operators: tuple[OperatorSpeed, ...]

    def to_json(self) -> str:
        """Return the report as text, floats cut to five digits."""
        return json.dumps(round_figures(asdict(self)), indent=1)


def measure_speed(rounds: int = 200) -> SpeedReport:
    """Return the medians of interleaved calls, input and output already in place on both sides.

    Raises:
        MissingExtraError: onnx is not installed, which writes the graphs of the native operators.
    """
    generator = np.random.default_rng(0)
    results = []
    for operator, shape in (
        ("Gelu", GELU_SHAPE),
        ("Softmax", SOFTMAX_SHAPE),
        ("LayerNormalization", NORM_SHAPE),
    ):
        x = generator.normal(0.0, 2.0, shape).astype(np.float32)
        integer, native = _open_integer(operator, x), _open_native(operator, x)
        times = _time_in_turns((integer, native), rounds)
        results.append(OperatorSpeed(operator, shape, times[0], times[1]))
    return SpeedReport(describe_hardware(), rounds, tuple(results))


def _time_in_turns(calls: tuple[Call, ...], rounds: int) -> list[float]:
    """Return the median of each call [µs]; the first three calls of each are not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 3):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(1e6 * (time.perf_counter() - start))
    return [float(np.median(taken[3:])) for taken in times]


def _open_integer(operator: str, x: np.ndarray) -> Call:
    """Return a call of the kernel that stands for an operator, with int32 inputs."""
    x_q = np.rint(x / _SCALE).astype(np.int32)
    rows = x_q.reshape(-1, x.shape[-1])
    if operator == "Gelu":
        table = fit("gelu").to_integer(_SCALE, 1 / 16, input_bits=16, output_bits=8)
        out = np.empty(x.size, np.int8)
        return lambda: kernels.look_up(x_q.reshape(-1), *kernels.unpack(table), out)
    if operator == "Softmax":
        tables = build_softmax(_SCALE)
        shares = np.empty(rows.shape, np.uint8)
        parts = *kernels.unpack(tables.exponential), *kernels.unpack(tables.reciprocal)
        return lambda: kernels.softmax_rows(rows, *parts, tables.output_bits, shares)
    norm = build_norm(_SCALE, 1e-5)
    gamma, beta = quantise_affine(np.ones(x.shape[-1]), np.zeros(x.shape[-1]), 1 / 16)
    normal = np.empty(rows.shape, np.int8)
    limits = 1, norm.epsilon, norm.low, norm.high
    return lambda: kernels.norm_rows(rows, *kernels.unpack(norm.rsqrt), limits, gamma, beta, normal)


def _open_native(operator: str, x: np.ndarray) -> Call:
    """Return a call of onnxruntime's operator with its input and output bound."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_write_graph(operator, x.shape), options)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (x, np.empty_like(x))]
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", values[0])
    binding.bind_ortvalue_output("y", values[1])
    return lambda: session.run_with_iobinding(binding)


def _write_graph(operator: str, shape: tuple[int, ...]) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "bench", "a graph of one operator") from error
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    affine = {"gamma": np.ones(shape[-1], np.float32), "beta": np.zeros(shape[-1], np.float32)}
    if operator != "LayerNormalization":
        affine = {}
    node = helper.make_node(operator, ["x", *affine], ["y"])  # over the last axis by default
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in affine.items()]
    graph = helper.make_graph([node], "operator", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def describe_speed(report: SpeedReport) -> list[tuple[str, str]]:
    """Return a line per operator."""
    lines = []
    for speed in report.operators:
        integer, native, ratio = (
            round_figures(value) for value in (speed.integer_us, speed.float_us, speed.ratio)
        )
        shape = " x ".join(map(str, speed.shape))
        lines.append(
            (speed.operator, f"{shape}: {integer:.0f} µs, onnxruntime float {native:.0f} µs, {ratio:.2f} x")
        )
    return lines
