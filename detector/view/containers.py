"""containers.py: animated WebP, PNG and GIF files put together frame by frame, in constant memory.

Pillow compresses each frame as a still picture; here its data is moved into the animation's container. So a
movie of any length needs the memory of one frame, and what is written stays good when the run is interrupted.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO, Protocol

from PIL import Image

_MAX_GIF_COLOURS = 256


class Container(Protocol):
    """An animation that is being written to an open file."""

    def add(self, image: Image.Image) -> None:
        """Append one frame (RGB, all of the same size)."""

    def finish(self) -> None:
        """Write what comes after the last frame and patch the header."""


class WebpContainer:
    """Animated WebP: RIFF with VP8X, ANIM and one ANMF chunk per frame (WebP container specification)."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], frame_ms: int, *, quality: int = 80) -> None:
        self._file, self._size, self._frame_ms, self._quality = file, size, frame_ms, quality
        file.write(b"RIFF\0\0\0\0WEBP")
        animation_flag = 2
        file.write(_riff_chunk(b"VP8X", struct.pack("<B3x", animation_flag) + self._packed_size()))
        file.write(_riff_chunk(b"ANIM", b"\0\0\0\xff" + struct.pack("<H", 0)))  # background; loop without end

    def _packed_size(self) -> bytes:
        width, height = self._size
        return _uint24(width - 1) + _uint24(height - 1)

    def add(self, image: Image.Image) -> None:
        """Append one frame, compressed with loss."""
        still = io.BytesIO()
        image.save(still, "WEBP", quality=self._quality, method=2)
        overwrite_without_blending = 0b10
        head = (
            _uint24(0) * 2
            + self._packed_size()
            + _uint24(self._frame_ms)
            + bytes([overwrite_without_blending])
        )
        self._file.write(_riff_chunk(b"ANMF", head + still.getvalue()[12:]))  # without the RIFF header

    def finish(self) -> None:
        """Patch the length of the file."""
        length = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", length - 8))
        self._file.seek(length)


class PngContainer:
    """Animated PNG: frame control and data chunks (PNG specification, third edition, section 11.3.6)."""

    _SIGNATURE = b"\x89PNG\r\n\x1a\n"

    def __init__(self, file: BinaryIO, size: tuple[int, int], frame_ms: int) -> None:
        self._file, self._size, self._frame_ms = file, size, frame_ms
        self._frames, self._sequence = 0, 0
        file.write(self._SIGNATURE)
        self._write(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))  # 8 bits per channel, RGB
        self._control_at = file.tell()
        self._write(b"acTL", struct.pack(">II", 0, 0))

    def _write(self, kind: bytes, payload: bytes) -> None:
        self._file.write(
            struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
        )

    def _next_sequence(self) -> bytes:
        self._sequence += 1
        return struct.pack(">I", self._sequence - 1)

    def add(self, image: Image.Image) -> None:
        """Append one frame without loss."""
        still = io.BytesIO()
        image.convert("RGB").save(still, "PNG", compress_level=6)
        control = struct.pack(">IIIIHHBB", *self._size, 0, 0, self._frame_ms, 1000, 0, 0)
        self._write(b"fcTL", self._next_sequence() + control)
        data, at = still.getvalue(), len(self._SIGNATURE)
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            if kind == b"IDAT":
                payload = data[at + 8 : at + 8 + length]
                if self._frames == 0:
                    self._write(b"IDAT", payload)
                else:
                    self._write(b"fdAT", self._next_sequence() + payload)
            at += 12 + length
        self._frames += 1

    def finish(self) -> None:
        """Write the end chunk and patch the number of frames."""
        self._write(b"IEND", b"")
        end = self._file.tell()
        self._file.seek(self._control_at)
        self._write(b"acTL", struct.pack(">II", self._frames, 0))
        self._file.seek(end)


class GifContainer:
    """Animated GIF89a: every frame brings its own palette of 256 colours, without dithering."""

    def __init__(self, file: BinaryIO, size: tuple[int, int], frame_ms: int) -> None:
        self._file = file
        self._delay = max(2, round(frame_ms / 10))  # viewers slow down anything below 20 ms
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0))
        file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # loop without end

    def add(self, image: Image.Image) -> None:
        """Append one frame, reduced to its own best 256 colours."""
        still = io.BytesIO()
        reduced = image.convert("RGB").quantize(
            _MAX_GIF_COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        reduced.save(still, "GIF", optimize=False)
        data = still.getvalue()
        table_bits = data[10] & 0b111
        table_end = 13 + 3 * 2 ** (table_bits + 1)
        at = _skip_gif_extensions(data, table_end)
        descriptor = data[at : at + 9] + bytes([(data[at + 9] & 0b01000000) | 0b10000000 | table_bits])
        self._file.write(b"\x21\xf9\x04" + struct.pack("<BHBB", 0b100, self._delay, 0, 0))
        self._file.write(descriptor + data[13:table_end] + data[at + 10 : -1])  # without the trailer

    def finish(self) -> None:
        """Write the trailer."""
        self._file.write(b";")


def _riff_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def _uint24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


def _skip_gif_extensions(data: bytes, at: int) -> int:
    """Return where the image descriptor begins, from the end of the global colour table on."""
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return at
