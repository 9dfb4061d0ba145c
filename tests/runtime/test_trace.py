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

from colonnade.runtime import trace_files
from colonnade.runtime.errors import ConfigError, UsageError
from colonnade.runtime.sparse import PillarGrid, build_rules
from colonnade.runtime.sparse.rules import KINDS
from colonnade.runtime.trace import EncoderRecord, SiteMap, Trace, TraceRecorder, describe_layer
from colonnade.runtime.trace_files import load_trace, load_traces, save_traces


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
    names = [json.loads(line).get("name") for line in path.read_text().splitlines()]
    assert names == ["toy", None, None, None, None, "grow", "rise", "join"]  # each map of sites once
    assert [p.name for p in tmp_path.iterdir()] == ["frame.jsonl"]


def edit(change: dict[str, object], line: int = 5, drop: str = "") -> object:
    """Return an editor of trace files that changes fields of one line (0: the header), or drops one."""

    def apply(lines: list[str]) -> list[str]:
        entry = json.loads(lines[line]) | change
        entry.pop(drop, None)
        return [*lines[:line], json.dumps(entry), *lines[line + 1 :]]

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "line 1: missing; the file was cut off"),
        (lambda lines: lines[:-1], "line 8: missing; the file was cut off"),
        (lambda lines: [*lines, lines[-1]], "line 9: not a trace of version 2"),
        (lambda lines: [*lines[:6], lines[6][:-9], lines[7]], "line 7: not JSON"),
        (lambda lines: [*lines[:6], "[1, 2]", lines[7]], "line 7: not a JSON object"),
        (lambda lines: [*lines[:6], "[" * 100_000, lines[7]], "line 7: not JSON"),
        (edit({"format": "other"}, 0), "line 1: not a trace of version 2"),
        (edit({"version": 1}, 0), "line 1: not a trace of version 2"),
        (edit({"name": 3}, 0), "line 1: the header is damaged"),
        (edit({"layers": -1}, 0), "line 1: the header is damaged"),
        (edit({"encoder": 3}, 0), "line 1: 'encoder' is no record"),
        (edit({"encoder": {"points": 3}}, 0), "line 1: fields missing or unknown"),
        (edit({"shape": [4, 7]}, 1), "line 2: the map of sites is damaged"),
        (edit({"shape": [1 << 40, 7]}, 1), "line 2: the map of sites is damaged"),
        (edit({"bits": "no base64!"}, 1), "line 2: the map of sites is damaged"),
        (edit({"bits": "aaaa"}, 1), "line 2: the map of sites is damaged"),
        (edit({}, drop="stride"), "line 6: fields missing or unknown: stride"),
        (edit({"colour": "red"}, 7), "line 8: fields missing or unknown: colour"),
        (edit({"kernel": 3.0}), "line 6: 'kernel' is not of the expected type"),
        (edit({"kernel": True}), "line 6: 'kernel' is not of the expected type"),
        (edit({"active_inputs": -1}), "line 6: 'active_inputs' is not of the expected type"),
        (edit({"active_inputs": 4}), "line 6: the counts of active sites are not those of the maps"),
        (edit({"in_sites": 4}), "line 6: names map 4 of 4"),
        (edit({"in_shape": [1, 2, 3]}), "line 6: 'in_shape' is not of the expected type"),
        (edit({"rules": [1] * 8}), "line 6: 'rules' must hold 9 counts"),
        (edit({"rules": ["a"] * 9}), "line 6: 'rules' is not of the expected type"),
        (edit({"branches": []}), "line 6: 'branches' is not a list of inputs"),
        (edit({"branches": [{"source": "a"}]}), "line 6: fields missing or unknown: active, channels, rules"),
        (edit({"precision": "fp8"}), "line 6: 'precision' must be one of fp32, int8"),
        (edit({"name": None}), "line 6: 'name' is not of the expected type"),
        (edit({"kind": "odd"}), "line 6: 'kind' must be one of submanifold, dilating, strided, transposed"),
        (edit({"in_channels": 0}), "line 6: 'in_channels' must be from 1 to 65536"),
        (edit({"stride": 10**30}), "line 6: 'stride' must be from 1 to 65536"),
        (edit({"kind": "transposed"}), "line 6: a transposed layer of kernel 3 and stride 1 makes no grid"),
        (edit({"stride": 2}), "line 6: a .* layer of kernel 3 and stride 2 makes no grid"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, damage, message: str):
    path = tmp_path / "frame.jsonl"
    make_trace().save(path)
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(ConfigError, match=message):
        load_trace(path)


@pytest.mark.parametrize(
    "damage", [{"channels": 0}, {"point_features": 0}, {"pillars": 9}, {"precision": "fp8"}]
)
def test_an_encoder_that_cannot_be_is_refused(tmp_path: Path, damage: dict[str, object]):
    path = tmp_path / "frame.jsonl"
    encoder = EncoderRecord(8, 3, 3, 19, 48, "int8")
    save_traces(path, [Trace("toy", make_trace().layers, encoder)])
    assert load_trace(path).encoder == encoder
    header, *rest = path.read_text().splitlines()
    entry = json.loads(header)
    path.write_text("\n".join([json.dumps(entry | {"encoder": entry["encoder"] | damage}), *rest]))
    with pytest.raises(ConfigError, match="line 1: 'encoder' describes no encoder"):
        load_trace(path)


def test_the_kinds_of_layers_in_files_are_those_of_the_engine():
    assert trace_files._KINDS == KINDS


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


def test_a_file_holds_several_frames(tmp_path: Path):
    first, path = make_trace(), tmp_path / "frames.jsonl"
    second = Trace("points first", first.layers[:1], EncoderRecord(100, 3, 3, 19, 4, "fp32"))
    save_traces(path, [first, second])
    assert load_traces(path) == (first, second)
    assert second.encoder is not None
    assert second.encoder.macs == (100 * 3 + 3 * 19) * 4
    with pytest.raises(ConfigError, match="holds 2 traces"):
        load_trace(path)
    with pytest.raises(UsageError, match="no trace to save"):
        save_traces(path, [])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_map_of_sites_keeps_every_cell(height: int, width: int, seed: int):
    cells = np.random.default_rng(seed).random((height, width)) < 0.4
    sites = SiteMap.from_cells(cells)
    np.testing.assert_array_equal(sites.cells, cells)
    assert len(sites) == cells.sum()


def test_maps_of_a_layer_are_those_of_its_grids():
    grow, rise, join = make_trace().layers
    assert {tuple(c) for c in np.argwhere(grow.in_sites.cells).tolist()} == {(1, 1), (1, 2), (3, 5)}
    assert (len(grow.out_sites), len(grow.kept_sites)) == (16, 2)
    assert rise.in_sites is not rise.out_sites
    assert rise.in_sites == grow.kept_sites
    assert join.in_sites == grow.out_sites
