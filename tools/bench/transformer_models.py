"""transformer_models.py: the contenders of `colonnade bench transformer`: a float model and its quantised forms."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import ColonnadeError, MissingExtraError, ModelError, UsageError
from ...runtime.threads import make_session_options
from ...runtime.transformer.custom_ops import find_functions, find_verdict
from ...runtime.transformer.session import Session, load
from .transformer_report import Form

Sample = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model in one form, ready to run.

    Attributes:
        name: of its file, without .onnx.
        form: see `ModelRun`.
        bytes: of the file.
        sessions: one for each number of threads.
    """

    name: str
    form: Form
    bytes: int
    sessions: tuple[Session, ...]

    def run_all(self, samples: Sequence[Sample]) -> list[dict[str, NDArray[Any]]]:
        """Return the outputs for every sample."""
        return [self.sessions[0].run(sample) for sample in samples]


def open_models(
    model: Path, quantised: Sequence[Path], threads: Sequence[int]
) -> tuple[tuple[OpenModel, ...], tuple[str, ...]]:
    """Open the float model, its dynamic quantisation, and each quantised file in its forms.

    Args:
        model: float, an ONNX file.
        quantised: ONNX files with the same inputs and outputs.
        threads: numbers of threads.

    Returns:
        The models, the float one first, and a line for each form that cannot be had here.

    Raises:
        ModelError: a file is missing, or onnxruntime does not load it.
        UsageError: a quantised file has other inputs or outputs.
    """
    found = [_open(model, "float", threads)]
    missing: list[str] = []
    try:
        found.append(_open_dynamic(model, threads))
    except ColonnadeError as error:
        missing.append(f"dynamic quantisation: {error}")
    for path in quantised:
        portable = _open(path, "portable", threads)
        _check_names(path, portable.sessions[0], found[0].sessions[0])
        found.append(portable)
        names = find_functions(path.read_bytes())
        verdict = find_verdict(names)
        if names and verdict.usable:
            found.append(_open(path, "fast", threads))
        else:
            reason = verdict.reason if names else "it has no functions that compiled operators stand in for"
            missing.append(f"{path.name} with compiled operators: {reason}")
    return tuple(found), tuple(missing)


def compare_outputs(
    exact: Sequence[Sample], found: Sequence[Sample], name: str
) -> Iterator[tuple[str, list[NDArray[Any]], list[NDArray[Any]]]]:
    """Yield every float output: its name, the float model's arrays and the others.

    Raises:
        UsageError: the shapes differ.
    """
    for output in (key for key, value in exact[0].items() if value.dtype.kind == "f"):
        pairs = [(one[output], other[output]) for one, other in zip(exact, found, strict=True)]
        for one, other in pairs:
            if one.shape != other.shape:
                raise UsageError(
                    f"{name}: its output {output} has the shape {other.shape}, that of the float model {one.shape}; "
                    "name a quantised form of the same model"
                )
        yield output, [one for one, _ in pairs], [other for _, other in pairs]


def are_equal(left: Sequence[Sample], right: Sequence[Sample]) -> bool:
    """Return whether all outputs are the same, bit for bit."""
    return all(
        one[key].dtype == other[key].dtype and np.array_equal(_view_bits(one[key]), _view_bits(other[key]))
        for one, other in zip(left, right, strict=True)
        for key in one
    )


def _view_bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _open(path: Path, form: Form, threads: Sequence[int]) -> OpenModel:
    open_one = _open_portable if form == "portable" else _open_as_usual
    return OpenModel(path.stem, form, _measure(path), tuple(open_one(path, count) for count in threads))


def _open_as_usual(path: Path, threads: int) -> Session:
    return load(path, threads=threads)


def _open_portable(path: Path, threads: int) -> Session:
    """Open a file as any program does that knows onnxruntime only."""
    import onnxruntime

    options = make_session_options(threads)
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds
        raise ModelError(f"{path}: onnxruntime cannot load the model: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return Session(tuple(entry.name for entry in inputs), tuple(entry.name for entry in outputs), session)


def _open_dynamic(model: Path, threads: Sequence[int]) -> OpenModel:
    """Quantise the float model as onnxruntime does it by itself: weights int8 per channel, inputs at run time.

    Raises:
        MissingExtraError: there is no package onnx.
        ModelError: it cannot be done with this model.
    """
    with tempfile.TemporaryDirectory(prefix="colonnade-") as folder:
        path = Path(folder) / model.name
        _quantise_dynamically(model, path)
        return _open(path, "dynamic", threads)


def _quantise_dynamically(model: Path, path: Path) -> None:
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtraError("onnx", "bench", "onnxruntime's dynamic quantisation") from error
    try:
        with _silence_logging():
            quantize_dynamic(str(model), str(path), per_channel=True, weight_type=QuantType.QInt8)
    except Exception as error:  # many kinds, according to what the model holds
        raise ModelError(f"{model}: onnxruntime cannot quantise it: {error}") from error


@contextmanager
def _silence_logging() -> Iterator[None]:
    """Keep the advice of onnxruntime's quantiser, which goes to the root logger, out of a command's output."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _measure(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_names(path: Path, session: Session, exact: Session) -> None:
    for noun in ("inputs", "outputs"):
        ours, theirs = getattr(session, noun), getattr(exact, noun)
        if set(ours) != set(theirs):
            raise UsageError(
                f"{path}: its {noun} are {', '.join(ours)}, those of the float model {', '.join(theirs)}; "
                "name a quantised form of the same model"
            )
