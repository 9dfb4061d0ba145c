"""memory.py: keeps the C heap steady between frames, so that memory stays flat and its pages warm."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_HEAP_BLOCK = 32 << 20  # [B] larger arrays are mapped and given back one by one
_SPARE_HEAP = 64 << 20  # [B] freed memory that may stay with the process


@cache
def keep_heap_steady() -> bool:
    """Tell glibc to keep up to 64 MiB of freed heap; return whether it was told.

    A frame frees and allocates the same few tens of megabytes. By default glibc gives them back at times and
    faults them in again, which makes resident memory jump by 14 MB between frames and costs 5 % of the time. This
    acts on the whole process, once; it does nothing off glibc, or where the user has set MALLOC_TRIM_THRESHOLD_
    or MALLOC_MMAP_THRESHOLD_.
    """
    if not sys.platform.startswith("linux"):
        return False
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    told = (mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK), mallopt(_M_TRIM_THRESHOLD, _SPARE_HEAP))
    return told == (1, 1)
