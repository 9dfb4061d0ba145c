"""samples.py: what a model is calibrated on: one array for each of its inputs, the first axis being the samples."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..checks import check_whole
from ..errors import UsageError

_MASK = "mask"  # what an input that marks the tokens of a sequence has in its name
_UNREADABLE = (  # what numpy and zipfile raise about a damaged or foreign file
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one or more inputs.

    A sample is given to the model as a batch of one. Where an input of whole numbers has "mask" in its name, the
    positions after the last 1 of a sample are padding, and are left out of all inputs of that length.

    Attributes:
        arrays: of each input, (samples, ...).
        length: positions that are kept of an input of whole numbers (samples, positions); None keeps all.

    Raises:
        UsageError: there is no sample, or the arrays have different numbers of them.
    """

    arrays: Mapping[str, NDArray[Any]]
    length: int | None = None

    def __post_init__(self) -> None:
        counts = {name: len(array) if array.ndim else 0 for name, array in self.arrays.items()}
        if not counts or len(set(counts.values())) != 1 or 0 in counts.values():
            shown = ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"
            raise UsageError(
                f"calibration data must hold the same number of samples of each input, 1 or more; got {shown}"
            )
        if self.length is not None:
            check_whole("the calibration length", self.length, least=1)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for number in range(len(self)):
            yield self._take(number)

    def take(self, count: int) -> Samples:
        """Return at most `count` samples, evenly spaced."""
        chosen = np.arange(min(count, len(self))) * len(self) // min(count, len(self))
        return Samples({name: array[chosen] for name, array in self.arrays.items()}, self.length)

    def _take(self, number: int) -> dict[str, NDArray[Any]]:
        sample = {name: array[number : number + 1] for name, array in self.arrays.items()}
        for name, value in sample.items():
            if _MASK in name.lower() and _is_sequence(value) and value.any():
                sample = _cut(sample, value.shape[1], int(np.flatnonzero(value[0])[-1]) + 1)
                break
        if self.length is not None:
            sample = {
                name: value[:, : self.length] if _is_sequence(value) else value
                for name, value in sample.items()
            }
        return sample


def read_samples(path: Path, inputs: tuple[str, ...], length: int | None = None) -> Samples:
    """Read an .npz file with one array for each input of a model; arrays of other names are left out.

    Raises:
        UsageError: the file is missing or no .npz, an input is missing, or an array is not finite.
    """
    arrays, found = _read_arrays(path, inputs)
    missing = [name for name in inputs if name not in arrays]
    if missing:
        shown = ", ".join(found) or "none"
        raise UsageError(f"{path}: no array for the model's input {', '.join(missing)}; it holds {shown}")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is none
            raise UsageError(f"{path}: {name} is no array; save one for each input with numpy.savez")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(f"{path}: {name} holds numbers that are not finite")
    return Samples(arrays, length)


def _read_arrays(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Return what an .npz file holds of these names, and all names in it."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise UsageError(f"{path}: a single array; save one for each input with numpy.savez")
        with zipfile.ZipFile(path):
            pass  # numpy would take what is none for a pickle, and advise to trust it
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}, list(file.files)
    except _UNREADABLE as error:
        raise UsageError(f"{path}: cannot be read as .npz: {error}") from error


def _is_sequence(value: NDArray[Any]) -> bool:
    return value.ndim == 2 and value.dtype.kind in "iu"


def _cut(sample: dict[str, NDArray[Any]], positions: int, kept: int) -> dict[str, NDArray[Any]]:
    return {
        name: value[:, :kept] if _is_sequence(value) and value.shape[1] == positions else value
        for name, value in sample.items()
    }
