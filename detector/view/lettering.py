"""lettering.py: text on pictures: the font, text with a dark edge, text cut to a width."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from .colours import BACKGROUND, RGB

_SMALLEST = 8  # [pixels] below it nothing can be read


@lru_cache(maxsize=16)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of every picture, `size` pixels high."""
    font = ImageFont.load_default(max(_SMALLEST, size))  # Pillow's own, so pictures look the same everywhere
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def write_edged(
    pen: ImageDraw.ImageDraw,
    at: Iterable[float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: RGB,
    anchor: str,
) -> None:
    """Write text with a dark edge, so that it stays legible on points."""
    column, row = at
    pen.text((column, row), text, colour, font, anchor, stroke_width=2, stroke_fill=BACKGROUND)


def shorten_text(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Cut the beginning of a text that is too long; the frame's name at its end is what matters."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
