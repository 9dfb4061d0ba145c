"""charts.py: the engine's report as pictures: time against remaining work, and the layers' roofline."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...detector.standard import DENSE_MACS
from ...runtime.errors import MissingExtraError, UsageError
from .engine_report import DENSE_PEER, EngineReport, LayerRun, NetworkRun, find_peak

_COLOURS = {"fp32": "#1f5fa8", "int8": "#d1495b"}
_MARKERS = {
    "dense": "s",
    "dilating": "o",
    "pruned": "v",
    "submanifold": "D",
    "submanifold-2x2": "P",
}
_LAYER_MARKERS = {"submanifold": "D", "strided": "^", "dilating": "o", "transposed": "s"}
_MAKER = "colonnade bench"  # what a chart says of itself, by which it is known when it is to be replaced
_HEAD_BYTES = 512
_PEER_LINES = {"onnxruntime": "-", "openvino": "--", "spconv": ":"}


def require_matplotlib() -> Any:
    """Return matplotlib's figure module, the one part of it that is used: no window, no global state.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench", "a chart") from error
    return matplotlib.figure


def draw_time_chart(report: EngineReport) -> bytes:
    """Return a PNG: time against remaining work on the first number of threads, with the peers and the ideal.

    The ideal is the dense onnxruntime's time of the same precision times the remaining work; without it, the peak.
    """
    threads = report.frames[0].networks[0].timing.threads
    figure, axes = _open_figure()
    for precision, colour in _COLOURS.items():
        runs = [
            run
            for frame in report.frames
            for run in frame.networks
            if (run.precision, run.timing.threads) == (precision, threads)
        ]
        if runs:
            _draw_series(axes, report, runs, colour)
    _draw_peers(axes, report, threads)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("remaining work [% of the dense network's multiply-accumulates]")
    clock = "processor time" if threads == 1 else "wall time"
    axes.set_ylabel(f"{clock} per frame, median [ms]")
    axes.set_title(f"Standard network, {_count_threads(threads)}, {report.hardware.cpu}")
    _label_plainly(axes)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _save(figure)


def draw_roofline(report: EngineReport) -> bytes:
    """Return a PNG: the rate of every layer against its operations per byte, under the roofs of one core.

    Raises:
        UsageError: the report has no layers.
    """
    if not report.layers or report.bandwidth is None:
        raise UsageError("the roofline needs the layers; leave --no-layers out")
    figure, axes = _open_figure()
    intensities = [layer.intensity for layer in report.layers]
    span = np.geomspace(min(1.0, *intensities) / 2, 2 * max(intensities), 200)
    band = report.bandwidth
    for size, name, line in ((band.sizes[1], "cache", "-"), (band.sizes[-1], "memory", "--")):
        rate = band.find(size)
        for precision, colour in _COLOURS.items():
            layers = [layer for layer in report.layers if layer.precision == precision]
            if not layers:
                continue
            limit = max(layer.roof_gops for layer in layers)
            label = f"{precision} roof: {limit:.0f} GOP/s, {name} {rate:.0f} GB/s"
            axes.plot(span, np.minimum(limit, span * rate), line, color=colour, linewidth=1, label=label)
    _draw_layers(axes, report.layers)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("intensity [operations per byte of features and weights]")
    axes.set_ylabel("useful rate [10⁹ operations/s]")
    axes.set_title(f"Layers of {report.layers_of}, 1 thread, {report.hardware.cpu}")
    _label_plainly(axes)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _save(figure)


def _open_figure() -> tuple[Any, Any]:
    figure = require_matplotlib().Figure(figsize=(10.5, 6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True, which="both", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _draw_series(axes: Any, report: EngineReport, runs: Sequence[NetworkRun], colour: str) -> None:
    """Draw the points of one precision, a marker per variant, and its ideal line."""
    precision, threads = runs[0].precision, runs[0].timing.threads
    for variant, marker in _MARKERS.items():
        points = [run for run in runs if run.choice.variant == variant]
        if points:
            work = [100 * (1 - run.saving) for run in points]
            axes.plot(
                work,
                [run.timing.ms for run in points],
                marker,
                color=colour,
                markersize=7,
                label=f"engine {precision}, {variant}",
            )
    span = np.geomspace(min(100 * (1 - run.saving) for run in runs) / 1.3, 100, 50)
    dense = [
        peer.timing.ms
        for frame in report.frames
        for peer in frame.peers
        if (peer.name, peer.precision, peer.timing.threads) == (DENSE_PEER, precision, threads)
    ]
    if dense:
        label = f"ideal {precision}: dense {DENSE_PEER} x remaining work"
        axes.plot(span, float(np.median(dense)) * span / 100, "-", color=colour, linewidth=1.2, label=label)
        return
    peak = find_peak(report.peaks, precision, threads)
    if peak is not None:
        label = f"ideal {precision}: at the peak of the cores' vector units"
        axes.plot(
            span, 2 * DENSE_MACS / peak / 1e6 * span / 100, "-", color=colour, linewidth=1.2, label=label
        )


def _draw_peers(axes: Any, report: EngineReport, threads: int) -> None:
    """Draw every peer as a horizontal line at the median over the frames."""
    times: dict[tuple[str, str, str], list[float]] = {}
    for frame in report.frames:
        for peer in frame.peers:
            if peer.timing.threads == threads:
                times.setdefault((peer.name, peer.precision, peer.computes), []).append(peer.timing.ms)
    for (name, precision, computes), found in times.items():
        axes.axhline(
            float(np.median(found)),
            linestyle=_PEER_LINES.get(name, "-."),
            color=_COLOURS[precision],
            alpha=0.55,
            linewidth=1.6,
            label=f"{name} {precision}, {computes}",
        )


def _draw_layers(axes: Any, layers: Sequence[LayerRun]) -> None:
    for precision, colour in _COLOURS.items():
        for kind, marker in _LAYER_MARKERS.items():
            points = [layer for layer in layers if (layer.precision, layer.kind) == (precision, kind)]
            if points:
                axes.plot(
                    [layer.intensity for layer in points],
                    [layer.gops for layer in points],
                    marker,
                    color=colour,
                    markersize=6,
                    alpha=0.8,
                    label=f"{precision}, {kind}",
                )


def _label_plainly(axes: Any) -> None:
    """Write ticks as numbers rather than as powers of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axis.set_tick_params(which="minor", labelsize=8)


def _count_threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def is_chart(path: Path) -> bool:
    """Return whether a file begins like the charts that are drawn here; any other picture does not.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return b"tEXtSoftware\0" + _MAKER.encode() in file.read(_HEAD_BYTES)


def _save(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": _MAKER})
    return buffer.getvalue()
