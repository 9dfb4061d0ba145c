"""model_folder.py: the folder that a command writes a model to: checked before the work, and never half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...detector.checkpoints import Checkpoint, Manifest


@dataclass(frozen=True)
class ModelKind:
    """What a command makes, and may replace.

    Attributes:
        name: in words, such as "an int8 model".
        holds: whether a model is of this kind.
    """

    name: str
    holds: Callable[[Manifest], bool]


INT8 = ModelKind("an int8 model", lambda manifest: manifest.precision == "int8")
PRUNED = ModelKind(
    "a float32 model with vector pruning",
    lambda manifest: (
        manifest.precision == "fp32" and any(layer.pruned for layer in manifest.architecture.layers)
    ),
)


def check_model_folder(
    output: Path, model: Path, recordings: tuple[Path, ...], kind: ModelKind, *, overwrite: bool
) -> None:
    """Make sure that the folder can be written, and that only a model of the same kind is replaced, when told to.

    Raises:
        UsageError: it is not so.
    """
    from ...detector.checkpoints import read_manifest
    from ...runtime.errors import ModelError, UsageError
    from .output_files import check_apart, check_folder

    for path in recordings:
        check_apart("--output", output, path)
    check_apart("--output", output, model, "model")
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: a file of this name exists; choose a folder")
    if output.is_dir() and any(output.iterdir()):
        try:
            is_replaceable = kind.holds(read_manifest(output))
        except ModelError:
            is_replaceable = False
        if not is_replaceable:
            raise UsageError(
                f"--output {output}: the folder holds something else than {kind.name}; choose another"
            )
        if not overwrite:
            raise UsageError(f"--output {output}: {kind.name} lies there; --overwrite replaces it")
    try:
        check_folder(output.parent, make=True)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def write_model(checkpoint: Checkpoint, output: Path) -> None:
    """Write the folder under a temporary name, then give it its own; in an earlier model file by file."""
    from ...detector.checkpoints import save_checkpoint
    from ...runtime.files import making_folder

    if output.is_dir() and any(output.iterdir()):
        save_checkpoint(checkpoint, output)
        return
    with (
        making_folder(output.parent),
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.", suffix=".part") as place,
    ):
        made = Path(place) / output.name
        save_checkpoint(checkpoint, made)
        if output.is_dir():
            output.rmdir()  # empty
        os.rename(made, output)
