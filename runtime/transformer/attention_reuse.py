"""attention_reuse.py: layers of a group share the attention map of the first: no queries, keys or softmax of their own.

Attention-map reuse (arXiv 2301.12444): O_l = A (X_l W_V^l) W_O^l with the map A of the group's first layer.
"""

from __future__ import annotations

import re

from ..errors import UsageError
from .graph import Graph
from .patterns import Attention

Groups = tuple[tuple[int, ...], ...]
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


def parse_groups(text: str) -> Groups:
    """Return groups of layers, counted from 1 in the text and from 0 in the result: "1-2,3-6" is two groups.

    Raises:
        UsageError: the text is something else, or a layer is named twice.
    """
    groups = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UsageError(f"groups of layers that share attention are given such as 1-2,3-6; got {text!r}")
        groups.append(tuple(range(first - 1, last)))
    named = [layer for group in groups for layer in group]
    if len(set(named)) < len(named):
        raise UsageError(f"a layer can be in one group only; got {text!r}")
    return tuple(groups)


def reuse_attention(graph: Graph, attentions: tuple[Attention, ...], groups: Groups) -> None:
    """Let the layers of each group take the map of its first; what they do not need any more goes.

    A group of one changes nothing.

    Raises:
        UsageError: there is no such layer, or maps of a group have different shapes.
    """
    for group in groups:
        if max(group) >= len(attentions):
            raise UsageError(
                f"layer {max(group) + 1} cannot share attention: {len(attentions)} attention layers were found"
            )
        first = attentions[group[0]].softmax
        for layer in group[1:]:
            follower = attentions[layer].softmax
            shapes = graph.shape(first.output), graph.shape(follower.output)
            if None not in shapes and not _fit(*shapes):  # type: ignore[arg-type]
                raise UsageError(
                    f"layers {group[0] + 1} and {layer + 1} cannot share attention: their maps are {shapes}"
                )
            graph.rename_uses(follower.output, first.output)
    graph.prune()


def _fit(left: tuple[int | None, ...], right: tuple[int | None, ...]) -> bool:
    """Tell whether two shapes may be the same."""
    if len(left) != len(right):
        return False
    return all(None in pair or pair[0] == pair[1] for pair in zip(left, right, strict=True))
