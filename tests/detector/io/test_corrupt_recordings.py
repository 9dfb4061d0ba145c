"""test_corrupt_recordings.py: 200 damaged variants per reader give typed errors or good frames."""

from __future__ import annotations

import re
import resource
import shutil
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from recording_cases import WRITERS, make_frames

from colonnade.detector.io import describe, open_recording
from colonnade.runtime.errors import ColonnadeError, CorruptFrameError

VARIANTS = 200
SLOW = ("bag", "db3", "db3-folder", "mcap")
MEMORY_LIMIT = 24e6  # bytes at the peak of one variant; the recordings have some 10 kB
SECONDS_LIMIT = 20.0  # a variant takes some 20 ms; the machine may be busy
ABSURD = (0, 1, 2**16 - 1, 10**9, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1)


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` with one kind of damage, or a few."""
    broken = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        broken = _DAMAGES[rng.integers(len(_DAMAGES))](broken, rng)
    return bytes(broken)


def _place(data: bytearray, rng: np.random.Generator, length: int = 1) -> int:
    """Return a position, mostly near the beginning or the end, where the headers and indexes are."""
    last = max(len(data) - length, 0)
    near = int(min(last, rng.exponential(120)))
    return int(rng.choice([near, near, last - near, int(rng.integers(last + 1))]))


def cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data) + 1))]


def remove(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = _place(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 64)) :]


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 12)) if data else 0):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def swap_blocks(data: bytearray, rng: np.random.Generator) -> bytearray:
    length = int(rng.integers(1, 40))
    first, second = sorted((_place(data, rng, length), _place(data, rng, length)))
    if second - first < length or second + length > len(data):
        return data
    one, other = data[first : first + length], data[second : second + length]
    data[first : first + length], data[second : second + length] = other, one
    return data


def absurd_integer(data: bytearray, rng: np.random.Generator) -> bytearray:
    size = int(rng.choice([2, 4, 8]))
    start = _place(data, rng, size)
    data[start : start + size] = (ABSURD[rng.integers(len(ABSURD))] % 2 ** (8 * size)).to_bytes(
        size, "little"
    )
    return data


def absurd_text_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    numbers = list(re.finditer(rb"\d+", bytes(data[:600])))
    if not numbers:
        return absurd_integer(data, rng)
    match = numbers[rng.integers(len(numbers))]
    data[match.start() : match.end()] = str(ABSURD[rng.integers(len(ABSURD))]).encode()
    return data


def swap_words(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Swap two words of the header: fields, types, keywords."""
    words = list(re.finditer(rb"[A-Za-z_]\w*", bytes(data[:600])))
    if len(words) < 2:
        return swap_blocks(data, rng)
    first, second = sorted(rng.choice(len(words), 2, replace=False))
    one, other = words[first], words[second]
    return data[: one.start()] + other[0] + data[one.end() : other.start()] + one[0] + data[other.end() :]


def not_text(data: bytearray, rng: np.random.Generator) -> bytearray:
    start = _place(data, rng, 3)
    data[start : start + 3] = b"\xff\xc3\x28"
    return data


_DAMAGES = (cut, remove, flip_bits, swap_blocks, absurd_integer, absurd_text_number, swap_words, not_text)


def read_whatever_is_there(path: Path, format: str | None, describing: bool = True) -> str:
    """Read a damaged recording to its end and return what came of it."""
    reported: list[CorruptFrameError] = []
    try:
        recording = open_recording(path, format=format, on_corrupt=reported.append)
        for frame in recording:
            assert frame.points.dtype == np.float32
            assert frame.points.ndim == 2
            assert frame.points.shape[1] == 4
            assert np.isfinite(frame.points).all()
            assert ((frame.points[:, 3] >= 0) & (frame.points[:, 3] <= 1)).all()
        if describing:
            describe(recording.info)
    except ColonnadeError as error:
        return type(error).__name__
    for error in reported:
        assert str(path) in str(error)
        assert "frame" in str(error)
    return "skipped" if reported else "frames"


@pytest.mark.parametrize("case", WRITERS)
@pytest.mark.filterwarnings("error")
def test_200_damaged_variants_give_a_typed_error_or_good_frames(case: str, tmp_path: Path) -> None:
    original = tmp_path / "original"
    WRITERS[case](original, make_frames((120, 80)))
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    read_whatever_is_there(original, None)  # compile and import before memory is measured
    outcomes: dict[str, int] = {}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(VARIANTS):
        rng = np.random.default_rng([seed, len(case)])
        broken = tmp_path / "broken"
        shutil.copytree(original, broken)
        target = broken / files[rng.integers(len(files))]
        target.write_bytes(damage(target.read_bytes(), rng))
        # Half of the variants say the format, so that the reader meets the damage, and not only the sniffing.
        format = case.split("-")[0] if seed % 2 else None
        # Tracing makes rosbags three times slower: a part of its variants must do, the process is watched anyway.
        if case not in SLOW or seed % 5 == 0:
            tracemalloc.start()
        begin = time.perf_counter()
        try:
            outcome = read_whatever_is_there(broken, format, describing=seed % 5 == 0)
            peak = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
        except BaseException as error:
            raise AssertionError(f"variant {seed} of {case} ({target.name})") from error
        finally:
            tracemalloc.stop()
        assert time.perf_counter() - begin < SECONDS_LIMIT, f"variant {seed} of {case}"
        assert peak < MEMORY_LIMIT, f"variant {seed} of {case}: {peak:.0f} bytes"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(broken)
    # What native code allocates is not traced; it would show in the process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 150e3, "kilobytes"
    assert sum(outcomes.values()) == VARIANTS
    assert len(outcomes) >= 2, f"the damage is too harmless or too harsh to test anything: {outcomes}"


BILLION = 10**9


@pytest.mark.parametrize(
    "case", ["pcd-ascii", "pcd-binary", "pcd-compressed", "ply-ascii", "ply-little", "npy"]
)
def test_a_header_that_claims_a_billion_points_allocates_nothing(case: str, tmp_path: Path) -> None:
    WRITERS[case](tmp_path / "r", make_frames((120,)))
    file = tmp_path / "r" / ("000000." + case.split("-")[0])
    data = file.read_bytes()
    if case == "npy":
        data = data.replace(b"(120, 4), } ", b"(1000000000, 4), }")
    else:
        data = data.replace(b"120", b"%d" % BILLION)
    assert str(BILLION).encode() in data
    file.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(CorruptFrameError, match=r"claim|not 1000000000 points"):
        open_recording(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
