"""detection_run.py: a recording through the detector, frame by frame, with everything that is counted on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ...detector.detections import Detections
from ...detector.detector import Detector
from ...detector.frames import Frame
from ...runtime.errors import UsageError
from .result_folder import FrameOutputs
from .timings import FrameClock, StageSummary


@dataclass(frozen=True)
class Selection:
    """Which boxes are wanted.

    Attributes:
        score: lowest score; None takes the model's default.
        classes: names; None takes all.
        range_m: largest horizontal distance of a box's centre from the sensor [m]; None for no bound.
    """

    score: float | None = None
    classes: tuple[str, ...] | None = None
    range_m: float | None = None

    def check(self, known: tuple[str, ...]) -> None:
        """Raise UsageError where something is asked for that the model cannot give."""
        unknown = [name for name in self.classes or () if name not in known]
        if unknown:
            raise UsageError(f"--classes {','.join(unknown)}: the model knows {', '.join(known)}")
        if self.range_m is not None and not self.range_m > 0:
            raise UsageError(f"--range {self.range_m}: must be above 0 m")
        if self.score is not None and not 0 <= self.score <= 1:
            raise UsageError(f"--score {self.score}: must lie in 0..1")

    def apply(self, detections: Detections) -> Detections:
        """Return the wanted boxes."""
        keep = np.ones(len(detections), dtype=np.bool_)
        if self.classes is not None:
            wanted = [label for label, name in enumerate(detections.classes) if name in self.classes]
            keep &= np.isin(detections.labels, wanted)
        if self.range_m is not None:
            keep &= np.hypot(detections.boxes[:, 0], detections.boxes[:, 1]) <= self.range_m
        return detections.select(keep)


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        frames: frames detected on.
        skipped: corrupt frames.
        boxes: number of boxes per class.
        frames_per_second: wall time of everything, reading and writing included; None for fewer than two frames.
        timed_frames: frames that the times are of; the first one is left out where there are others.
        stages: times per frame.
        ended: "complete", "interrupted" or "error".
    """

    frames: int
    skipped: int
    boxes: tuple[tuple[str, int], ...]
    frames_per_second: float | None
    timed_frames: int
    stages: tuple[StageSummary, ...]
    ended: str

    def to_json(self, **more: object) -> str:
        """Return the summary as JSON, followed by what else is to be kept."""
        values = asdict(self) | {"boxes": dict(self.boxes)} | more
        return json.dumps(values, indent=2)


class DetectionRun:
    """Detects on the frames of a recording, writes the outputs, and counts.

    Args:
        frames: the recording.
        detector: the model.
        selection: which boxes to keep.
        ground: height of the ground under the sensor [m]; None estimates it in every frame.
        outputs: where boxes and pictures go.
        on_frame: called with the number of frames done.
        is_stopped: asked before every frame; when it says so, no further frame is begun.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        detector: Detector,
        *,
        selection: Selection,
        ground: float | None,
        outputs: FrameOutputs,
        on_frame: Callable[[int], None] = lambda done: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._frames, self._detector, self._outputs = frames, detector, outputs
        self._selection, self._ground, self._on_frame = selection, ground, on_frame
        self._is_stopped = is_stopped
        self._clock = FrameClock()
        self._boxes = np.zeros(len(detector.classes), dtype=np.int64)
        self._done = 0

    def results(self) -> Iterator[tuple[Frame, Detections]]:
        """Yield each frame and its detections once they are written."""
        frames = iter(self._frames)
        while not self._is_stopped():
            start = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            read = time.perf_counter() - start
            found, stages = self._detector.detect_timed(
                frame.points, score=self._selection.score, ground=self._ground
            )
            found = self._selection.apply(found)
            start = time.perf_counter()
            self._outputs.write(frame, found, 1e3 * sum(stages.seconds))
            written = time.perf_counter() - start
            self._clock.add(("read", *stages.names, "write"), (read, *stages.seconds, written))
            self._boxes += np.bincount(found.labels, minlength=len(self._boxes))
            self._done += 1
            self._on_frame(self._done)
            yield frame, found

    def summarise(self, skipped: int, ended: str) -> RunSummary:
        """Return what was done so far."""
        counts = tuple(zip(self._detector.classes, (int(n) for n in self._boxes), strict=True))
        clock = self._clock
        return RunSummary(
            self._done, skipped, counts, clock.frames_per_second(), clock.frames, clock.stages(), ended
        )
