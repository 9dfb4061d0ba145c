"""kernels.py: runs the micro-kernel over the blocks of a plan, on the current Numba threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ..jit import kernel, numba, parallel_kernel, prange
from .forms import FLOAT_FORM, VECTOR_INTEGER_FORM
from .job import Bytes, Job
from .microkernel import ARGUMENTS, Finish, MicroKernelWriter, copy_bytes
from .plan import Int32, Int64
from .rules import Rulebook
from .tiles import STEP_FIELDS, convolve_by_tiles, count_room
from .weights import PackedWeight

Features = npt.NDArray[Any]

_OWN_ROWS = np.arange(32, dtype=np.int32)  # where the rows of a block lie in its overhang
_REQUANTISE = int(Finish.REQUANTISE)


@dataclass(frozen=True, eq=False)
class Operation:
    """A layer's arithmetic, packed for the kernel once and used for every frame.

    Attributes:
        weight: packed weights.
        bias: float32 or int32, padded to whole panels.
        scale: float32, padded to whole panels; used by the finishes that rescale.
        zero_row: zeros that stand for a missing neighbour.
        finish: what becomes of the sums.
    """

    weight: PackedWeight
    bias: Features
    scale: npt.NDArray[np.float32]
    zero_row: Bytes
    finish: Finish


def prepare_float(weight: PackedWeight, bias: npt.NDArray[np.float32], *, relu: bool) -> Operation:
    """Return the operation of a float32 layer: bias (Cout), and a ReLU or nothing behind."""
    return prepare_operation(weight, bias, None, Finish.RELU if relu else Finish.NONE)


def prepare_integer(
    weight: PackedWeight, bias: Int32, scale: npt.NDArray[np.float32], *, requantise: bool
) -> Operation:
    """Return the operation of an integer layer: bias and scale (Cout), output uint8 or else float32."""
    return prepare_operation(weight, bias, scale, Finish.REQUANTISE if requantise else Finish.DEQUANTISE)


def prepare_operation(
    weight: PackedWeight, bias: Features, scale: npt.NDArray[np.float32] | None, finish: Finish
) -> Operation:
    """Pad bias (Cout) and scale (Cout), which may be None, to the panels of the weight."""
    width = int(weight.panel_ptr[-1])
    scales = _pad(np.zeros(0, np.float32) if scale is None else scale, width)
    zero_row = np.zeros(4 * int(weight.tap_table[:, 2].max()), np.uint8)
    return Operation(weight, _pad(bias, width), scales, zero_row, finish)


def convolve(inputs: Sequence[Features], rulebook: Rulebook, operation: Operation) -> Features:
    """Run one layer on the current Numba threads.

    Every output is the sum bias + inputs × taps × channels in order, computed by one thread, so its bits do not
    depend on the number of threads.

    Args:
        inputs: (P_in, Cin) float32 or uint8, contiguous, one per input of the rulebook.
        rulebook: rules of the layer.
        operation: weights, bias and finish.

    Returns:
        (P_out, Cout) float32, int32 or uint8, as the finish says.
    """
    weight, finish = operation.weight, operation.finish
    if finish is Finish.REQUANTISE:
        kind: Any = np.uint8
    else:
        kind = np.int32 if weight.dtype == np.int8 and finish is Finish.NONE else np.float32
    output = np.empty((rulebook.cols.size, weight.out_channels), kind)
    rows = [_prepare_rows(features, weight) for features in inputs]
    plan, sources = rulebook.plan(weight.form.rows), rulebook.sources
    task_ptr = plan.cut(numba.get_num_threads())
    tap_table = _fill_tap_table(rows, weight)
    job = Job(
        operation.bias,
        operation.scale,
        tap_table,
        operation.zero_row,
        plan.rows,
        plan.masks,
        sources,
        0 if sources.shape[1] < len(tap_table) else sources.itemsize,
        weight.panels,
        weight.panel_ptr,
        int(finish),
        output.view(np.uint8),
    )
    if weight.form.dot == "tiles":
        steps = int(tap_table[:, 2].sum()) // 16
        rooms = np.empty((len(task_ptr), count_room(steps)), np.uint8)
        programs = np.empty((len(task_ptr), steps, STEP_FIELDS), np.int64)
        _convolve_tile_tasks(job, task_ptr, rooms, programs)
    else:
        widest = 4 * int(weight.panel_ptr[1])  # bytes of the widest panel
        overhangs = np.empty((len(task_ptr), plan.rows.shape[1], widest), np.uint8)
        _convolve_word_tasks(job, task_ptr, overhangs)
    return output


def _pad(values: Features, width: int) -> Features:
    padded = np.zeros(width, values.dtype)
    padded[: values.size] = values
    return padded


def _prepare_rows(features: Features, weight: PackedWeight) -> Features:
    """Return the features so that every row can be read in whole words; mostly they are returned as they are."""
    form, (pillars, channels) = weight.form, features.shape
    kind = np.dtype(np.int16) if form.dot == "pairs" else features.dtype
    padded = form.count_words(channels) * form.word_channels
    if form.dot == "tiles" or (kind == features.dtype and padded == channels):
        return features
    rows = np.zeros((pillars, padded), kind)
    rows[:, :channels] = features
    return rows


def _fill_tap_table(rows: Sequence[Features], weight: PackedWeight) -> Int64:
    """Return (taps over all inputs, TAP_FIELDS) int64: see TAP_FIELDS."""
    table = weight.tap_table.copy()
    for entries, part in zip(np.split(table, len(rows)) if len(rows) > 1 else (table,), rows, strict=True):
        entries[:, 0] = part.ctypes.data
        entries[:, 1] = part.shape[1] * part.itemsize
    return table


def _emit_block(typing_context: Any, bias: Any, width: Any, arguments: Any) -> Any:
    """Run one block on one panel.

    The type of the bias (float32 or int32) decides the form, the panel's width in channels which of the form's
    micro-kernels runs; `arguments` are ARGUMENTS.
    """
    form = FLOAT_FORM if bias.dtype == numba.types.float32 else VECTOR_INTEGER_FORM

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = [builder.extract_value(values[2], i) for i in range(len(ARGUMENTS))]
        done = builder.append_basic_block("done")
        choice = builder.switch(values[1], done)
        for vectors in form.panel_vectors:
            case = builder.append_basic_block(f"panel_{vectors}")
            choice.add_case(ir.Constant(ir.IntType(64), vectors * form.lanes), case)
            with builder.goto_block(case):
                builder.call(MicroKernelWriter(builder.module, form, vectors).write(), parts)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    words: Any = numba.types.UniTuple(numba.types.int64, len(ARGUMENTS))  # type: ignore[no-untyped-call]
    return numba.types.void(bias, numba.types.int64, words), generate


_run_block: Any = numba.extending.intrinsic(_emit_block)


@parallel_kernel
def _convolve_word_tasks(job: Job, task_ptr: Int64, overhangs: Bytes) -> None:
    """Run the tasks (blocks from one entry of task_ptr to the next), each with an overhang buffer of its own."""
    for task in prange(task_ptr.size - 1):
        _convolve_blocks(job, task_ptr[task], task_ptr[task + 1], overhangs[task])


@parallel_kernel
def _convolve_tile_tasks(job: Job, task_ptr: Int64, rooms: Bytes, programs: Int64) -> None:
    """As `_convolve_word_tasks`, for the tile form."""
    for task in prange(task_ptr.size - 1):
        convolve_by_tiles(job, task_ptr[task], task_ptr[task + 1], rooms[task], programs[task])


@kernel
def _convolve_blocks(job: Job, first_block: int, last_block: int, overhang: Bytes) -> None:
    """Run the blocks from first_block up to last_block, panel by panel.

    The micro-kernel stores whole vectors: a panel that sticks out beyond Cout goes through `overhang`.
    """
    rows_per_block = job.rows.shape[1]
    row_bytes = job.output.shape[1]
    item = 1 if job.finish == _REQUANTISE else 4  # bytes per output channel
    channel_bytes = job.panels.size // job.panel_ptr[job.panel_ptr.size - 1]
    for panel in range(job.panel_ptr.size - 1):
        first = job.panel_ptr[panel]
        width = job.panel_ptr[panel + 1] - first
        inside = min(item * width, row_bytes - item * first)
        whole = inside == item * width
        for b in range(first_block, last_block):
            row_address = job.rows.ctypes.data + 4 * b * rows_per_block
            arguments = (
                np.int64(job.tap_table.ctypes.data),
                np.int64(job.zero_row.ctypes.data),
                np.int64(job.masks[b]),
                np.int64(job.sources.ctypes.data),
                np.int64(4 * job.sources.shape[1]),
                np.int64(job.source_step),
                np.int64(job.panels.ctypes.data + first * channel_bytes),
                np.int64(job.bias.ctypes.data + 4 * first),
                np.int64(job.scale.ctypes.data + 4 * first),
                np.int64(job.output.ctypes.data + item * first if whole else overhang.ctypes.data),
                np.int64(row_bytes if whole else overhang.shape[1]),
                np.int64(row_address),
                np.int64(row_address if whole else _OWN_ROWS.ctypes.data),
                np.int64(job.finish),
            )
            _run_block(job.bias, width, arguments)
            if not whole:
                for r in range(rows_per_block):
                    place = job.output.ctypes.data + job.rows[b, r] * row_bytes + item * first
                    copy_bytes(place, overhang.ctypes.data + r * overhang.shape[1], inside)
