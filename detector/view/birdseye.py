"""birdseye.py: the bird's-eye picture of a frame: points by height, boxes with heading and score, rings."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...runtime.errors import UsageError
from ..boxes import box_corners
from ..detections import Detections
from ..ground import estimate_ground_height
from .colours import FAINT_TEXT, GRID, PANEL, RGB, TEXT, TRUTH, class_colour
from .lettering import load_font, shorten_text, write_edged
from .raster import HIGHEST, LOWEST, TopView, draw_height_ramp, draw_points, draw_rings, draw_shape

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom [pixels]

_HEADER, _FOOTER = 0.052, 0.050  # heights of the bands above and below, as shares of the picture's side
_SMALLEST_PX = 200
_SMALLEST_RANGE, _LARGEST_RANGE = 20.0, 120.0  # [m] bounds of a range that is chosen here


def draw_birdseye(
    points: NDArray[np.float32],
    detections: Detections,
    *,
    range_m: float | None = None,
    size_px: int = 1000,
    title: str = "",
    note: str = "",
    ground: float | None = None,
    truth: NDArray[np.floating] | None = None,
) -> Image.Image:
    """Draw one frame from above: forward is up, left is left, the sensor is in the middle.

    Args:
        points: (N, >=3) x, y, z [m].
        detections: the boxes to draw.
        range_m: distance from the sensor to the picture's edges [m]; None chooses it from the points.
        size_px: width of the picture [pixels]; the bands for title and legend come on top of its height.
        title: text at the upper left, such as the recording and the frame.
        note: text at the upper right, such as the time taken.
        ground: height of the ground under the sensor [m]; None takes that of the detections, or estimates it.
        truth: (K, 7) labelled boxes, drawn as thin white outlines.

    Raises:
        UsageError: `size_px` or `range_m` is too small to draw.
    """
    if size_px < _SMALLEST_PX or (range_m is not None and not range_m > 0):
        raise UsageError(f"a picture needs at least {_SMALLEST_PX} pixels and a range above 0 m")
    ground = detections.ground if ground is None else ground
    if ground is None:
        ground = estimate_ground_height(points) if len(points) else 0.0
    view = TopView(choose_range(points, detections) if range_m is None else float(range_m), size_px)

    field = draw_points(view, points, ground)
    taken = _draw_rings(field, view)
    if truth is not None:
        _draw_truth(field, view, truth)
    _draw_boxes(field, view, detections)
    _draw_scores(field, view, detections, taken)

    header, footer = round(size_px * _HEADER), round(size_px * _FOOTER)
    picture = Image.new("RGB", (size_px, size_px + header + footer), PANEL)
    picture.paste(field, (0, header))
    _draw_header(picture, header, title, note)
    _draw_footer(picture, header + size_px, footer, view, detections, truth)
    return picture


def choose_range(
    points: NDArray[np.float32], detections: Detections, *, most: float = _LARGEST_RANGE
) -> float:
    """Return a range [m], a multiple of 10, that holds 98 % of the points and every box, or reaches to `most`."""
    reach = _SMALLEST_RANGE
    if len(points):
        sample = points[:: max(1, len(points) // 20000)]
        reach = max(reach, float(np.percentile(np.abs(sample[:, :2]).max(axis=1), 98)))
    if len(detections):
        reach = max(reach, float(np.abs(detections.boxes[:, :2]).max()) + 3.0)
    return 10.0 * math.ceil(min(reach, most, _LARGEST_RANGE) / 10.0)


def _draw_rings(field: Image.Image, view: TopView) -> list[Rectangle]:
    """Draw range rings, their labels and the sensor; return the places of the labels."""
    field.paste(GRID, (0, 0), _ring_mask(view))
    pen = ImageDraw.Draw(field)
    font = load_font(max(9, round(view.size_px * 0.0125)))
    taken: list[Rectangle] = []
    for radius in _ring_radii(view.range_m):
        column, row = view.to_pixels(np.array([-radius, -radius]) * math.sqrt(0.5))
        text = f"{radius:g} m"
        write_edged(pen, (column, row), text, font, FAINT_TEXT, anchor="mm")
        taken.append(_text_rectangle(column - font.getlength(text) / 2, row, text, font))
    unit = view.size_px * 0.0085 / view.scale
    arrow = np.array([[1.5, 0.0], [-1.0, 0.95], [-0.45, 0.0], [-1.0, -0.95]]) * unit  # points forward
    draw_shape(field, view, TEXT, arrow, width=0.5, fill=255)
    return taken


@lru_cache(maxsize=8)
def _ring_mask(view: TopView) -> Image.Image:
    """Return the mask of the range rings, which is the same for every frame of a recording."""
    return draw_rings(view, _ring_radii(view.range_m), opacity=200)


def _ring_radii(range_m: float) -> list[float]:
    """Return the radii [m] of the rings: three to seven of them, at round distances."""
    step = next((step for step in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0) if range_m / step <= 7.5), 100.0)
    return [step * k for k in range(1, int(range_m / step + 1e-6) + 1)]


def _draw_truth(field: Image.Image, view: TopView, truth: NDArray[np.floating]) -> None:
    for corners in box_corners(truth):
        draw_shape(field, view, TRUTH, corners, width=0.8)


def _draw_boxes(field: Image.Image, view: TopView, detections: Detections) -> None:
    """Draw each box as an outline with a faint inside and a tick from the centre through the front."""
    overhang = max(0.5, 4.0 / view.scale)
    for box, label, corners in zip(
        detections.boxes, detections.labels, box_corners(detections.boxes), strict=True
    ):
        tip = box[:2] + (box[3] / 2 + overhang) * np.array([math.cos(box[6]), math.sin(box[6])])
        colour = class_colour(detections.classes[label], int(label))
        draw_shape(field, view, colour, corners, tick=np.stack([box[:2], tip]), width=1.6, fill=56)


def _draw_scores(field: Image.Image, view: TopView, detections: Detections, taken: list[Rectangle]) -> None:
    """Write the scores beside the boxes, the surest first; one that would cover other text is left out."""
    pen = ImageDraw.Draw(field)
    font = load_font(max(9, round(view.size_px * 0.0115)))
    corners = view.to_pixels(box_corners(detections.boxes))
    for index in np.argsort(-detections.scores, kind="stable"):
        text = f"{detections.scores[index]:.2f}"
        left, right = float(corners[index, :, 0].min()), float(corners[index, :, 0].max())
        row = float(corners[index, :, 1].mean())
        for column in (right + 5, left - 5 - font.getlength(text)):  # right of the box, or left of it
            place = _text_rectangle(column, row, text, font)
            outside = min(place) < 0 or max(place) > view.size_px
            if not outside and not any(_overlap(place, other) for other in taken):
                taken.append(place)
                label = int(detections.labels[index])
                colour = class_colour(detections.classes[label], label)
                write_edged(pen, (column, row), text, font, _lighten(colour), anchor="lm")
                break


def _draw_header(picture: Image.Image, height: int, title: str, note: str) -> None:
    pen = ImageDraw.Draw(picture)
    margin, middle = round(picture.width * 0.016), height / 2
    title_font, note_font = load_font(round(height * 0.40)), load_font(round(height * 0.32))
    note_width = note_font.getlength(note)
    pen.text(
        (margin, middle),
        shorten_text(title, title_font, picture.width - 3 * margin - note_width),
        TEXT,
        title_font,
        "lm",
    )
    pen.text((picture.width - margin, middle), note, FAINT_TEXT, note_font, "rm")


def _draw_footer(
    picture: Image.Image,
    top: int,
    height: int,
    view: TopView,
    detections: Detections,
    truth: NDArray[np.floating] | None,
) -> None:
    """Draw the legend of the classes with their counts, the colours of the heights, and the scale bar."""
    pen = ImageDraw.Draw(picture)
    font = load_font(round(height * 0.32))
    middle, margin, gap = top + height / 2, round(picture.width * 0.016), round(height * 0.22)
    swatch = height * 0.15

    column = float(margin)
    counts = np.bincount(detections.labels, minlength=len(detections.classes))
    entries: list[tuple[str, RGB]] = [
        (f"{name} {counts[label]}", class_colour(name, label))
        for label, name in enumerate(detections.classes)
    ]
    if truth is not None:
        entries.append((f"labelled {len(truth)}", TRUTH))
    for text, colour in entries:
        pen.rounded_rectangle(
            (column, middle - swatch, column + 2 * swatch, middle + swatch), 2, outline=colour, width=2
        )
        column += 2 * swatch + gap
        pen.text((column, middle), text, TEXT, font, "lm")
        column += font.getlength(text) + 2.2 * gap

    bar_m = _scale_length(view.range_m)
    bar_px = bar_m * view.scale
    right = float(picture.width - margin)
    text = f"{bar_m:g} m"
    pen.text((right, middle), text, TEXT, font, "rm")
    right -= font.getlength(text) + gap
    pen.line((right - bar_px, middle, right, middle), TEXT, 2)
    for end in (right - bar_px, right):
        pen.line((end, middle - swatch, end, middle + swatch), TEXT, 2)

    ramp_width = round(picture.width * 0.16)
    right -= bar_px + 3 * gap
    top_text, low_text = f"{HIGHEST:g} m", f"height {LOWEST:g}"
    pen.text((right, middle), top_text, FAINT_TEXT, font, "rm")
    right -= font.getlength(top_text) + gap
    if right - ramp_width - font.getlength(low_text) - gap > column:
        picture.paste(
            draw_height_ramp(ramp_width, round(2 * swatch)),
            (round(right) - ramp_width, round(middle - swatch)),
        )
        pen.text((right - ramp_width - gap, middle), low_text, FAINT_TEXT, font, "rm")


def _scale_length(range_m: float) -> float:
    """Return a round length [m] that fills about a tenth of the picture."""
    return max(length for length in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if length <= max(0.5, range_m * 0.25))


def _lighten(colour: RGB) -> RGB:
    red, green, blue = (round(channel + (255 - channel) * 0.45) for channel in colour)
    return red, green, blue


def _text_rectangle(left: float, middle: float, text: str, font: ImageFont.FreeTypeFont) -> Rectangle:
    return left, middle - font.size * 0.5, left + font.getlength(text), middle + font.size * 0.5


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
