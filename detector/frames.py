"""frames.py: one LiDAR frame, as every reader yields it and the detector takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One sweep of a LiDAR.

    Attributes:
        points: (N, 4) float32: x forward, y left, z up [m] in the sensor's frame, intensity [0..1]. All finite.
        stamp_ns: time of the frame in nanoseconds (header stamp where there is one, else the index x 100 ms).
        frame_id: name of the frame: file stem ("000017") or the message's index ("000017").
        source: file (and topic) that the frame came from, for messages.
    """

    points: NDArray[np.float32]
    stamp_ns: int
    frame_id: str
    source: str
