"""test_view.py: pictures show what they should where they should, and movies hold every frame."""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from colonnade.detector.detections import Detections
from colonnade.detector.frames import Frame
from colonnade.detector.view import MovieWriter, draw_birdseye, show_frames, write_movie
from colonnade.detector.view.birdseye import choose_range
from colonnade.detector.view.colours import BACKGROUND, class_colour, height_colours
from colonnade.detector.view.raster import TopView, draw_points
from colonnade.detector.view.window import box_wireframe
from colonnade.runtime.errors import MissingExtraError, UsageError

CLASSES = ("car", "pedestrian", "cyclist")
NOTHING = Detections.empty(CLASSES)


def one_box(box: list[float], label: int = 0) -> Detections:
    return Detections(
        np.array([box], np.float32), np.array([0.9], np.float32), np.array([label], np.int32), CLASSES
    )


def street(count: int = 120_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-60, 60, (count, 4)).astype(np.float32)
    points[:, 2] = rng.uniform(-1.8, 2.0, count)
    return points


def field(picture: Image.Image) -> np.ndarray:
    """Return the square between the two bands as an array."""
    array = np.asarray(picture)
    top = round(picture.width * 0.052)
    return array[top : top + picture.width]


def test_colours_of_heights_rise_in_lightness_by_equal_steps() -> None:
    rgb = height_colours(256).astype(np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    steps = np.diff(lightness[::15])
    assert (steps > 0).all()
    assert steps.max() < 2.0 * steps.min()


def test_a_point_lands_forward_up_and_left_left() -> None:
    view = TopView(range_m=50.0, size_px=500)
    picture = np.asarray(draw_points(view, np.array([[30.0, 20.0, 0.0, 0.0]], np.float32), ground=-1.7))
    rows, columns = np.nonzero((picture != BACKGROUND).any(axis=2))
    assert (np.median(rows), np.median(columns)) == (100, 150)
    assert len(rows) <= 9  # the point and its halo


def test_the_highest_point_of_a_pixel_gives_its_colour() -> None:
    view = TopView(range_m=10.0, size_px=200)
    points = np.array([[0.0, 0.0, z, 0.0] for z in (3.1, -1.7, 0.4)], np.float32)
    picture = np.asarray(draw_points(view, points, ground=-1.7))
    np.testing.assert_array_equal(picture[100, 100], height_colours(127)[-1])


def test_points_outside_the_picture_are_left_out() -> None:
    view = TopView(range_m=10.0, size_px=200)
    points = np.array([[10.01, 0, 0, 0], [0, -10.01, 0, 0], [1e30, 1e30, 0, 0], [-11, 0, 0, 0]], np.float32)
    assert (np.asarray(draw_points(view, points, ground=0.0)) == BACKGROUND).all()


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.5, np.pi / 2])
def test_a_box_is_drawn_around_its_place_with_a_tick_to_the_front(yaw: float) -> None:
    box = [12.0, -8.0, -1.0, 6.0, 2.0, 1.5, yaw]
    empty = np.zeros((0, 4), np.float32)
    drawn = field(draw_birdseye(empty, one_box(box), range_m=20, size_px=800))
    blank = field(draw_birdseye(empty, NOTHING, range_m=20, size_px=800))
    orange = np.abs(drawn.astype(int) - class_colour("car")).sum(axis=2) < 40
    rows, columns = np.nonzero(orange & (drawn != blank).any(axis=2))
    x, y = 20 - (rows + 0.5) / 20, 20 - (columns + 0.5) / 20
    along = (x - 12) * np.cos(yaw) + (y + 8) * np.sin(yaw)
    across = -(x - 12) * np.sin(yaw) + (y + 8) * np.cos(yaw)
    assert np.abs(across).max() == pytest.approx(1.0, abs=0.15)
    assert along.min() == pytest.approx(-3.0, abs=0.15)
    assert along.max() == pytest.approx(3.5, abs=0.15)  # the tick reaches beyond the front
    front = np.abs(across) < 0.1
    assert not ((along[front] > -2.5) & (along[front] < -0.3)).any()  # and there is none to the rear


def test_classes_have_their_own_colours() -> None:
    assert len({class_colour(name) for name in CLASSES}) == 3
    assert class_colour("tram", 0) != class_colour("tractor", 1)


def test_truth_scores_title_and_range_change_the_picture() -> None:
    points = street(2000)
    detections = one_box([12, -8, -1, 6, 2, 1.5, 0.3])
    plain = np.asarray(draw_birdseye(points, detections, range_m=50, size_px=400))
    for options in (
        {"truth": detections.boxes + np.float32(1)},
        {"title": "drive · 000001"},
        {"note": "12 ms"},
        {"range_m": 30},
        {"ground": 1.0},
    ):
        changed = np.asarray(draw_birdseye(points, detections, **{"range_m": 50, "size_px": 400, **options}))
        assert (changed != plain).any(), options


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nearly_empty_frames_can_be_drawn(count: int) -> None:
    picture = draw_birdseye(street(count), NOTHING, title="x" * 500)
    assert picture.size == (1000, 1102)


def test_odd_boxes_do_not_break_the_picture() -> None:
    boxes = np.array(
        [[0, 0, 0, 0, 0, 0, 0], [1e6, 1e6, 0, 4, 2, 1, 0], [0, 0, 0, 1e5, 1e5, 1, 0.5]], np.float32
    )
    detections = Detections(boxes, np.ones(3, np.float32), np.zeros(3, np.int32), CLASSES)
    assert draw_birdseye(street(100), detections, range_m=50, size_px=300).size[0] == 300


@pytest.mark.parametrize("options", [{"size_px": 10}, {"range_m": 0.0}, {"range_m": float("nan")}])
def test_impossible_pictures_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="pixels and a range"):
        draw_birdseye(street(10), NOTHING, **options)


def test_the_range_holds_points_and_boxes() -> None:
    points = np.clip(street(1000), -33, 33)
    assert choose_range(points, NOTHING) == 40
    assert choose_range(points, one_box([0, -70, 0, 4, 2, 1.5, 0])) == 80
    assert choose_range(np.zeros((0, 4), np.float32), NOTHING) == 20


def test_wireframes_turn_with_the_yaw() -> None:
    box = np.array([5, 6, 1, 4, 2, 1.5, np.pi / 2])
    frame = box_wireframe(box)
    np.testing.assert_allclose(frame[:8].min(axis=0), [4, 4, 0.25], atol=1e-9)
    np.testing.assert_allclose(frame[:8].max(axis=0), [6, 8, 1.75], atol=1e-9)
    np.testing.assert_allclose(frame[9], [5, 8.7, 1.75], atol=1e-9)


def test_a_picture_takes_less_than_its_budget() -> None:
    points, detections = street(), one_box([12, -8, -1, 6, 2, 1.5, 0.3])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        draw_birdseye(points, detections, ground=-1.7, range_m=60)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.06


def coloured_frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), (20 * index, 255 - 20 * index, 90)) for index in range(count)]


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png", ".WEBP"])
def test_movies_hold_every_frame_in_order(tmp_path: Path, suffix: str) -> None:
    frames = coloured_frames(7)
    path = tmp_path / "deep" / f"movie{suffix}"
    assert write_movie(iter(frames), path, frames_per_second=5) == 7
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as movie:
        assert getattr(movie, "n_frames", 1) == 7
        shown = []
        for still in ImageSequence.Iterator(movie):
            shown.append(np.asarray(still.convert("RGB")).astype(int))
            assert still.info["duration"] == pytest.approx(200)
    tolerance = 6 if suffix.lower() == ".webp" else 0
    for got, wanted in zip(shown, frames, strict=True):
        assert np.abs(got - np.asarray(wanted)).max() <= tolerance


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_a_movie_of_real_pictures_is_readable(tmp_path: Path, suffix: str) -> None:
    pictures = [draw_birdseye(street(5000, seed), NOTHING, range_m=50, size_px=300) for seed in range(3)]
    path = tmp_path / f"movie{suffix}"
    write_movie(pictures, path)
    with Image.open(path) as movie:
        for still, picture in zip(ImageSequence.Iterator(movie), pictures, strict=True):
            error = np.abs(np.asarray(still.convert("RGB")).astype(int) - np.asarray(picture)).mean()
            assert error < 6


def test_an_interrupted_movie_keeps_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "movie.webp"

    def write_two_and_stop() -> None:
        with MovieWriter(path) as movie:
            for frame in coloured_frames(2):
                movie.add(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_two_and_stop()
    with Image.open(path) as reread:
        assert reread.n_frames == 2


def test_a_movie_without_frames_leaves_nothing(tmp_path: Path) -> None:
    assert write_movie([], tmp_path / "movie.gif") == 0
    assert list(tmp_path.iterdir()) == []


def test_webp_length_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "movie.webp"
    write_movie(coloured_frames(3), path)
    data = path.read_bytes()
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8


def test_movies_refuse_what_they_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.webp, \.gif, \.png"):
        MovieWriter(tmp_path / "movie.avi")
    with pytest.raises(UsageError, match="frames per second"):
        MovieWriter(tmp_path / "movie.gif", frames_per_second=0)
    with MovieWriter(tmp_path / "movie.gif") as movie:
        movie.add(Image.new("RGB", (10, 10)))
        with pytest.raises(UsageError, match="frame 1 is"):
            movie.add(Image.new("RGB", (11, 10)))


def test_the_window_names_the_extra_when_open3d_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)  # what Python does for a module that cannot be found
    with pytest.raises(MissingExtraError, match=r"pip install 'colonnade\[open3d\]'"):
        show_frames([], tmp_path / "view.png")


def test_without_a_display_the_view_becomes_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open3d", reason="open3d is not installed (extra [open3d])")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    messages: list[str] = []
    frame = Frame(street(2000), 0, "000001", "")
    results = [(frame, one_box([12, -8, -1, 6, 2, 1.5, 0.3]))]
    path = show_frames(results, tmp_path / "view.png", report=messages.append)
    assert path is not None
    assert "no display" in messages[0]
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("RGB")).std() > 2
