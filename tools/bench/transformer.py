"""transformer.py: a float transformer, its dynamic quantisation and its quantised files, timed in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from ...runtime.errors import UsageError
from ...runtime.transformer.samples import read_samples
from .hardware import describe_hardware
from .rounds import Contender, Samples, Timing, find_disturbances, read_load, time_in_rounds
from .table_operators import Pair, open_pairs
from .transformer_models import OpenModel, Sample, are_equal, compare_outputs, open_models
from .transformer_report import Distance, ModelRun, OperatorRun, TransformerReport, measure_distance

_COMPARED = 16  # samples
_OPERATOR_ROUNDS = 5  # rounds of the single operators per round of the models: they are short


@dataclass(frozen=True)
class TransformerPlan:
    """What to measure.

    Attributes:
        threads: numbers of threads, each measured in the same rounds.
        rounds: timed runs of every model.
        operators: time compiled operators by themselves, too.

    Raises:
        UsageError: no number of threads, one named twice, or no rounds.
    """

    threads: tuple[int, ...] = (1,)
    rounds: int = 9
    operators: bool = True

    def __post_init__(self) -> None:
        if not self.threads or len(set(self.threads)) < len(self.threads):
            raise UsageError(
                f"numbers of threads to measure must be given, each once, got {list(self.threads)}"
            )
        if self.rounds < 1:
            raise UsageError(f"rounds must be at least 1, got {self.rounds}")


class TransformerBench:
    """The benchmark with its models open; `run` measures.

    Args:
        model: the float model, an ONNX file.
        quantised: quantised forms of it, as `colonnade quantize` writes them.
        inputs: an .npz file with one array for each input, the first axis being the samples. Outputs are compared on
            at most 16 of them, evenly spaced; the one with the most numbers is timed.
        plan: what to measure.

    Raises:
        ModelError: a file is missing, or onnxruntime does not load it.
        UsageError: the inputs do not fit the model, a quantised file has other inputs or outputs than it, or there are
            fewer threads.
    """

    def __init__(self, model: Path, quantised: Sequence[Path], inputs: Path, plan: TransformerPlan) -> None:
        self._load = read_load()
        self._plan, self._inputs = plan, inputs
        self._models, self._missing = open_models(model, quantised, plan.threads)
        self._samples: list[Sample] = list(
            read_samples(inputs, self._models[0].sessions[0].inputs).take(_COMPARED)
        )
        self._timed = max(self._samples, key=lambda sample: sum(array.size for array in sample.values()))
        self._pairs: tuple[Pair, ...] = ()
        if plan.operators:
            self._pairs, missing = open_pairs()
            self._missing += missing

    @property
    def calls(self) -> int:
        """How often `run` calls its `progress`."""
        models = len(self._models) * (len(self._plan.threads) * (self._plan.rounds + 1) + 1)
        return models + 2 * len(self._pairs) * (_OPERATOR_ROUNDS * self._plan.rounds + 1)

    def run(self, progress: Callable[[], None] = lambda: None) -> TransformerReport:
        """Measure everything.

        Args:
            progress: called after every run of a model on all samples and every timed call.

        Raises:
            UsageError: a model does not run on a sample, or its outputs have other shapes than the float model's.
        """
        distances = list(self._compare(progress))
        contenders = [
            Contender(model.name, count, partial(session.run, self._timed))
            for model in self._models
            for count, session in zip(self._plan.threads, model.sessions, strict=True)
        ]
        samples = time_in_rounds(contenders, self._plan.rounds, progress=progress)
        operators = self._time_operators(progress)
        return TransformerReport(
            inputs=self._inputs.name,
            samples=len(self._samples),
            timed_shapes=tuple((name, array.shape) for name, array in self._timed.items()),
            rounds=self._plan.rounds,
            hardware=describe_hardware(),
            runs=tuple(self._summarise(samples, distances)),
            operators=operators,
            disturbances=find_disturbances(samples, (), self._load),
            missing=self._missing,
        )

    def _compare(self, progress: Callable[[], None]) -> Iterator[tuple[tuple[Distance, ...], bool | None]]:
        """Yield for every model its distances from the float one, and whether it equals the model before it."""
        exact: list[Sample] = []
        before: list[Sample] = []
        for model in self._models:
            found = model.run_all(self._samples)
            progress()
            if not exact:
                exact = found
                yield (), None
                continue
            compared = compare_outputs(exact, found, model.name)
            distances = tuple(measure_distance(*arrays) for arrays in compared)
            yield distances, are_equal(before, found) if model.form == "fast" else None
            before = found

    def _summarise(
        self, samples: Sequence[Samples], distances: Sequence[tuple[tuple[Distance, ...], bool | None]]
    ) -> Iterator[ModelRun]:
        timings = [sample.summarise() for sample in samples]
        width = len(self._plan.threads)
        rows = [timings[start : start + width] for start in range(0, len(timings), width)]
        peers = [row for model, row in zip(self._models, rows, strict=True) if model.form == "dynamic"]
        for model, row, (distance, is_same) in zip(self._models, rows, distances, strict=True):
            for place, timing in enumerate(row):
                dynamic = peers[0][place] if peers else None
                yield _describe(model, timing, rows[0][place], dynamic, distance, is_same)

    def _time_operators(self, progress: Callable[[], None]) -> tuple[OperatorRun, ...]:
        contenders = [Contender(pair.fast.name, 1, call) for pair in self._pairs for call in pair.calls]
        rounds = _OPERATOR_ROUNDS * self._plan.rounds
        times = [median(sample.process) for sample in time_in_rounds(contenders, rounds, progress=progress)]
        return tuple(
            pair.report(fast, exact)
            for pair, fast, exact in zip(self._pairs, times[::2], times[1::2], strict=True)
        )


def _describe(
    model: OpenModel,
    timing: Timing,
    exact: Timing,
    dynamic: Timing | None,
    distances: tuple[Distance, ...],
    is_same: bool | None,
) -> ModelRun:
    return ModelRun(
        name=model.name,
        form=model.form,
        bytes=model.bytes,
        timing=timing,
        speedup=exact.ms / timing.ms,
        over_dynamic=None if dynamic is None else dynamic.ms / timing.ms,
        distances=distances,
        same_as_portable=is_same,
    )
