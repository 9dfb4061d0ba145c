"""front_chart.py: the points of an exploration by latency and energy, those of the Pareto front in colour, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...accel_model.exploration import PointResult
from .page_style import CHARTS, COLOURS
from .svg import Scale, draw_axes, element, fit_log, mark, percent, picture, plot_area, text

OPENING = '<svg xmlns="http://www.w3.org/2000/svg"'  # of every such file
_WIDTH, _HEIGHT = "860", 560
_LARGEST = 11.0  # radius of the largest area [px]
_BACKGROUND = "svg.page { background: var(--card); color-scheme: light dark; }"


def draw_front(results: Sequence[PointResult], front: Sequence[PointResult]) -> str:
    """Return a chart as the text of an SVG file; the area of a dot is the area proxy of its design."""
    able = [result for result in results if result.problem is None and result.milliseconds > 0]
    best = {result.point.key for result in front}
    across = fit_log(result.milliseconds for result in able)
    up = fit_log(result.millijoules for result in able)
    largest = max((result.area_mm2 for result in able), default=1.0)
    ordered = sorted(able, key=lambda result: (result.point.key in best, -result.area_mm2))
    body = [draw_axes(across, up, ("milliseconds per frame", "millijoules per frame"))]
    body += [_draw_point(r, across, up, largest, is_best=r.point.key in best) for r in ordered]
    words = (
        f"{len(able)} designs, {len(front)} of them on the front of latency, energy and area: the coloured ones. "
        "A dot is as large as the area proxy of its design."
    )
    heading = f"{len(able):,} designs; in colour {len(front):,} on the front of latency, energy and area proxy (size)"
    body.append(text(heading, 1, 0, anchor="end", dy="-10", class_="label"))
    style = element("style", COLOURS + CHARTS + _BACKGROUND)
    chart = picture("Designs", words, _HEIGHT, [style, plot_area(body)], _WIDTH, class_="page")
    return chart.replace("<svg", OPENING, 1) + "\n"


def _draw_point(result: PointResult, across: Scale, up: Scale, largest: float, *, is_best: bool) -> str:
    values = ", ".join(f"{key} {value}" for key, value in result.point.values)
    tip = (
        f"{values}: {result.milliseconds:.3g} ms, {result.millijoules:.3g} mJ "
        f"({result.low_mj:.3g} to {result.high_mj:.3g}), {result.area_mm2:.3g} mm2"
    )
    return mark(
        tip,
        "circle",
        kind="best" if is_best else "design",
        cx=percent(across.place(result.milliseconds)),
        cy=percent(1 - up.place(result.millijoules)),
        r=f"{max(2.5, _LARGEST * math.sqrt(result.area_mm2 / largest)):.2f}",
    )
