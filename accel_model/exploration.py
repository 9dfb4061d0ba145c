"""exploration.py: variations of an accelerator on the same frames: the points of a space, their costs, the front."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import random
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..runtime.errors import ColonnadeError, ConfigError
from ..runtime.trace import Trace
from .area import estimate_area_mm2
from .simulate import simulate
from .spec import Spec
from .spec_files import change_values, load_spec, read_yaml

Value = bool | int | float | str
OBJECTIVES = ("milliseconds", "millijoules", "area_mm2")
MOST_POINTS = 1_000_000
_KEYS = ("based_on", "values", "sample", "seed")


@dataclass(frozen=True)
class Space:
    """Variations of an accelerator.

    Attributes:
        base: the accelerator that they vary.
        values: by key, such as "array.rows", what it may be.
        sample: how many points to draw; None takes all.
        seed: of the draw.
    """

    base: Spec
    values: Mapping[str, tuple[Value, ...]]
    sample: int | None = None
    seed: int = 0

    @property
    def size(self) -> int:
        """How many points the space has."""
        return math.prod(len(values) for values in self.values.values())


@dataclass(frozen=True)
class Point:
    """One variation: the key by which its result is found again, and its values in the order of the space."""

    key: str
    values: tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class PointResult:
    """What one variation costs.

    Attributes:
        point: the variation.
        milliseconds: mean latency of a frame.
        millijoules, low_mj, high_mj: mean energy of a frame, with its band.
        area_mm2: the area proxy.
        utilisation: of the array, over all frames.
        problem: why it cannot run the frames; its figures are infinite then.
    """

    point: Point
    milliseconds: float = math.inf
    millijoules: float = math.inf
    low_mj: float = math.inf
    high_mj: float = math.inf
    area_mm2: float = math.inf
    utilisation: float = 0.0
    problem: str | None = None


def load_space(path: str | Path) -> Space:
    """Read a space from YAML: `based_on`, a preset or a file; `values`, by key a list; `sample` and `seed`, if wanted.

    Raises:
        ConfigError: the file cannot be read, or a key or value does not describe a space; the message names it.
    """
    try:
        content = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{path}: cannot be read: {reason}; name a YAML file") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not {"based_on", "values"} <= content.keys():
        raise ConfigError(
            f"{path}: must hold 'based_on', the name of a preset or a file, and 'values', lists by key"
        )
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{path}: unknown key '{unknown[0]}'; a space has {', '.join(_KEYS)}")
    base = _load_base(path, content["based_on"])
    values = _check_values(path, content["values"], base)
    space = Space(
        base, values, _check_count(path, content, "sample"), _check_count(path, content, "seed") or 0
    )
    _check_size(path, space)
    return space


def _load_base(path: str | Path, name: object) -> Spec:
    if not isinstance(name, str):
        raise ConfigError(f"{path}: 'based_on' must be the name of a preset or of a YAML file, got {name!r}")
    beside = Path(path).parent / name
    try:
        return load_spec(beside if beside.is_file() else name)
    except ConfigError as error:
        raise ConfigError(f"{path}: 'based_on': {error}") from error


def _check_values(path: str | Path, given: object, base: Spec) -> dict[str, tuple[Value, ...]]:
    """Return the lists of values, each value tried on the base by itself."""
    if not isinstance(given, dict) or not given:
        raise ConfigError(f"{path}: 'values' must name keys such as array.rows, each with a list of values")
    checked: dict[str, tuple[Value, ...]] = {}
    for key, values in given.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}: values of '{key}' must be a list, such as [16, 32], got {values!r}")
        if any(not isinstance(value, bool | int | float | str) for value in values):
            raise ConfigError(f"{path}: values of '{key}' must be numbers, words, true or false")
        texts = [json.dumps(value) for value in values]
        if len(set(texts)) < len(texts):
            raise ConfigError(f"{path}: values of '{key}' name one twice; leave it out")
        for value in values:
            try:
                change_values(base, {str(key): value})
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error
        checked[str(key)] = tuple(values)
    return checked


def _check_count(path: str | Path, content: Mapping[str, object], key: str) -> int | None:
    value = content.get(key)
    least = 1 if key == "sample" else 0
    if value is not None and (type(value) is not int or value < least):
        raise ConfigError(f"{path}: '{key}' must be a whole number from {least}, got {value!r}")
    return value


def _check_size(path: str | Path, space: Space) -> None:
    count = space.size if space.sample is None else min(space.sample, space.size)
    if count > MOST_POINTS:
        raise ConfigError(
            f"{path}: the space has {space.size:,} points; add 'sample' to draw at most {MOST_POINTS:,} of them"
        )


def list_points(space: Space, traces: Sequence[Trace]) -> tuple[Point, ...]:
    """Return the points of a space in order, the last key's values next to each other; or the sample, in that order.

    A point's key depends on its values, the base, the traces and the models, so that no result is taken for another's.
    """
    numbers: Sequence[int] = range(space.size)
    if space.sample is not None and space.sample < space.size:
        numbers = sorted(random.Random(space.seed).sample(range(space.size), space.sample))
    common = hash_inputs(space.base, traces)
    return tuple(_find_point(space, number, common) for number in numbers)


def hash_inputs(base: Spec, traces: Sequence[Trace]) -> str:
    """Return a hash of what all points share, the models themselves included."""
    plain = json.dumps(asdict(replace(base, provenance={})), sort_keys=True, default=str)
    digest = hashlib.sha256(plain.encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    for trace in traces:
        digest.update(repr((trace.encoder, len(trace.layers))).encode())
        for layer in trace.layers:
            digest.update(repr(layer).encode())
    return digest.hexdigest()


def _find_point(space: Space, number: int, common: str) -> Point:
    values: list[tuple[str, Value]] = []
    for key, choices in reversed(list(space.values.items())):
        number, place = divmod(number, len(choices))
        values.append((key, choices[place]))
    values.reverse()
    text = json.dumps([common, sorted(values)])
    return Point(hashlib.sha256(text.encode()).hexdigest()[:32], tuple(values))


def explore(
    base: Spec, points: Sequence[Point], traces: Sequence[Trace], *, processes: int
) -> Iterator[PointResult]:
    """Yield the result of each point, in order; close the iterator to stop after the points in work.

    Args:
        base: the accelerator that the points vary.
        points: of `list_points`.
        traces: the frames, sent to each process once.
        processes: how many to use; 1 works in this one.

    Raises:
        ColonnadeError: a process ended unexpectedly.
    """
    if processes == 1 or len(points) < 2:
        yield from (cost_point(base, point, traces) for point in points)
        return
    context = multiprocessing.get_context("spawn")  # a forked child cannot run threads of OpenMP
    pool = ProcessPoolExecutor(processes, context, initializer=_prepare, initargs=(base, tuple(traces)))
    size = max(1, min(16 // len(traces), len(points) // (4 * processes)))
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    try:
        with _shielded():
            waiting = pool.map(_cost_chunk, chunks)
        for results in waiting:
            yield from results
    except BrokenProcessPool as error:
        raise ColonnadeError(
            "a process of the exploration was ended from outside; run again to go on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _shielded() -> Iterator[None]:
    """Hold Ctrl-C back while processes are started, which keep it held back: it is the parent's to handle."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cost_point(base: Spec, point: Point, traces: Sequence[Trace]) -> PointResult:
    """Return what one variation costs on the frames; one that cannot run them says why."""
    try:
        spec = change_values(base, dict(point.values))
        reports = [simulate(trace, spec) for trace in traces]
        area = estimate_area_mm2(spec)
    except ColonnadeError as error:
        return PointResult(point, problem=" ".join(str(error).split()))
    count = len(reports)
    bands = [report.energy_band_mj for report in reports]
    cycles = sum(report.cycles for report in reports)
    full = cycles * spec.array.macs_per_cycle
    return PointResult(
        point=point,
        milliseconds=math.fsum(report.seconds for report in reports) * 1e3 / count,
        millijoules=math.fsum(band.nominal for band in bands) / count,
        low_mj=math.fsum(band.low for band in bands) / count,
        high_mj=math.fsum(band.high for band in bands) / count,
        area_mm2=area,
        utilisation=sum(report.macs for report in reports) / full if full else 0.0,
    )


def find_front(results: Sequence[PointResult]) -> tuple[PointResult, ...]:
    """Return the Pareto front of latency, energy and area, by latency: the points that no other beats in all three.

    Points that are equal in all three stay together; those that cannot run are left out.
    """
    able = [result for result in results if result.problem is None]
    if not able:
        return ()
    costs = np.array([[getattr(result, name) for name in OBJECTIVES] for result in able])
    kept: list[int] = []
    for place in np.lexsort(costs.T[::-1]).tolist():  # whoever beats a point comes before it
        front = costs[kept]
        is_beaten = ((front <= costs[place]).all(axis=1) & (front < costs[place]).any(axis=1)).any()
        if not is_beaten:
            kept.append(place)
    return tuple(able[place] for place in kept)


_shared: list[tuple[Spec, tuple[Trace, ...]]] = []  # of a worker process: what its points share


def _prepare(base: Spec, traces: tuple[Trace, ...]) -> None:
    _shared[:] = [(base, traces)]


def _cost_chunk(points: Sequence[Point]) -> list[PointResult]:
    base, traces = _shared[0]
    return [cost_point(base, point, traces) for point in points]
