"""onnx_files.py: ONNX models on disk, read with clear errors and written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, ModelError
from ..files import replacing

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 12
_IR_VERSION_TAG = 0x08  # what every file that exporters write begins with: field 1, a whole number
_LARGEST = 2**31 - 1  # bytes that one protobuf message may have


def import_onnx() -> Any:
    """Return the package onnx.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "transformer", "reading and writing transformers") from error
    return onnx


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model with all its weights, those in files beside it, too.

    Raises:
        ModelError: the file is missing, unreadable, no ONNX, cut short, of an opset below 12, or without its data, or
            a tensor in it has more or fewer numbers than its shape.
        MissingExtraError: onnx is not installed.
    """
    onnx = import_onnx()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    model = _parse(path, data)
    _check_opset(path, model)
    _check_external_data(path, model)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises several kinds, according to its version
        raise ModelError(f"{path}: its weights in other files cannot be read: {error}") from error
    _check_tensors(path, model)
    return model


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model as one file, whole or not at all.

    Raises:
        ModelError: it is larger than the 2 GB that one ONNX file holds.
        OSError: it cannot be written.
    """
    if model.ByteSize() > _LARGEST:
        raise ModelError(f"{path}: the model has {model.ByteSize() / 1e9:.1f} GB; one ONNX file holds 2 GB")
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def find_opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses; 0 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    model: onnx.ModelProto = import_onnx().ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, whose place differs between versions
        if data[:1] == bytes([_IR_VERSION_TAG]):
            raise ModelError(
                f"{path}: the file is damaged or was cut short ({len(data):,} bytes); fetch or export it again"
            ) from error
        raise ModelError(f"{path}: this is no ONNX file") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path}: this is no ONNX file, or one without any operator or output")
    return model


def _check_opset(path: Path, model: onnx.ModelProto) -> None:
    opset = find_opset(model)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{path}: its operators are of opset {opset}, and {OLDEST_OPSET} is the oldest that can be read; "
            "export it again with a later one, or convert it with onnx.version_converter"
        )


def _check_external_data(path: Path, model: onnx.ModelProto) -> None:
    onnx = import_onnx()
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if not (path.parent / location).is_file():
            raise ModelError(
                f"{path}: the weights of '{tensor.name}' are in a file '{location}' that is not there; "
                f"put it into {path.parent}"
            )


def _check_tensors(path: Path, model: onnx.ModelProto) -> None:
    onnx = import_onnx()
    constants = [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    ]
    for tensor in (*model.graph.initializer, *constants):
        try:
            onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # onnx raises several kinds, according to its version
            raise ModelError(
                f"{path}: tensor '{tensor.name}' is damaged: {error}; export it again"
            ) from error
