"""attention.py: the two products of an attention and the softmax between them become integers throughout."""

from __future__ import annotations

import numpy as np

from ..lut import build_softmax
from .calibrate import Calibration, find_range
from .functions import WIDEST_TABLE
from .graph import Graph
from .integers import Bytes, multiply, multiply_to_float, quantise_signed, quantise_unsigned, quantise_wide
from .lookup import SCORE_FLOOR, Tables
from .patterns import Attention

NARROWEST_HEAD = 16  # below, products of integers are no faster, and 8 bits of so few numbers cost accuracy
_MASK_REACH = 2**23  # integers that a mask saturates to: far below every score, and no sum overflows


def rewrite_attention(graph: Graph, attention: Attention, calibration: Calibration, tables: Tables) -> bool:
    """Replace an attention: uint8 queries times int8 keys are the softmax's integers; its bytes meet int8 values.

    Nothing that was seen of the three is clipped: a few large queries and keys decide where a head looks.

    Returns:
        Whether it was done. It is not where heads are so narrow that integers do not pay, or scores so fine that the
        exponential's table would be too long.
    """
    if calibration.find(attention.left).width < NARROWEST_HEAD:
        return False
    low, high = find_range(calibration.find(attention.left), "min-max")
    reach = calibration.find(attention.right).reach
    scale = float(np.float32((high - low) / 255.0)) * float(np.float32(reach / 127.0)) * attention.scale
    if scale <= 0.0 or SCORE_FLOOR / scale > WIDEST_TABLE:
        return False
    graph.remove(attention.nodes)
    left = quantise_unsigned(graph, attention.left, low, high)
    right = quantise_signed(graph, attention.right, reach)
    name = attention.softmax.output
    scores = multiply(graph, left, right, f"{name}_scores")
    if attention.mask is not None:
        mask = quantise_wide(graph, attention.mask, scale, _MASK_REACH)
        scores = graph.add("Add", [scores, mask], f"{name}_masked")
    softmax = build_softmax(scale, entries=tables.entries)
    shares = Bytes(tables.add_softmax(scores, softmax, f"{name}_u8"), 1.0 / softmax.high, 0)
    for mix in attention.mixes:
        value = quantise_signed(graph, mix.value, calibration.find(mix.value).reach)
        multiply_to_float(graph, shares, value.name, value.scale, None, mix.output)
    return True
