"""accelerator_report.py: the figures of `colonnade bench accelerator`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from .engine_report import round_figures


@dataclass(frozen=True)
class TableFigures:
    """First-order cycles on an array of `size` × `size`: of the frame, and of the dense network."""

    size: int
    cycles: int
    dense_cycles: int

    @property
    def speedup(self) -> float:
        """Over the dense network."""
        return self.dense_cycles / self.cycles


@dataclass(frozen=True)
class DesignFigures:
    """One frame on one preset, with memory and energy."""

    design: str
    cycles: int
    milliseconds: float
    frames_per_second: float
    mj_low: float
    mj: float
    mj_high: float
    megabytes: float
    utilisation: float


@dataclass(frozen=True)
class MappingFigures:
    """Cycles of the units that find the rules of the sixteen backbone convolutions; lanes stated in the names.

    Attributes:
        streaming: one column per cycle, every layer by itself.
        streaming_shared: with one rulebook for layers over the same sites.
        hash: one probe per cycle.
        merge_one_lane, merge_64_lanes: merging, elements per cycle; outputs are not sorted.
    """

    streaming: int
    streaming_shared: int
    hash: int
    merge_one_lane: int
    merge_64_lanes: int


@dataclass(frozen=True)
class ConflictFigures:
    """Rounds lost to bank conflicts, counted on the frame's ranks."""

    gather: int
    gather_naive: int
    scatter: int
    scatter_naive: int


@dataclass(frozen=True)
class FrameFigures:
    """One frame in one variant.

    Attributes:
        frame, pillars, variant, keep: what ran.
        macs, saving: multiply-accumulates, and the share of the dense 3 × 3 network's that is saved; the head is
            counted sparse.
        least_megabytes: int8 traffic if everything moved once.
        table: first-order cycles per array size.
        designs: the presets.
        exposed_rules: layers of pillaracc-64x64 in which rule generation works longer than the array.
        mapping: cycles of mapping units.
        conflicts: of gather and scatter.
        widest_interval: outputs that a tile of 512 inputs touches at most, in tiles.
    """

    frame: str
    pillars: int
    variant: str
    keep: float | None
    macs: int
    saving: float
    least_megabytes: float
    table: tuple[TableFigures, ...]
    designs: tuple[DesignFigures, ...]
    exposed_rules: tuple[str, ...]
    mapping: MappingFigures
    conflicts: ConflictFigures
    widest_interval: float

    def find_design(self, name: str) -> DesignFigures:
        """Return the figures of a preset."""
        return next(design for design in self.designs if design.design == name)


@dataclass(frozen=True)
class AblationFigures:
    """All frames in one variant on pillaracc-64x64 with an optimisation off; "none" has all on, "all" has none."""

    variant: str
    keep: float | None
    off: str
    cycles: int
    mj: float
    megabytes: float


@dataclass(frozen=True)
class Ratio:
    """A sparse design against its dense peer over frames.

    Attributes:
        of_means: sum over sum.
        mean, least, median, most: of the frames' own ratios.
    """

    of_means: float
    mean: float
    least: float
    median: float
    most: float


@dataclass(frozen=True)
class AcceleratorReport:
    """Everything that the command measured."""

    recording: str
    frame_names: tuple[str, ...]
    frames: tuple[FrameFigures, ...]
    ablations: tuple[AblationFigures, ...]

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(round_figures(asdict(self)), indent=1)

    def list_variants(self) -> Iterator[tuple[str, float | None, tuple[FrameFigures, ...]]]:
        """Yield (variant, keep, its frames)."""
        for variant, keep in dict.fromkeys((f.variant, f.keep) for f in self.frames):
            yield variant, keep, tuple(f for f in self.frames if (f.variant, f.keep) == (variant, keep))


def read_report(text: str) -> AcceleratorReport:
    """Return a report from its JSON."""
    content = json.loads(text)
    frames = tuple(
        FrameFigures(
            **entry
            | {
                "table": tuple(TableFigures(**row) for row in entry["table"]),
                "designs": tuple(DesignFigures(**row) for row in entry["designs"]),
                "exposed_rules": tuple(entry["exposed_rules"]),
                "mapping": MappingFigures(**entry["mapping"]),
                "conflicts": ConflictFigures(**entry["conflicts"]),
            }
        )
        for entry in content["frames"]
    )
    ablations = tuple(AblationFigures(**entry) for entry in content["ablations"])
    return AcceleratorReport(content["recording"], tuple(content["frame_names"]), frames, ablations)


def compare_table(frames: tuple[FrameFigures, ...], size: int) -> Ratio:
    """Return first-order speed-ups over the dense network on one array."""
    tables = [next(t for t in frame.table if t.size == size) for frame in frames]
    return _compare([t.dense_cycles for t in tables], [t.cycles for t in tables])


def compare_cycles(frames: tuple[FrameFigures, ...], design: str, against: str) -> Ratio:
    """Return how many times fewer cycles a design takes than another."""
    pairs = [(frame.find_design(against).cycles, frame.find_design(design).cycles) for frame in frames]
    return _compare(*map(list, zip(*pairs, strict=True)))


def compare_energy(frames: tuple[FrameFigures, ...], design: str, against: str) -> Ratio:
    """Return how many times less energy a design takes than another, nominal values."""
    pairs = [(frame.find_design(against).mj, frame.find_design(design).mj) for frame in frames]
    return _compare(*map(list, zip(*pairs, strict=True)))


def _compare(dense: list[float], sparse: list[float]) -> Ratio:
    ratios = np.array(dense, float) / np.array(sparse, float)
    return Ratio(
        of_means=float(np.sum(dense) / np.sum(sparse)),
        mean=float(ratios.mean()),
        least=float(ratios.min()),
        median=float(np.median(ratios)),
        most=float(ratios.max()),
    )
