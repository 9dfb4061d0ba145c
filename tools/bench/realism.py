"""realism.py: simulated sweeps beside real ones of the same sensor, as JSON.

python -m colonnade.tools.bench.realism ../shared/data docs/realism.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ...detector.evaluate.datasets import open_dataset
from ...detector.evaluate.truth import GroundTruth, LabelledFrame
from ...detector.simulate.datasets import GENERATOR_VERSION, simulate_frames
from ...detector.simulate.realism import SweepStatistics, measure_sweeps
from ...detector.simulate.sensors import SENSORS, Sensor
from ...runtime.files import replace_file

FRAMES = 60
SEED = 100


def compare_realism(data: Path) -> dict[str, SweepStatistics]:
    """Return statistics of the KITTI drive and the PandaSet sequence under `data`, and of their simulated twins."""
    hdl64e, pandar64 = SENSORS["hdl64e"], SENSORS["pandar64"]
    return {
        "KITTI drive 0005": measure_sweeps(open_dataset(data / "kitti_drive_0005"), hdl64e),
        "simulated hdl64e": measure_sweeps(_labelled(hdl64e), hdl64e),
        # The frames of PandaSet are the vehicle's; the sensor's place was fitted to its own rings.
        "PandaSet 002": measure_sweeps(
            open_dataset(data / "pandaset_002"), pandar64, origin=(1.5, -0.04, 1.75)
        ),
        "simulated pandar64": measure_sweeps(_labelled(pandar64), pandar64),
    }


def _labelled(sensor: Sensor) -> Iterator[LabelledFrame]:
    for simulated in simulate_frames(sensor, FRAMES, SEED):
        scan = simulated.scan
        truth = GroundTruth(scan.boxes.astype(np.float64), scan.labels, scan.num_points)
        yield LabelledFrame(simulated.frame, truth)


def write_realism(data: Path, out: Path) -> None:
    """Write `compare_realism(data)` to `out` as JSON with what made it."""
    sets = {name: asdict(_rounded(statistics)) for name, statistics in compare_realism(data).items()}
    content = {"generator_version": GENERATOR_VERSION, "simulated_seed": SEED, "sets": sets}
    replace_file(out, json.dumps(content, indent=1) + "\n")


def _rounded(statistics: SweepStatistics) -> SweepStatistics:
    return replace(
        statistics,
        points=round(statistics.points),
        pillars=round(statistics.pillars),
        ground=tuple(round(count) for count in statistics.ground),
        rays=tuple(
            replace(f, inside=round(f.inside, 3), behind=round(f.behind, 3), lost=round(f.lost, 3))
            for f in statistics.rays
        ),
        heights=tuple(round(share, 3) for share in statistics.heights),
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m colonnade.tools.bench.realism DATA_FOLDER OUT.json")
    write_realism(Path(sys.argv[1]), Path(sys.argv[2]))
