"""steps.py: what the layers of a network read on one frame, kept so that parts of the work can be timed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...detector.architecture import Layer
from ...detector.network import LayerWeights, Network, QuantisedLayer
from ...detector.standard import StandardNetwork, fill_grid
from ...runtime.sparse import Dequantise, PillarGrid, Requantise, Rulebook, build_rules, conv2d, pack_weight
from ...runtime.sparse.forms import FLOAT_FORM, INTEGER_FORM
from ...runtime.threads import thread_budget
from ...runtime.trace import LayerRecord, describe_layer


@dataclass(frozen=True, eq=False)
class Step:
    """One layer on one frame.

    Attributes:
        inputs: the grids that it reads, in order.
        rulebook: its rules, which steps over the same active sets share.
        record: its work.
    """

    inputs: tuple[PillarGrid, ...]
    rulebook: Rulebook
    record: LayerRecord


class StepRecorder:
    """Keeps the steps of one run of `Network.run`."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def record(
        self, name: str, inputs: list[tuple[str, PillarGrid]], rulebook: Rulebook, output: PillarGrid
    ) -> None:
        """Keep a layer that ran."""
        grids = tuple(grid for _, grid in inputs)
        self.steps.append(Step(grids, rulebook, describe_layer(name, inputs, rulebook, output)))


def record_steps(network: StandardNetwork, grid: PillarGrid) -> tuple[Step, ...]:
    """Run the network once on a frame and return what every layer read."""
    recorder = StepRecorder()
    given = fill_grid(grid) if network.variant == "dense" else grid
    with thread_budget(network.threads):
        Network(network.architecture, network.weights).run(given, recorder)
    return tuple(recorder.steps)


def count_macs(steps: Sequence[Step]) -> int:
    """Return the useful multiply-accumulates: no padding, and no input at a site that it does not have."""
    return sum(step.record.branch_macs for step in steps)


class FrameRules:
    """Builds the rules and plans of all layers of a frame, each once, as the network does.

    Args:
        steps: of the frame.
        precision: "fp32" or "int8", on which the plans depend.
        threads: Numba threads of one call.
    """

    def __init__(self, steps: Sequence[Step], precision: str, threads: int) -> None:
        self._books = {id(step.rulebook): step for step in steps}.values()
        self._rows = (FLOAT_FORM if precision == "fp32" else INTEGER_FORM).rows
        self._threads = threads

    def build(self) -> None:
        """Build them and throw them away."""
        with thread_budget(self._threads):
            for step in self._books:
                book = step.rulebook
                build_rules(step.inputs, book.kind, kernel=book.kernel, stride=book.stride).plan(self._rows)


class LayerCall:
    """One layer of a frame with its rules and plan kept.

    Args:
        step: the layer on the frame.
        layer, part: what it is and its weights.
        threads: Numba threads of one call.
    """

    def __init__(self, step: Step, layer: Layer, part: LayerWeights | QuantisedLayer, threads: int) -> None:
        self._step, self._layer, self._threads = step, layer, threads
        self._weight = pack_weight(part.weight, tuple(grid.channels for grid in step.inputs))
        self._bias = part.bias
        self._rescale: Requantise | Dequantise | None = None
        if isinstance(part, QuantisedLayer):
            self._rescale = Requantise(part.scale) if layer.relu else Dequantise(part.scale)

    def run(self) -> PillarGrid:
        """Convolve."""
        with thread_budget(self._threads):
            return conv2d(
                self._step.inputs,
                self._weight,
                self._bias,
                kind=self._layer.kind,
                stride=self._layer.stride,
                activation="relu" if self._layer.relu and self._rescale is None else None,
                rescale=self._rescale,
                rulebook=self._step.rulebook,
            )
