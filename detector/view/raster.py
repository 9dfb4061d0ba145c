"""raster.py: points and outlines to pixels, seen from above (forward is up, left is left)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .colours import BACKGROUND, RGB, height_colours

LOWEST, HIGHEST = -0.3, 3.2  # [m] heights above the ground between which the colours run
_OVERSAMPLING = 2  # outlines are drawn this much larger and averaged, which smooths their edges
_LEVELS = 127  # steps of the colours; halo and point of each step share one 8-bit palette with the background
_HALO = 0.42  # brightness of the pixels around a point


@dataclass(frozen=True)
class TopView:
    """The square of ground that a picture shows, centred on the sensor.

    Attributes:
        range_m: distance from the centre to each edge [m].
        size_px: side of the picture [pixels].
    """

    range_m: float
    size_px: int

    @property
    def scale(self) -> float:
        """Pixels per metre."""
        return self.size_px / (2.0 * self.range_m)

    def to_pixels(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (column, row) of positions xy (..., 2) in metres, both as fractions of a pixel."""
        xy = np.asarray(xy, dtype=np.float64)
        return np.stack([self.range_m - xy[..., 1], self.range_m - xy[..., 0]], axis=-1) * self.scale


def draw_points(view: TopView, points: NDArray[np.float32], ground: float) -> Image.Image:
    """Return the picture of points (N, >=3): the highest point of a pixel gives its colour, on a dim halo."""
    size = view.size_px
    columns = (view.range_m - points[:, 1]) * np.float32(view.scale)
    rows = (view.range_m - points[:, 0]) * np.float32(view.scale)
    inside = np.flatnonzero((columns >= 0) & (columns < size) & (rows >= 0) & (rows < size))
    cells = rows[inside].astype(np.intp) * size + columns[inside].astype(np.intp)
    share = (points[inside, 2] - np.float32(ground + LOWEST)) * np.float32(1.0 / (HIGHEST - LOWEST))
    level = (np.clip(share, 0.0, 1.0) * np.float32(_LEVELS - 1)).astype(np.uint8) + np.uint8(1)  # 0: no point

    order = np.argsort(level, kind="stable")  # ascending, so that the highest point is written last
    core = np.zeros((size, size), np.uint8)
    core.reshape(-1)[cells[order]] = level[order]

    halo = core.copy()
    for target, source in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
        np.maximum(halo[target], core[source], out=halo[target])
        np.maximum(halo[:, target], core[:, source], out=halo[:, target])
    picture = Image.fromarray(np.where(core > 0, core + np.uint8(_LEVELS), halo))
    picture.putpalette(_palette().tobytes())
    return picture.convert("RGB")


def _palette() -> NDArray[np.uint8]:
    """Return the colours (255, 3): the background, _LEVELS colours of halos, _LEVELS colours of points."""
    background = np.array(BACKGROUND, np.float64)
    bright = height_colours(_LEVELS).astype(np.float64)
    dim = background + (bright - background) * _HALO
    return np.round(np.vstack([background, dim, bright])).astype(np.uint8)


@lru_cache(maxsize=8)
def draw_height_ramp(width: int, height: int) -> Image.Image:
    """Return the colours from LOWEST to HIGHEST side by side, for a legend; width and height [pixels]."""
    return Image.fromarray(np.broadcast_to(height_colours(width), (height, width, 3)).copy())


def draw_rings(view: TopView, radii: list[float], *, opacity: int) -> Image.Image:
    """Return a mask of circles around the sensor, `size_px` square."""
    mask = Image.new("L", (view.size_px * _OVERSAMPLING,) * 2, 0)
    pen = ImageDraw.Draw(mask)
    centre = view.size_px * _OVERSAMPLING / 2
    for radius_m in radii:
        radius = radius_m * view.scale * _OVERSAMPLING
        pen.ellipse(
            (centre - radius, centre - radius, centre + radius, centre + radius), outline=opacity, width=2
        )
    return mask.reduce(_OVERSAMPLING)


def draw_shape(
    picture: Image.Image,
    view: TopView,
    colour: RGB,
    outline: NDArray[np.floating],
    *,
    tick: NDArray[np.floating] | None = None,
    width: float = 1.5,
    fill: int = 0,
) -> None:
    """Draw one closed outline smoothly onto `picture`.

    Args:
        outline: (K, 2) corners [m].
        tick: (2, 2) a line to draw with it [m].
        width: of the lines [pixels].
        fill: opacity 0..255 of the inside.
    """
    corners = view.to_pixels(outline)
    parts = corners if tick is None else np.vstack([corners, view.to_pixels(tick)])
    border = math.ceil(width) + 1
    low = np.clip(np.floor(parts.min(axis=0)) - border, 0, view.size_px).astype(int)
    high = np.clip(np.ceil(parts.max(axis=0)) + border, 0, view.size_px).astype(int)
    if (high <= low).any():
        return  # wholly outside the picture
    mask = Image.new("L", tuple((high - low) * _OVERSAMPLING), 0)
    pen = ImageDraw.Draw(mask)
    scaled = [(float(u), float(v)) for u, v in (parts - low) * _OVERSAMPLING]
    ring = scaled[: len(corners)]
    if fill:
        pen.polygon(ring, fill=fill)
    pen.line([*ring, ring[0], ring[1]], fill=255, width=round(width * _OVERSAMPLING), joint="curve")
    pen.line(scaled[len(corners) :], fill=255, width=round(width * _OVERSAMPLING))
    picture.paste(colour, (int(low[0]), int(low[1])), mask.reduce(_OVERSAMPLING))
