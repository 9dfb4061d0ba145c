"""writing.py: recordings out: ROS bags and MCAP, or one `.bin`, `.pcd` or `.npy` file per frame."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.checks import check_instance, check_path, show
from ...runtime.errors import ColonnadeError, RecordingError, UsageError
from ...runtime.files import making_folder
from ..frames import Frame
from .bag_writing import write_bag, write_db3, write_mcap
from .pcd import encode_pcd
from .recording import Recording
from .replacing import FRAME_STEM, check_replaceable
from .sources import natural_key

Encoder = Callable[[NDArray[np.float32]], bytes]

COMPACT_STEP = 1 / 256  # [m], and of intensity; a power of two, so that the rest of a float32 is zeros


def _encode_rows(points: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(points, "<f4").tobytes()


def _encode_npy(points: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(points, "<f4"), allow_pickle=False)
    return stream.getvalue()


def write_files(path: Path, frames: Iterable[Frame], suffix: str, encode: Encoder, *, single: bool) -> None:
    """Write one file per frame into the folder `path`; with `single`, an only frame becomes the file `path`.

    The files are named after the frames' ids, or numbered from 000000 where the ids repeat, do not sort in
    the order of the recording, or are no file names.
    """
    path.mkdir()
    ids: list[str] = []
    for index, frame in enumerate(frames):
        (path / f"{index:06d}.part").write_bytes(encode(frame.points))
        ids.append(frame.frame_id)
    if single and len(ids) == 1:
        only = path.with_name(path.name + ".only")
        (path / "000000.part").rename(only)
        path.rmdir()
        only.rename(path)
        return
    names = ids if _are_ordered_names(ids) else [f"{index:06d}" for index in range(len(ids))]
    for index, name in enumerate(names):
        (path / f"{index:06d}.part").rename(path / f"{name}{suffix}")


def _are_ordered_names(ids: list[str]) -> bool:
    if not all(re.fullmatch(FRAME_STEM, name) for name in ids):
        return False
    # Compared without case, as some file systems do.
    keys = [natural_key(name.lower()) for name in ids]
    return all(first < second for first, second in pairwise(keys))


_WRITERS: dict[str, Callable[[Path, Iterable[Frame]], None]] = {
    "mcap": write_mcap,
    "db3": write_db3,
    "bag": write_bag,
}
_ENCODERS: dict[str, tuple[str, Encoder]] = {
    "kitti": (".bin", _encode_rows),
    "pcd": (".pcd", encode_pcd),
    "npy": (".npy", _encode_npy),
}
_BY_SUFFIX = {".mcap": "mcap", ".db3": "db3", ".bag": "bag", ".bin": "kitti", ".pcd": "pcd", ".npy": "npy"}
WRITABLE = (*_WRITERS, *_ENCODERS)


def write_recording(
    path: str | os.PathLike[str],
    frames: Iterable[Frame],
    *,
    format: str | None = None,
    overwrite: bool = False,
    source: str | os.PathLike[str] | None = None,
) -> None:
    """Write `frames` as a recording; nothing appears at `path` before all is written.

    Coordinates and intensities are stored as float32, bit by bit. What lies where:
    `.mcap` and `.bag` one file, topic /points, fields x y z intensity; `.db3` a folder with `metadata.yaml`;
    `kitti`, `pcd`, `npy` a folder with one file per frame, or, if `path` ends in `.bin`, `.pcd` or `.npy` and
    there is only one frame, that file.

    Args:
        path: where to.
        frames: the frames, taken one at a time.
        format: "mcap", "db3", "bag", "kitti", "pcd", "npy"; None = by the suffix, "kitti" without one.
        overwrite: replace the recording at `path`: a file, or a folder that holds nothing but one.
        source: the recording that the frames are read from, which is not replaced; known where `frames` is a Recording.

    Raises:
        UsageError: the format is unknown.
        RecordingError: there are no frames, a frame does not fit, or `path` exists, holds other files or the source,
            or cannot be written.
        MissingExtraError: the format needs a package that is not installed.
    """
    target = check_path("the recording", path)
    write = _choose_writer(target, format)
    if os.path.lexists(target):
        if not overwrite:
            raise RecordingError(f"{target}: exists already; choose another name or say --overwrite")
        origin = frames.path if source is None and isinstance(frames, Recording) else source
        check_replaceable(target, None if origin is None else Path(origin))
    if not isinstance(frames, Iterable):
        raise UsageError(f"frames must be an iterable of Frame, got {show(frames)}")
    remaining = (check_instance("a frame", frame, Frame) for frame in frames)
    first = next(remaining, None)
    if first is None:
        raise RecordingError(f"{target}: there are no frames to write")
    try:
        with making_folder(target.parent):
            # Beside the target, so that the last step is a rename within one file system.
            workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
            try:
                # Named like the target: rosbags names the file in a bag folder after the folder.
                made = workshop / target.name
                made = made.with_suffix("") if made.suffix == ".db3" else made
                write(made, chain([first], remaining))
                _swap_in(made, target, workshop / "replaced")
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
    except ColonnadeError:
        raise
    except OSError as error:
        raise RecordingError(f"{target}: cannot be written: {error.strerror or error}") from error


def _swap_in(made: Path, target: Path, replaced: Path) -> None:
    """Give `made` the name of the target, and the target the name `replaced`; or leave the target as it is."""
    if not os.path.lexists(target):
        made.rename(target)
        return
    target.rename(replaced)
    try:
        made.rename(target)
    except BaseException:
        replaced.rename(target)
        raise


def round_frames(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames with coordinates and intensities rounded to COMPACT_STEP: an `.mcap` becomes half as large."""
    for frame in frames:
        yield replace(frame, points=(np.round(frame.points / COMPACT_STEP) * COMPACT_STEP).astype(np.float32))


def _choose_writer(target: Path, name: str | None) -> Callable[[Path, Iterable[Frame]], None]:
    suffix = target.suffix.lower()
    if name is None and suffix and suffix not in _BY_SUFFIX:
        raise UsageError(
            f"{target}: no recording is written as {suffix}; the suffixes are {', '.join(_BY_SUFFIX)}, "
            f"or name the format with --to ({', '.join(WRITABLE)})"
        )
    chosen = name or _BY_SUFFIX.get(suffix, "kitti")
    if chosen in _WRITERS:
        return _WRITERS[chosen]
    if chosen in _ENCODERS:
        ending, encode = _ENCODERS[chosen]
        return partial(write_files, suffix=ending, encode=encode, single=suffix == ending)
    raise UsageError(f"--to {chosen}: cannot be written; the formats are {', '.join(WRITABLE)}")
