"""test_error_sheets.py: the sheets of misses and false alarms show what was judged, where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colonnade.detector.detections import Detections
from colonnade.detector.evaluate import (
    EvaluationProtocol,
    FrameResult,
    GroundTruth,
    LabelledFrame,
    choose_examples,
    score_results,
)
from colonnade.detector.frames import Frame
from colonnade.detector.view import ErrorSheet, draw_error_sheets
from colonnade.detector.view.colours import BACKGROUND, PANEL, TRUTH, class_colour
from colonnade.detector.view.error_scenes import ErrorScene, cut_scenes
from colonnade.detector.view.error_sheets import HEADER, tile_corner
from colonnade.detector.view.error_tiles import HEIGHT, SIDE, TOP, WIDTH, caption, draw_tile
from colonnade.runtime.errors import ColonnadeError, DatasetError

CLASSES = ("car", "pedestrian", "cyclist")
GROUND = -1.7
CAR = [0.0, 20.0, GROUND + 0.8, 4.0, 2.0, 1.6, np.pi / 2]  # to the left of the sensor, its front away from it
ALARM = [20.0, 0.0, GROUND + 0.8, 4.0, 2.0, 1.6, 0.0]
PERSON = [10.0, 10.0, GROUND + 0.9, 0.6, 0.6, 1.8, 0.0]
Case = tuple[list[FrameResult], list[LabelledFrame]]


def road(seed: int) -> np.ndarray:
    """Return flat ground with three points where the car is and two where the false alarm is, (N, 4) float32."""
    flat = np.random.default_rng(seed).uniform((-40, -40, GROUND, 0), (40, 40, GROUND, 1), (8000, 4))
    things = [(x, y, GROUND + 1.2, 0.5) for x, y in [(0, 19), (0.5, 19), (-0.3, 19), (19, 0), (19, 0.5)]]
    return np.vstack([flat, things]).astype(np.float32)


def street(frames: int = 1) -> Case:
    """Return frames with a missed car, an unsure car below the score, a false car, and a person that is found."""
    truth = GroundTruth(np.array([CAR, PERSON]), ("car", "pedestrian"), np.array([3, 40], np.int32))
    unsure = [0.0, 22.0, *CAR[2:]]
    found = Detections(
        np.array([ALARM, PERSON, unsure], np.float32),
        np.array([0.9, 0.8, 0.3], np.float32),
        np.array([0, 1, 0], np.int32),
        CLASSES,
        GROUND,
    )
    results, dataset = [], []
    for number in range(frames):
        name = f"{number:06d}"
        results.append(FrameResult(name, found, truth))
        dataset.append(LabelledFrame(Frame(road(number), 0, name, ""), truth))
    return results, dataset


def sheets_of(case: Case) -> list[ErrorSheet]:
    results, dataset = case
    report = score_results(results, EvaluationProtocol(min_points=1), 0.5, dataset="street")
    return list(draw_error_sheets(report, results, dataset))


def scenes_of(case: Case, score: float = 0.5) -> list[list[ErrorScene]]:
    results, dataset = case
    report = score_results(results, EvaluationProtocol(min_points=1), score)
    return cut_scenes(dataset, results, choose_examples(report))


def tiles_in(sheet: ErrorSheet) -> int:
    """Return at how many places of the sheet there is a view from above."""
    pixels = np.asarray(sheet.picture)
    shown = 0
    for index in range(40):
        left, top = tile_corner(index)
        field = pixels[top : top + TOP, left : left + WIDTH]
        shown += field.size > 0 and bool((field == BACKGROUND).all(axis=2).mean() > 0.5)
    return shown


def extent(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom [pixels] of what has nearly this colour."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).sum(axis=2) < 60)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_a_sheet_holds_one_tile_per_error_and_says_how_many_there_are() -> None:
    sheets = {sheet.name: sheet for sheet in sheets_of(street(frames=27))}
    assert list(sheets) == [f"{label}-{kind}" for label in CLASSES for kind in ("misses", "false-alarms")]
    misses = sheets["car-misses"]
    assert misses.title == "street · car: 20 of 27 misses at score 0.5, most points first"
    assert tiles_in(misses) == len(misses.examples.outcomes) == 20
    alarms = sheets["car-false-alarms"]
    assert alarms.title == "street · car: 20 of 27 false alarms at score 0.5, highest score first"
    assert tiles_in(alarms) == 20
    few = sheets_of(street(frames=6))[0]
    assert few.title == "street · car: 6 of 6 misses at score 0.5, most points first"
    assert tiles_in(few) == 6
    assert few.picture.height < misses.picture.height


def test_without_errors_a_sheet_says_so() -> None:
    sheet = next(sheet for sheet in sheets_of(street()) if sheet.name == "pedestrian-misses")
    assert sheet.title == "street · pedestrian: no misses at score 0.5"
    assert sheet.picture.height == HEADER
    assert tiles_in(sheet) == 0
    assert (np.asarray(sheet.picture) != PANEL).any()


def test_scenes_are_turned_to_the_line_of_sight() -> None:
    miss, alarm = scenes_of(street())[:2]
    scene = miss[0]
    np.testing.assert_allclose(scene.box, [0, 0, 0.8, 4, 2, 1.6, 0], atol=0.05)
    high = scene.points[scene.points[:, 2] > 0.5]
    np.testing.assert_allclose(sorted(high[:, 1]), [-0.5, 0, 0.3], atol=1e-5)  # +x is to the right
    np.testing.assert_allclose(high[:, 0], -1, atol=1e-5)  # nearer to the sensor than the middle
    np.testing.assert_allclose(high[:, 2], 1.2, atol=0.05)  # above the ground, not above the sensor
    assert np.abs(scene.points[:, :2]).max() <= scene.reach == 6.0
    np.testing.assert_allclose(scene.unsure[:, :2], [[2.0, 0.0]], atol=1e-5)
    assert len(scene.found) == 2
    assert alarm[0].num_points >= 2  # counted, as nobody labelled it
    assert len(alarm[0].unsure) == 0


def test_detections_below_the_score_are_kept_apart() -> None:
    (scene,) = scenes_of(street(), score=0.2)[0]
    assert scene.outcome.cause == "misplaced"
    assert (len(scene.unsure), len(scene.found)) == (0, 3)


def test_captions_say_what_was_judged() -> None:
    miss, alarm = scenes_of(street())[:2]
    assert caption(miss[0]) == ("000000   20.0 m   3 points", "misplaced, low score   score 0.30")
    assert caption(alarm[0])[1] == "background   score 0.90"
    unseen = replace(miss[0], outcome=replace(miss[0].outcome, cause="not seen", score=None), num_points=1)
    assert caption(unseen) == ("000000   20.0 m   1 point", "not seen")


def test_boxes_are_drawn_in_their_places() -> None:
    miss, alarm = scenes_of(street())[:2]
    scale = TOP / 12.0  # pixels per metre
    tile = np.asarray(draw_tile(miss[0]))
    left, top, right, bottom = extent(tile[:TOP], TRUTH)
    assert (left, right) == (pytest.approx(5 * scale, abs=3), pytest.approx(7 * scale, abs=3))
    assert bottom == pytest.approx(8 * scale, abs=3)  # the rear is nearer to the sensor, which is below
    assert top == pytest.approx(4 * scale - 0.42 * scale, abs=4)  # the tick reaches beyond the front
    side = tile[TOP + 2 : TOP + 2 + SIDE]
    left, top, right, bottom = extent(side, TRUTH)
    assert (left, right) == (pytest.approx(5 * scale, abs=3), pytest.approx(7 * scale, abs=3))
    assert bottom == pytest.approx(0.8 * SIDE, abs=4)
    assert bottom - top == pytest.approx(1.6 * scale, abs=4)
    tile = np.asarray(draw_tile(alarm[0]))
    left, _, right, _ = extent(tile[:TOP], class_colour("car"))
    assert (left, right) == (pytest.approx(5 * scale, abs=3), pytest.approx(7 * scale, abs=3))
    assert tile.shape == (HEIGHT, WIDTH, 3)


def test_points_are_drawn_in_both_views() -> None:
    scene = scenes_of(street())[0][0]
    with_points, without = (
        np.asarray(draw_tile(item)).astype(int) for item in (scene, replace(scene, points=scene.points[:0]))
    )
    changed = (with_points != without).any(axis=2)
    scale = TOP / 12.0
    nearer, high = round(7 * scale), TOP + 2 + round(0.8 * SIDE - 1.2 * scale)
    for row in (nearer, high):
        shown = changed[row - 2 : row + 3].any(axis=0)
        right, middle, left, beyond = (round((6 + across) * scale) for across in (0.5, 0.0, -0.3, -0.7))
        assert shown[right]
        assert shown[middle]
        assert shown[left]
        assert not shown[beyond - 2 : beyond + 3].any()
    assert not changed[TOP + 2 + SIDE :].any()


def test_a_frame_that_is_gone_is_named() -> None:
    results, dataset = street(frames=3)
    report = score_results(results, EvaluationProtocol(min_points=1), 0.5)
    with pytest.raises(DatasetError, match="frame 000002 was evaluated"):
        list(draw_error_sheets(report, results, dataset[:2]))


def test_sheets_are_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    sheet = sheets_of(street())[0]
    sheet.save(tmp_path / "misses.png")
    with Image.open(tmp_path / "misses.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(sheet.picture))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ColonnadeError, match=r"cannot write the picture .*taken\.png"):
        sheet.save(tmp_path / "taken.png")
    with pytest.raises(ColonnadeError, match="cannot write the picture"):
        sheet.save(tmp_path / "absent" / "misses.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["misses.png", "taken.png"]
