"""trace_files.py: traces as JSON lines: one or more frames per file, each a header, its maps of sites, its layers."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .checks import check_path
from .errors import ConfigError, UsageError
from .files import replace_file
from .trace import PRECISIONS, BranchRecord, EncoderRecord, LayerRecord, SiteMap, Trace

FORMAT = "colonnade-trace"
VERSION = 2
_MAP_FIELDS = ("in_sites", "out_sites", "kept_sites")
_LARGEST_GRID = 1 << 16  # rows or columns; a damaged file must not ask for all memory


def save_traces(path: str | Path, traces: Sequence[Trace]) -> None:
    """Write the traces of several frames to one file, which appears whole or not at all.

    Per trace: a header (name, number of maps and layers, encoder), then each map of sites once, then the layers, which
    name their maps by number.

    Raises:
        UsageError: the file cannot be written, or there is no trace.
    """
    if not traces:
        raise UsageError(f"{path}: there is no trace to save; trace a frame first")
    text = "".join(json.dumps(entry) + "\n" for trace in traces for entry in _list_entries(trace))
    try:
        replace_file(check_path("path", path), text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be written ({reason}); choose another place") from error


def load_traces(path: str | Path) -> tuple[Trace, ...]:
    """Read what `save_traces` wrote.

    Raises:
        ConfigError: the file cannot be read, is not a trace, or is damaged; the message names the line.
    """
    try:
        lines = check_path("path", path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a trace ({type(error).__name__})") from error
    reader = _Reader(str(path), enumerate(lines, start=1))
    traces = [_read_trace(reader)]
    while reader.number < len(lines):
        traces.append(_read_trace(reader))
    return tuple(traces)


def load_trace(path: str | Path) -> Trace:
    """Read the trace of one frame.

    Raises:
        ConfigError: as `load_traces`, or the file holds several frames.
    """
    traces = load_traces(path)
    if len(traces) != 1:
        raise ConfigError(f"{path}: holds {len(traces)} traces, not one; read them with load_traces")
    return traces[0]


def _list_entries(trace: Trace) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of one trace."""
    numbers: dict[SiteMap, int] = {}
    for layer in trace.layers:
        for key in _MAP_FIELDS:
            numbers.setdefault(getattr(layer, key), len(numbers))
    encoder = None if trace.encoder is None else asdict(trace.encoder)
    counts = {"maps": len(numbers), "layers": len(trace.layers)}
    yield {"format": FORMAT, "version": VERSION, "name": trace.name, **counts, "encoder": encoder}
    for sites in numbers:
        bits = base64.b64encode(zlib.compress(sites.packed, 9)).decode("ascii")
        yield {"shape": sites.shape, "bits": bits}
    for layer in trace.layers:
        entry = {f.name: getattr(layer, f.name) for f in fields(layer)}
        entry["branches"] = [asdict(branch) for branch in layer.branches]
        yield entry | {key: numbers[getattr(layer, key)] for key in _MAP_FIELDS}


@dataclass
class _Reader:
    """The lines of a file, parsed one by one; knows where it is."""

    path: str
    lines: Iterator[tuple[int, str]]
    number: int = 0

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.number}"

    def next(self) -> dict[str, Any]:
        """Return the JSON object of the next line."""
        self.number, line = next(self.lines, (self.number + 1, None))
        if line is None:
            raise ConfigError(f"{self.where}: missing; the file was cut off, trace again")
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.where}: not JSON; the file is damaged, trace again") from error
        if not isinstance(entry, dict):
            raise ConfigError(f"{self.where}: not a JSON object; the file is damaged, trace again")
        return entry


def _read_trace(reader: _Reader) -> Trace:
    header = reader.next()
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ConfigError(f"{reader.where}: not a trace of version {VERSION}; write it with Trace.save")
    name, maps, layers = (header.get(key) for key in ("name", "maps", "layers"))
    if not isinstance(name, str) or not _has_type(maps, "int") or not _has_type(layers, "int"):
        raise ConfigError(f"{reader.where}: the header is damaged; trace again")
    encoder = _read_encoder(reader, header.get("encoder"))
    assert isinstance(maps, int)
    assert isinstance(layers, int)
    sites = [_read_map(reader) for _ in range(maps)]
    return Trace(name, tuple(_read_layer(reader, sites) for _ in range(layers)), encoder)


def _read_encoder(reader: _Reader, entry: Any) -> EncoderRecord | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ConfigError(f"{reader.where}: 'encoder' is no record; the file is damaged, trace again")
    _check_values(entry, EncoderRecord, reader.where)
    return EncoderRecord(**entry)


def _read_map(reader: _Reader) -> SiteMap:
    entry = reader.next()
    shape, bits = entry.get("shape"), entry.get("bits")
    damaged = ConfigError(f"{reader.where}: the map of sites is damaged; trace again")
    if not isinstance(shape, list) or not _has_type(shape, "tuple[int, int]") or not isinstance(bits, str):
        raise damaged
    if max(shape) > _LARGEST_GRID:
        raise damaged
    size = -(-shape[0] * shape[1] // 8)
    try:
        packed = zlib.decompressobj().decompress(base64.b64decode(bits, validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise damaged from error
    spare = 8 * size - shape[0] * shape[1]
    if len(packed) != size or (size and packed[-1] & ((1 << spare) - 1)):
        raise damaged
    return SiteMap((shape[0], shape[1]), packed)


def _read_layer(reader: _Reader, sites: list[SiteMap]) -> LayerRecord:
    entry, where = reader.next(), reader.where
    branches = entry.get("branches")
    if not isinstance(branches, list) or not branches or not all(isinstance(b, dict) for b in branches):
        raise ConfigError(f"{where}: 'branches' is not a list of inputs; the file is damaged, trace again")
    _check_values(entry, LayerRecord, where)
    for branch in branches:
        _check_values(branch, BranchRecord, where)
    taps = entry["kernel"] ** 2
    if any(len(part["rules"]) != taps for part in (entry, *branches)):
        raise ConfigError(f"{where}: 'rules' must hold {taps} counts, one per tap; trace again")
    if entry["precision"] not in PRECISIONS:
        raise ConfigError(f"{where}: 'precision' must be one of {', '.join(PRECISIONS)}")
    inputs = tuple(BranchRecord(**(b | {"rules": tuple(b["rules"])})) for b in branches)
    tuples = {key: tuple(entry[key]) for key in ("in_shape", "out_shape", "rules")}
    maps = {key: _find_map(sites, entry[key], where) for key in _MAP_FIELDS}
    layer = LayerRecord(**(entry | tuples | maps | {"branches": inputs}))
    _check_maps(layer, where)
    return layer


def _find_map(sites: list[SiteMap], number: int, where: str) -> SiteMap:
    if number >= len(sites):
        raise ConfigError(f"{where}: names map {number} of {len(sites)}; the file is damaged, trace again")
    return sites[number]


def _check_maps(layer: LayerRecord, where: str) -> None:
    """Check that a layer's counts are those of its maps."""
    pairs = (
        (layer.in_sites, layer.in_shape, layer.active_inputs),
        (layer.out_sites, layer.out_shape, layer.active_outputs),
        (layer.kept_sites, layer.out_shape, layer.kept_outputs),
    )
    if any(sites.shape != shape or len(sites) != count for sites, shape, count in pairs):
        raise ConfigError(f"{where}: the counts of active sites are not those of the maps; trace again")


def _check_values(entry: dict[str, Any], record: type, where: str) -> None:
    """Check that `entry` has the fields of a record class, and values of their types."""
    expected = {f.name: str(f.type) for f in fields(record)}
    if set(entry) != set(expected):
        wrong = sorted(set(entry) ^ set(expected))
        raise ConfigError(f"{where}: fields missing or unknown: {', '.join(wrong)}; trace again")
    for key, kind in expected.items():
        if not _has_type(entry[key], kind):
            raise ConfigError(
                f"{where}: '{key}' is not of the expected type; the file is damaged, trace again"
            )


def _has_type(value: Any, kind: str) -> bool:
    """Tell whether a JSON value can stand in a field annotated with `kind`."""
    if kind == "str":
        return isinstance(value, str)
    if kind in ("int", "SiteMap"):
        return type(value) is int and value >= 0
    if not isinstance(value, list):
        return False
    counts = kind != "tuple[BranchRecord, ...]"
    pair = kind == "tuple[int, int]"
    return not counts or (all(_has_type(v, "int") for v in value) and (not pair or len(value) == 2))
