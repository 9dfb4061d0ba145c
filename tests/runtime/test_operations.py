"""test_operations.py: what operations count, and that their file comes back whole or is refused with the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import ConfigError, UsageError
from colonnade.runtime.operations import (
    OperandRecord,
    OperationKind,
    OperationRecord,
    OperationTrace,
    load_operations,
)

SCORES = OperationRecord(
    "scores", "matmul", 2, 5, 4, 5,
    (OperandRecord("queries", False, 40, 8), OperandRecord("keys", False, 40, 8)), 32,
)  # fmt: skip
SOFTMAX = OperationRecord("softmax", "softmax", 2, 5, 0, 5, (OperandRecord("scores", False, 50, 32),), 8)
OUT = OperationRecord(
    "out", "matmul", 1, 5, 8, 3,
    (OperandRecord("values", False, 40, 8), OperandRecord("out.weight", True, 24, 4)), 8,
)  # fmt: skip
TRACE = OperationTrace("toy", (SCORES, SOFTMAX, OUT))


def test_counts_by_hand():
    assert (SCORES.macs, SOFTMAX.macs, OUT.macs, TRACE.macs) == (200, 0, 120, 320)
    assert (SCORES.bytes_in, SCORES.bytes_weights, SCORES.bytes_out) == (80, 0, 200)
    assert (SOFTMAX.bytes_in, SOFTMAX.bytes_out, SOFTMAX.elements) == (200, 50, 50)
    assert (OUT.bytes_in, OUT.bytes_weights, OUT.bytes_out) == (40, 12, 15)
    assert OperandRecord("odd", True, 3, 4).bytes == 2


def test_a_trace_comes_back_as_it_was(tmp_path: Path):
    path = tmp_path / "operations.jsonl"
    TRACE.save(path)
    assert load_operations(path) == TRACE
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
        "toy", "scores", "softmax", "out",
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["operations.jsonl"]
    OperationTrace("nothing", ()).save(path)
    assert load_operations(path) == OperationTrace("nothing", ())


names = st.text(max_size=8)
operands = st.builds(OperandRecord, names, st.booleans(), st.integers(0, 10**12), st.integers(1, 64))


@settings(deadline=None, max_examples=60)
@given(
    names,
    st.lists(
        st.builds(
            lambda name, kind, shape, inner, read, bits: OperationRecord(
                name, kind, shape[0], shape[1], inner if kind == "matmul" else 0, shape[2],
                tuple(read if kind == "matmul" else read[:1]), bits,
            ),
            names,
            st.sampled_from(get_args(OperationKind)),
            st.tuples(*[st.integers(1, 10**6)] * 3),
            st.integers(1, 10**6),
            st.lists(operands, min_size=2, max_size=2),
            st.integers(1, 64),
        ),
        unique_by=lambda operation: operation.name,
        max_size=5,
    ),
)  # fmt: skip
def test_any_trace_comes_back(tmp_path_factory, name, operations):
    trace = OperationTrace(name, tuple(operations))
    if any(operand.source == op.name for op in operations for operand in op.operands):
        return  # reads itself: see below
    path = tmp_path_factory.mktemp("any") / "operations.jsonl"
    trace.save(path)
    assert load_operations(path) == trace


def edit(change: dict[str, object], line: int = 1, drop: str = "") -> object:
    """Return an editor of files that changes fields of one line (0: the header), or drops one."""

    def apply(lines: list[str]) -> list[str]:
        entry = json.loads(lines[line]) | change
        entry.pop(drop, None)
        return [*lines[:line], json.dumps(entry), *lines[line + 1 :]]

    return apply


KEYS = {"source": "keys", "weight": False, "elements": 40, "bits": 8}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "line 1: missing; the file was cut off"),
        (lambda lines: lines[:-1], "line 4: missing; the file was cut off"),
        (lambda lines: [*lines, lines[-1]], "line 5: more than the 3 operations announced"),
        (lambda lines: [*lines[:2], lines[2][:-9], lines[3]], "line 3: not JSON"),
        (lambda lines: [*lines[:2], "[1, 2]", lines[3]], "line 3: not a JSON object"),
        (edit({"format": "other"}, 0), "line 1: not a trace of operations of version 1"),
        (edit({"version": 2}, 0), "line 1: not a trace of operations of version 1"),
        (edit({"name": 3}, 0), "line 1: the header is damaged"),
        (edit({"operations": -1}, 0), "line 1: the header is damaged"),
        (edit({"operations": True}, 0), "line 1: the header is damaged"),
        (edit({}, drop="rows"), "line 2: fields missing or unknown: rows"),
        (edit({"extra": 1}), "line 2: fields missing or unknown: extra"),
        (edit({"rows": "5"}), "line 2: 'rows' is not of the expected type"),
        (edit({"rows": 2.5}), "line 2: 'rows' is not of the expected type"),
        (edit({"rows": -5}), "line 2: 'rows' is not of the expected type"),
        (edit({"rows": 0}), "line 2: 'batch', 'rows' and 'columns' must be above 0"),
        (edit({"kind": "convolution"}), "line 2: 'kind' must be one of matmul, softmax"),
        (edit({"kind": 3}), "line 2: 'kind' is not of the expected type"),
        (edit({"inner": 0}), "line 2: 'inner' must be above 0 in a matmul"),
        (edit({"inner": 3}, 2), "line 3: 'inner' must be above 0 in a matmul and 0 elsewhere"),
        (edit({"operands": []}, 2), "line 3: a matmul has two operands"),
        (edit({"operands": [KEYS]}), "line 2: a matmul has two operands"),
        (edit({"operands": 3}), "line 2: 'operands' is not of the expected type"),
        (edit({"operands": [1, 2]}), "line 2: 'operands' is not a list of records"),
        (edit({"operands": [KEYS, KEYS | {"bits": 0}]}), "line 2: 'bits' and 'out_bits' must be above 0"),
        (edit({"operands": [KEYS, KEYS | {"weight": 1}]}), "line 2: 'weight' is not of the expected type"),
        (edit({"operands": [KEYS, KEYS | {"source": "scores"}]}), "line 2: 'scores' reads itself"),
        (edit({"out_bits": 0}), "line 2: 'bits' and 'out_bits' must be above 0"),
        (edit({"name": "scores"}, 2), "line 3: a second operation 'scores'"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, damage, message):
    path = tmp_path / "operations.jsonl"
    TRACE.save(path)
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    if message.startswith("line 1: missing"):
        path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load_operations(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_or_written(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_operations(tmp_path / "missing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_operations(tmp_path / "binary")
    with pytest.raises(UsageError, match="cannot be written"):
        TRACE.save(tmp_path / "nowhere" / "operations.jsonl")
