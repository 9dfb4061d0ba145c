"""site_traces.py: traces from active sites alone, with a count of neighbours in the place of learned importance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...detector.architecture import INPUT, Architecture, Layer
from ...detector.network import RuleCache
from ...detector.pruning import count_kept
from ...runtime.errors import UsageError
from ...runtime.sparse import PillarGrid, Rulebook
from ...runtime.trace import Trace, TraceRecorder


def trace_sites(name: str, architecture: Architecture, sites: PillarGrid) -> Trace:
    """Return what a network would run on a frame, without running it.

    Active sets follow from the layers' kinds. Where vector pruning follows a layer, the ceil(keep · N) outputs stay (N:
    pillars that entered the block) that rank highest by 100 · [was active before] + active neighbours before in
    3 × 3, itself included; ties go to the first in row-major order. That stands in for the vectors' norms of a trained
    network, so such a trace has a trained network's counts, not its choice of pillars.

    Args:
        name: of the trace.
        architecture: of the network; its pruned layers have shares, as importances to compare with thresholds are
            not known.
        sites: (P) active pillars of the input, uint8 features with the network's input channels; values do not matter.

    Raises:
        UsageError: a layer has a threshold.
    """
    bound = [layer.name for layer in architecture.layers if layer.threshold is not None]
    if bound:
        raise UsageError(
            f"layer '{bound[0]}': what passes its threshold is not known from sites; give it a keep"
        )
    recorder = TraceRecorder(name)
    rules = RuleCache()
    known = {INPUT: sites}
    entered = {INPUT: len(sites)}
    for layer in architecture.layers:
        inputs = tuple(known[source] for source in layer.inputs)
        rulebook = rules.find(inputs, layer)
        output = _open_grid(rulebook, layer)
        entered[layer.name] = len(output) if layer.kind == "strided" else entered[layer.inputs[0]]
        if layer.keep is not None:
            output = _keep_crowded(
                output, inputs[0], layer.stride, count_kept(layer.keep, entered[layer.name])
            )
        recorder.record(layer.name, list(zip(layer.inputs, inputs, strict=True)), rulebook, output)
        known[layer.name] = output
    return recorder.finish()


def _open_grid(rulebook: Rulebook, layer: Layer) -> PillarGrid:
    features = np.zeros((rulebook.cols.size, layer.out_channels), np.uint8)
    return PillarGrid(rulebook.row_ptr, rulebook.cols, features, rulebook.shape)


def _keep_crowded(output: PillarGrid, before: PillarGrid, stride: int, count: int) -> PillarGrid:
    """Keep the `count` outputs with the most active neighbours before; those that were active themselves first."""
    if count >= len(output):
        return output
    active = np.zeros(before.shape, np.int64)
    active[tuple(before.coords.T)] = 1
    framed = np.pad(active, 1)
    height, width = active.shape
    around = sum(framed[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3))
    importance: npt.NDArray[np.int64] = (100 * active + around)[tuple(output.coords.T * stride)]
    kept = np.sort(np.argsort(-importance, kind="stable")[:count])
    return PillarGrid.from_coords(output.coords[kept], output.features[kept], output.shape)
