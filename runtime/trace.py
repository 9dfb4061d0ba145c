"""trace.py: the record of what a sparse network ran on one frame, layer by layer: rules, multiplications, bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .checks import check_path
from .errors import ConfigError, UsageError
from .files import replace_file

if TYPE_CHECKING:  # whoever reads a saved trace needs no engine
    from .sparse import PillarGrid, Rulebook

FORMAT = "colonnade-trace"
VERSION = 1
PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class BranchRecord:
    """One input of a layer.

    Attributes:
        source: name of the layer (or of the network's input) that it comes from.
        channels: its channels.
        active: its active sites.
        rules: per tap, how many outputs have one of its sites under that tap.
    """

    source: str
    channels: int
    active: int
    rules: tuple[int, ...]


@dataclass(frozen=True)
class LayerRecord:
    """What one sparse convolution did.

    A rule is an active input under a tap of an active output; it stands for Cin · Cout multiplications. A layer that
    reads several inputs concatenates their channels over the union of their active sites: `rules` counts that union,
    as a machine does that knows whole pillars only, and `branches` counts each input by itself.

    Attributes:
        name, kind, kernel, stride: the layer, as in `build_rules`.
        in_channels, out_channels: Cin, summed over the inputs, and Cout.
        in_shape, out_shape: rows and columns of the grids.
        active_inputs: active sites of the input, or of the union of the inputs.
        active_outputs: sites that were computed.
        kept_outputs: sites that were handed on; fewer where vector pruning follows.
        rules: per tap in row-major order, kernel² of them.
        branches: the inputs, in order; one for most layers.
        bytes_in: of the features read, each input once.
        bytes_weights: of the weights, without biases and scales.
        bytes_out: of the features handed on.
        precision: "fp32" or "int8", of the multiplications.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_shape: tuple[int, int]
    out_shape: tuple[int, int]
    active_inputs: int
    active_outputs: int
    kept_outputs: int
    rules: tuple[int, ...]
    branches: tuple[BranchRecord, ...]
    bytes_in: int
    bytes_weights: int
    bytes_out: int
    precision: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates: rules · Cin · Cout, over the union of the inputs."""
        return sum(self.rules) * self.in_channels * self.out_channels

    @property
    def branch_macs(self) -> int:
        """Multiply-accumulates where a branch is skipped at sites that it does not have, as the engine does."""
        return sum(sum(b.rules) * b.channels for b in self.branches) * self.out_channels

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the dense layer on the whole grid, those with the padding included."""
        taps = 1 if self.kind == "transposed" else self.kernel**2
        return self.out_shape[0] * self.out_shape[1] * taps * self.in_channels * self.out_channels


@dataclass(frozen=True)
class Trace:
    """The layers of one run, in order.

    Attributes:
        name: what ran.
        layers: its records.
    """

    name: str
    layers: tuple[LayerRecord, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers, each over the union of its inputs."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of the same network on full grids."""
        return sum(layer.dense_macs for layer in self.layers)

    @property
    def saving(self) -> float:
        """Share of the dense multiply-accumulates that sparsity saves, 0..1; the last layer is counted sparse too."""
        return 1.0 - self.macs / self.dense_macs if self.layers else 0.0

    def save(self, path: str | Path) -> None:
        """Write JSON lines: a header with the name and the number of layers, then one layer per line.

        The file appears whole or not at all.

        Raises:
            UsageError: the file cannot be written.
        """
        header = {"format": FORMAT, "version": VERSION, "name": self.name, "layers": len(self.layers)}
        lines = [json.dumps(entry) for entry in (header, *map(asdict, self.layers))]
        try:
            replace_file(check_path("path", path), "\n".join(lines) + "\n")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{path}: cannot be written ({reason}); choose another place") from error


class TraceRecorder:
    """Collects the records of one run; hand it to what runs the layers, then call `finish`.

    Args:
        name: of what runs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._layers: list[LayerRecord] = []

    def record(
        self, name: str, inputs: Sequence[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
    ) -> None:
        """Add a layer that ran; arguments as `describe_layer`."""
        self._layers.append(describe_layer(name, inputs, rulebook, output))

    def finish(self) -> Trace:
        """Return the trace of all that was recorded."""
        return Trace(self._name, tuple(self._layers))


def describe_layer(
    name: str, inputs: Sequence[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
) -> LayerRecord:
    """Return the record of one layer; rules are counted from the active sites alone, not from what the engine keeps.

    Args:
        name: of the layer.
        inputs: names of its sources and their grids, in the order of its channels.
        rulebook: the convolution and the sites that it computed.
        output: what it handed on, after vector pruning where that follows.
    """
    grids = [grid for _, grid in inputs]
    maps = [_map_sites(grid) for grid in grids]
    union = np.logical_or.reduce(maps)
    branches = tuple(
        BranchRecord(source, grid.channels, len(grid), _count_rules(active, rulebook))
        for (source, grid), active in zip(inputs, maps, strict=True)
    )
    in_channels = sum(grid.channels for grid in grids)
    item = grids[0].features.itemsize
    return LayerRecord(
        name=name,
        kind=rulebook.kind,
        kernel=rulebook.kernel,
        stride=rulebook.stride,
        in_channels=in_channels,
        out_channels=output.channels,
        in_shape=grids[0].shape,
        out_shape=rulebook.shape,
        active_inputs=int(union.sum()),
        active_outputs=int(rulebook.cols.size),
        kept_outputs=len(output),
        rules=_count_rules(union, rulebook),
        branches=branches,
        bytes_in=sum(grid.features.nbytes for grid in grids),
        bytes_weights=rulebook.kernel**2 * in_channels * output.channels * item,
        bytes_out=output.features.nbytes,
        precision="int8" if item == 1 else "fp32",
    )


def _map_sites(grid: PillarGrid) -> npt.NDArray[np.bool_]:
    """Return the (H, W) map of the active sites."""
    active = np.zeros(grid.shape, np.bool_)
    active[tuple(grid.coords.T)] = True
    return active


def _count_rules(active: npt.NDArray[np.bool_], rulebook: Rulebook) -> tuple[int, ...]:
    """Return how many of the outputs have an active input under each tap."""
    kernel, stride = rulebook.kernel, rulebook.stride
    if rulebook.kind == "transposed":
        return (int(active.sum()),) * kernel**2
    pad = 0 if kernel == 2 else kernel // 2
    framed = np.pad(active, ((pad, kernel), (pad, kernel)))
    rows = stride * np.repeat(np.arange(rulebook.shape[0]), np.diff(rulebook.row_ptr))
    cols = stride * rulebook.cols
    return tuple(int(framed[rows + ky, cols + kx].sum()) for ky in range(kernel) for kx in range(kernel))


def load_trace(path: str | Path) -> Trace:
    """Read what `Trace.save` wrote.

    Raises:
        UsageError: `path` is no path.
        ConfigError: the file cannot be read, is not a trace, or is damaged; the message names the line.
    """
    try:
        lines = check_path("path", path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a trace ({type(error).__name__})") from error
    header = _parse_line(path, 1, lines[0] if lines else "")
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ConfigError(f"{path}, line 1: not a trace of version {VERSION}; write it with Trace.save")
    name, count = header.get("name"), header.get("layers")
    if not isinstance(name, str) or count != len(lines) - 1:
        raise ConfigError(
            f"{path}, line 1: announces {count} layers, the file has {len(lines) - 1}; it was cut off or edited"
        )
    layers = (_read_layer(path, number, line) for number, line in enumerate(lines[1:], start=2))
    return Trace(name, tuple(layers))


def _parse_line(path: str | Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}, line {number}: not JSON; the file is damaged, trace again") from error
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}, line {number}: not a JSON object; the file is damaged, trace again")
    return entry


def _read_layer(path: str | Path, number: int, line: str) -> LayerRecord:
    where = f"{path}, line {number}"
    entry = _parse_line(path, number, line)
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
    return LayerRecord(**(entry | tuples | {"branches": inputs}))


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
    if kind == "int":
        return type(value) is int and value >= 0
    if not isinstance(value, list):
        return False
    counts = kind != "tuple[BranchRecord, ...]"
    pair = kind == "tuple[int, int]"
    return not counts or (all(_has_type(v, "int") for v in value) and (not pair or len(value) == 2))
