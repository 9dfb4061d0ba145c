"""profile_sources.py: frames to cost: from a file of traces, or by running a model on a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ...runtime.errors import CorruptFrameError
    from ..profile.host_energy import HostEnergy
    from ..profile.runs import Workload
    from ..profile.traces import TracedFrame


DEFAULT_MODEL = "default"


@dataclass(frozen=True)
class RecordingOptions:
    """A recording, and what is known of it."""

    path: Path
    format: str | None = None
    topic: str | None = None
    columns: str | None = None
    intensity_scale: str | None = None
    ros_distro: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Source:
    """Frames that can be read once.

    Attributes:
        workload: what ran.
        frames: their traces.
        total: how many, where that is known.
        skipped: errors of corrupt frames, as they are met.
        measure_host: asked after the last frame.
    """

    workload: Workload
    frames: Iterator[TracedFrame]
    total: int | None
    skipped: list[CorruptFrameError]
    measure_host: Callable[[], HostEnergy]


@dataclass(frozen=True)
class ModelOptions:
    """What runs on a recording; None takes the default."""

    name: str
    precision: str | None = None
    keep: float | tuple[float, ...] | None = None
    threads: int | None = None


def open_source(recorded: RecordingOptions, model: ModelOptions) -> AbstractContextManager[Source]:
    """Return the frames of a recording on which the model runs, or those that were traced before.

    Raises:
        UsageError: a model is asked for, but the frames were traced before.
    """
    from ...runtime.errors import UsageError
    from ..profile.traces import is_trace_file

    if not is_trace_file(recorded.path):
        return run_model(recorded, model)
    if (model.name, model.precision, model.keep) != (DEFAULT_MODEL, None, None):
        raise UsageError(
            f"{recorded.path}: holds traces of a model that ran before; leave --model, --precision and --keep out"
        )
    return read_traces(recorded.path, recorded.limit)


@contextmanager
def read_traces(path: Path, limit: int | None) -> Iterator[Source]:
    """Yield what a file of traces holds.

    Raises:
        ConfigError: as `load_traces`.
    """
    from ...runtime.file_names import readable_name
    from ...runtime.trace_files import load_traces
    from ..profile.host_energy import NOT_RUN
    from ..profile.runs import Workload
    from ..profile.traces import FRAME, TracedFrame

    traces = load_traces(path)[:limit]
    names = [trace.name.rpartition(FRAME) for trace in traces]
    model = ", ".join(dict.fromkeys(model or frame for model, _, frame in names))
    frames = (
        TracedFrame(frame if model else str(number), trace)
        for number, (trace, (model, _, frame)) in enumerate(zip(traces, names, strict=True), start=1)
    )
    yield Source(
        Workload(readable_name(path.name), model, "traced earlier"), frames, len(traces), [], lambda: NOT_RUN
    )


@contextmanager
def run_model(recorded: RecordingOptions, model: ModelOptions) -> Iterator[Source]:
    """Yield the traces of a model on a recording; corrupt frames are told and kept in `skipped`.

    Raises:
        RecordingError, ModelError, UsageError: as `open_recording` and `open_tracer`.
    """
    from ...detector.io import open_recording
    from ...runtime.file_names import readable_name
    from ..profile.host_energy import open_meter
    from ..profile.runs import Workload
    from ..profile.traces import open_tracer, trace_frames

    skipped: list[CorruptFrameError] = []

    def skip(error: CorruptFrameError) -> None:
        skipped.append(error)
        terminal.show_warning(f"frame skipped: {error}")

    with open_recording(
        recorded.path,
        format=recorded.format,
        topic=recorded.topic,
        columns=recorded.columns,
        intensity_scale=recorded.intensity_scale,
        ros_distro=recorded.ros_distro,
        limit=recorded.limit,
        on_corrupt=skip,
    ) as frames:
        tracer = open_tracer(model.name, precision=model.precision, keep=model.keep, threads=model.threads)
        meter = open_meter()
        workload = Workload(readable_name(recorded.path.resolve().name), tracer.name, tracer.scope)
        yield Source(workload, trace_frames(frames, tracer, meter), frames.length, skipped, meter.summarise)
