"""lzf.py: LibLZF decompression, which PCD files with `DATA binary_compressed` need (Lehmann's LZF)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...runtime.jit import kernel

U8 = NDArray[np.uint8]

_MAX_EXPANSION = 264 / 3  # the longest copy, 264 bytes, is written as 3 bytes
_SHORT = -1  # the stream ends within an instruction
_OUTSIDE = -2  # a copy from before the start, or beyond the end


def decompress(data: bytes, size: int) -> bytes:
    """Return the `size` bytes that `data` holds compressed.

    Raises:
        ValueError: the stream is damaged, or cannot expand to `size`.
    """
    if size > len(data) * _MAX_EXPANSION:
        raise ValueError(f"{len(data)} compressed bytes cannot hold the {size} bytes that the header claims")
    target = np.empty(size, np.uint8)
    written = _decompress_kernel(np.frombuffer(data, np.uint8), target)
    if written != size:
        reasons = {_SHORT: "the compressed data ends too early", _OUTSIDE: "the compressed data is damaged"}
        raise ValueError(reasons.get(written, f"the compressed data holds {written} bytes, not {size}"))
    return target.tobytes()


@kernel
def _decompress_kernel(source: U8, target: U8) -> int:
    """Fill `target` from `source` and return the number of bytes written, or a negative reason."""
    read, written = 0, 0
    while read < source.size:
        control = int(source[read])
        read += 1
        if control < 32:  # a run of control + 1 literal bytes
            length = control + 1
            if read + length > source.size:
                return _SHORT
            if written + length > target.size:
                return _OUTSIDE
            for step in range(length):
                target[written + step] = source[read + step]
            read += length
        else:  # a copy of what was written before; it may overlap itself
            length = control >> 5
            if length == 7:
                if read >= source.size:
                    return _SHORT
                length += int(source[read])
                read += 1
            if read >= source.size:
                return _SHORT
            start = written - ((control & 31) << 8) - int(source[read]) - 1
            read += 1
            length += 2
            if start < 0 or written + length > target.size:
                return _OUTSIDE
            for step in range(length):
                target[written + step] = target[start + step]
        written += length
    return written


def decompress_reference(data: bytes) -> bytes:
    """Return what `data` holds compressed: the plain twin of the kernel, for intact streams."""
    target = bytearray()
    read = 0
    while read < len(data):
        control = data[read]
        read += 1
        if control < 32:
            target += data[read : read + control + 1]
            read += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += data[read]
            read += 1
        start = len(target) - ((control & 31) << 8) - data[read] - 1
        read += 1
        for step in range(length + 2):
            target.append(target[start + step])
    return bytes(target)
