"""error_tiles.py: the picture of one miss or false alarm: from above, as the sensor sees it, and what it is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..boxes import box_corners
from ..evaluate.outcomes import MISS
from .colours import BACKGROUND, FAINT_TEXT, GRID, PANEL, RGB, TEXT, TRUTH, class_colour
from .error_scenes import ErrorScene
from .lettering import load_font, shorten_text, write_edged
from .raster import TopView, draw_points, draw_shape

WIDTH, TOP, SIDE, CAPTION = 260, 260, 112, 42  # [pixels]; the three stand one below the other
_GAP = 2  # [pixels] between the two views
HEIGHT = TOP + _GAP + SIDE + CAPTION
_GROUND = 0.2  # where the ground lies in the view from the side, as a share of its height
_SLAB = 0.5  # [m] before and behind the box of which the view from the side shows points
_FONT_PX, _LINE_PX, _KIND_PX = 14, 18, 12  # [pixels]
_FILL = 40  # opacity of the inside of the error's own box


def draw_tile(scene: ErrorScene) -> Image.Image:
    """Return the picture of one error, WIDTH by HEIGHT pixels."""
    tile = Image.new("RGB", (WIDTH, HEIGHT), PANEL)
    tile.paste(_draw_top(scene), (0, 0))
    tile.paste(_draw_side(scene), (0, TOP + _GAP))
    pen, font = ImageDraw.Draw(tile), load_font(_FONT_PX)
    for line, (text, colour) in enumerate(zip(caption(scene), (TEXT, FAINT_TEXT), strict=True)):
        row = HEIGHT - CAPTION + 4 + line * _LINE_PX
        pen.text((2, row), shorten_text(text, font, WIDTH - 4), colour, font)
    return tile


def caption(scene: ErrorScene) -> tuple[str, str]:
    """Return the two lines below the picture: frame, range and points; cause and score."""
    outcome = scene.outcome
    noun = "point" if scene.num_points == 1 else "points"
    first = f"{outcome.frame_id}   {outcome.distance:.1f} m   {scene.num_points:,} {noun}"
    return first, outcome.cause + ("" if outcome.score is None else f"   score {outcome.score:.2f}")


def unsure_colour(label: str, classes: tuple[str, ...]) -> RGB:
    """Return the colour of detections of a class that score too low: that of the class, darker."""
    bright = class_colour(label, classes.index(label))
    red, green, blue = (
        round(0.6 * channel + 0.4 * dark) for channel, dark in zip(bright, BACKGROUND, strict=True)
    )
    return red, green, blue


def _outlines(scene: ErrorScene) -> list[tuple[NDArray[np.float64], RGB, int]]:
    """Return every box (7,) to draw with its colour and the opacity of its inside, the error's own last."""
    found, label = scene.found, scene.outcome.label
    boxes: list[tuple[NDArray[np.float64], RGB, int]] = [(box, TRUTH, 0) for box in scene.truth.boxes]
    boxes += [(box, unsure_colour(label, found.classes), 0) for box in scene.unsure]
    for box, index in zip(found.boxes.astype(np.float64), found.labels, strict=True):
        boxes.append((box, class_colour(found.classes[index], int(index)), 0))
    own = TRUTH if scene.outcome.kind == MISS else class_colour(label, found.classes.index(label))
    return [*boxes, (scene.box, own, _FILL)]


def _draw_top(scene: ErrorScene) -> Image.Image:
    view = TopView(scene.reach, TOP)
    picture = draw_points(view, scene.points, ground=0.0)
    for box, colour, fill in _outlines(scene):
        tip = box[:2] + (box[3] / 2 + 0.07 * scene.reach) * np.array([math.cos(box[6]), math.sin(box[6])])
        draw_shape(picture, view, colour, box_corners(box[None])[0], tick=np.stack([box[:2], tip]), fill=fill)
    _name_kinds(picture, view, scene)
    return picture


def _name_kinds(picture: Image.Image, view: TopView, scene: ErrorScene) -> None:
    """Write below the nearest labelled box of each other kind what it is."""
    pen, font = ImageDraw.Draw(picture), load_font(_KIND_PX)
    written: dict[str, tuple[float, float, float]] = {}  # middle of the text and half its width [pixels]
    for index in np.argsort(scene.truth.ranges, kind="stable"):
        kind = scene.truth.labels[index]
        corners = view.to_pixels(box_corners(scene.truth.boxes[index : index + 1])[0])
        seen = corners[((corners >= 0) & (corners <= TOP)).all(axis=1)]
        if kind == scene.outcome.label or kind in written or not len(seen):
            continue
        lowest, half = seen[np.argmax(seen[:, 1])], font.getlength(kind) / 2 + 2
        column = float(np.clip(lowest[0], half, WIDTH - half))
        row = min(float(lowest[1]) + 0.8 * _KIND_PX, TOP - 0.6 * _KIND_PX)
        for other in sorted(written.values(), key=lambda place: place[1]):
            if abs(column - other[0]) < half + other[2] and abs(row - other[1]) < _KIND_PX:
                row = other[1] + _KIND_PX
        written[kind] = column, row, half
        write_edged(pen, (column, row), kind, font, TRUTH, "mm")


def _draw_side(scene: ErrorScene) -> Image.Image:
    """Draw what stands as far from the sensor as the box, left to right as in the view from above."""
    view = TopView(scene.reach, WIDTH)  # a square, of which a band is kept
    middle = (0.5 - _GROUND) * SIDE / view.scale  # height in the middle of the square [m]
    near, far = _depths(scene.box)
    points = scene.points[(scene.points[:, 0] >= near - _SLAB) & (scene.points[:, 0] <= far + _SLAB)]
    upright = np.column_stack([points[:, 2] - middle, points[:, 1], points[:, 2]]).astype(np.float32)
    picture = draw_points(view, upright, ground=0.0)
    edge = scene.reach * 0.999
    ground = np.array([[-middle, -edge], [-middle, edge]])
    draw_shape(picture, view, GRID, ground, width=1.0)
    for box, colour, fill in _outlines(scene):
        front, back = _depths(box)
        if front <= far and back >= near:
            draw_shape(picture, view, colour, _upright_outline(box, middle), fill=fill)
    top = (WIDTH - SIDE) // 2
    return picture.crop((0, top, WIDTH, top + SIDE))


def _depths(box: NDArray[np.float64]) -> tuple[float, float]:
    """Return the distances along the line of sight [m] between which a box (7,) lies."""
    depths = box_corners(box[None])[0, :, 0]
    return float(depths.min()), float(depths.max())


def _upright_outline(box: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Return the box (7,) as a rectangle (4, 2): height above `middle`, and place across the line of sight [m]."""
    across = box_corners(box[None])[0, :, 1]
    low, high = box[2] - box[5] / 2 - middle, box[2] + box[5] / 2 - middle
    left, right = across.max(), across.min()
    return np.array([[low, left], [high, left], [high, right], [low, right]])
