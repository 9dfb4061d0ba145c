"""json_lines.py: detections as one JSON object per frame and line.

A line looks like this (in one line; lengths in metres, yaw in radians about +z from +x)::

    {"frame_id": "000017", "stamp_ns": 1700000000, "source": "drive/000017.bin",
     "ground": -1.73,
     "boxes": [{"class": "car", "score": 0.93, "centre": [8.1, 3.2, -1], "size": [4.2, 1.8, 2], "yaw": 0.02}]}

`size` is length, width, height. Numbers have as many digits as float32 needs, so reading gives the same
bits; bytes of a file name that are no UTF-8 are escaped, such as `\\xff`. Every line is flushed when its
frame is done: an interrupted run leaves whole lines only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...runtime.errors import DatasetError
from ...runtime.file_names import readable_name
from ..detections import Detections
from ..frames import Frame


@dataclass(frozen=True)
class FrameResult:
    """One line: what was found in one frame.

    Attributes:
        frame_id, stamp_ns, source: as in the Frame.
        detections: the boxes, and the height of the ground that they were found with.
    """

    frame_id: str
    stamp_ns: int
    source: str
    detections: Detections


class JsonLinesWriter:
    """Writes one line per frame to `path`, replacing what was there; a context manager."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8", newline="\n")

    def write(self, frame: Frame, detections: Detections) -> None:
        """Append the line of one frame and flush it."""
        self._file.write(format_line(frame, detections) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonLinesWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def format_line(frame: Frame, detections: Detections) -> str:
    """Return the line of one frame, without its end."""
    boxes = [
        {
            "class": detections.classes[label],
            "score": _shortest(score),
            "centre": [_shortest(value) for value in box[:3]],
            "size": [_shortest(value) for value in box[3:6]],
            "yaw": _shortest(box[6]),
        }
        for box, score, label in zip(detections.boxes, detections.scores, detections.labels, strict=True)
    ]
    record = {
        "frame_id": readable_name(frame.frame_id),
        "stamp_ns": int(frame.stamp_ns),
        "source": readable_name(frame.source),
        "ground": None if detections.ground is None else round(detections.ground, 4),
        "boxes": boxes,
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def read_json_lines(path: str | Path, classes: tuple[str, ...]) -> Iterator[FrameResult]:
    """Yield the frames of a file that JsonLinesWriter wrote.

    Args:
        classes: class names, in the order that the labels shall count.

    Raises:
        DatasetError: a line is not of this form, or names a class that is not in `classes`.
    """
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield _parse_line(line, classes)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DatasetError(
                    f"{path}, line {number}: not a line of detections ({error!r}); "
                    "expected an object with frame_id, stamp_ns, source, ground and boxes"
                ) from error


def _parse_line(line: str, classes: tuple[str, ...]) -> FrameResult:
    record: dict[str, Any] = json.loads(line)
    boxes = [[*box["centre"], *box["size"], box["yaw"]] for box in record["boxes"]]
    ground = None if record["ground"] is None else float(record["ground"])
    if ground is not None and not math.isfinite(ground):
        raise ValueError("the ground height is not finite")
    detections = Detections(
        np.array(boxes, dtype=np.float32).reshape(-1, 7),
        np.array([box["score"] for box in record["boxes"]], dtype=np.float32),
        np.array([classes.index(box["class"]) for box in record["boxes"]], dtype=np.int32),
        classes,
        ground,
    )
    if len(detections.boxes) != len(boxes):
        raise ValueError("a box needs 3 numbers for its centre, 3 for its size and a yaw")
    return FrameResult(str(record["frame_id"]), int(record["stamp_ns"]), str(record["source"]), detections)


def _shortest(value: np.float32) -> float:
    """Return the float with the fewest decimal digits that is this float32."""
    return float(str(np.float32(value)))
