"""test_cli_profile.py: `colonnade profile`: tables, files, traces written and read, and what is refused."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest

from colonnade.runtime.trace_files import load_traces

FILES = (
    "--json",
    "p.json",
    "--csv",
    "p.csv",
    "--html",
    "p.html",
    "--trace",
    "t.json",
    "--save-trace",
    "s.jsonl",
)


@pytest.fixture
def traced(colonnade, tiny_model: Path, recording: Path) -> Path:
    """Return a file with the traces of three frames."""
    outcome = colonnade(
        "profile", recording, "-m", tiny_model, "--frames", 3, "--save-trace", "traces.jsonl", "-q"
    )
    assert outcome.code == 0, outcome.err
    return Path("traces.jsonl")


def test_a_recording_on_two_designs(colonnade, tiny_model: Path, recording: Path) -> None:
    outcome = colonnade(
        "profile", recording, "--model", tiny_model, "--frames", 4, "--against", "dense-64x64", *FILES
    )
    assert outcome.code == 0, outcome.err
    for words in (
        "drive, 4 frames: tiny (fp32), points to boxes", "1,000 MHz", "8-bit integers", "GB/s peak", "pJ per bit",
        "no RTL", "encoder", "block1.0", "limit", "host energy", "P50", "P95", "P99", "dense-64x64", "faster, sums",
    ):  # fmt: skip
        assert words in outcome.out, words
    assert "written: s.jsonl, p.json, p.csv, p.html, t.json" in outcome.err

    content = json.loads(Path("p.json").read_text())
    assert content["frames"] == [f"{n:06d}" for n in range(4)]
    ours, theirs = content["designs"]
    assert [ours["design"], theirs["design"]] == ["pillaracc-64x64", "dense-64x64"]
    cycles = sorted(frame["cycles"] for frame in ours["frames"])
    assert ours["shown_frame"]["totals"]["cycles"] == cycles[1]
    assert ours["spread"]["frames"] == 4
    assert ours["spread"]["cycles"]["largest"] == cycles[-1]
    (comparison,) = content["comparisons"]
    times = [sum(frame["milliseconds"] for frame in design["frames"]) for design in (ours, theirs)]
    assert comparison["speed_up"] == pytest.approx(times[1] / times[0])

    rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    assert {row["design"] for row in rows} == {"pillaracc-64x64", "dense-64x64"}
    assert sum(int(row["cycles"]) for row in rows if row["design"] == "pillaracc-64x64") == cycles[1]
    assert Path("p.html").read_text().startswith("<!doctype html>\n<!-- colonnade profile -->")
    check_tracks(json.loads(Path("t.json").read_text()), [cycles[1]])
    assert len(load_traces("s.jsonl")) == 4


def check_tracks(content: dict, totals: list[int]) -> None:
    """Check that the blocks of every track follow each other and end within the frame."""
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in content["traceEvents"]:
        if event["ph"] == "X":
            span = (event["args"]["start_cycle"], event["args"]["cycles"])
            tracks.setdefault((event["pid"], event["tid"]), []).append(span)
    for (process, _), spans in tracks.items():
        ends = 0
        for start, cycles in sorted(spans):
            assert start >= ends
            ends = start + cycles
        assert process > len(totals) or ends <= totals[process - 1]
    assert len(tracks) >= 8  # two designs: layers, array, memory; and what the pillar design has besides


def test_traces_give_the_same_figures_later(
    colonnade, tiny_model: Path, recording: Path, traced: Path
) -> None:
    call = ("--frames", 3, "-q", "--json")
    assert colonnade("profile", recording, "-m", tiny_model, *call, "live.json").code == 0
    outcome = colonnade("profile", traced, *call, "later.json")
    assert outcome.code == 0, outcome.err
    assert "not measured (the frames were traced earlier" in outcome.out
    live, later = (json.loads(Path(name).read_text()) for name in ("live.json", "later.json"))
    assert live["designs"] == later["designs"]
    assert live["frames"] == later["frames"]
    assert colonnade("profile", traced, "--frames", 1, "--json", "one.json").code == 0
    assert len(json.loads(Path("one.json").read_text())["frames"]) == 1


def test_files_of_ours_are_replaced_and_no_others(colonnade, traced: Path) -> None:
    for _ in range(2):
        assert colonnade("profile", traced, "-q", *FILES).code == 0
    for option, name in zip(FILES[::2], FILES[1::2], strict=True):
        Path("mine").write_text("mine")
        outcome = colonnade("profile", traced, option, "mine")
        assert (outcome.code, Path("mine").read_text()) == (2, "mine"), option
        assert f"error: {option} mine: " in outcome.err
        outcome = colonnade("profile", traced, option, "missing/file")
        assert outcome.code == 2
        assert not Path("missing").exists()
        Path(name).write_text("")  # empty
        assert colonnade("profile", traced, "-q", option, name).code == 0
        assert Path(name).stat().st_size


def test_a_design_of_ones_own(colonnade, traced: Path) -> None:
    Path("mine.yaml").write_text("based_on: pillaracc-64x64\nname: slow\nclock_mhz: 100\n", encoding="utf-8")
    outcome = colonnade("profile", traced, "--on", "mine.yaml", "--against", "pillaracc-64x64")
    assert outcome.code == 0, outcome.err
    assert "100 MHz" in outcome.out
    assert "given" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--on", "nonsense"), 1, "nonsense"),
        (("--against", "pillaracc-64x64"), 2, "named already"),
        (("--on", "transformer-int8"), 1, "transformer-int8"),
        (("--model", "synthetic"), 2, "leave --model"),
        (("--keep", 1.5), 2, "leave --model"),
        (("--json", "same", "--csv", "same"), 2, "names the same file"),
        (("--save-trace", "traces.jsonl"), 2, "is the recording itself"),
        (("--frames", 0), 2, "--frames"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    colonnade, traced: Path, arguments, code: int, complaint: str
) -> None:
    before = traced.read_bytes()
    outcome = colonnade("profile", traced, *arguments)
    assert outcome.code == code, outcome.err
    assert complaint in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert traced.read_bytes() == before


def test_recordings_and_traces_that_are_none(colonnade, recording: Path, traced: Path) -> None:
    assert "nowhere" in colonnade("profile", "nowhere").err
    lines = traced.read_text().splitlines()
    Path("torn.jsonl").write_text("\n".join(lines[:-2]) + "\n")
    outcome = colonnade("profile", "torn.jsonl")
    assert (outcome.code, "cut off" in outcome.err) == (1, True)
    outcome = colonnade("profile", recording, "--model", "standard-nonsense")
    assert (outcome.code, "standard-dilating" in outcome.err) == (2, True)
    outcome = colonnade("profile", recording, "--keep", 1.5)
    assert (outcome.code, "keep is for models with vector pruning" in outcome.err) == (2, True)
    outcome = colonnade("profile", recording, "--model", "standard-pruned", "--keep", "1.5,1,1")
    assert (outcome.code, "one share for all blocks" in outcome.err) == (2, True)


def test_corrupt_frames_are_left_out(colonnade, tiny_model: Path, recording: Path) -> None:
    (recording / "000001.bin").write_bytes(b"xyz")
    outcome = colonnade("profile", recording, "-m", tiny_model, "--frames", 3, "-q")
    assert outcome.code == 3
    assert outcome.err.count("frame skipped") == 1


def test_the_standard_network(colonnade, recording: Path) -> None:
    call = ("profile", recording, "--frames", 1, "--precision", "fp32", "-q", "--json", "p.json", "--model")
    saved = {}
    for model in ("standard-submanifold", "standard-dilating"):
        outcome = colonnade(*call, model)
        assert outcome.code == 0, outcome.err
        assert "the network alone" in outcome.out
        saved[model] = json.loads(Path("p.json").read_text())["designs"][0]["shown_frame"]["totals"]
    assert saved["standard-submanifold"]["macs"] < saved["standard-dilating"]["macs"]
    assert (
        saved["standard-submanifold"]["dense_macs"]
        == saved["standard-dilating"]["dense_macs"]
        == 34_173_812_736
    )


def test_host_energy_is_measured_where_there_is_a_counter(
    colonnade, tiny_model: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colonnade.tools.profile import host_energy

    zone = tmp_path / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    for name, value in (("name", "package-0"), ("max_energy_range_uj", "1000"), ("energy_uj", "0")):
        (zone / name).write_text(value)
    counts = iter(range(0, 100_000, 900))
    monkeypatch.setattr(host_energy.EnergyCounter, "read", lambda counter: next(counts) % 1000)
    powercap, hwmon = tmp_path / "powercap", tmp_path / "hwmon"
    open_meter = host_energy.open_meter
    monkeypatch.setattr(host_energy, "open_meter", lambda: open_meter(powercap, hwmon))
    outcome = colonnade("profile", recording, "-m", tiny_model, "--frames", 3, "-q", "--json", "p.json")
    assert outcome.code == 0, outcome.err
    assert "0.9 mJ per frame, measured: RAPL package-0" in outcome.out
    host = json.loads(Path("p.json").read_text())["host_energy"]
    assert host == {"measured": True, "millijoules": 0.9, "frames": 3, "source": "RAPL package-0"}


def test_an_interruption_keeps_the_frames_that_are_done(
    colonnade, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colonnade.tools.profile import runs

    simulate, costed = runs.simulate, []

    def simulate_and_interrupt(trace, spec):
        costed.append(trace.name)
        if len(costed) == 2:
            signal.raise_signal(signal.SIGINT)
        return simulate(trace, spec)

    monkeypatch.setattr(runs, "simulate", simulate_and_interrupt)
    outcome = colonnade("profile", traced, "--json", "p.json", "-q")
    assert outcome.code == 130
    assert "2 frames" in outcome.out
    assert len(json.loads(Path("p.json").read_text())["frames"]) == 2


@pytest.mark.parametrize("model", ["tiny", "standard-submanifold"])
def test_a_frame_without_pillars(colonnade, tiny_model: Path, tmp_path: Path, model: str) -> None:
    folder = tmp_path / "far"
    folder.mkdir()
    np.full((100, 4), 500, np.float32).tofile(folder / "000000.bin")
    outcome = colonnade("profile", folder, "-m", tiny_model if model == "tiny" else model, *FILES)
    assert outcome.code == 0, outcome.err
    assert "1 without pillars" in outcome.out
    json.loads(Path("p.json").read_text(), parse_constant=pytest.fail)
    assert "nan" not in Path("p.html").read_text()
