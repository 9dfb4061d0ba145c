"""test_cli_commands.py: the program itself, and the commands beside `detect`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from colonnade.detector.io import open_recording
from colonnade.tools.cli.app import app
from colonnade.tools.cli.timings import FrameClock

COMMANDS = ("detect", "convert", "eval", "simulate", "train", "prune", "bench", "doctor", "warmup")


def test_version_and_help(colonnade) -> None:
    assert colonnade("--version").out == f"colonnade {version('colonnade')}\n"
    outcome = colonnade("--help")
    assert outcome.code == 0
    assert outcome.out.index("Examples:") < outcome.out.index("Options")
    assert all(name in outcome.out for name in COMMANDS)
    assert "interrupted" in outcome.out


@pytest.mark.parametrize("name", [*COMMANDS, "bench detect", "bench engine"])
def test_every_command_explains_itself(colonnade, name: str) -> None:
    outcome = colonnade(*name.split(), "--help")
    assert outcome.code == 0
    assert f"colonnade {name}" in outcome.out


def test_help_texts_hold_no_markup() -> None:
    """Rich would take [words in brackets] for markup and swallow them."""
    pending = [get_command(app)]
    while pending:
        command = pending.pop()
        pending += getattr(command, "commands", {}).values()
        texts = [
            command.help or "",
            *(getattr(parameter, "help", None) or "" for parameter in command.params),
        ]
        assert not [text for text in texts if "[" in text], command.name


def test_help_is_fast() -> None:
    command = [sys.executable, "-c", "from colonnade.tools.cli import main; main()", "--help"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_without_a_command_the_help_is_shown(colonnade) -> None:
    outcome = colonnade()
    assert outcome.code == 2
    assert "Examples:" in outcome.out + outcome.err


def test_convert_keeps_every_point(colonnade, recording: Path) -> None:
    pytest.importorskip("rosbags", reason="writing bags needs rosbags")
    outcome = colonnade("convert", recording, "drive.mcap", "--limit", 4)
    assert outcome.code == 0, outcome.err
    assert "frames   4" in outcome.out
    for ours, theirs in zip(open_recording("drive.mcap"), open_recording(recording, limit=4), strict=True):
        np.testing.assert_array_equal(ours.points, theirs.points)
    again = colonnade("convert", recording, "drive.mcap")
    assert (again.code, again.out) == (1, "")
    assert "exists already" in again.err
    assert colonnade("convert", recording, "drive.mcap", "--overwrite", "-q").code == 0
    assert colonnade("convert", recording, "drive.xyz").code == 2


def test_convert_leaves_corrupt_frames_out_and_says_so(colonnade, recording: Path) -> None:
    (recording / "000002.bin").write_bytes(b"\0" * 1601)
    outcome = colonnade("convert", recording, "out", "--to", "pcd")
    assert outcome.code == 3
    assert "frame skipped" in outcome.err
    assert len(list(Path("out").glob("*.pcd"))) == 5
    outcome = colonnade("convert", recording, "strict", "--to", "pcd", "--strict")
    assert outcome.code == 1
    assert not Path("strict").exists()


def test_simulate_writes_a_dataset_that_can_grow(colonnade) -> None:
    options = ("simulate", "street", "--sensor", "vlp16", "--seed", 3)
    assert colonnade(*options, "--frames", 1).code == 0
    outcome = colonnade(*options, "--frames", 2)
    assert outcome.code == 0, outcome.err
    assert len(list(Path("street/frames").glob("*.bin"))) == 2
    assert len(Path("street/labels.jsonl").read_text().splitlines()) == 2
    assert colonnade("simulate", "other", "--sensor", "sonar").code == 2


def test_simulate_writes_recordings(colonnade) -> None:
    assert colonnade("simulate", "street", "--to", "kitti", "--sensor", "vlp16", "--frames", 1).code == 0
    (frame,) = open_recording("street")
    assert len(frame.points) > 5000


def test_overwrite_spares_what_is_no_recording(colonnade, recording: Path) -> None:
    """Neither the folder around the input nor a labelled dataset is replaced."""
    data = recording.parent
    for command in (("convert", recording, data), ("simulate", data, "--sensor", "vlp16", "--frames", 1)):
        outcome = colonnade(*command, "--to", "kitti", "--overwrite")
        assert (outcome.code, outcome.out) == (1, "")
        assert "is not replaced, because" in outcome.err
        assert len(list(recording.iterdir())) == 6


def test_simulate_drives_through_one_scene(colonnade) -> None:
    common = ("--sensor", "vlp16", "--frames", 2, "--drive", "--interval", 0.5, "--kind", "city")
    assert colonnade("simulate", "drive.mcap", *common, "--compact").code == 0
    first, second = open_recording("drive.mcap")
    assert (first.stamp_ns, second.stamp_ns) == (0, 500_000_000)
    assert np.array_equal(first.points * 256, np.round(first.points * 256))
    assert colonnade("simulate", "whole.mcap", *common).code == 0
    whole = next(iter(open_recording("whole.mcap")))
    assert np.abs(whole.points - first.points).max() <= 1 / 512
    assert Path("drive.mcap").stat().st_size < 0.65 * Path("whole.mcap").stat().st_size
    for wrong in (("street", "--drive"), ("a.mcap", "--interval", 1), ("a.mcap", "--drive", "--interval", 0)):
        outcome = colonnade("simulate", *wrong, "--sensor", "vlp16", "--frames", 1)
        assert outcome.code == 2, outcome.err
        assert not Path(wrong[0]).exists()


def test_eval_scores_datasets_and_names_what_it_measured(colonnade, tiny_model: Path) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 2).code == 0
    outcome = colonnade("eval", "-m", tiny_model, "street", "street", "--limit", 1, "--json", "scores.json")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("street: 1 frames") == 2
    assert "BEV AP|R40 @0.70" in outcome.out
    assert "ignored for car: van" in outcome.out
    content = json.loads(Path("scores.json").read_text())
    assert content["model"] == "tiny"
    first, second = content["reports"]
    assert first == second
    assert {"metric", "threshold", "near", "far", "min_points", "objects", "value"} <= set(
        first["figures"][0]
    )
    assert first["figures"][0]["objects"] > 0
    missing = colonnade("eval", "-m", tiny_model, "nowhere")
    assert missing.code == 1
    assert "no such folder" in missing.err


def run_shell(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `colonnade` is the program and $1, $2 are the arguments."""
    program = (
        f"colonnade() {{ '{sys.executable}' -c 'from colonnade.tools.cli import main; main()' \"$@\"; }}"
    )
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program}; {script}", "-", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_eval_keeps_the_datasets_that_are_done(colonnade, tiny_model: Path) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 1).code == 0
    outcome = colonnade("eval", "-m", tiny_model, "street", "nowhere", "--json", "scores.json")
    assert outcome.code == 1
    assert "street: 1 frames" in outcome.out
    (report,) = json.loads(Path("scores.json").read_text())["reports"]
    assert report["dataset"] == "street"
    assert sorted(path.name for path in Path().iterdir()) == ["scores.json", "street"]


@pytest.mark.skipif(os.name == "nt", reason="a shell pipe")
def test_commands_go_on_when_the_reader_leaves(colonnade, tiny_model: Path, recording: Path) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 1).code == 0
    for script in (
        "colonnade eval -q -m $1 street street --errors --json scores.json | true",
        "colonnade detect -q -m $1 $2 -o here | true",
        "colonnade doctor -m $1 | true",
        "colonnade --help | true",
        "colonnade detect -q -m $1 $2 -o here 2>&1 | true",
        "colonnade detect -q -m $1 $2 -o here >&-",
        "colonnade detect -m $1 $2 -o here 2>&-",
        "colonnade doctor -m $1 >&- 2>&-",
    ):
        done = run_shell(script, tiny_model, recording)
        assert (done.returncode, done.stderr) == (0, ""), script
    assert len(json.loads(Path("scores.json").read_text())["reports"]) == 2
    assert json.loads(Path("here/summary.json").read_text())["frames"] == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_behind_stdout_is_an_error(tiny_model: Path) -> None:
    done = run_shell("colonnade doctor -m $1 > /dev/full", tiny_model)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_report_that_cannot_be_written_is_refused_at_once(
    colonnade, tiny_model: Path, recording: Path
) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 1).code == 0
    labels = Path("street/labels.jsonl")
    before = labels.read_bytes()
    for command in (
        ("eval", "-m", tiny_model, "street"),
        ("bench", "detect", "-m", tiny_model, recording),
        ("bench", "engine", "--rounds", 1),
    ):
        for target, why in (
            ("absent/x.json", "cannot be written: No such file"),
            ("street", "this is a folder"),
            (labels, "no earlier report"),
        ):
            outcome = colonnade(*command, "--json", target)
            assert (outcome.code, outcome.out) == (2, ""), outcome.err
            assert outcome.err.startswith(f"error: --json {target}: ")
            assert why in outcome.err
    assert labels.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["street"]
    assert not list(Path("street").glob("*.part"))
    for _ in range(2):  # an earlier report is replaced
        assert colonnade("eval", "-m", tiny_model, "street", "--json", "scores.json").code == 0


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_wrong_number_of_threads_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    done = run_shell("colonnade doctor")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: NUMBA_NUM_THREADS={value}: must be a whole number of threads above 0; change or unset it\n"
    )


def test_eval_names_the_folder_it_stands_in(
    colonnade, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 1).code == 0
    monkeypatch.chdir("street")
    assert "street: 1 frames" in colonnade("eval", "-m", tiny_model, ".").out
    monkeypatch.chdir("frames")
    outcome = colonnade("eval", "-m", tiny_model, "..", "--json", "../../scores.json")
    assert "street: 1 frames" in outcome.out
    assert json.loads(Path("../../scores.json").read_text())["reports"][0]["dataset"] == "street"


def test_eval_draws_the_errors_of_every_dataset(colonnade, tiny_model: Path) -> None:
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 2).code == 0
    Path("new/errors").mkdir(parents=True)
    Path("new/errors/street-car-misses.png").write_text("of an earlier run")
    outcome = colonnade("eval", "-m", tiny_model, "street", "street", "--pictures", "new/errors")
    assert outcome.code == 0, outcome.err
    assert "6 pictures of misses and false alarms: new/errors/street-*.png" in outcome.out
    assert "6 pictures of misses and false alarms: new/errors/street-2-*.png" in outcome.out
    labels, kinds = ("car", "pedestrian", "cyclist"), ("misses", "false-alarms")
    names = {f"{stem}-{a}-{b}.png" for stem in ("street", "street-2") for a in labels for b in kinds}
    assert {path.name for path in Path("new/errors").iterdir()} == names
    for name in names:
        with Image.open(Path("new/errors") / name) as picture:
            assert picture.format == "PNG"
            pixels = np.asarray(picture)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    with Image.open("new/errors/street-car-misses.png") as picture:
        assert picture.height > 500  # there are tiles: the model finds nothing that is there


def test_eval_refuses_a_folder_that_cannot_hold_pictures(
    colonnade, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").write_text("a file")
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: mode & os.W_OK == 0 or Path(path).name != "locked")
    for folder, why in (
        ("taken", "a file of this name exists"),
        ("taken/inside", "the folder cannot be made: Not a directory"),
        ("locked", "the folder cannot be written to"),
    ):
        outcome = colonnade("eval", "-m", tiny_model, "street", "--pictures", folder)
        assert (outcome.code, outcome.out) == (2, "")  # before anything is evaluated
        assert outcome.err.startswith(f"error: --pictures {folder}: {why}")
    assert Path("taken").read_text() == "a file"


def test_training_needs_a_configuration(colonnade) -> None:
    outcome = colonnade("train", "absent.yaml")
    assert outcome.code == 1
    assert outcome.err == "error: absent.yaml: there is no such configuration file\n"


def test_warmup_compiles_the_kernels(colonnade, tiny_model: Path) -> None:
    outcome = colonnade("warmup", "-m", tiny_model)
    assert outcome.code == 0, outcome.err
    assert "cache" in outcome.out


def test_doctor_describes_the_installation(colonnade, tiny_model: Path) -> None:
    outcome = colonnade("doctor", "-m", tiny_model)
    assert outcome.code == 0, outcome.out
    for name in ("processor", "threads", "cache", "[bags]", "[open3d]", "model"):
        assert f"ok    {name}" in outcome.out
    broken = colonnade("doctor", "-m", "absent")
    assert broken.code == 3
    assert "look  model" in broken.out


def test_doctor_finds_what_does_not_fit(colonnade, recording: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert colonnade("doctor", recording, "-m", tiny_model).code == 0
    centimetres = tmp_path / "cm"
    centimetres.mkdir()
    upside_down = tmp_path / "down"
    upside_down.mkdir()
    for frame in open_recording(recording):
        np.save(centimetres / f"{frame.frame_id}.npy", frame.points * np.float32([100, 100, 100, 1]))
        np.save(upside_down / f"{frame.frame_id}.npy", frame.points * np.float32([1, -1, -1, 1]))
    outcome = colonnade("doctor", centimetres, "-m", tiny_model)
    assert outcome.code == 3
    assert "look  range" in outcome.out
    outcome = colonnade("doctor", upside_down, "-m", tiny_model)
    assert outcome.code == 3
    assert "look  ground" in outcome.out


def test_the_first_frame_does_not_count_for_the_times() -> None:
    clock = FrameClock()
    assert clock.stages() == ()
    assert clock.frames_per_second() is None
    clock.add(("a", "b"), (5.0, 5.0))
    assert clock.stages()[-1].p50_ms == 10_000
    for milliseconds in range(1, 101):
        clock.add(("a", "b"), (milliseconds / 1000, 0.001))
    first, second, whole = clock.stages()
    assert clock.frames == 100
    assert (first.name, first.p50_ms, first.p95_ms) == ("a", 50.5, 95.05)
    assert second.p50_ms == 1
    assert whole.p50_ms == 51.5
