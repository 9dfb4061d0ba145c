"""openvino_peer.py: the dense ONNX model run by OpenVINO; the one module that imports it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import MissingExtraError


class OpenVino:
    """OpenVINO on the CPU with `threads` threads, in the precision of the model.

    Args:
        model: from `build_dense_model`.
        threads: of one call.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "peers", "the comparison with OpenVINO") from error
        self.version = str(openvino.__version__).split("-")[0]
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # or it would compute fp32 models in bfloat16
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(model=model), "CPU", options)
        self._request = compiled.create_infer_request()

    def run(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the output (1, Cout, H', W') of an input (1, C, H, W)."""
        output: npt.NDArray[np.float32] = self._request.infer([values], share_inputs=True)[0]
        return output
