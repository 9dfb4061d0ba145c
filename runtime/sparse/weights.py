"""weights.py: weights of a layer in the order in which the micro-kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_array, check_whole, show
from ..errors import UsageError
from .forms import FLOAT_FORM, INTEGER_FORM, Form
from .microkernel import TAP_FIELDS
from .plan import Int64

Weights = npt.NDArray[Any]  # float32 or int8

_LINE = 64  # bytes of a cache line


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """The weights of one layer, packed for the form that this CPU runs.

    Attributes:
        panels: flat bytes, on a cache line: for each panel of output channels (input, tap, word, panel width).
        panel_ptr: (panels + 1) int64, first output channel of each panel, then Cout rounded up to lanes.
        dtype: float32 or int8, of the weight that was packed.
        out_channels: Cout.
        in_channels: Cin of each input; their sum is the Cin of the weight.
        kernel: side of the square kernel.
        tap_table: (inputs · k², TAP_FIELDS) int64, with the addresses and row bytes of the inputs left open.
        form: what it was packed for.
    """

    panels: npt.NDArray[np.uint8]
    panel_ptr: Int64
    dtype: np.dtype[Any]
    out_channels: int
    in_channels: tuple[int, ...]
    kernel: int
    tap_table: Int64
    form: Form


def pack_weight(weight: npt.ArrayLike, in_channels: Sequence[int] | None = None) -> PackedWeight:
    """Prepare a weight for `conv2d`; do it once for a layer that is called again and again.

    Args:
        weight: (Cout, Cin, k, k) float32, or int8 for uint8 features.
        in_channels: how Cin is made up of the channels of several inputs, in order; None for one input.

    Raises:
        UsageError: wrong shape or dtype, a value that is not finite, or channels that do not add up.
    """
    values = check_array("weight", weight)
    if values.dtype not in (np.float32, np.int8):
        raise UsageError(
            f"weight must be float32 or int8, got {values.dtype}; convert it with .astype(np.float32)"
        )
    if values.ndim != 4 or values.shape[2] != values.shape[3] or min(values.shape) < 1:
        raise UsageError(f"weight must be (Cout, Cin, k, k) with no empty axis, got shape {values.shape}")
    if values.dtype == np.float32 and not np.isfinite(values).all():
        # A missing neighbour counts as zeros times the weight, which must be zero.
        raise UsageError("weight holds NaN or infinity; check the model that it came from")
    parts = (values.shape[1],) if in_channels is None else _list_channels(in_channels)
    if sum(parts) != values.shape[1] or min(parts, default=0) < 1:
        raise UsageError(f"in_channels {parts} must be positive and add up to the weight's {values.shape[1]}")
    return pack_panels(values, parts, FLOAT_FORM if values.dtype == np.float32 else INTEGER_FORM)


def _list_channels(in_channels: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(in_channels, Sequence):
        raise UsageError(f"in_channels must be a sequence of whole numbers, got {show(in_channels)}")
    return tuple(check_whole("in_channels", part) for part in in_channels)


def pack_panels(weight: Weights, in_channels: tuple[int, ...], form: Form) -> PackedWeight:
    """Pack a weight for a form, padding Cout to whole vectors and each input's channels to whole words."""
    out_channels, _, kernel, _ = weight.shape
    panel_ptr = _cut_panels(out_channels, form)
    width = int(panel_ptr[-1])
    parts = []
    first = 0
    for channels in in_channels:
        parts.append(_order_words(weight[:, first : first + channels], width, form))
        first += channels
    by_word = np.concatenate(parts)  # (words over inputs and taps, width, word channels)
    panels = _allocate_aligned(by_word.nbytes)
    item = by_word[0, 0].nbytes * len(by_word)  # bytes per output channel
    for start, end in pairwise(panel_ptr):
        panels[start * item : end * item] = np.ascontiguousarray(by_word[:, start:end]).view(np.uint8).ravel()
    return PackedWeight(
        panels,
        panel_ptr,
        weight.dtype,
        out_channels,
        in_channels,
        kernel,
        _build_tap_table(in_channels, kernel**2, form),
        form,
    )


def _build_tap_table(in_channels: tuple[int, ...], taps: int, form: Form) -> Int64:
    """Return the tap table with the words of each tap and the offsets of its weights."""
    table = np.zeros((len(in_channels) * taps, TAP_FIELDS), np.int64)
    table[:, 2] = np.repeat([form.count_words(channels) for channels in in_channels], taps)
    table[1:, 3] = np.cumsum(table[:-1, 2])
    return table


def _cut_panels(out_channels: int, form: Form) -> Int64:
    """Return the first channel of each panel and the end: widest panels first, then halves of them."""
    padded = -(-out_channels // form.padding) * form.padding
    starts = [0]
    panel = form.vectors * form.lanes
    while starts[-1] < padded:
        while panel > padded - starts[-1]:
            panel //= 2
        starts.append(starts[-1] + panel)
    return np.array(starts, np.int64)


def _order_words(weight: Weights, width: int, form: Form) -> Weights:
    """Return the weights (Cout, Cin, k, k) of one input as (taps · words, width, word channels)."""
    out_channels, channels, kernel, _ = weight.shape
    taps, size = kernel * kernel, form.word_channels
    words = form.count_words(channels)
    item = np.int16 if form.dot == "pairs" else weight.dtype
    padded = np.zeros((taps, words * size, width), item)
    padded[:, :channels, :out_channels] = weight.reshape(out_channels, channels, taps).transpose(2, 1, 0)
    return np.ascontiguousarray(padded.reshape(taps * words, size, width).transpose(0, 2, 1))


def _allocate_aligned(size: int) -> npt.NDArray[np.uint8]:
    """Return `size` bytes on a cache-line boundary, so that no vector load crosses two lines."""
    buffer = np.empty(size + _LINE, np.uint8)
    offset = -buffer.ctypes.data % _LINE
    return buffer[offset : offset + size]
