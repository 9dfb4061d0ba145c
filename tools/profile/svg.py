"""svg.py: charts as text: scales with ticks, and elements whose places are percentages, so that they fit any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to 0..1, evenly or, when `is_log`, by their logarithms."""

    low: float
    high: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, held within 0..1."""
        if self.is_log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(max(part, 0.0), 1.0)

    def list_ticks(self) -> tuple[float, ...]:
        """Return round values within the scale, about five of them."""
        return _list_powers(self.low, self.high) if self.is_log else _list_steps(self.low, self.high)


def fit_log(values: Iterable[float]) -> Scale:
    """Return a logarithmic scale around positive values, with a little room on either side."""
    positive = [value for value in values if 0 < value < math.inf] or [1.0]
    low, high = min(positive), max(positive)
    room = max((high / low) ** 0.06, 1.08)
    return Scale(low / room, high * room, is_log=True)


def fit_from_zero(values: Iterable[float]) -> Scale:
    """Return an even scale from 0 to a little above the largest value."""
    largest = max((value for value in values if value < math.inf), default=0.0)
    return Scale(0.0, 1.02 * largest or 1.0)


def _list_steps(low: float, high: float) -> tuple[float, ...]:
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return tuple(number * step for number in range(first, last + 1))


def _list_powers(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = tuple(f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high)
        if len(ticks) >= 3:
            break
    return ticks if len(ticks) <= 7 else ticks[:: math.ceil(len(ticks) / 7)]


def shorten(value: float) -> str:
    """Return a number for an axis or a label: three digits, with k, M or G."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            return f"{_trim(value / limit)}{letter}"
    return _trim(value)


def _trim(value: float) -> str:
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:g}"


def percent(part: float) -> str:
    """Return a share 0..1 as SVG and CSS write it."""
    return f"{100 * part:.3f}%"


def element(name: str, *children: str, **attributes: object) -> str:
    """Return an element; in the names of attributes `_` stands for `-`, and one at the end is left off."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{pairs}>{''.join(children)}</{name}>" if children else f"<{name}{pairs}/>"


def text(words: str, x: float, y: float, *, anchor: Anchor = "start", **attributes: object) -> str:
    """Return a text at a place in shares of the plot, y downwards."""
    return element("text", escape(words), x=percent(x), y=percent(y), text_anchor=anchor, **attributes)


def mark(tip: str, name: str, **attributes: object) -> str:
    """Return a mark of the data with the words that are shown over it."""
    return element(
        name, element("title", escape(tip)), class_=f"mark {attributes.pop('kind', '')}", **attributes
    )


def picture(
    title: str, description: str, height: int, body: Sequence[str], width: str = "100%", **attributes: object
) -> str:
    """Return a chart of a height in pixels, with a title and a description for who cannot see it."""
    return element(
        "svg",
        element("title", escape(title)),
        element("desc", escape(description)),
        *body,
        role="img",
        width=width,
        height=height,
        **attributes,
    )


def plot_area(body: Sequence[str]) -> str:
    """Return the part of a chart that shares are of: all but room for the words at its edges."""
    return element("svg", *body, x="2.5%", y="7%", width="95%", height="80%", overflow="visible")


def draw_axes(across: Scale, up: Scale, names: tuple[str, str]) -> str:
    """Return grid lines with their values, and the names of both axes: one below, one above the chart."""
    parts = []
    for value in up.list_ticks():
        y = 1 - up.place(value)
        parts.append(element("line", x1="0", x2="100%", y1=percent(y), y2=percent(y), class_="grid"))
        parts.append(text(shorten(value), 0, y, dy="-4", class_="tick"))
    for value in across.list_ticks():
        x = across.place(value)
        parts.append(element("line", x1=percent(x), x2=percent(x), y1="0", y2="100%", class_="grid"))
        anchor: Anchor = "end" if x > 0.96 else "middle"
        parts.append(text(shorten(value), x, 1, anchor=anchor, dy="15", class_="tick"))
    parts.append(text(names[0], 1, 1, anchor="end", dy="32", class_="axis"))
    parts.append(text(names[1], 0, 0, dy="-10", class_="axis"))
    return "".join(parts)
