"""scores.py: the car AP of trained models on synthetic and real frames, kept so that nothing is scored twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from colonnade.detector.checkpoints import load_checkpoint
from colonnade.detector.detector import Detector
from colonnade.detector.evaluate import LabelledFrame, evaluate_detector, open_dataset
from colonnade.detector.train.validation import make_labelled_frame
from colonnade.runtime.errors import ConfigError, DatasetError
from colonnade.runtime.files import replace_file

FIRST_SCENE = 10_000  # behind the scenes of validation, so that nothing was chosen on these
REAL = (
    ("kitti-drive", ("kitti_drive_0005",)),
    ("kitti-objects", ("kitti_object/training",)),
    ("kitti", ("kitti_drive_0005", "kitti_object/training")),
    ("pandaset", ("pandaset_002",)),
    ("argoverse", ("formats/av2/adcf7d18",)),
)
"""Labelled recordings below COLONNADE_DATA: name, folders."""


@dataclass(frozen=True)
class FrameSet:
    """Labelled frames to score on.

    Attributes:
        name: unique; also of the file that a score is kept in.
        open: gives the frames.
    """

    name: str
    open: Callable[[], Iterable[LabelledFrame]]


@dataclass(frozen=True)
class Score:
    """What a model reaches on a set: car BEV AP|R40 at IoU 0.5 and 0.7, in points; NaN where no car counts.

    Attributes:
        model: its folder.
        frames: name of the set.
        count: frames in it.
        cars: that count.
        bev_50, bev_70: the two APs.
    """

    model: Path
    frames: str
    count: int
    cars: int
    bev_50: float
    bev_70: float


def list_synthetic(sensors: Sequence[str], count: int) -> list[FrameSet]:
    """Return a set of `count` frames for each sensor; frame k shows the same scene in all of them."""
    return [FrameSet(f"{name}-{count}", partial(_simulate, name, count)) for name in sensors]


def _simulate(sensor: str, count: int) -> list[LabelledFrame]:
    return [make_labelled_frame(FIRST_SCENE + k, sensor) for k in range(count)]


def list_real(
    names: Sequence[str], further: Sequence[Path], report: Callable[[str], None] = print
) -> list[FrameSet]:
    """Return the sets of `REAL` called `names` that COLONNADE_DATA has, and the datasets in `further` folders.

    Raises:
        ConfigError: two sets would be called alike, and share their kept scores.
    """
    root = Path(os.environ.get("COLONNADE_DATA", ""))
    found = []
    for name, folders in REAL:
        paths = [root / folder for folder in folders]
        if name in names and all(path.is_dir() for path in paths):
            found.append(FrameSet(name, partial(_open_all, paths)))
        elif name in names:
            report(f"no set {name}: COLONNADE_DATA has no {', '.join(folders)}")
    taken = {name for name, _ in REAL}
    for path in further:
        name = path.resolve().name
        if name in taken:
            raise ConfigError(f"--dataset {path}: another set is called {name}; give the folder another name")
        taken.add(name)
        found.append(FrameSet(name, partial(_open_all, [path])))
    return found


def _open_all(paths: Sequence[Path]) -> Iterable[LabelledFrame]:
    return chain.from_iterable(open_dataset(path) for path in paths)


def hash_model(folder: Path) -> str:
    """Return what identifies a model: the start of the SHA-256 of its manifest and weights."""
    files = (folder / "manifest.yaml", folder / "weights.safetensors")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def score_models(
    models: Sequence[Path], sets: Sequence[FrameSet], cache: Path, *, report: Callable[[str], None] = print
) -> tuple[Score, ...]:
    """Return the score of every model on every set; what `cache` has is not measured again.

    The whole reports (all classes and ranges) are kept as cache/<hash of the model>/<set>.json.
    """
    scores = []
    for frame_set in sets:
        frames: list[LabelledFrame] | None = None  # made when a first model needs them
        for model in models:
            path = cache / hash_model(model) / f"{frame_set.name}.json"
            if not path.exists():
                frames = frames if frames is not None else list(frame_set.open())
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, evaluate_detector(load_detector(model), frames).to_json())
            score = read_score(path, model)
            scores.append(score)
            report(
                f"{model.parent.name}/{model.name} on {score.frames}: {score.bev_50:.1f} / {score.bev_70:.1f}"
            )
    return tuple(scores)


def load_detector(model: Path) -> Detector:
    """Return a model of float32 on one thread."""
    return Detector(load_checkpoint(model), threads=1)


def read_score(path: Path, model: Path) -> Score:
    """Return the car's APs over the whole range from a kept report.

    Raises:
        DatasetError: the file is no such report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        figures = {
            figure["threshold"]: figure
            for figure in report["figures"]
            if (figure["label"], figure["metric"]) == ("car", "BEV AP|R40")
            and (figure["near"], figure["far"]) == (0.0, report["max_range"])
        }
        values = [figures[t]["value"] for t in (0.5, 0.7)]
        bev_50, bev_70 = (math.nan if value is None else float(value) for value in values)
        return Score(model, path.stem, report["frames"], figures[0.5]["objects"], bev_50, bev_70)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a kept score ({error}); delete it") from error
