"""test_trace.py: what a trace counts, and that a trace file comes back whole or is refused with the line at fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import ConfigError, UsageError
from colonnade.runtime.sparse import PillarGrid, build_rules
from colonnade.runtime.trace import Trace, TraceRecorder, describe_layer, load_trace


def make_grid(coords: list[tuple[int, int]], channels: int, shape: tuple[int, int], dtype: str) -> PillarGrid:
    return PillarGrid.from_coords(np.array(coords, np.int32), np.ones((len(coords), channels), dtype), shape)


def make_trace() -> Trace:
    """Record a dilating and a transposed layer, and one over two inputs."""
    grid = make_grid([(1, 1), (1, 2), (3, 5)], 4, (4, 6), "float32")
    recorder = TraceRecorder("toy")
    wide = build_rules(grid, "dilating")
    grown = PillarGrid(wide.row_ptr, wide.cols, np.ones((wide.cols.size, 8), np.float32), wide.shape)
    kept = make_grid([(0, 0), (1, 1)], 8, (4, 6), "float32")
    recorder.record("grow", [("pillars", grid)], wide, kept)
    up = build_rules(kept, "transposed", kernel=2, stride=2)
    risen = PillarGrid(up.row_ptr, up.cols, np.ones((up.cols.size, 2), np.float32), up.shape)
    recorder.record("rise", [("grow", kept)], up, risen)
    recorder.record("join", [("pillars", grid), ("other", grown)], build_rules(grown, kernel=1), grown)
    return recorder.finish()


def test_a_layer_is_counted_by_hand():
    trace = make_trace()
    grow, rise, join = trace.layers
    assert (grow.kind, grow.kernel, grow.stride, grow.in_channels, grow.out_channels) == (
        "dilating",
        3,
        1,
        4,
        8,
    )
    # Two pillars inside reach nine outputs each; the one in the bottom row six, and its column is the last.
    assert sum(grow.rules) == 9 + 9 + 4
    assert len(grow.rules) == 9
    assert (grow.active_inputs, grow.active_outputs, grow.kept_outputs) == (3, 12 + 4, 2)
    assert grow.macs == 22 * 4 * 8 == grow.branch_macs
    assert grow.dense_macs == 4 * 6 * 9 * 4 * 8
    assert (grow.bytes_in, grow.bytes_weights, grow.bytes_out) == (3 * 4 * 4, 9 * 4 * 8 * 4, 2 * 8 * 4)
    assert grow.precision == "fp32"
    assert rise.rules == (2, 2, 2, 2)
    assert rise.dense_macs == 8 * 12 * 8 * 2  # one tap meets an output
    assert trace.macs == grow.macs + rise.macs + join.macs
    assert trace.saving == 1 - trace.macs / trace.dense_macs


def test_a_layer_over_two_inputs_counts_their_union_and_each_of_them():
    join = make_trace().layers[2]
    assert join.rules == (16,)
    assert [(b.source, b.channels, b.active, b.rules) for b in join.branches] == [
        ("pillars", 4, 3, (3,)),
        ("other", 8, 16, (16,)),
    ]
    assert (join.in_channels, join.active_inputs) == (12, 16)
    assert join.macs == 16 * 12 * 8
    assert join.branch_macs == (3 * 4 + 16 * 8) * 8
    assert join.bytes_in == (3 * 4 + 16 * 8) * 4


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.sampled_from(
        [
            ("submanifold", 1, 1),
            ("submanifold", 3, 1),
            ("dilating", 3, 1),
            ("dilating", 5, 1),
            ("strided", 3, 2),
            ("strided", 2, 2),
            ("transposed", 4, 4),
        ]
    ),
)
def test_rules_are_those_of_the_engine(seed, shape, layer):
    kind, kernel, stride = layer
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random(shape) < rng.random()).astype(np.int32)
    grid = PillarGrid.from_coords(coords, np.ones((len(coords), 2), np.float32), shape)
    book = build_rules(grid, kind, kernel=kernel, stride=stride)
    output = PillarGrid(book.row_ptr, book.cols, np.ones((book.cols.size, 3), np.float32), book.shape)
    record = describe_layer("any", [("pillars", grid)], book, output)
    assert record.rules == tuple(book.counts) == record.branches[0].rules
    assert (record.out_shape, record.active_outputs) == (book.shape, len(output))


def test_integer_layers_count_bytes():
    grid = make_grid([(0, 0), (2, 2)], 4, (4, 4), "uint8")
    record = describe_layer("same", [("pillars", grid)], build_rules(grid, "submanifold"), grid)
    assert (record.precision, record.bytes_in, record.bytes_weights, record.bytes_out) == ("int8", 8, 144, 8)
    assert record.rules == (0, 0, 0, 0, 2, 0, 0, 0, 0)


def test_an_empty_frame_saves_everything():
    grid = PillarGrid.from_coords(np.empty((0, 2), np.int32), np.empty((0, 4), np.float32), (4, 4))
    record = describe_layer("same", [("pillars", grid)], build_rules(grid, "submanifold"), grid)
    assert Trace("empty", (record,)).saving == 1.0
    assert Trace("nothing", ()).saving == 0.0


def test_a_trace_comes_back_as_it_was(tmp_path: Path):
    trace = make_trace()
    path = tmp_path / "frame.jsonl"
    trace.save(path)
    assert load_trace(path) == trace
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
        "toy",
        "grow",
        "rise",
        "join",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["frame.jsonl"]


def edit(change: dict[str, object], line: int = 1, drop: str = "") -> object:
    """Return an editor of trace files that changes fields of one line (0: the header), or drops one."""

    def apply(lines: list[str]) -> list[str]:
        entry = json.loads(lines[line]) | change
        entry.pop(drop, None)
        return [*lines[:line], json.dumps(entry), *lines[line + 1 :]]

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "line 1: not JSON"),
        (lambda lines: lines[:-1], "line 1: announces 3 layers, the file has 2"),
        (lambda lines: [*lines[:2], lines[2][:-9], lines[3]], "line 3: not JSON"),
        (lambda lines: [*lines[:2], "[1, 2]", lines[3]], "line 3: not a JSON object"),
        (lambda lines: [*lines[:2], "[" * 100_000, lines[3]], "line 3: not JSON"),
        (edit({"format": "other"}, 0), "line 1: not a trace of version 1"),
        (edit({"version": 2}, 0), "line 1: not a trace of version 1"),
        (edit({"name": 3}, 0), "line 1: announces"),
        (edit({}, drop="stride"), "line 2: fields missing or unknown: stride"),
        (edit({"colour": "red"}, 3), "line 4: fields missing or unknown: colour"),
        (edit({"kernel": 3.0}), "line 2: 'kernel' is not of the expected type"),
        (edit({"kernel": True}), "line 2: 'kernel' is not of the expected type"),
        (edit({"active_inputs": -1}), "line 2: 'active_inputs' is not of the expected type"),
        (edit({"in_shape": [1, 2, 3]}), "line 2: 'in_shape' is not of the expected type"),
        (edit({"rules": [1] * 8}), "line 2: 'rules' must hold 9 counts"),
        (edit({"rules": ["a"] * 9}), "line 2: 'rules' is not of the expected type"),
        (edit({"branches": []}), "line 2: 'branches' is not a list of inputs"),
        (edit({"branches": [{"source": "a"}]}), "line 2: fields missing or unknown: active, channels, rules"),
        (edit({"precision": "fp8"}), "line 2: 'precision' must be one of fp32, int8"),
        (edit({"name": None}), "line 2: 'name' is not of the expected type"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, damage, message: str):
    path = tmp_path / "frame.jsonl"
    make_trace().save(path)
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(ConfigError, match=message):
        load_trace(path)


def test_files_that_cannot_be_read_or_written_are_typed_errors(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read as a trace"):
        load_trace(tmp_path / "missing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a trace"):
        load_trace(tmp_path / "binary")
    with pytest.raises(UsageError, match="cannot be written"):
        make_trace().save(tmp_path / "no folder" / "frame.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        make_trace().save(tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["binary", "folder"]


def test_a_reader_of_traces_needs_no_engine():
    code = "import sys, colonnade.runtime.trace; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
