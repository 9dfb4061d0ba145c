"""quantise.py: turns a transformer in ONNX into integers and tables, and says what became of each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import check_whole
from ..errors import UsageError
from ..lut.table import MOST_ENTRIES
from ..quant import Scheme, parse_scheme
from .attention import rewrite_attention
from .attention_reuse import Groups, reuse_attention
from .blocks import LinearResult
from .calibrate import RANGE_METHODS as RANGE_METHODS
from .calibrate import Calibration, Progress, RangeMethod, Seen, calibrate, find_ranks
from .curves import Curve
from .embedding import rewrite_embeddings
from .functions import write_function
from .fused_functions import PREFIX, write_fused_function
from .graph import Graph
from .linear import group_by_input, is_worthwhile, rewrite_linears
from .lookup import Tables
from .norms import Norm
from .onnx_files import read_model, write_model
from .patterns import Linear, Patterns, find_patterns
from .samples import Samples

if TYPE_CHECKING:
    import onnx

ENTRIES = 16
# Of what makes an output, as in the papers on fewer bits: errors there count most.
HEAD_SCHEME = parse_scheme("w8a8")


@dataclass(frozen=True, eq=False)
class Quantised:
    """A model that was rewritten, and how.

    Attributes:
        model: with its functions.
        linears: what became of each product with weights.
        patterns: what was found in the float graph.
        integer_attentions: how many attentions are integers throughout.
        with_tables: whether curves, softmaxes and norms are tables.
    """

    model: onnx.ModelProto
    linears: tuple[LinearResult, ...]
    patterns: Patterns
    integer_attentions: int
    with_tables: bool


def quantize(
    model: str | Path,
    output: str | Path,
    *,
    scheme: str | Scheme | None,
    calibration: Samples,
    entries: int | None = ENTRIES,
    method: RangeMethod = "mse",
    reuse: Groups = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Quantised:
    """Quantise an ONNX file into another.

    Args:
        model: the float model.
        output: the file to write, whole or not at all.
        scheme: of products with weights, such as "w8a8" or "w4a8-dint4"; None leaves all products float.
        calibration: samples to find ranges on.
        entries: of the tables that stand for curves, softmax and norms; None leaves those float.
        method: of the ranges of activations.
        reuse: groups of attention layers that share the map of the first of them; see `parse_groups`.
        threads: for the runs of the float model.
        progress: called with the number of steps done: calibration samples, then products with weights that share an
            input.

    Raises:
        ModelError: the model cannot be read, or does not run on a sample.
        UsageError: an argument outside its domain.
    """
    chosen = parse_scheme(scheme) if isinstance(scheme, str) else scheme
    if chosen is not None and chosen.calibration_length is not None:
        calibration = replace(calibration, length=chosen.calibration_length)
    source = read_model(Path(model))
    result = quantize_model(
        source, chosen, calibration, entries, method, reuse=reuse, threads=threads, progress=progress
    )
    write_model(result.model, Path(output))
    return result


def quantize_model(
    model: onnx.ModelProto,
    scheme: Scheme | None,
    samples: Samples,
    entries: int | None = ENTRIES,
    method: RangeMethod = "mse",
    *,
    reuse: Groups = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Quantised:
    """Quantise a model in memory; see `quantize`."""
    if entries is not None and not 2 <= check_whole("entries", entries) <= MOST_ENTRIES:
        raise UsageError(f"the entries of a table must be 2..{MOST_ENTRIES}, got {entries}")
    if scheme is not None and scheme.activations.bits != 8:
        raise UsageError(
            "activations of a transformer become 8-bit integers, and no others; choose a scheme with a8, such as w4a8"
        )
    graph = Graph(model)
    find_ranks(graph, samples, threads)
    reuse_attention(graph, find_patterns(graph).attentions, reuse)
    patterns = find_patterns(graph)
    seen = _calibrate(graph, patterns, scheme, samples, threads, progress)
    results: list[LinearResult] = []
    if scheme is not None:
        rewrite_embeddings(graph)
        normed = {norm.output for norm in patterns.norms}
        for number, group in enumerate(_find_groups(patterns)):
            is_head = any(linear.output in graph.outputs for linear in group)
            now = _look_again(graph, group[0].input, seen, scheme, samples, threads)
            before = seen.find(group[0].input)
            # A norm's output has a few channels far above the others, on which later layers rest: never clip it.
            ranges: RangeMethod = "min-max" if group[0].input in normed else method
            results += rewrite_linears(graph, group, before, now, HEAD_SCHEME if is_head else scheme, ranges)
            if progress is not None:
                progress(len(samples) + number + 1)
    tables = Tables(graph, seen, entries or ENTRIES)
    attentions = 0
    if entries is not None:
        attentions = _rewrite_softmaxes(graph, patterns, seen, tables, scheme is not None)
        for norm in patterns.norms:
            tables.rewrite_norm(norm)
        for curve in patterns.curves:
            tables.rewrite_curve(curve)
    for name in sorted(tables.functions):
        graph.add_function(_write(name, graph.opset))
    return Quantised(graph.finish(), tuple(results), patterns, attentions, entries is not None)


def count_steps(model: onnx.ModelProto, samples: Samples) -> int:
    """Return how many steps `progress` will count for a scheme: samples, then groups of products."""
    return len(samples) + len(_find_groups(find_patterns(Graph(model))))


def _find_groups(patterns: Patterns) -> list[tuple[Linear, ...]]:
    return group_by_input(tuple(filter(is_worthwhile, patterns.linears)))


def find_inputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of what a model takes."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return tuple(entry.name for entry in model.graph.input if entry.name not in stored)


def _write(name: str, opset: int) -> onnx.FunctionProto:
    return (write_fused_function if name.startswith(PREFIX) else write_function)(name, opset)


def _calibrate(
    graph: Graph,
    patterns: Patterns,
    scheme: Scheme | None,
    samples: Samples,
    threads: int | None,
    progress: Progress | None,
) -> Calibration:
    parts: tuple[Norm | Curve, ...] = (*patterns.norms, *patterns.curves)
    names = [name for part in parts for name in (part.input, part.output)]
    names += [softmax.input for softmax in patterns.softmaxes]
    for attention in patterns.attentions:
        names += [attention.left, attention.right, attention.nodes[0].output[0]]
        names += [mix.value for mix in attention.mixes]
    rows = [linear.input for linear in patterns.linears] if scheme is not None else []
    return calibrate(graph, samples, names, rows, threads=threads, progress=progress)


def _look_again(
    graph: Graph, tensor: str, seen: Calibration, scheme: Scheme, samples: Samples, threads: int | None
) -> Seen:
    """Return what a tensor is in the graph as it now stands, where the scheme corrects errors one after another."""
    if scheme.rounding != "gptq" or graph.producer(tensor) is None:
        return seen.find(tensor)
    return calibrate(graph, samples, (), (tensor,), threads=threads).find(tensor)


def _rewrite_softmaxes(
    graph: Graph,
    patterns: Patterns,
    seen: Calibration,
    tables: Tables,
    with_products: bool,
) -> int:
    """Rewrite attentions as a whole where products become integers, and softmaxes alone elsewhere."""
    done: set[str] = set()
    reaches: dict[str, float] = {}
    for attention in patterns.attentions:
        name = attention.softmax.output
        reaches[name] = seen.find(attention.nodes[0].output[0]).reach * abs(attention.scale)
        if with_products and rewrite_attention(graph, attention, seen, tables):
            done.add(name)
    for softmax in patterns.softmaxes:
        if softmax.output not in done:
            reach = reaches.get(softmax.output, seen.find(softmax.input).reach)
            tables.rewrite_softmax(softmax, reach)
    return len(done)
