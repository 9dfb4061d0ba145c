"""vit_mnist.py: handwritten digits for a small vision transformer, and the share of them that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEAN, DEVIATION = 0.1307, 0.3081
Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def read_digits(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return images (n, 1, 28, 28) as the network takes them, and labels (n,)."""
    with np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    scaled = (images.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)
    return scaled[:, None], labels


def measure_accuracy(
    classify: Classify, images: NDArray[np.float32], labels: NDArray[np.uint8], batch: int = 100
) -> float:
    """Return the share of the images whose largest logit is that of their label."""
    starts = range(0, len(images), batch)
    found = [np.asarray(classify(images[start : start + batch])).argmax(-1) for start in starts]
    return float((np.concatenate(found) == labels).mean())
