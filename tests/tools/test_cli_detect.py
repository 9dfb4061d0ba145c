"""test_cli_detect.py: `colonnade detect` from a recording to a results folder, and every way it can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from colonnade.detector.detector import load
from colonnade.detector.export import read_json_lines, read_kitti_text
from colonnade.detector.io import open_recording

CLASSES = ("car", "pedestrian", "cyclist")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from colonnade.tools.cli import main; main()", *map(str, arguments)]


def test_a_recording_becomes_boxes_config_and_summary(colonnade, recording: Path, tiny_model: Path) -> None:
    outcome = colonnade("detect", recording, "--model", tiny_model)
    assert outcome.code == 0, outcome.err
    (folder,) = (path for path in Path("results").iterdir() if not path.is_symlink())
    assert (Path("results") / "latest").resolve() == folder.resolve()
    results = list(read_json_lines(folder / "detections.jsonl", CLASSES))
    assert [result.frame_id for result in results] == [f"{index:06d}" for index in range(6)]

    detector, opened = load(tiny_model), open_recording(recording)
    boxes = 0
    for result, frame in zip(results, opened, strict=True):
        expected = detector.detect(frame.points)
        assert result.detections.ground == pytest.approx(expected.ground, abs=1e-4)
        np.testing.assert_array_equal(result.detections.boxes, expected.boxes)
        np.testing.assert_array_equal(result.detections.scores, expected.scores)
        text = read_kitti_text(folder / "kitti" / f"{frame.frame_id}.txt", CLASSES)
        np.testing.assert_allclose(text.boxes[:, :6], expected.boxes[:, :6], atol=1e-3)
        boxes += len(expected)
    assert boxes > 0

    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["frames"], summary["skipped"], summary["ended"]) == (6, 0, "complete")
    assert sum(summary["boxes"].values()) == boxes
    assert summary["timed_frames"] == 5
    assert summary["stages"][0]["name"] == "read"
    assert summary["hardware"]["cores"] >= 1
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["score"] == 0.45
    assert config["model"] == "tiny"
    assert config["ground"] == "frame"
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "detections.jsonl",
        "kitti",
        "summary.json",
    }

    assert "frames" in outcome.out
    assert str(folder) in outcome.out
    assert "network" in outcome.out
    assert "format" in outcome.err
    assert "kitti" in outcome.err
    assert "tiny" in outcome.err
    assert "format" not in outcome.out


def test_quiet_leaves_stderr_empty(colonnade, recording: Path, tiny_model: Path) -> None:
    outcome = colonnade("detect", recording, "-m", tiny_model, "-q", "-o", "here", "--limit", 1)
    assert (outcome.code, outcome.err) == (0, "")
    assert "frames   1" in outcome.out


def test_boxes_can_be_chosen_by_class_range_and_score(colonnade, recording: Path, tiny_model: Path) -> None:
    def run(*options: object) -> list:
        assert colonnade("detect", recording, "-m", tiny_model, "-q", "-o", "here", *options).code == 0
        return [result.detections for result in read_json_lines("here/detections.jsonl", CLASSES)]

    everything = run("--score", 0)
    near = run("--score", 0, "--classes", "car, Cyclist", "--range", 12)
    assert sum(map(len, near)) > 0
    for whole, part in zip(everything, near, strict=True):
        keep = (whole.labels != 1) & (np.hypot(whole.boxes[:, 0], whole.boxes[:, 1]) <= 12)
        np.testing.assert_array_equal(part.boxes, whole.boxes[keep])
    strict = run("--score", 0.6)
    for whole, part in zip(everything, strict, strict=True):
        assert (part.scores >= 0.6).all()
        assert len(part) < len(whole)


def test_pictures_and_a_movie(colonnade, recording: Path, tiny_model: Path) -> None:
    options = ("--picture", "--movie", "films/drive.webp", "--limit", 3, "--picture-size", 400, "-o", "here")
    outcome = colonnade("detect", recording, "-m", tiny_model, *options)
    assert outcome.code == 0, outcome.err
    pictures = sorted(Path("here/pictures").iterdir())
    assert [path.name for path in pictures] == ["000000.png", "000001.png", "000002.png"]
    with Image.open("films/drive.webp") as movie, Image.open(pictures[0]) as picture:
        assert movie.n_frames == 3
        assert movie.size == picture.size == (400, 441)
    assert "films/drive.webp" in outcome.out


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_a_movie_replaces_movies_only(colonnade, recording: Path, tiny_model: Path, suffix: str) -> None:
    movie = Path(f"drive{suffix}")
    Image.new("RGB", (90, 60)).save(movie)
    before = movie.read_bytes()
    options = ("detect", recording, "-m", tiny_model, "-o", "here", "--limit", 1, "--movie", movie)
    outcome = colonnade(*options)
    assert (outcome.code, outcome.out) == (2, "")
    assert "the file exists and is no movie" in outcome.err
    assert movie.read_bytes() == before
    movie.unlink()
    for _ in range(2):
        assert colonnade(*options).code == 0


def test_results_are_replaced_but_other_files_are_not(colonnade, recording: Path, tiny_model: Path) -> None:
    assert colonnade("detect", recording, "-m", tiny_model, "-o", "here", "--picture").code == 0
    assert colonnade("detect", recording, "-m", tiny_model, "-o", "here", "--limit", 2).code == 0
    assert not Path("here/pictures").exists()
    assert len(list(Path("here/kitti").iterdir())) == 2
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    outcome = colonnade("detect", recording, "-m", tiny_model, "-o", "mine")
    assert outcome.code == 2
    assert "holds other files" in outcome.err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_files_of_an_earlier_run_are_removed(colonnade, recording: Path, tiny_model: Path) -> None:
    """Neither a config.yaml of one's own nor foreign files below folders of the same names are results."""
    project = Path("project")
    (project / "pictures").mkdir(parents=True)
    (project / "pictures/holiday.jpg").write_bytes(b"sea")
    (project / "config.yaml").write_text("colonnade: 0.1.0\nlearning_rate: 1\n")
    results = Path("results_of_mine")
    options = ("detect", recording, "-m", tiny_model, "-q", "--limit", 1)
    assert colonnade(*options, "-o", results, "--picture").code == 0
    (results / "notes.txt").write_text("beside the results")
    assert colonnade(*options, "-o", results).code == 0
    assert (results / "notes.txt").exists()
    for foreign in ("kitti/velodyne.txt", "pictures/holiday.png"):
        (results / foreign).parent.mkdir(exist_ok=True)
        (results / foreign).write_text("mine")
        for folder in (project, results):
            before = read_files(folder)
            outcome = colonnade(*options, "-o", folder)
            assert (outcome.code, outcome.out) == (2, "")
            assert "choose an empty or a new" in outcome.err
            assert read_files(folder) == before
        (results / foreign).unlink()
    (results / "pictures").rmdir()
    (results / "detections.jsonl").unlink()  # as where somebody took only the configuration along
    assert colonnade(*options, "-o", results).code == 2
    assert (results / "summary.json").exists()


def test_results_stay_out_of_the_recording(colonnade, recording: Path, tiny_model: Path) -> None:
    before = read_files(recording)
    earlier = recording.parent / "outer"
    assert colonnade("detect", recording, "-m", tiny_model, "-q", "-o", earlier, "--limit", 1).code == 0
    recording.rename(earlier / "drive")
    for recording_now, output, words in (
        (earlier / "drive", earlier, "holds the recording"),
        (earlier / "drive", earlier / "drive", "is the recording itself"),
        (earlier / "drive", earlier / "drive" / "new", "lies in the recording"),
    ):
        outcome = colonnade("detect", recording_now, "-m", tiny_model, "-q", "-o", output)
        assert (outcome.code, outcome.out) == (2, "")
        assert words in outcome.err
    (earlier / "drive/still.png").write_bytes(b"of the dataset")
    outcome = colonnade(
        "detect", earlier / "drive", "-m", tiny_model, "-q", "--movie", earlier / "drive/still.png"
    )
    assert outcome.code == 2
    assert "lies in the recording" in outcome.err
    before[Path("still.png")] = b"of the dataset"
    assert {path.name: data for path, data in read_files(earlier / "drive").items()} == {
        path.name: data for path, data in before.items()
    }
    assert (earlier / "detections.jsonl").exists()


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        (("--score", "1.5"), 2, "--score 1.5"),
        (("--classes", ","), 2, "names no class"),
        (("--classes", "tram"), 2, "the model knows car, pedestrian, cyclist"),
        (("--range", "-3"), 2, "--range"),
        (("--ground", "high"), 2, "--ground high"),
        (("--threads", "0"), 2, "--threads"),
        (("--threads", "999"), 2, "threads must be between"),
        (("--precision", "fp7"), 2, "precision"),
        (("--model", "nothing-here"), 1, "no model 'nothing-here'"),
        (("--movie", "film.avi"), 2, ".webp"),
        (("--format", "vhs"), 2, "vhs"),
        (("--nonsense",), 2, "nonsense"),
    ],
)
def test_wrong_options_end_with_one_clear_error(
    colonnade, recording: Path, tiny_model: Path, option: tuple[str, ...], code: int, words: str
) -> None:
    outcome = colonnade("detect", recording, "-m", tiny_model, "-q", *option)
    assert outcome.code == code
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("content", [None, b"hello, I am not a point cloud\n" * 9])
def test_bad_recordings_end_with_one_clear_error(
    colonnade, tmp_path: Path, tiny_model: Path, content: bytes
) -> None:
    path = tmp_path / "bad.bin"
    if content is not None:
        path.write_bytes(content)
    outcome = colonnade("detect", path, "-m", tiny_model)
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert str(path) in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("results").exists()


def test_a_corrupt_frame_is_reported_counted_and_skipped(
    colonnade, recording: Path, tiny_model: Path
) -> None:
    (recording / "000003.bin").write_bytes(b"\0" * 1601)
    outcome = colonnade("detect", recording, "-m", tiny_model, "-o", "here")
    assert outcome.code == 3
    assert outcome.err.count("warning: frame skipped: ") == 1
    assert "000003" in outcome.err
    assert "5, 1 corrupt skipped" in outcome.out
    assert json.loads(Path("here/summary.json").read_text())["skipped"] == 1
    assert len(Path("here/detections.jsonl").read_text().splitlines()) == 5


def test_strict_stops_at_a_corrupt_frame_and_keeps_what_was_done(
    colonnade, recording: Path, tiny_model: Path
) -> None:
    (recording / "000003.bin").write_bytes(b"\0" * 1601)
    outcome = colonnade("detect", recording, "-m", tiny_model, "-o", "here", "--strict")
    assert outcome.code == 1
    assert "error: " in outcome.err
    assert "000003" in outcome.err
    assert json.loads(Path("here/summary.json").read_text())["ended"] == "error"
    assert len(Path("here/detections.jsonl").read_text().splitlines()) == 3


def test_a_wrong_option_leaves_earlier_results_alone(colonnade, recording: Path, tiny_model: Path) -> None:
    options = ("detect", recording, "-m", tiny_model, "-q", "-o", "here", "--limit", 1)
    assert colonnade(*options).code == 0
    before = read_files(Path("here"))
    Path("folder.webp").mkdir()
    Path("file").write_text("")
    for movie in ("film.avi", "folder.webp", "file/film.webp", "/proc/nowhere/film.webp"):
        outcome = colonnade(*options, "--movie", movie)
        assert (outcome.code, outcome.out) == (2, "")
        assert movie.rpartition("/")[2] in outcome.err
        assert read_files(Path("here")) == before
    outcome = colonnade(*options[:-4], "-o", recording / "inside", "--movie", "new/place/film.webp")
    assert outcome.code == 2
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder.webp", "here"]


def test_what_a_killed_run_left_goes_with_its_results(colonnade, recording: Path, tiny_model: Path) -> None:
    options = ("detect", recording, "-m", tiny_model, "-q", "-o", "here", "--limit", 1, "--picture")
    assert colonnade(*options).code == 0
    for name in ("kitti/.000000.txt.123.part", "pictures/.000000.png.123.part"):
        (Path("here") / name).write_text("half")
    assert colonnade(*options).code == 0
    assert not list(Path("here").rglob("*.part"))
    foreign = Path("here/kitti/.notes.txt.123.part")
    foreign.write_text("mine")
    assert colonnade(*options).code == 2
    assert foreign.exists()


def test_no_frames_at_all_make_an_empty_result(colonnade, recording: Path, tiny_model: Path) -> None:
    outcome = colonnade("detect", recording, "-m", tiny_model, "-o", "here", "--limit", 0, "--movie", "m.gif")
    assert outcome.code == 0, outcome.err
    assert "frames   0" in outcome.out
    assert Path("here/detections.jsonl").read_text() == ""
    assert not Path("m.gif").exists()


def test_frames_without_points_have_no_boxes(colonnade, tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "empty.npy"
    np.save(path, np.zeros((0, 4), np.float32))
    outcome = colonnade("detect", path, "-m", tiny_model, "-o", "here", "--picture")
    assert outcome.code == 0, outcome.err
    (result,) = read_json_lines("here/detections.jsonl", CLASSES)
    assert len(result.detections) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems allow no such names")
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_any_file_name_can_be_told(tmp_path: Path, tiny_model: Path, locale: str) -> None:
    """Every file is UTF-8, also where a name is not, or where the locale does not say how names are encoded."""
    points = np.random.default_rng(0).uniform(-20, 20, (900, 4)).astype(np.float32)
    python = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for raw, told, stem in (
        (b"a\xff.bin", "a\\xff", "a_xff"),
        ("stra\u00dfe.bin".encode(), "stra\u00dfe", None),
    ):
        path = os.fsencode(tmp_path) + b"/" + raw
        with open(path, "wb") as file:
            file.write(points.tobytes())
        for _ in range(2):  # the second time over the results of the first
            done = subprocess.run(
                [
                    *command("detect", "-m", tiny_model, "--picture", "-o", "results", "--format", "kitti"),
                    path,
                ],
                capture_output=True,
                cwd=tmp_path,
                env={**os.environ, **python},
            )
            assert done.returncode == 0, done.stderr
        (line,) = (tmp_path / "results/detections.jsonl").read_text(encoding="utf-8").splitlines()
        record = json.loads(line)
        assert record["frame_id"] == told
        assert record["source"] == str(tmp_path / f"{told}.bin")
        config = yaml.safe_load((tmp_path / "results/config.yaml").read_text(encoding="utf-8"))
        assert config["recording"] == record["source"]
        (picture,) = (tmp_path / "results/pictures").iterdir()
        assert stem is None or picture.stem == stem


def test_the_ground_can_be_given_or_estimated_per_frame(colonnade, recording: Path, tiny_model: Path) -> None:
    estimated = [load(tiny_model).detect(frame.points).ground for frame in open_recording(recording)]
    assert estimated == pytest.approx([-1.7] * 6, abs=0.1)
    for option, expected in (("-0.5", [-0.5] * 6), ("frame", estimated)):
        assert (
            colonnade("detect", recording, "-m", tiny_model, "-q", "-o", "here", "--ground", option).code == 0
        )
        results = read_json_lines("here/detections.jsonl", CLASSES)
        assert [result.detections.ground for result in results] == pytest.approx(expected, abs=1e-4)


def test_show_without_open3d_names_the_extra_before_anything_is_written(
    colonnade, recording: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)  # what Python does for a module that cannot be found
    outcome = colonnade("detect", recording, "-m", tiny_model, "--show")
    assert outcome.code == 1
    assert "pip install 'colonnade[open3d]'" in outcome.err
    assert not Path("results").exists()


def test_an_unexpected_error_names_the_debug_option(
    colonnade, recording: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("colonnade.detector.detector.load", fail)
    outcome = colonnade("detect", recording, "-q")
    assert outcome.code == 70
    assert outcome.err.startswith("error: unexpected ZeroDivisionError: oh no; ")
    assert "--debug" in outcome.err
    assert outcome.err.count("\n") == 1
    outcome = colonnade("detect", recording, "-q", "--debug")
    assert outcome.code == 70
    assert "Traceback" in outcome.err


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, tiny_model: Path, recording: Path) -> None:
    for index in range(6, 3000):
        (recording / f"{index:06d}.bin").symlink_to(recording / "000001.bin")
    folder = tmp_path / "here"
    process = subprocess.Popen(
        command("detect", recording, "-m", tiny_model, "-o", folder, "-q", "--movie", tmp_path / "movie.gif"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    boxes = folder / "detections.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (boxes.exists() and boxes.read_text().count("\n") > 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "then interrupted" in out
    assert err == ""
    summary = json.loads((folder / "summary.json").read_text())
    results = list(read_json_lines(boxes, CLASSES))
    assert summary["ended"] == "interrupted"
    assert 3 < summary["frames"] == len(results) < 3000
    with Image.open(tmp_path / "movie.gif") as movie:
        assert movie.n_frames == summary["frames"]


@pytest.mark.skipif(os.name == "nt", reason="a shell pipe")
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, tiny_model: Path, recording: Path) -> None:
    process = subprocess.Popen(
        command("detect", recording, "-m", tiny_model, "-o", tmp_path / "here", "-q"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()  # as `| head -0` does
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(timeout=60)
    assert err == b""
    assert (tmp_path / "here" / "summary.json").exists()
