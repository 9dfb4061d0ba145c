"""runs.py: the frames of a recording on several accelerators, with everything that the outputs of a profile need."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from ...accel_model.report import Report
from ...accel_model.report_json import STATEMENT, describe_report
from ...accel_model.simulate import simulate
from ...accel_model.spec import Spec
from ...accel_model.spread import Comparison, Spread, compare, find_median, measure_spread
from ...runtime.errors import RecordingError
from .host_energy import HostEnergy
from .traces import TracedFrame, forget_cells

SCHEMA, VERSION = "colonnade-profile", 1


@dataclass(frozen=True)
class DesignRun:
    """All frames on one accelerator.

    Attributes:
        spec: the accelerator.
        reports: one per frame, in order, without events.
        shown: the report of the frame that is shown layer by layer, with events.
        spread: of the frames.
    """

    spec: Spec
    reports: tuple[Report, ...]
    shown: Report
    spread: Spread


@dataclass(frozen=True)
class Workload:
    """What ran.

    Attributes:
        recording: name of the recording or of the file of traces.
        model: what ran on it, with its precision.
        scope: the part of the way from points to boxes.
    """

    recording: str
    model: str
    scope: str


@dataclass(frozen=True)
class Profile:
    """A recording on accelerators.

    Attributes:
        workload: what ran.
        frames: names of the frames.
        shown: index of the frame that is shown layer by layer: the median of the first design by cycles.
        design: the accelerator that was asked for.
        others: those that it is compared with.
        comparisons: with each of `others`, in their order.
        host: energy of the run on this computer.
    """

    workload: Workload
    frames: tuple[str, ...]
    shown: int
    design: DesignRun
    others: tuple[DesignRun, ...]
    comparisons: tuple[Comparison, ...]
    host: HostEnergy

    @property
    def runs(self) -> tuple[DesignRun, ...]:
        """All designs, the one that was asked for first."""
        return (self.design, *self.others)


def profile_frames(
    frames: Iterable[TracedFrame],
    specs: Sequence[Spec],
    workload: Workload,
    measure_host: Callable[[], HostEnergy],
    *,
    progress: Callable[[int], None] = lambda done: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Profile:
    """Cost every frame on every accelerator, frame by frame.

    Args:
        frames: traces.
        specs: the accelerator that is asked for, then those to compare it with.
        workload: what ran.
        measure_host: called after the last frame.
        progress: called with the number of frames done.
        is_stopped: asked after every frame; when it says so, the frames so far are all.

    Raises:
        RecordingError: there are no frames.
        ConfigError, UsageError: a trace cannot run on one of the accelerators.
    """
    kept: list[TracedFrame] = []
    reports: list[list[Report]] = [[] for _ in specs]
    for frame in frames:
        for spec, done in zip(specs, reports, strict=True):
            done.append(_forget_events(simulate(frame.trace, spec)))
        kept.append(TracedFrame(frame.name, forget_cells(frame.trace)))
        progress(len(kept))
        if is_stopped():
            break
    if not kept:
        raise RecordingError(f"{workload.recording}: no frames to profile")
    shown = find_median(reports[0])
    runs = tuple(
        DesignRun(spec, tuple(done), simulate(kept[shown].trace, spec), measure_spread(done))
        for spec, done in zip(specs, reports, strict=True)
    )
    return Profile(
        workload=workload,
        frames=tuple(frame.name for frame in kept),
        shown=shown,
        design=runs[0],
        others=runs[1:],
        comparisons=tuple(compare(runs[0].reports, other.reports) for other in runs[1:]),
        host=measure_host(),
    )


def _forget_events(report: Report) -> Report:
    """Return the report without events, of which a frame has thousands."""
    layers = tuple(replace(layer, cost=replace(layer.cost, events=())) for layer in report.layers)
    return replace(report, layers=layers)


def format_profile(profile: Profile) -> str:
    """Return a profile as one JSON object.

    Keys: schema, version, statement, workload, frames (names), shown_frame, designs (each with the report of the shown
    frame, the figures of all frames, and their spread), comparisons, host_energy. A ratio over nothing is null.
    """
    body = {
        "schema": SCHEMA,
        "version": VERSION,
        "statement": STATEMENT,
        "workload": asdict(profile.workload),
        "frames": list(profile.frames),
        "shown_frame": profile.frames[profile.shown],
        "designs": [_describe_run(run, profile.frames) for run in profile.runs],
        "comparisons": [_drop_infinite(asdict(comparison)) for comparison in profile.comparisons],
        "host_energy": {"measured": profile.host.millijoules is not None} | asdict(profile.host),
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _describe_run(run: DesignRun, frames: Sequence[str]) -> dict[str, object]:
    figures = [
        {
            "name": name,
            "cycles": r.cycles,
            "milliseconds": r.seconds * 1e3,
            "energy_mj": asdict(r.energy_band_mj),
        }
        for name, r in zip(frames, run.reports, strict=True)
    ]
    spread = {
        key: _drop_infinite(value) if isinstance(value, dict) else value
        for key, value in asdict(run.spread).items()
    }
    return {
        "design": run.spec.name,
        "spread": spread,
        "frames": figures,
        "shown_frame": describe_report(run.shown),
    }


def _drop_infinite(values: dict[str, object]) -> dict[str, object]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
