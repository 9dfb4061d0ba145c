"""traces.py: frames as traces: from a file written before, or by running a model on a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...detector.checkpoints import MANIFEST, MODELS
from ...detector.detector import Detector, load
from ...detector.frames import Frame
from ...detector.keeping import Keep, format_keep
from ...detector.standard import VARIANTS, StandardNetwork, Variant, draw_pillars, standard_network
from ...runtime.errors import UsageError
from ...runtime.trace import SiteMap, Trace
from ...runtime.trace_files import FORMAT
from ..bench.frames import find_pillars
from .host_energy import EnergyMeter

STANDARD = "standard"
OPENING = f'{{"format": "{FORMAT}"'  # of a file of traces
FRAME = ", frame "  # between the names of model and frame in the name of a trace
_FRAME, _NETWORK = "points to boxes", "the network alone, on the frame's pillars with random features"


@dataclass(frozen=True)
class TracedFrame:
    """A frame and the record of what ran on it."""

    name: str
    trace: Trace


class Tracer(Protocol):
    """Runs a model; `scope` says on what part of the way from points to boxes."""

    scope: str
    name: str

    def trace(self, points: NDArray[np.floating[Any]]) -> Trace:
        """Return the record of a run on one frame."""

    def run(self, points: NDArray[np.floating[Any]]) -> None:
        """Run on one frame without a record."""


class DetectorTracer:
    """A detector, from points to boxes.

    Args:
        detector: the model.
    """

    scope = _FRAME

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        shares = f" keeping {format_keep(detector.keep)}" if detector.keep else ""
        self.name = f"{detector.manifest.name}{shares} ({detector.precision})"

    def trace(self, points: NDArray[np.floating[Any]]) -> Trace:
        """Return the record of a detection."""
        return self._detector.trace(points)[1]

    def run(self, points: NDArray[np.floating[Any]]) -> None:
        """Detect."""
        self._detector.detect(points)


class StandardTracer:
    """The standard network on the pillars of a frame.

    Args:
        network: with random weights.
    """

    scope = _NETWORK

    def __init__(self, network: StandardNetwork, keep: float | None) -> None:
        self._network = network
        share = "" if keep is None else f" keeping {keep:g}"
        self.name = f"{STANDARD}-{network.variant}{share} ({network.precision})"

    def trace(self, points: NDArray[np.floating[Any]]) -> Trace:
        """Return the record of the network's layers."""
        return self._network.trace(draw_pillars(find_pillars(points), self._network.precision))[1]

    def run(self, points: NDArray[np.floating[Any]]) -> None:
        """Run the network."""
        self._network.run(draw_pillars(find_pillars(points), self._network.precision))


def open_tracer(
    model: str, *, precision: str | None = None, keep: Keep | None = None, threads: int | None = None
) -> Tracer:
    """Return what runs a model.

    Args:
        model: an embedded model, a model folder, or "standard-VARIANT": the standard network with random weights.
        precision: "fp32" or "int8"; None takes the detector's choice, and int8 for the standard network.
        keep: shares of the pillars that a model with vector pruning keeps, as of `detector.load`; one for
            standard-pruned, of which None is 1.
        threads: of a run.

    Raises:
        UsageError: an unknown precision or variant, or a `keep` that does not fit.
        ModelError: no such model, or none in this precision.
    """
    variants: dict[str, Variant] = {f"{STANDARD}-{variant}": variant for variant in VARIANTS}
    known = any((folder / MANIFEST).is_file() for folder in (Path(model), MODELS / model))
    if model.startswith(f"{STANDARD}-") and model not in variants and not known:
        raise UsageError(f"--model {model}: the standard networks are {', '.join(variants)}")
    if model not in variants:
        return DetectorTracer(load(model, precision=precision, threads=threads, keep=keep))
    if isinstance(keep, tuple):
        raise UsageError(f"--keep: {model} takes one share for all blocks, got {format_keep(keep)}")
    wanted = "int8" if precision is None else precision
    network = standard_network(variants[model], wanted, keep, threads=threads)  # type: ignore[arg-type]
    return StandardTracer(network, keep)


def is_trace_file(path: Path) -> bool:
    """Tell whether a file holds traces, by its first characters."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(len(OPENING)) == OPENING
    except (OSError, UnicodeDecodeError):
        return False


def trace_frames(frames: Iterable[Frame], tracer: Tracer, meter: EnergyMeter) -> Iterator[TracedFrame]:
    """Yield the traces of frames; each frame is run once more, without its record, where energy can be measured."""
    for frame in frames:
        trace = tracer.trace(frame.points)
        if meter.is_able:
            meter.measure(lambda points=frame.points: tracer.run(points))  # type: ignore[misc]
        yield TracedFrame(frame.frame_id, replace(trace, name=f"{trace.name}{FRAME}{frame.frame_id}"))


def forget_cells(trace: Trace) -> Trace:
    """Return the same trace without the maps that were unpacked, which take eight times the memory."""
    return replace(
        trace,
        layers=tuple(
            replace(
                layer,
                in_sites=_pack(layer.in_sites),
                out_sites=_pack(layer.out_sites),
                kept_sites=_pack(layer.kept_sites),
            )
            for layer in trace.layers
        ),
    )


def _pack(sites: SiteMap) -> SiteMap:
    return SiteMap(sites.shape, sites.packed)
