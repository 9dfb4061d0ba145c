"""movie.py: an animated picture (.webp, .gif or .png) of a recording, written while the frames come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from PIL import Image

from ...runtime.errors import UsageError
from .containers import Container, GifContainer, PngContainer, WebpContainer

_CONTAINERS: dict[str, Callable[[BinaryIO, tuple[int, int], int], Container]] = {
    ".webp": WebpContainer,
    ".gif": GifContainer,
    ".png": PngContainer,
}
MOVIE_SUFFIXES = tuple(_CONTAINERS)
_MARKS = {
    ".webp": (30, b"ANIM"),
    ".gif": (16, b"NETSCAPE2.0"),
    ".png": (37, b"acTL"),
}  # of an animation: offset, bytes


class MovieWriter:
    """Writes a movie frame by frame in constant memory.

    The file grows under a temporary name beside `path` and gets its own name when it is closed; without any
    frame, nothing is left. As a context manager it closes, and so keeps, the movie also when an error passes.

    Args:
        path: the movie to write; its suffix chooses the format: .webp (small, lossy), .gif, .png (lossless).
        frames_per_second: speed at which viewers play it.

    Raises:
        UsageError: the suffix is none of these, or the speed is not above 0.
    """

    def __init__(self, path: str | Path, *, frames_per_second: float = 10.0) -> None:
        self.path = Path(path)
        self._create = _CONTAINERS.get(self.path.suffix.lower())
        if self._create is None:
            raise UsageError(f"a movie must end in {', '.join(MOVIE_SUFFIXES)}; got '{self.path.name}'")
        if not 0 < frames_per_second <= 1000:
            raise UsageError(f"frames per second must be above 0 and at most 1000, got {frames_per_second}")
        self.frames = 0
        self._frame_ms = max(1, round(1000.0 / frames_per_second))
        self._temporary = self.path.with_name(f".{self.path.name}.part")
        self._file: BinaryIO | None = None
        self._container: Container | None = None
        self._size = (0, 0)

    def add(self, image: Image.Image) -> None:
        """Append one frame.

        Raises:
            UsageError: the frame's size differs from the first one's, or it exceeds 16,384 pixels.
        """
        if self._container is None:
            self._open(image.size)
        if image.size != self._size:
            raise UsageError(
                f"frame {self.frames} is {image.size} pixels, the movie's frames are {self._size}"
            )
        assert self._container is not None
        self._container.add(image.convert("RGB"))
        self.frames += 1

    def _open(self, size: tuple[int, int]) -> None:
        if max(size) > 16384:  # what WebP can hold; far above what a viewer plays
            raise UsageError(f"frames of {size} pixels are too large for a movie")
        assert self._create is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = size
        self._file = self._temporary.open("w+b")
        self._container = self._create(self._file, size, self._frame_ms)

    def close(self) -> None:
        """Finish the file and give it its name; closing again does nothing."""
        if self._file is None or self._container is None:
            return
        file, self._file = self._file, None
        with file:
            self._container.finish()
        self._temporary.replace(self.path)

    def __enter__(self) -> MovieWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def is_movie(path: Path) -> bool:
    """Return whether a file begins like the animations that MovieWriter writes; a still picture does not."""
    offset, mark = _MARKS.get(path.suffix.lower(), (0, b""))
    with path.open("rb") as file:
        head = file.read(offset + len(mark))
    return bool(mark) and head[offset:] == mark


def write_movie(images: Iterable[Image.Image], path: str | Path, *, frames_per_second: float = 10.0) -> int:
    """Write images as a movie and return their number; see MovieWriter."""
    with MovieWriter(path, frames_per_second=frames_per_second) as movie:
        for image in images:
            movie.add(image)
    return movie.frames
