"""error_sheets.py: contact sheets of the misses and false alarms of an evaluation, one per class and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from ...runtime.errors import ColonnadeError
from ...runtime.files import replacing
from ..evaluate import ErrorExamples, EvaluationReport, FrameResult, LabelledFrame, choose_examples
from ..evaluate.examples import RANGE_STEP
from ..evaluate.outcomes import MISS
from .colours import FAINT_TEXT, PANEL, RGB, TEXT, TRUTH, class_colour
from .error_scenes import ErrorScene, cut_scenes, scene_reach
from .error_tiles import HEIGHT, WIDTH, draw_tile, unsure_colour
from .lettering import load_font, shorten_text
from .raster import HIGHEST, LOWEST, draw_height_ramp

COLUMNS = 5
HEADER = 92  # [pixels] of the lines above the tiles
_GAP = 8  # [pixels] around the tiles


@dataclass(frozen=True)
class ErrorSheet:
    """The contact sheet of one class and kind of error.

    Attributes:
        examples: the errors that it shows, row by row.
        title: what it shows, and how many of how many.
        picture: the sheet.
    """

    examples: ErrorExamples
    title: str
    picture: Image.Image

    @property
    def name(self) -> str:
        """Class and kind as part of a file name: "car-false-alarms"."""
        return f"{self.examples.label}-{_plural(self.examples.kind).replace(' ', '-')}"

    def save(self, path: str | Path) -> None:
        """Write the sheet as PNG to `path`, under a temporary name first.

        Raises:
            ColonnadeError: it cannot be written.
        """
        target = Path(path)
        try:
            with replacing(target) as temporary:
                self.picture.save(temporary, "PNG", compress_level=6)
        except OSError as error:
            raise ColonnadeError(f"cannot write the picture {target}: {error.strerror or error}") from error


def draw_error_sheets(
    report: EvaluationReport,
    results: Sequence[FrameResult],
    dataset: Iterable[LabelledFrame],
    *,
    progress: Callable[[int], None] | None = None,
) -> Iterator[ErrorSheet]:
    """Draw one sheet of the misses and one of the false alarms of each class; see `choose_examples`.

    Args:
        report: of `score_results`.
        results: what it scored, as `run_detector` returned it.
        dataset: the frames; they are read once more, and only the points around the errors are kept.
        progress: called with the number of frames read after each.

    Raises:
        CorruptFrameError, DatasetError: a frame or its labels cannot be read.
    """
    groups = choose_examples(report)
    scenes = cut_scenes(dataset, results, groups, progress=progress)
    for examples, own in zip(groups, scenes, strict=True):
        yield draw_sheet(examples, own, results[0].found.classes)


def draw_sheet(examples: ErrorExamples, scenes: Sequence[ErrorScene], classes: tuple[str, ...]) -> ErrorSheet:
    """Draw the sheet of `examples`, whose surroundings are `scenes`; `classes` are those of the detector."""
    rows = -(-len(scenes) // COLUMNS)
    size = (COLUMNS * (WIDTH + _GAP) + _GAP, HEADER + rows * (HEIGHT + _GAP) + (_GAP if rows else 0))
    picture = Image.new("RGB", size, PANEL)
    for index, scene in enumerate(scenes):
        picture.paste(draw_tile(scene), tile_corner(index))
    title = _describe(examples)
    _draw_header(picture, title, examples, classes)
    return ErrorSheet(examples, title, picture)


def tile_corner(index: int) -> tuple[int, int]:
    """Return column and row [pixels] of the upper left corner of a tile."""
    row, column = divmod(index, COLUMNS)
    return _GAP + column * (WIDTH + _GAP), HEADER + row * (HEIGHT + _GAP)


def _describe(examples: ErrorExamples) -> str:
    what = f"{_plural(examples.kind)} at score {examples.score:g}"
    if not examples.total:
        return f"{examples.dataset} · {examples.label}: no {what}"
    order = "most points first" if examples.kind == MISS else "highest score first"
    shown = f"{len(examples.outcomes):,} of {examples.total:,}"
    return f"{examples.dataset} · {examples.label}: {shown} {what}, {order}"


def _explain(examples: ErrorExamples) -> str:
    """Return how to read a tile and, where there are more errors than tiles, how these were chosen."""
    text = (
        f"Above: from the sky, {2 * scene_reach(examples.label):g} m wide, up is away from the sensor. "
        "Below: as the sensor sees that place. The error's own box is filled."
    )
    if len(examples.outcomes) < examples.total:
        text += f" Chosen from every cause and {RANGE_STEP:g} m of range in turn, over all frames."
    return text


def _plural(kind: str) -> str:
    return "misses" if kind == MISS else "false alarms"


def _draw_header(picture: Image.Image, title: str, examples: ErrorExamples, classes: tuple[str, ...]) -> None:
    """Write what the sheet shows, how the errors were chosen and how to read a tile, and the legend."""
    pen = ImageDraw.Draw(picture)
    large, small = load_font(22), load_font(15)
    pen.text((_GAP, 18), shorten_text(title, large, picture.width - 2 * _GAP), TEXT, large, "lm")
    pen.text((_GAP, 46), _explain(examples), FAINT_TEXT, small, "lm")
    entries: list[tuple[str, RGB]] = [("labelled", TRUTH)]
    entries += [(f"found: {name}", class_colour(name, index)) for index, name in enumerate(classes)]
    if examples.kind == MISS:
        entries.append((f"{examples.label} below the score", unsure_colour(examples.label, classes)))
    column, middle = float(_GAP), 72
    for text, colour in entries:
        pen.rounded_rectangle((column, middle - 6, column + 12, middle + 6), 2, outline=colour, width=2)
        pen.text((column + 18, middle), text, TEXT, small, "lm")
        column += 18 + small.getlength(text) + 18
    low = f"height {LOWEST:g}"
    pen.text((column, middle), low, FAINT_TEXT, small, "lm")
    column += small.getlength(low) + 6
    picture.paste(draw_height_ramp(140, 12), (round(column), middle - 6))
    pen.text((column + 146, middle), f"{HIGHEST:g} m", FAINT_TEXT, small, "lm")
