"""trace_files.py: traces as JSON lines: one or more frames per file, each a header, its maps of sites, its layers."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .errors import ConfigError, UsageError
from .json_lines import LineReader, check_values, has_type, write_lines
from .trace import PRECISIONS, BranchRecord, EncoderRecord, LayerRecord, SiteMap, Trace

FORMAT = "colonnade-trace"
VERSION = 2
_MAP_FIELDS = ("in_sites", "out_sites", "kept_sites")
_KINDS = (
    "submanifold",
    "dilating",
    "strided",
    "transposed",
)  # those of sparse/rules.py, which needs the engine
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
    write_lines(path, (entry for trace in traces for entry in _list_entries(trace)))


def load_traces(path: str | Path) -> tuple[Trace, ...]:
    """Read what `save_traces` wrote.

    Raises:
        ConfigError: the file cannot be read, is not a trace, or is damaged; the message names the line.
    """
    reader = LineReader.open(path)
    traces = [_read_trace(reader)]
    while reader.has_more:
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


def _read_trace(reader: LineReader) -> Trace:
    header = reader.next()
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ConfigError(f"{reader.where}: not a trace of version {VERSION}; write it with Trace.save")
    name, maps, layers = (header.get(key) for key in ("name", "maps", "layers"))
    if not isinstance(name, str) or not has_type(maps, "int") or not has_type(layers, "int"):
        raise ConfigError(f"{reader.where}: the header is damaged; trace again")
    encoder = _read_encoder(reader, header.get("encoder"))
    assert isinstance(maps, int)
    assert isinstance(layers, int)
    sites = [_read_map(reader) for _ in range(maps)]
    return Trace(name, tuple(_read_layer(reader, sites) for _ in range(layers)), encoder)


def _read_encoder(reader: LineReader, entry: Any) -> EncoderRecord | None:
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise ConfigError(f"{reader.where}: 'encoder' is no record; the file is damaged, trace again")
    check_values(entry, EncoderRecord, reader.where)
    encoder = EncoderRecord(**entry)
    sound = encoder.channels and encoder.point_features and encoder.pillars <= encoder.points
    if not sound or encoder.precision not in PRECISIONS:
        raise ConfigError(f"{reader.where}: 'encoder' describes no encoder; the file is damaged, trace again")
    return encoder


def _read_map(reader: LineReader) -> SiteMap:
    entry = reader.next()
    shape, bits = entry.get("shape"), entry.get("bits")
    damaged = ConfigError(f"{reader.where}: the map of sites is damaged; trace again")
    if not isinstance(shape, list) or not has_type(shape, "tuple[int, int]") or not isinstance(bits, str):
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


def _read_layer(reader: LineReader, sites: list[SiteMap]) -> LayerRecord:
    entry, where = reader.next(), reader.where
    branches = entry.get("branches")
    if not isinstance(branches, list) or not branches or not all(isinstance(b, dict) for b in branches):
        raise ConfigError(f"{where}: 'branches' is not a list of inputs; the file is damaged, trace again")
    check_values(entry, LayerRecord, where)
    for branch in branches:
        check_values(branch, BranchRecord, where)
    taps = entry["kernel"] ** 2
    if any(len(part["rules"]) != taps for part in (entry, *branches)):
        raise ConfigError(f"{where}: 'rules' must hold {taps} counts, one per tap; trace again")
    if entry["precision"] not in PRECISIONS:
        raise ConfigError(f"{where}: 'precision' must be one of {', '.join(PRECISIONS)}")
    inputs = tuple(BranchRecord(**(b | {"rules": tuple(b["rules"])})) for b in branches)
    tuples = {key: tuple(entry[key]) for key in ("in_shape", "out_shape", "rules")}
    maps = {key: _find_map(sites, entry[key], where) for key in _MAP_FIELDS}
    layer = LayerRecord(**(entry | tuples | maps | {"branches": inputs}))
    _check_shapes(layer, where)
    _check_maps(layer, where)
    return layer


def _find_map(sites: list[SiteMap], number: int, where: str) -> SiteMap:
    if number >= len(sites):
        raise ConfigError(f"{where}: names map {number} of {len(sites)}; the file is damaged, trace again")
    return sites[number]


def _check_shapes(layer: LayerRecord, where: str) -> None:
    """Check that a layer is of a known kind, and that its output's grid follows from its input's."""
    if layer.kind not in _KINDS:
        raise ConfigError(
            f"{where}: 'kind' must be one of {', '.join(_KINDS)}; the file is damaged, trace again"
        )
    for name in ("kernel", "stride", "in_channels", "out_channels"):
        if not 1 <= getattr(layer, name) <= _LARGEST_GRID:
            raise ConfigError(
                f"{where}: {name!r} must be from 1 to {_LARGEST_GRID}; the file is damaged, trace again"
            )
    kernel, stride = layer.kernel, layer.stride
    if layer.kind == "transposed":
        expected = tuple(side * stride for side in layer.in_shape)
    else:
        padding = 0 if kernel == 2 else kernel // 2
        expected = tuple((side + 2 * padding - kernel) // stride + 1 for side in layer.in_shape)
    if layer.out_shape != expected or (layer.kind == "transposed" and kernel != stride):
        raise ConfigError(
            f"{where}: a {layer.kind} layer of kernel {kernel} and stride {stride} makes no grid of {layer.out_shape} "
            f"from {layer.in_shape}; the file is damaged, trace again"
        )


def _check_maps(layer: LayerRecord, where: str) -> None:
    """Check that a layer's counts are those of its maps."""
    pairs = (
        (layer.in_sites, layer.in_shape, layer.active_inputs),
        (layer.out_sites, layer.out_shape, layer.active_outputs),
        (layer.kept_sites, layer.out_shape, layer.kept_outputs),
    )
    if any(sites.shape != shape or len(sites) != count for sites, shape, count in pairs):
        raise ConfigError(f"{where}: the counts of active sites are not those of the maps; trace again")
