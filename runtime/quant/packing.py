"""packing.py: codes of a few bits, side by side in bytes without gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_array, check_whole
from ..errors import UsageError


def pack_codes(codes: ArrayLike, bits: int) -> NDArray[np.uint8]:
    """Write codes one behind the other, lowest bit first: two of 4 bits fill a byte, eight of 3 bits three bytes.

    The first of two 4-bit codes is the low half of the byte, as in the operator MatMulNBits of onnxruntime.

    Args:
        codes: (..., n) whole numbers 0..2^bits - 1; every row starts at a byte of its own.
        bits: of a code, 1..8.

    Returns:
        (..., ceil(n * bits / 8)) uint8; bits left over at the end of a row are 0.

    Raises:
        UsageError: a code does not fit, or `bits` is outside its range.
    """
    width, array = _check_bits(bits), check_array("codes", codes, "iu")
    if array.ndim < 1 or (array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**width):
        raise UsageError(f"codes (..., n) of {width} bits must lie in 0..{2**width - 1}, got {array!r}")
    planes = array[..., None] >> np.arange(width, dtype=np.uint8) & 1
    flat = planes.reshape(*array.shape[:-1], array.shape[-1] * width).astype(np.uint8)
    return np.packbits(flat, axis=-1, bitorder="little")


def unpack_codes(packed: ArrayLike, bits: int, count: int) -> NDArray[np.uint8]:
    """Return the first `count` codes of every row that `pack_codes` wrote.

    Args:
        packed: (..., bytes) uint8.
        bits: of a code, 1..8.
        count: codes of a row, as many as the bytes hold or fewer.

    Returns:
        (..., count) uint8.

    Raises:
        UsageError: the bytes are not as many as `count` codes take.
    """
    width, length = _check_bits(bits), check_whole("count", count, least=0)
    array = check_array("packed", packed, "u")
    if array.dtype != np.uint8 or array.ndim < 1 or array.shape[-1] != -(-length * width // 8):
        raise UsageError(
            f"{length} codes of {width} bits take {-(-length * width // 8)} bytes a row, "
            f"got {array.dtype} of shape {array.shape}"
        )
    flat = np.unpackbits(array, axis=-1, count=length * width, bitorder="little")
    weights = (1 << np.arange(width)).astype(np.uint8)
    codes = (flat.reshape(*array.shape[:-1], length, width) * weights).sum(axis=-1, dtype=np.uint8)
    return np.asarray(codes)


def _check_bits(bits: int) -> int:
    width = check_whole("bits", bits, least=1)
    if width > 8:
        raise UsageError(f"bits must be 1..8, got {width}")
    return width
