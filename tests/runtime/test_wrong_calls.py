"""test_wrong_calls.py: arguments of another kind than documented end in one typed error that names them."""

import threading

import numpy as np
import pytest

from colonnade.runtime.checks import check_array, check_number, check_path, check_whole, show
from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import PillarGrid, Requantise, build_rules, concatenate, conv2d, pack_weight
from colonnade.runtime.threads import resolve_threads
from colonnade.runtime.trace import Trace
from colonnade.runtime.trace_files import load_trace

FEATURES = np.ones((2, 4), np.float32)
GRID = PillarGrid.from_coords([(0, 1), (1, 2)], FEATURES, (4, 4))
STEPS = GRID.with_features(np.ones((2, 4), np.uint8))
WEIGHT = np.ones((8, 4, 3, 3), np.float32)
RAGGED = [[1, 2], [3]]

CALLS = {
    "conv2d: no grid": (lambda: conv2d(None, WEIGHT), "grid 0 must be a PillarGrid, got None"),
    "conv2d: a number": (lambda: conv2d(5, WEIGHT), r"got 5 \(int\)"),
    "conv2d: an array": (lambda: conv2d(FEATURES, WEIGHT), "got float32 of shape"),
    "conv2d: no second grid": (lambda: conv2d([GRID, None], WEIGHT), "grid 1 must be"),
    "conv2d: no weight": (lambda: conv2d(GRID, None), "weight must be an array of numbers, got None"),
    "conv2d: ragged weight": (lambda: conv2d(GRID, RAGGED), "weight must be an array of numbers"),
    "conv2d: complex weight": (lambda: conv2d(GRID, WEIGHT.astype(complex)), "weight .* got complex128"),
    "conv2d: text as bias": (lambda: conv2d(GRID, WEIGHT, "x"), "bias must be an array of numbers, got 'x'"),
    "conv2d: float32 rescale": (lambda: conv2d(GRID, WEIGHT, rescale=3.0), r"rescale .* got 3.0 \(float\)"),
    "conv2d: uint8 rescale": (
        lambda: conv2d(STEPS, WEIGHT.astype(np.int8), rescale=np.ones(8, np.float32)),
        r"rescale .* got float32 of shape \(8,\)",
    ),
    "conv2d: rulebook": (lambda: conv2d(GRID, WEIGHT, rulebook=5), "rulebook must be a Rulebook"),
    "conv2d: kind": (lambda: conv2d(GRID, WEIGHT, kind=np.ones(2)), "unknown convolution kind float64"),
    "conv2d: activation": (lambda: conv2d(GRID, WEIGHT, activation=np.ones(2)), "activation must be None"),
    "conv2d: stride": (lambda: conv2d(GRID, WEIGHT, stride=1.0), "stride must be a whole number"),
    "build_rules: no grid": (lambda: build_rules(None), "must be a PillarGrid"),
    "build_rules: kernel": (lambda: build_rules(GRID, kernel="3"), "kernel must be a whole number, got '3'"),
    "build_rules: no kernel": (lambda: build_rules(GRID, kernel=-3), "odd kernel up to 7"),
    "concatenate: nothing": (lambda: concatenate(None), "must be a PillarGrid"),
    "concatenate: a number": (lambda: concatenate([GRID, 5]), "grid 1 must be"),
    "from_coords: ragged": (lambda: PillarGrid.from_coords(RAGGED, FEATURES, (4, 4)), "coords must be"),
    "from_coords: features": (lambda: PillarGrid.from_coords([(0, 1)], RAGGED, (4, 4)), "features must be"),
    "from_coords: no shape": (lambda: PillarGrid.from_coords([(0, 1)], FEATURES[:1], None), "shape must be"),
    "from_coords: half a row": (
        lambda: PillarGrid.from_coords([(0, 1)], FEATURES[:1], (4.5, 4)),
        r"got \(4.5, 4\)",
    ),
    "full: endless": (lambda: PillarGrid.full((4, float("inf")), FEATURES), "shape must be"),
    "pack_weight: channels": (lambda: pack_weight(WEIGHT, 4), "in_channels must be a sequence"),
    "pack_weight: text": (lambda: pack_weight(WEIGHT, ("a",)), "in_channels must be a whole number"),
    "pack_weight: none": (lambda: pack_weight(WEIGHT, ()), "in_channels"),
    "Requantise": (lambda: Requantise(3.0), "scale must be"),
    "threads: text": (lambda: resolve_threads("2"), "threads must be a whole number, got '2'"),
    "threads: a half": (lambda: resolve_threads(1.5), "threads must be a whole number"),
    "threads: yes": (lambda: resolve_threads(True), "threads must be a whole number, got True"),
    "load_trace": (lambda: load_trace(None), "path must be text or a path, got None"),
    "Trace.save": (lambda: Trace("a", ()).save(None), "path must be text or a path"),
    "Trace.save: NUL": (lambda: Trace("a", ()).save("a\0b"), "cannot be written"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_told_in_one_line(name: str) -> None:
    call, complaint = CALLS[name]
    with pytest.raises(UsageError, match=complaint) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numbers_of_other_types_are_numbers() -> None:
    for one in (1, np.int8(1), np.uint64(1), np.array(1)):
        assert type(check_whole("n", one)) is int
    for half in (0.5, np.float32(0.5), np.array(0.5)):
        assert check_number("x", half) == 0.5
    with pytest.raises(UsageError, match="x must be a number that a float can hold"):
        check_number("x", 10**400)
    assert check_array("a", WEIGHT) is WEIGHT


def test_a_path_that_is_bytes_is_none() -> None:
    with pytest.raises(UsageError, match="must be text or a path"):
        check_path("path", b"a")


def test_a_long_value_is_cut() -> None:
    assert len(show([0] * 1000)) < 80
    assert show(threading.Lock()).endswith("(lock)")


def grid(row_ptr: object = (0, 1, 3, 3), cols: object = (1, 0, 2), features: object = None) -> PillarGrid:
    """Return a grid made by hand on 3 rows and 4 columns; right, but for what is given."""
    arrays = [np.array(part, np.int32) if isinstance(part, tuple) else part for part in (row_ptr, cols)]
    return PillarGrid(*arrays, np.ones((3, 1), np.float32) if features is None else features, (3, 4))


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"row_ptr": (0, 1, 3)}, r"row_ptr must be .* shape \(4,\), got int32 of shape \(3,\)"),
        ({"row_ptr": [0, 1, 3, 3]}, r"row_ptr must be .* got \[0, 1, 3, 3\] \(list\)"),
        ({"row_ptr": np.array([0, 1, 3, 3])}, "row_ptr must be .* got int64"),
        ({"row_ptr": (0, 1, 3, 4)}, "row_ptr must run from 0 to the 3 pillars"),
        ({"row_ptr": (-1, 1, 3, 3)}, "row_ptr must run from 0"),
        ({"row_ptr": (0, 3, 1, 3)}, "row_ptr must never fall, but goes from 3 to 1 behind row 1"),
        ({"row_ptr": (0, 2**31 - 1, -(2**31), 3)}, "row_ptr must never fall"),
        ({"row_ptr": (0, 10**9, 10**9, 3)}, "row_ptr must never fall"),
        ({"cols": (1, 0, 4)}, r"cols\[2\] is 4, outside the 4 columns"),
        ({"cols": (-1, 0, 2)}, r"cols\[0\] is -1, outside"),
        ({"cols": (1, 2, 0)}, "column 0 follows column 2 at rank 2"),
        ({"cols": (1, 2, 2)}, "column 2 follows column 2 at rank 2.*named twice"),
        ({"cols": None}, r"cols must be a contiguous int32 array of shape \(1,\), got None"),
        ({"cols": np.zeros((3, 1), np.int32)}, r"cols must be .* got int32 of shape \(3, 1\)"),
        ({"cols": np.zeros(6, np.int32)[::2]}, "contiguous"),
        ({"features": np.ones((2, 1), np.float32)}, r"features must be \(3, C\)"),
        ({"features": np.ones((3, 1))}, "features must be float32"),
        ({"features": "abc"}, "features must be an array of numbers"),
    ],
)
def test_a_grid_that_would_lead_the_kernels_astray_is_refused(parts, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        grid(**parts)


def test_a_grid_made_by_hand_is_that_of_its_coordinates() -> None:
    made, sorted_ = (
        grid(),
        PillarGrid.from_coords([(1, 2), (0, 1), (1, 0)], np.ones((3, 1), np.float32), (3, 4)),
    )
    assert np.array_equal(made.coords, sorted_.coords)
    weight = np.ones((1, 1, 3, 3), np.float32)
    assert np.array_equal(conv2d(made, weight).features, conv2d(sorted_, weight).features)
    none = PillarGrid(np.zeros(4, np.int32), np.zeros(0, np.int32), np.zeros((0, 1), np.float32), (3, 4))
    assert len(conv2d(none, weight)) == 0
