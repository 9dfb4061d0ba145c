"""session.py: runs a model with onnxruntime: `load(path)`, then `run(inputs)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, UsageError
from ..threads import make_session_options
from .custom_ops import make_fast

_LOG_ERRORS = 3  # onnxruntime's severity: warnings about graphs are of no use to who runs one


@dataclass(frozen=True, eq=False)
class Session:
    """A model that is ready to run.

    Attributes:
        inputs, outputs: names.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    _session: Any

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name.

        Raises:
            UsageError: an input is missing or unknown, or onnxruntime refuses its type or shape.
        """
        wrong = sorted(set(self.inputs) ^ set(inputs))
        if wrong:
            raise UsageError(
                f"the model takes {', '.join(self.inputs)}; missing or unknown: {', '.join(wrong)}"
            )
        try:
            values = self._session.run(list(self.outputs), dict(inputs))
        except Exception as error:  # onnxruntime's own kinds
            raise UsageError(f"the model does not run on these inputs: {error}") from error
        return dict(zip(self.outputs, map(np.asarray, values), strict=True))


def load(path: str | Path, *, threads: int | None = None) -> Session:
    """Open an ONNX file.

    Args:
        path: of the file.
        threads: to run with; None for all available ones.

    Raises:
        ModelError: onnxruntime cannot read it.
        UsageError: `threads` is outside its range.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file")
    session = make_session(file, threads)
    names = tuple(entry.name for entry in session.get_inputs())
    return Session(names, tuple(entry.name for entry in session.get_outputs()), session)


def make_session(model: Any, threads: int | None = None) -> Any:
    """Return an `onnxruntime.InferenceSession` of a file or a model in memory.

    Where compiled operators work on this machine they stand in for the model's own functions; the integers are the
    same (custom_ops.py).

    Raises:
        ModelError: onnxruntime refuses it.
    """
    import onnxruntime

    options = make_session_options(threads)
    options.log_severity_level = _LOG_ERRORS
    data = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    name = f"{model}: " if isinstance(model, Path) else ""
    try:
        fast = make_fast(data, options)
    except ModelError as error:
        raise ModelError(f"{name}{error}") from error
    # A file that stays as it is may have weights beside it, which are found by its path only.
    source = str(model) if isinstance(model, Path) and fast is data else fast
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds
        raise ModelError(f"{name}onnxruntime cannot load the model: {error}") from error
