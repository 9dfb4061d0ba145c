"""job.py: what one call of the kernels works on: a layer's arithmetic, its plan and rules, its output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .plan import Int32, Int64, Masks

Bytes = npt.NDArray[np.uint8]


class Job(NamedTuple):
    """The arguments that all kernels share; a named tuple, since Numba takes no dataclass.

    Attributes:
        bias: (padded Cout) float32 or int32; its type decides the form.
        scale: (padded Cout) float32.
        tap_table: (taps, TAP_FIELDS) int64.
        zero_row: zeros that stand for a missing neighbour.
        rows: (B, rows of a block) int32 output ranks.
        masks: (B) uint64 taps of each block.
        sources: (P_out, taps) int32 input ranks, or (P_out, 1) where every output has one.
        source_step: bytes from the rank under one tap to that under the next.
        panels: packed weights.
        panel_ptr: (panels + 1) int64 first output channels.
        finish: a `Finish`.
        output: (P_out, bytes per row).
    """

    bias: npt.NDArray[Any]
    scale: npt.NDArray[np.float32]
    tap_table: Int64
    zero_row: Bytes
    rows: Int32
    masks: Masks
    sources: Int32
    source_step: int
    panels: Bytes
    panel_ptr: Int64
    finish: int
    output: Bytes
