"""dense_onnx.py: the dense form of a network as an ONNX model, and onnxruntime running it: the peer to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...detector.architecture import INPUT, Architecture, Layer
from ...detector.network import LayerWeights, QuantisedLayer
from ...runtime.errors import MissingExtraError
from ...runtime.threads import make_session_options

Weights = Sequence[LayerWeights] | Sequence[QuantisedLayer]
Array = npt.NDArray[Any]

OUTPUT = "dense.output"
HEAD_STEP = 1.0 / 16.0  # value of one step of the heads' uint8 output, around 128
_OPSET, _IR_VERSION = 17, 9


def build_dense_model(
    architecture: Architecture, weights: Weights, shape: tuple[int, int], *, head_step: float = HEAD_STEP
) -> bytes:
    """Return the dense network as ONNX: one input (1, C, H, W), one output (1, Cout, H', W') float32.

    Every layer is dense, whatever its kind; where all pillars are active the engine computes the same. Transposed
    layers are 1 × 1 convolutions and DepthToSpace, which runtimes compute faster than ConvTranspose and in integers.
    `QuantisedLayer` weights give the QDQ form in uint8 × int8 with a uint8 input; its activations have step 1, as all
    steps are in the layers' scales.

    Args:
        architecture: the layers.
        weights: one per layer, all float32 or all integer.
        shape: (H, W) of the input.
        head_step: step of the output's values in the integer form, whose output is quantised too.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """
    writer = _FloatWriter() if isinstance(weights[0], LayerWeights) else _IntegerWriter(head_step)
    for layer, part in zip(architecture.layers, weights, strict=True):
        writer.add_layer(layer, part)
    return writer.finish(architecture, shape)


def densify(features: Array) -> Array:
    """Return a (C, H, W) map as the model's input (1, C, H, W), contiguous."""
    return np.ascontiguousarray(features[None])


class DenseOnnx:
    """onnxruntime on `threads` threads, which sleep when they have nothing to do.

    Args:
        model: from `build_dense_model`.
        threads: of one call.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        import onnxruntime

        options = make_session_options(threads)
        self.version = str(onnxruntime.__version__)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, values: Array) -> Array:
        """Return the output (1, Cout, H', W') float32 of an input (1, C, H, W)."""
        output: Array = self._session.run([OUTPUT], {INPUT: values})[0]
        return output


class _FloatWriter:
    """Collects the nodes of the float32 form."""

    element: np.dtype[Any] = np.dtype(np.float32)

    def __init__(self) -> None:
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError as error:
            raise MissingExtraError("onnx", "bench", "the comparison with dense runtimes") from error
        self._onnx, self._numpy_helper = onnx, numpy_helper
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add_layer(self, layer: Layer, part: Any) -> None:
        """Add one layer; it reads the outputs of its inputs by their names, and gives its own."""
        source = layer.inputs[0]
        if len(layer.inputs) > 1:
            source = self._concatenate(layer)
        weight, channel = _order_weight(layer, part.weight)
        spread = layer.name if layer.kind != "transposed" or layer.stride == 1 else f"{layer.name}.spread"
        self._convolve(layer, source, weight, part, channel, spread)
        if spread != layer.name:
            self._to_space(spread, layer)

    def finish(self, architecture: Architecture, shape: tuple[int, int]) -> bytes:
        """Return the model with the last layer as its output."""
        self._add("Identity", [architecture.layers[-1].name], OUTPUT)
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self.element)
        given = helper.make_tensor_value_info(INPUT, kind, [1, architecture.encoder_channels, *shape])
        step = architecture.output_stride
        sides = [-(-side // step) for side in shape]
        channels = architecture.layers[-1].out_channels
        wanted = helper.make_tensor_value_info(OUTPUT, self._onnx.TensorProto.FLOAT, [1, channels, *sides])
        graph = helper.make_graph(self._nodes, "dense", [given], [wanted], self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return bytes(model.SerializeToString())

    def _convolve(
        self, layer: Layer, source: str, weight: Array, part: Any, channel: Array, output: str
    ) -> None:
        names = [
            source,
            self._constant(f"{layer.name}.w", weight),
            self._constant(f"{layer.name}.b", part.bias[channel]),
        ]
        self._add("Conv", names, f"{output}.sum" if layer.relu else output, **_window(layer))
        if layer.relu:
            self._add("Relu", [f"{output}.sum"], output)

    def _to_space(self, source: str, layer: Layer) -> None:
        self._add("DepthToSpace", [source], layer.name, blocksize=layer.stride)

    def _concatenate(self, layer: Layer) -> str:
        self._add("Concat", list(layer.inputs), f"{layer.name}.joined", axis=1)
        return f"{layer.name}.joined"

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        node = self._onnx.helper.make_node(kind, inputs, [output], name=f"{kind}:{output}", **attributes)
        self._nodes.append(node)

    def _constant(self, name: str, values: Array) -> str:
        self._constants.append(self._numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


class _IntegerWriter(_FloatWriter):
    """Collects the nodes of the QDQ form: named tensors are uint8, every operation stands between DQ and Q."""

    element: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, head_step: float) -> None:
        super().__init__()
        self._step = self._constant("step", np.array(1.0, np.float32))
        self._zero = self._constant("zero", np.array(0, np.uint8))
        self._head_step = self._constant("head.step", np.array(head_step, np.float32))
        self._middle = self._constant("head.middle", np.array(128, np.uint8))

    def _convolve(
        self, layer: Layer, source: str, weight: Array, part: Any, channel: Array, output: str
    ) -> None:
        scale = self._constant(f"{layer.name}.s", part.scale[channel])
        names = [self._widen(source, f"{output}.x")]
        for label, values in (("w", weight), ("b", part.bias[channel])):
            constant = self._constant(f"{layer.name}.{label}", values)
            self._add("DequantizeLinear", [constant, scale], f"{constant}.f", axis=0)
            names.append(f"{constant}.f")
        self._add("Conv", names, f"{output}.f", **_window(layer))
        if layer.relu:
            self._narrow(f"{output}.f", output)
            return
        step = [self._head_step, self._middle]
        self._add("QuantizeLinear", [f"{output}.f", *step], f"{output}.q")
        self._add("DequantizeLinear", [f"{output}.q", *step], output)

    def _to_space(self, source: str, layer: Layer) -> None:
        wide = self._widen(source, f"{layer.name}.d")
        self._add("DepthToSpace", [wide], f"{layer.name}.f", blocksize=layer.stride)
        self._narrow(f"{layer.name}.f", layer.name)

    def _concatenate(self, layer: Layer) -> str:
        joined = f"{layer.name}.joined"
        wide = [self._widen(name, f"{joined}.{name}") for name in layer.inputs]
        self._add("Concat", wide, f"{joined}.f", axis=1)
        self._narrow(f"{joined}.f", joined)
        return joined

    def _widen(self, name: str, wide: str) -> str:
        self._add("DequantizeLinear", [name, self._step, self._zero], wide)
        return wide

    def _narrow(self, wide: str, name: str) -> None:
        self._add("QuantizeLinear", [wide, self._step, self._zero], name)


def _order_weight(layer: Layer, weight: Array) -> tuple[Array, Array]:
    """Return the weight of the Conv node, and which output channel each of its rows belongs to."""
    channels = np.arange(layer.out_channels)
    if layer.kind != "transposed":
        return weight, channels
    # DepthToSpace reads channel (a · s + b) · Cout + c for the child (a, b).
    rows = weight.transpose(2, 3, 0, 1).reshape(-1, layer.in_channels, 1, 1)
    return rows, np.tile(channels, layer.stride**2)


def _window(layer: Layer) -> dict[str, list[int]]:
    if layer.kind == "transposed":
        return {"kernel_shape": [1, 1]}
    pad = 0 if layer.kernel == 2 else layer.kernel // 2
    return {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [pad] * 4,
    }
