"""elf_shim.py: the smallest shared object that onnxruntime can load: one exported function that jumps to an address.

onnxruntime takes custom operators from a shared object that exports `RegisterCustomOps`. A compiler is not needed for
one whose only instruction of note is a jump; the address is that of a function in this process, so the object is
made anew in each process and kept in memory (`memfd_create`), never on disk.

Layout, after the ELF specification (gABI 4.1, chapters 4 and 5): header, four program headers, symbols, hash table,
names and code in a segment that can be read and run; the dynamic section in one that can be written, since loaders
relocate it in place. Both segments map the same few hundred bytes, at addresses one alignment apart.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from dataclasses import dataclass

EXPORT = b"RegisterCustomOps"
_ALIGNMENT = 0x10000  # the largest page of the supported systems: 64 KiB on some aarch64
_HEADER, _PROGRAM_HEADER, _SYMBOL = 64, 56, 24  # bytes of each structure, ELF64
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_READ_RUN, _READ_WRITE = 5, 6
_DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT = 4, 5, 6, 10, 11
_MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine


def find_obstacle() -> str:
    """Return why no shim can be made on this system, or nothing."""
    if not sys.platform.startswith("linux") or not hasattr(os, "memfd_create"):
        return f"fast operators are made for Linux, and this is {sys.platform}"
    if platform.machine() not in _MACHINES or struct.calcsize("P") != 8 or sys.byteorder != "little":
        return f"fast operators are made for 64-bit x86 and ARM, and this is {platform.machine()}"
    return ""


def write_jump(machine: str, address: int) -> bytes:
    """Return machine code that jumps to `address` and leaves all arguments where they are."""
    if machine == "x86_64":
        # endbr64; mov rax, address; jmp rax
        return b"\xf3\x0f\x1e\xfa\x48\xb8" + struct.pack("<Q", address) + b"\xff\xe0"
    # bti c; ldr x16, [pc + 12]; br x16; nop; address
    return struct.pack("<4IQ", 0xD503245F, 0x58000070, 0xD61F0200, 0xD503201F, address)


def write_shim(machine: str, address: int) -> bytes:
    """Return a shared object for `machine` ("x86_64" or "aarch64") whose RegisterCustomOps is at `address`."""
    names = b"\0" + EXPORT + b"\0"
    # One bucket; its chain starts at symbol 1 and ends there.
    hashes = struct.pack("<5I", 1, 2, 1, 0, 0)
    symbols_at = _HEADER + 4 * _PROGRAM_HEADER
    hashes_at = symbols_at + 2 * _SYMBOL
    names_at = hashes_at + len(hashes)
    code_at = _round_up(names_at + len(names), 16)
    code = write_jump(machine, address)
    dynamic_at = _round_up(code_at + len(code), 16)
    symbols = bytes(_SYMBOL) + struct.pack("<IBBHQQ", 1, 0x12, 0, 1, code_at, len(code))  # global function
    dynamic = _pack_dynamic(symbols_at, hashes_at, names_at, len(names))
    end = dynamic_at + len(dynamic)
    headers = (
        _pack_program_header(_PT_LOAD, _READ_RUN, 0, 0, dynamic_at),
        _pack_program_header(_PT_LOAD, _READ_WRITE, dynamic_at, _ALIGNMENT, len(dynamic)),
        _pack_program_header(_PT_DYNAMIC, _READ_WRITE, dynamic_at, _ALIGNMENT, len(dynamic)),
        # Without this, loaders take it that the object wants a stack that can be run, and newer ones refuse.
        _pack_program_header(_PT_GNU_STACK, _READ_WRITE, 0, 0, 0),
    )
    image = bytearray(end)
    for at, part in (
        (0, _pack_header(_MACHINES[machine], len(headers)) + b"".join(headers)),
        (symbols_at, symbols),
        (hashes_at, hashes),
        (names_at, names),
        (code_at, code),
        (dynamic_at, dynamic),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


@dataclass(frozen=True)
class LoadedShim:
    """A shim in this process.

    Attributes:
        path: the name under which onnxruntime may load it again.
        library: holds it, whatever becomes of the file behind the name.
    """

    path: str
    library: ctypes.CDLL


def load_shim(address: int) -> LoadedShim:
    """Load a shim that jumps to `address`.

    Raises:
        OSError: the system gives no memory for code, or forbids running it.
    """
    handle = os.memfd_create("colonnade_operators")
    with os.fdopen(handle, "wb", closefd=False) as file:
        file.write(write_shim(platform.machine(), address))
    # The handle stays open: the name leads through it.
    path = f"/proc/self/fd/{handle}"
    return LoadedShim(path, ctypes.CDLL(path))


def _pack_header(machine: int, programs: int) -> bytes:
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64-bit, little-endian, version 1
    return identity + struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, _HEADER, 0, 0, _HEADER, _PROGRAM_HEADER, programs, 64, 0, 0
    )


def _pack_program_header(kind: int, flags: int, offset: int, shift: int, size: int) -> bytes:
    alignment = _ALIGNMENT if kind == _PT_LOAD else 16
    return struct.pack(
        "<IIQQQQQQ", kind, flags, offset, offset + shift, offset + shift, size, size, alignment
    )


def _pack_dynamic(symbols_at: int, hashes_at: int, names_at: int, names_size: int) -> bytes:
    entries = (
        (_DT_HASH, hashes_at),
        (_DT_STRTAB, names_at),
        (_DT_SYMTAB, symbols_at),
        (_DT_STRSZ, names_size),
        (_DT_SYMENT, _SYMBOL),
        (0, 0),
    )
    return b"".join(struct.pack("<QQ", *entry) for entry in entries)


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
