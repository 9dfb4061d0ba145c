"""colours.py: the colours of every picture: background, heights, classes.

Heights run through a colour map whose lightness rises in equal steps (OKLab), so that higher always looks
lighter, also in grey print and for colour-blind readers. Its chroma is low; strong colours mean classes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

BACKGROUND: RGB = (11, 14, 20)
PANEL: RGB = (20, 25, 34)
GRID: RGB = (58, 68, 84)
TEXT: RGB = (226, 232, 240)
FAINT_TEXT: RGB = (138, 150, 168)
TRUTH: RGB = (240, 244, 250)

_CLASS_COLOURS: dict[str, RGB] = {
    "car": (255, 150, 50),
    "pedestrian": (255, 74, 128),
    "cyclist": (192, 132, 255),
}
_OTHER_CLASSES: tuple[RGB, ...] = ((255, 214, 64), (255, 116, 88), (120, 220, 255), (164, 230, 90))

# Lightness, chroma, hue [degrees] of the lowest and the highest colour: from indigo over teal to pale yellow.
_LOW, _HIGH = (0.36, 0.060, 268.0), (0.96, 0.075, 98.0)
_MIDDLE_CHROMA = 0.055  # added half-way, where the displayable colours allow more


def oklch_to_rgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Convert OKLCh (hue in degrees) to 8-bit sRGB, clipped to what can be displayed; (N, 3) uint8.

    The matrices are those of B. Ottosson, "A perceptual color space for image processing" (2020).
    """
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    lab = np.stack([lightness, a, b])
    to_lms = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ (to_lms @ lab) ** 3, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: NDArray[np.uint8] = np.round(encoded.T * 255).astype(np.uint8)
    return rgb


@lru_cache(maxsize=4)
def height_colours(steps: int = 256) -> NDArray[np.uint8]:
    """Return the colours of rising heights, (steps, 3) uint8."""
    t = np.linspace(0.0, 1.0, steps)
    lightness, chroma, hue = (low + (high - low) * t for low, high in zip(_LOW, _HIGH, strict=True))
    colours = oklch_to_rgb(lightness, chroma + _MIDDLE_CHROMA * np.sin(np.pi * t), hue)
    colours.setflags(write=False)
    return colours


def class_colour(name: str, index: int = 0) -> RGB:
    """Return the colour of a class; `index` chooses one for classes that have none of their own."""
    return _CLASS_COLOURS.get(name, _OTHER_CLASSES[index % len(_OTHER_CLASSES)])
