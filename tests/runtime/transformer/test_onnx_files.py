"""test_onnx_files.py: models that cannot be read say why and how to mend it; files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from conftest_models import build_small

from colonnade.runtime.errors import ModelError
from colonnade.runtime.transformer.onnx_files import read_model, write_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_model(build_small(1), path)
    return path


def test_round_trip(file: Path) -> None:
    assert read_model(file).SerializeToString() == build_small(1).SerializeToString()
    assert [path.name for path in file.parent.iterdir()] == ["small.onnx"]


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: cannot be read: No such file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"PK\x03\x04", b"\x89HDF\r\n"])
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no ONNX file"):
        read_model(path)


def test_cut_short(file: Path) -> None:
    whole = file.read_bytes()
    for part in (0.1, 0.5, 0.9, 0.999):
        file.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ModelError, match="damaged or was cut short"):
            read_model(file)


def test_no_output(file: Path) -> None:
    model = onnx.load(file)
    del model.graph.output[:]
    onnx.save(model, file)
    with pytest.raises(ModelError, match="without any operator or output"):
        read_model(file)


def test_tensors_shorter_than_their_shape(file: Path) -> None:
    model = onnx.load(file)
    words = model.graph.initializer[0]
    constant = onnx.helper.make_node(
        "Constant", [], ["five"], value=onnx.helper.make_tensor("five", 1, [5], [1.0] * 5)
    )
    constant.attribute[0].t.float_data.pop()
    model.graph.node.append(constant)
    onnx.save(model, file)
    with pytest.raises(ModelError, match=r"tensor 'five' is damaged: .*; export it again"):
        read_model(file)
    words.raw_data = words.raw_data[:-8]
    onnx.save(model, file)
    with pytest.raises(ModelError, match=f"tensor '{words.name}' is damaged"):
        read_model(file)


def test_old_opset(file: Path) -> None:
    model = onnx.load(file)
    model.opset_import[0].version = 11
    onnx.save(model, file)
    with pytest.raises(ModelError, match="opset 11, and 12 is the oldest"):
        read_model(file)


def test_external_data(file: Path) -> None:
    model = onnx.load(file)
    onnx.save_model(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert len(read_model(file).graph.initializer) == len(model.graph.initializer)
    assert not any(tensor.data_location for tensor in read_model(file).graph.initializer)
    (file.parent / "weights.bin").write_bytes(b"short")
    with pytest.raises(ModelError, match="weights in other files cannot be read"):
        read_model(file)
    (file.parent / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"in a file 'weights\.bin' that is not there"):
        read_model(file)


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_model(build_small(1), tmp_path / "no" / "small.onnx")
    assert list(tmp_path.iterdir()) == []
