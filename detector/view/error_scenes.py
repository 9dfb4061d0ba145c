"""error_scenes.py: the surroundings of a miss or false alarm, cut out of its frame and turned to the line of sight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import DatasetError
from ..boxes import bev_iou, count_points
from ..detections import Detections
from ..evaluate import ErrorExamples, FrameResult, GroundTruth, LabelledFrame, Outcome
from ..evaluate.outcomes import MISPLACED_OVERLAP, MISS
from ..ground import GroundMap, estimate_ground

_REACH = {"pedestrian": 3.0, "cyclist": 3.0}  # [m] from the middle to the edges
_OTHER_REACH = 6.0  # a car with a car's length around it


@dataclass(frozen=True)
class ErrorScene:
    """What lies around one error.

    Lengths are in metres from the middle of the error's box and the ground below it: x away from the sensor, y to the
    left as the sensor sees it, z up.

    Attributes:
        outcome: the error.
        reach: the scene covers -reach..reach along x and y.
        num_points: LiDAR points in the box: of an object as it was labelled, of a false alarm as counted.
        points: (N, 3) float32.
        box: (7,) of the object that was missed, or of the false alarm.
        truth: the labels of the frame, of every kind.
        found: detections that were judged, of every class.
        unsure: (U, 7) of a miss the detections of its class that overlap it, below the score.
    """

    outcome: Outcome
    reach: float
    num_points: int
    points: NDArray[np.float32]
    box: NDArray[np.float64]
    truth: GroundTruth
    found: Detections
    unsure: NDArray[np.float64]


def scene_reach(label: str) -> float:
    """Return how far the scene of an error of class `label` reaches from its middle [m]."""
    return _REACH.get(label, _OTHER_REACH)


def cut_scenes(
    dataset: Iterable[LabelledFrame],
    results: Sequence[FrameResult],
    examples: Sequence[ErrorExamples],
    *,
    progress: Callable[[int], None] | None = None,
) -> list[list[ErrorScene]]:
    """Read the frames once more and return the scenes of each group of examples, in its order.

    Only the points around the errors are kept.

    Args:
        dataset: the frames that were evaluated.
        results: what the detector found in them, as `run_detector` returned it.
        examples: as `choose_examples` returned them.
        progress: called with the number of frames done after each.

    Raises:
        CorruptFrameError, DatasetError: a frame or its labels cannot be read, or a frame is gone.
    """
    by_frame = {result.frame_id: result for result in results}
    scenes: dict[Outcome, ErrorScene] = {}
    scores = {outcome: group.score for group in examples for outcome in group.outcomes}
    for done, labelled in enumerate(dataset, start=1):
        frame = labelled.frame
        wanted = [outcome for outcome in scores if outcome.frame_id == frame.frame_id]
        if wanted:
            ground = estimate_ground(frame.points)
            for outcome in wanted:
                result = by_frame[frame.frame_id]
                scenes[outcome] = cut_scene(outcome, frame.points, ground, result, scores[outcome])
        if progress:
            progress(done)
    lost = [outcome.frame_id for outcome in scores if outcome not in scenes]
    if lost:
        raise DatasetError(
            f"frame {lost[0]} was evaluated, but is not there when the dataset is read once more"
        )
    return [[scenes[outcome] for outcome in group.outcomes] for group in examples]


def cut_scene(
    outcome: Outcome, points: NDArray[np.float32], ground: GroundMap, result: FrameResult, score: float
) -> ErrorScene:
    """Return the scene around one error.

    Args:
        outcome: the error.
        points: (N, >=3) of its frame.
        ground: of its frame.
        result: labels of its frame, and what the detector found.
        score: detections from it on were judged.
    """
    box = np.array(outcome.box)
    found, reach = result.found, scene_reach(outcome.label)
    middle = np.array([box[0], box[1], float(ground.at(box[None, :2])[0])])
    bearing = float(np.arctan2(box[1], box[0]))
    cut = _turn(points[:, :3], middle, bearing)
    inside = (np.abs(cut[:, :2]) <= reach).all(axis=1)
    judged = found.scores.astype(np.float64) >= score  # as `list_outcomes` compares them
    unsure = found.boxes[:0]
    if outcome.kind == MISS:
        near = bev_iou(found.boxes, box[None])[:, 0] >= MISPLACED_OVERLAP
        own = found.labels == found.classes.index(outcome.label)
        unsure = found.boxes[near & own & ~judged]
    shown = found.select(judged)
    counted = outcome.num_points
    return ErrorScene(
        outcome=outcome,
        reach=reach,
        num_points=int(count_points(points, box[None])[0]) if counted is None else counted,
        points=cut[inside].astype(np.float32),
        box=_turn_boxes(box[None], middle, bearing)[0],
        truth=replace(result.objects, boxes=_turn_boxes(result.objects.boxes, middle, bearing)),
        found=replace(shown, boxes=_turn_boxes(shown.boxes, middle, bearing).astype(np.float32), ground=None),
        unsure=_turn_boxes(unsure, middle, bearing),
    )


def _turn(
    positions: NDArray[np.floating], middle: NDArray[np.float64], bearing: float
) -> NDArray[np.float64]:
    """Return positions (N, 3) from `middle` (3,), turned so that x points along `bearing` [rad]."""
    away = np.asarray(positions, np.float64) - middle
    cos, sin = np.cos(bearing), np.sin(bearing)
    return np.column_stack(
        [away[:, 0] * cos + away[:, 1] * sin, away[:, 1] * cos - away[:, 0] * sin, away[:, 2]]
    )


def _turn_boxes(
    boxes: NDArray[np.floating], middle: NDArray[np.float64], bearing: float
) -> NDArray[np.float64]:
    rows = np.asarray(boxes, np.float64)
    return np.column_stack([_turn(rows[:, :3], middle, bearing), rows[:, 3:6], rows[:, 6] - bearing])
